"""What a run does beside training: keeps the best models, stops early, passes over bad steps, draws a gallery."""

import logging
from pathlib import Path

import numpy as np
from transformers import TrainerCallback, TrainerState
from transformers.integrations import TensorBoardCallback
from transformers.trainer_callback import ExportableState

from plvl.training.checkpoints import UNFINISHED, explained_failure, replace_folder
from plvl.training.gallery import draw_gallery

logger = logging.getLogger(__name__)

# The metric of an evaluation during training, and the folder of the model that had the most of it.
BEST_MODELS = {"eval_box_accuracy": "best_box_accuracy", "eval_mask_miou": "best_mask_miou"}
# Of models of any number of targets.
BEST_MODELS_OF_ANY = {"eval_grec_precision_plain_iou": "best_grec_precision", "eval_gres_giou": "best_gres_giou"}


def best_models(config) -> dict[str, str]:
    """`BEST_MODELS` of a model's kind."""
    return BEST_MODELS_OF_ANY if config.targets == "any" else BEST_MODELS


def best_before(log_history: list[dict], metric: str) -> float:
    """The most of a metric in a run's log before its last entry with it."""
    values = [entry[metric] for entry in log_history if metric in entry]
    return max(values[:-1], default=float("-inf"))


class KeepBestModels(TrainerCallback):
    """
    At each evaluation that betters one of the metrics of `best_models`, the model goes into its folder.

    What was best so far is read from the log, which the checkpoints keep: a run that starts again knows it.
    """

    def __init__(self, trainer):
        self.trainer = trainer

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        for metric, name in best_models(self.trainer.model.config).items():
            if metric in metrics and metrics[metric] > best_before(state.log_history, metric):
                self.save(Path(args.output_dir), name)

    def save(self, output_dir: Path, name: str):
        unfinished = output_dir / UNFINISHED / name
        with explained_failure(output_dir, f"the model of {name}", self.trainer.args.should_save):
            self.trainer.save_model(str(unfinished), _internal_call=True)
            if self.trainer.is_world_process_zero():
                replace_folder(unfinished, output_dir / name)


class StopEarly(TrainerCallback):
    """Ends the run when so many evaluations in a row have bettered none of the metrics of `best_models`."""

    def __init__(self, patience: int):
        if patience < 1:
            raise ValueError(f"early_stopping_patience must be 1 or more, got {patience}")
        self.patience = patience

    def on_evaluate(self, args, state, control, model, **kwargs):
        evaluations_since_best = []
        for metric in best_models(model.config):
            values = [entry[metric] for entry in state.log_history if metric in entry]
            if values:
                evaluations_since_best.append(len(values) - 1 - values.index(max(values)))
        if evaluations_since_best and min(evaluations_since_best) >= self.patience:
            logger.info("stopped early: no evaluation was better than the one %d before it", self.patience)
            control.should_training_stop = True


class SkipBadSteps(TrainerCallback, ExportableState):
    """
    Has the optimizer skip a step in which some loss was not finite; the trainer sets `bad_step`.

    How many were skipped since the beginning of the run is part of its checkpoints.
    """

    def __init__(self):
        self.bad_step = False
        self.skipped_steps = 0

    @classmethod
    def skipped_steps_of(cls, state: TrainerState) -> int:
        stored = state.stateful_callbacks.get(cls.__name__, {})
        return stored.get("attributes", {}).get("skipped_steps", 0)

    def state(self) -> dict:
        return {"args": {}, "attributes": {"skipped_steps": self.skipped_steps}}

    def mark(self):
        """Has this step skipped; of the batches of a step any may ask for it."""
        self.skipped_steps += not self.bad_step
        self.bad_step = True

    def on_pre_optimizer_step(self, args, state, control, model, optimizer, **kwargs):
        if not self.bad_step:
            return
        self.bad_step = False
        if optimizer.scaler is None:
            model.zero_grad(set_to_none=True)
        else:
            # The scaler of fp16 passes over the step when it meets one of these.
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.grad.fill_(float("nan"))


class DrawGallery(TrainerCallback):
    """Draws what the model grounds in some rows at each evaluation, into `gallery/` and TensorBoard."""

    def __init__(self, trainer, rows: list[dict]):
        self.trainer, self.rows = trainer, rows
        self.drawn_at = None

    def on_evaluate(self, args, state, control, **kwargs):
        # Of several sets each is an evaluation; the model is one.
        if not state.is_world_process_zero or self.drawn_at == state.global_step:
            return
        self.drawn_at = state.global_step
        folder = Path(args.output_dir) / "gallery"
        folder.mkdir(parents=True, exist_ok=True)
        sheet = draw_gallery(self.trainer.model, self.trainer.processing_class, self.rows)
        sheet.save(folder / f"step_{state.global_step:07d}.png")
        for callback in self.trainer.callback_handler.callbacks:
            if isinstance(callback, TensorBoardCallback) and callback.tb_writer is not None:
                callback.tb_writer.add_image("gallery", np.asarray(sheet), state.global_step, dataformats="HWC")
