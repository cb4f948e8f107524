"""A run that fails with data workers: failing_run.py IMAGE_ROOT LABEL_ROOT OUTPUT WHERE, "evaluation" or "worker"."""

import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from transformers import TrainerCallback

import small_runs
from plvl.scripts.program import run_as_program


def fail(output):
    Path(output, "failed_at").write_text(str(time.time()))
    raise ValueError("broken on purpose")


class FailAtEvaluation(TrainerCallback):
    def on_evaluate(self, args, state, control, **kwargs):
        fail(args.output_dir)


@dataclass
class FailInOneWorker(small_runs.JitteringCollator):
    """At the second batch of each worker of the second process."""

    output: str
    batches: int = 0

    def __call__(self, rows):
        assert torch.utils.data.get_worker_info() is not None
        self.batches += 1
        if self.batches == 2 and os.environ["RANK"] == "1":
            fail(self.output)
        return super().__call__(rows)


def main(image_root, label_root, output, where):
    callbacks = [FailAtEvaluation()] if where == "evaluation" else []
    if where == "worker":
        small_runs.JitteringCollator = partial(FailInOneWorker, output=output)
    roots = {"image_root": image_root, "label_root": label_root}
    small_runs.resumable_run(roots, output, 2, callbacks, per_device_train_batch_size=4)


if __name__ == "__main__":
    run_as_program(lambda: main(*sys.argv[1:]))
