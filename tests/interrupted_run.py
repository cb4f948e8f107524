"""A run that ends itself: interrupted_run.py IMAGE_ROOT LABEL_ROOT OUTPUT SIGNAL STEP WORKERS."""

import os
import signal
import sys

from transformers import TrainerCallback

from small_runs import resumable_run


class SendSignal(TrainerCallback):
    def __init__(self, name: str, step: int):
        self.number, self.step = getattr(signal, name), step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            # To the data workers too, as a scheduler does.
            os.killpg(os.getpgrp(), self.number)


if __name__ == "__main__":
    os.setsid()
    image_root, label_root, output, name, step, workers = sys.argv[1:]
    roots = {"image_root": image_root, "label_root": label_root}
    trainer = resumable_run(roots, output, int(workers), [SendSignal(name, int(step))])
    sys.exit(143 if trainer.interrupted else 0)
