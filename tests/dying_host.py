"""Training on two hosts, of which the second may die: dying_host.py IMAGE_ROOT LABEL_ROOT OUTPUT END.

END is "none", or the signal that the second host's process and launcher get after the second step: SIGKILL, as when
its programs are killed, or SIGSTOP: as when it is without power, it says nothing any more.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from transformers import TrainerCallback

from plvl.scripts.program import run_as_program
from small_runs import random_model, shapes_trainer


class Die(TrainerCallback):
    def __init__(self, number):
        self.number = number

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 2 and args.process_index == 1:
            for process in (os.getppid(), os.getpid()):
                os.kill(process, self.number)


def main():
    image_root, label_root, output, end = sys.argv[1:]
    model = random_model()
    roots = {"image_root": image_root, "label_root": label_root}
    trainer = shapes_trainer(roots, output, model=model, ddp_timeout=8, max_steps=4)
    if end != "none":
        # For the test to end it.
        Path(output, f"process_{trainer.args.process_index}").write_text(str(os.getpid()), encoding="utf-8")
        trainer.add_callback(Die(getattr(signal, end)))
    trainer.train()
    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    torch.save(weights, Path(output, f"weights_{trainer.args.process_index}.pt"))


if __name__ == "__main__":
    run_as_program(main)
