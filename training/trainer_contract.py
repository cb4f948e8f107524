"""Where PLVLTrainer is not Trainer: arguments that it refuses, and those that change nothing and say so."""

import logging
from dataclasses import MISSING, fields

from transformers import TrainingArguments

from plvl.training.arguments import PLVLTrainingArguments, refuse_several_gpus

logger = logging.getLogger(__name__)

_OWN_PASS = "evaluation is PLVL's own pass, which keeps a few numbers of each expression"
_OWN_BATCHES = "the batches of training are dealt out by seed and epoch, all full, so that a stopped run goes on"

# argument of TrainingArguments: why another value than Trainer's default changes nothing.
WITHOUT_EFFECT = {
    "bf16_full_eval": "evaluation runs as training does: give bf16, or a model loaded with dtype=torch.bfloat16",
    "fp16_full_eval": "evaluation runs as training does: give fp16, or a model loaded with dtype=torch.float16",
    "train_sampling_strategy": _OWN_BATCHES,
    "length_column_name": _OWN_BATCHES,
    "dataloader_drop_last": _OWN_BATCHES,
    "dataloader_persistent_workers": "workers begin anew with each epoch, whose order they must know",
    "eval_accumulation_steps": _OWN_PASS,
    "prediction_loss_only": _OWN_PASS,
    "include_for_metrics": _OWN_PASS,
    "batch_eval_metrics": _OWN_PASS,
    "label_names": "the network's labels are `labels`",
    "label_smoothing_factor": "the losses are those of boxes, centres and masks",
    "enable_jit_checkpoint": "a checkpoint is written when SIGTERM comes, in any case",
}
# What base classes do with these before anyone could ask: left on, the model would not be put on its device.
_SWITCHED_OFF = ("bf16_full_eval", "fp16_full_eval", "enable_jit_checkpoint", "batch_eval_metrics")

# argument of PLVLTrainer: why it cannot be taken.
REFUSED = {
    "compute_loss_func": "the losses are the model's; override `compute_loss` for others",
    "preprocess_logits_for_metrics": "`compute_metrics` is given boxes, no logits",
}


def completed_arguments(args: TrainingArguments | None) -> TrainingArguments:
    """
    Arguments as PLVLTrainer reads them: for None the defaults, and plain [`TrainingArguments`] get what only
    [`PLVLTrainingArguments`] have. Theirs is one learning rate, for the encoders too.
    """
    if args is None:
        return PLVLTrainingArguments(output_dir="tmp_trainer")
    refuse_several_gpus(args)
    for field in fields(PLVLTrainingArguments):
        if not hasattr(args, field.name):
            rate = field.name in ("text_learning_rate", "vision_learning_rate")
            factory = field.default_factory
            default = field.default if factory is MISSING else factory()
            setattr(args, field.name, args.learning_rate if rate else default)
    return args


def say_what_has_no_effect(args: TrainingArguments):
    """Warns of arguments that change nothing, once for each, and switches off those that Trainer acts on itself."""
    defaults = {field.name: field.default for field in fields(TrainingArguments)}
    for name, reason in WITHOUT_EFFECT.items():
        value = getattr(args, name, None)
        if value and value != defaults.get(name):
            logger.warning("%s=%r has no effect: %s", name, value, reason)
            if name in _SWITCHED_OFF:
                setattr(args, name, False)


def refuse(given: dict):
    """Raises ValueError where an argument of the trainer's is given that it cannot heed; the message says why."""
    for name, reason in REFUSED.items():
        if given.get(name) is not None:
            raise ValueError(f"PLVLTrainer takes no {name}: {reason}")
