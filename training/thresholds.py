"""The thresholds of a model of any number of targets, chosen by a split and kept with its processor."""

import logging

from plvl.training.generalized_metrics import ChosenThresholds, choose_thresholds

logger = logging.getLogger(__name__)


def refuse_thresholds(config):
    """
    Raises:
        ValueError: a model of this [`PLVLConfig`] has no thresholds that could be chosen by its boxes.
    """
    if config.targets != "any":
        raise ValueError("choose_thresholds is for models of any number of targets (targets: any), this one is of one")
    if "rec" not in config.tasks:
        raise ValueError("choose_thresholds goes by the boxes that are right, and this model has no task rec")


def choose_and_save_thresholds(trainer, rows, folder) -> ChosenThresholds:
    """
    Has the processor say "none" and "several" as a split has it right most often, and writes that into `folder`.

    Args:
        trainer ([`PLVLTrainer`]): of the model, whose `processing_class` gets the thresholds.
        rows: the split.
        folder: of the model; its processor_config.json is written anew.

    Raises:
        ValueError: the model is of one target or has no boxes.
    """
    refuse_thresholds(trainer.model.config)
    chosen = choose_thresholds(trainer.evaluation_pass(rows).candidates)
    processor = trainer.processing_class
    processor.box_threshold, processor.presence_threshold = chosen.box_threshold, chosen.presence_threshold
    if trainer.is_world_process_zero():
        processor.save_pretrained(folder)
    logger.info(
        "box_threshold %.2f and presence_threshold %.2f, written into %s, make %.1f %% of the answers right",
        chosen.box_threshold,
        chosen.presence_threshold,
        folder,
        100 * chosen.metrics["grec_precision_plain_iou"],
    )
    return chosen
