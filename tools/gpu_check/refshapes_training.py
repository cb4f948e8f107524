"""A network that learns RefShapes from nothing in a given time, and how much of val it then finds."""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import transformers
from transformers import TrainerCallback

from gpu_check.sizes import RECIPES, Sizes
from plvl.data.refshapes import write_refshapes
from plvl.scripts.run_grounding import make_augmentation
from plvl.training import PLVLTrainer, PLVLTrainingArguments
from plvl.training.preflight import Preflight
from plvl.training.recipe import DataArguments, ModelArguments, parse_recipe
from plvl.training.run_data import RunData
from plvl.training.starting_model import load_or_make_model

# The first steps of the rehearsal wait for the data workers and choose algorithms.
SETTLED_AFTER = 0.5
SPARE = 0.9  # of the time that is left, since steps differ
MOST_WORKERS = 14


def refshapes_training(device: torch.device, sizes: Sizes) -> Iterator[dict]:
    start = time.monotonic()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = max(min(cores - 2, MOST_WORKERS), 0)
    with tempfile.TemporaryDirectory() as folder:
        write_refshapes(Path(folder, "set"), num_images=sizes.shapes_images, seed=0, num_workers=workers or 1)
        made = time.monotonic() - start
        yield {"notes": [f"RefShapes: {sizes.shapes_images} images made in {made:.1f} s by {workers or 1} processes."]}

        deadline, clock = start + sizes.shapes_seconds, Clock()
        run(sizes.shapes_rehearsal, 0, folder, workers, device, sizes, clock)
        seconds_a_step = clock.seconds_a_step()
        left = deadline - time.monotonic()
        num_steps = max(int(SPARE * left / seconds_a_step), sizes.shapes_rehearsal)
        yield {"figures": {"steps": num_steps, "steps_a_second": 1 / seconds_a_step}}

        clock = Clock(deadline)
        trainer, rows = run(num_steps, num_steps // 20, folder, workers, device, sizes, clock)
        trained = time.monotonic() - start
        figures = {"steps": len(clock.ends), "seconds_trained": trained - made}
        loss = next((entry["loss"] for entry in reversed(trainer.state.log_history) if "loss" in entry), None)
        note = f"RefShapes: {len(clock.ends)} steps of {sizes.shapes_batch} expressions, the last loss was {loss}."
        yield {"figures": figures, "notes": [note]}
        metrics = trainer.evaluation_pass(rows.take(sizes.shapes_evaluated)).metrics()
    figures = {name: metrics[name] for name in ("num_samples", "box_accuracy", "mask_miou")}
    note = (
        f"RefShapes from nothing: {metrics['box_accuracy']:.1%} of the boxes of {metrics['num_samples']:.0f} "
        f"expressions of val, masks' mean IoU {metrics['mask_miou']:.1%}, {trained:.0f} s after the part began."
    )
    yield {"figures": figures, "notes": [note]}


def run(max_steps: int, warmup: int, folder: str, workers: int, device: torch.device, sizes: Sizes, clock: "Clock"):
    """A trainer that has trained a new network, and the rows of val."""
    flags = {
        "image_root": f"{folder}/set/images",
        "label_root": f"{folder}/set/labels",
        "output_dir": f"{folder}/run",
        "do_eval": "true",
        "eval_splits": "val",
        "use_cpu": str(device.type == "cpu").lower(),
        "attn_implementation": "sdpa",
        "max_steps": max_steps,
        "warmup_steps": warmup,
        "per_device_train_batch_size": sizes.shapes_batch,
        "total_train_batch_size": sizes.shapes_batch,
        "per_device_eval_batch_size": sizes.shapes_batch,
        # Each data worker has a buffer of its own, which is full before its first batch.
        "shuffle_buffer_size": 2000,
        "dataloader_num_workers": workers,
        "save_strategy": "no",
        "disable_tqdm": "true",
        "logging_steps": max(max_steps // 10, 1),
    }
    command_line = [str(RECIPES / sizes.shapes_recipe), *(f"--{name}={value}" for name, value in flags.items())]
    model_args, data_args, args = parse_recipe((ModelArguments, DataArguments, PLVLTrainingArguments), command_line)
    transformers.set_seed(args.seed)
    check = Preflight(args)
    data = RunData(data_args, args, check)
    check.end()
    model, processor = load_or_make_model(model_args, data.expressions)
    trainer = PLVLTrainer(
        model=model,
        args=args,
        processing_class=processor,
        augmentation=make_augmentation(data_args, processor.image_processor.size),
        train_dataset=data.train,
    )
    trainer.add_callback(clock)
    trainer.train()
    return trainer, data.splits["val"]


class Clock(TrainerCallback):
    """Notes when steps end, and ends the training at a deadline (of `time.monotonic`)."""

    def __init__(self, deadline: float = float("inf")):
        self.deadline = deadline
        self.ends: list[float] = []

    def on_step_end(self, args, state, control, **kwargs):
        self.ends.append(time.monotonic())
        control.should_training_stop = control.should_training_stop or self.ends[-1] > self.deadline

    def seconds_a_step(self) -> float:
        """Of the later ones."""
        settled = self.ends[int(SETTLED_AFTER * len(self.ends)) :]
        return (settled[-1] - settled[0]) / (len(settled) - 1)
