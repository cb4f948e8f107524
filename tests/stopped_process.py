"""Training of which one process stands still: stopped_process.py IMAGE_ROOT LABEL_ROOT OUTPUT."""

import signal
import sys
import time

from transformers import TrainerCallback

from plvl.scripts.program import run_as_program
from small_runs import shapes_trainer


class StandStill(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 2 and args.process_index == 1:
            print("stands still", flush=True)
            # As a process would end that stands still; one that was stopped is waited for by torch's launcher.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            time.sleep(600)


def main():
    image_root, label_root, output = sys.argv[1:]
    trainer = shapes_trainer({"image_root": image_root, "label_root": label_root}, output, ddp_timeout=4)
    trainer.add_callback(StandStill())
    trainer.train()
    print("the end", flush=True)


if __name__ == "__main__":
    run_as_program(main)
