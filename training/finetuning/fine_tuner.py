"""The trainer of a fine-tuning: running statistics stay, weights may be averaged, and it says how long it takes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import load_file, save_file
from timm.utils import ModelEmaV3
from transformers import PrinterCallback, ProgressCallback, TrainerCallback

from plvl.training.callbacks import best_models
from plvl.training.trainer_plvl import PLVLTrainer

AVERAGED_WEIGHTS = "averaged_weights.safetensors"
# About the last fifty steps, fewer at first.
DECAY = 0.98
# Steps that are timed before the run says how long it will take.
STEPS_TIMED = 10
TITLES = {
    "eval_box_accuracy": "box accuracy",
    "eval_mask_miou": "mask mIoU",
    "eval_grec_precision_plain_iou": "all right",
    "eval_gres_giou": "gIoU",
}


class FineTuner(PLVLTrainer):
    """
    [`PLVLTrainer`] for a few images of one's own. Batch normalisation goes by the statistics of the starting model, as
    those of a few images would undo what it knows of all others.

    With `averages` the weights are averaged over the steps (timm's `ModelEmaV3`): evaluations, the best models and
    [`averaged_weights`] are of the averages; checkpoints have both, so that a stopped run goes on as if it never had
    been.
    """

    def __init__(self, *others, averages: bool = False, say: Callable[[str], None] = print, **named_others):
        super().__init__(*others, **named_others)
        self._averages = None
        if averages:
            self._averages = ModelEmaV3(self.model, decay=DECAY, use_warmup=True)
            self.add_callback(_UpdateAverages(self._averages))
        for callback in (PrinterCallback, ProgressCallback):
            self.remove_callback(callback)
        self.add_callback(SayProgress(say))

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        for module in model.modules():
            # Here, as every step has put the whole model into training before.
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.eval()
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Within, the model has the averages for weights, where there are any."""
        if self._averages is None:
            yield
            return
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self):
        pairs = [
            zip(
                *(chain(model.parameters(), model.buffers()) for model in (self.model, self._averages.module)),
                strict=True,
            )
        ]
        for here, there in chain(*pairs):
            here.data, there.data = there.data, here.data

    def _ground_all(self, dataloader, keep_answers=False):
        with self.averaged_weights():
            return super()._ground_all(dataloader, keep_answers)

    def save_model(self, output_dir=None, _internal_call=False):
        with nullcontext() if self._writes_checkpoint else self.averaged_weights():
            super().save_model(output_dir, _internal_call)

    def _save_rng_state(self, output_dir):
        super()._save_rng_state(output_dir)
        if self._averages is not None:
            save_file(self._averages.module.state_dict(), Path(output_dir, AVERAGED_WEIGHTS))

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self._averages is not None:
            self._averages.module.load_state_dict(load_file(Path(resume_from_checkpoint, AVERAGED_WEIGHTS)))


class _UpdateAverages(TrainerCallback):
    def __init__(self, averages: ModelEmaV3):
        self.averages = averages

    def on_step_end(self, args, state, control, model, **kwargs):
        self.averages.update(model, step=state.global_step)


class SayProgress(TrainerCallback):
    """Says after ten steps how long the run will take, and what each evaluation gave."""

    def __init__(self, say: Callable[[str], None]):
        self.say = say
        self.last: float | None = None
        self.seconds: list[float] = []

    def on_step_end(self, args, state, control, **kwargs):
        now = time.monotonic()
        if self.last is not None:
            self.seconds.append(now - self.last)
        self.last = now
        if len(self.seconds) == STEPS_TIMED:
            self.seconds_per_step = median(self.seconds)
            self.seconds.append(0.0)  # which is told once
            self.say(
                f"{self.seconds_per_step:.2f} seconds a step: about {self.minutes_left(args, state)} for the "
                f"{state.max_steps - state.global_step:,} steps that are left, evaluations included"
            )

    def minutes_left(self, args, state) -> str:
        """In words, as far as steps and evaluations so far tell."""
        steps = state.max_steps - state.global_step
        evaluations = steps // args.eval_steps
        runtimes = [entry["eval_runtime"] for entry in state.log_history if "eval_runtime" in entry]
        seconds = steps * self.seconds_per_step + evaluations * (runtimes[-1] if runtimes else 0)
        minutes = max(round(seconds / 60), 1)
        return "1 minute" if minutes == 1 else f"{minutes:,} minutes"

    def on_evaluate(self, args, state, control, metrics, model, **kwargs):
        values = [
            f"{TITLES[name]} {100 * metrics[name]:.1f} %" for name in best_models(model.config) if name in metrics
        ]
        self.last = None  # the time until the next step ends is no step's alone
        at = f"step {state.global_step:,} of {state.max_steps:,}" if state.global_step else "starting model"
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        loss = f"; loss {losses[-1]:.3f}" if losses else ""
        self.say(f"{at}: on the validation images {', '.join(values)}{loss}")
