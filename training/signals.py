"""What ends a run from outside: signals, and the end of the process that started this one."""

import atexit
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import cache, partial

import torch
from transformers import TrainerCallback

logger = logging.getLogger(__name__)

# What a shell says of a program that a signal has ended.
EXIT_AFTER_SIGTERM = 128 + signal.SIGTERM

# Set by accelerate's launchers, and by torch's.
LAUNCHER_VARIABLES = ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID")


class EvaluationStoppedError(RuntimeError):
    """SIGTERM has ended an evaluation in training, on all processes at once."""


class StopOnSignal(TrainerCallback):
    """
    On SIGTERM (a scheduler takes the machine back) the step is finished, a checkpoint is saved and the run stops.

    Transformers' own way asks no other process; here all stop after the same step: the trainer has them agree and
    sets `agreed`.
    """

    def __init__(self):
        self.received = self.agreed = False
        self.earlier_handler = None

    def on_train_begin(self, args, state, control, **kwargs):
        # Signals reach the main thread alone, and a run may be in another. Training begins again where
        # auto_find_batch_size tries a smaller batch.
        if self.earlier_handler is None and threading.current_thread() is threading.main_thread():
            self.agreed = False
            self.earlier_handler = signal.signal(signal.SIGTERM, self.receive) or signal.SIG_DFL

    def on_train_end(self, args, state, control, **kwargs):
        self.put_back()

    def put_back(self):
        """Gives SIGTERM the meaning again that it had before the training, however that ends."""
        if self.earlier_handler is not None:
            signal.signal(signal.SIGTERM, self.earlier_handler)
            self.earlier_handler, self.received = None, False

    def receive(self, number, frame):
        self.received = True

    def on_step_end(self, args, state, control, **kwargs):
        if self.agreed:
            logger.warning("SIGTERM: saving step %d and stopping", state.global_step)
            control.should_save = True
            control.should_evaluate = False
            control.should_training_stop = True

    def on_epoch_end(self, args, state, control, **kwargs):
        if self.agreed:
            # There may be seconds left, and the epoch has not ended.
            control.should_save = control.should_evaluate = False


def worker_signals() -> Callable[[int], None]:
    """
    For DataLoader workers, as `worker_init_fn`: they leave SIGTERM and SIGINT, which schedulers and terminals send
    them too, to this process, whose step still needs them, and end when it ends, by an error or by SIGKILL.
    """
    return partial(_live_as_long_as, _this_process_ends(), os.getpid())


@cache
def _this_process_ends() -> torch.Tensor:
    """One number in memory that the workers share, not 0 once this process exits."""
    ends = torch.zeros(1, dtype=torch.uint8).share_memory_()
    # Before multiprocessing, at exit, sends its workers the SIGTERM that they ignore, and waits for them.
    atexit.register(ends.fill_, 1)
    return ends


def _live_as_long_as(ends: torch.Tensor, process: int, worker: int):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Where a fork server has started the worker, it is the system's parent and not `process`.
    parent, of_server = multiprocessing.parent_process(), os.getppid() != process

    def watch():
        while not ends.item() and (parent.is_alive() if of_server else os.getppid() == process):
            time.sleep(0.5)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def end_on_sigterm():
    """
    Has SIGTERM end this program at once, with exit code 143, wherever no training heeds it: also where the main thread
    waits for another process that is gone, and so would never come to a handler in Python.
    """
    received, written = os.pipe()
    os.set_blocking(written, False)

    def heed(number, frame):
        """In the main thread there is nothing left to do."""

    def watch():
        while number := os.read(received, 1):
            if number[0] == signal.SIGTERM and signal.getsignal(signal.SIGTERM) is heed:
                os.write(sys.stderr.fileno(), b"SIGTERM: stopped\n")
                os._exit(EXIT_AFTER_SIGTERM)

    signal.signal(signal.SIGTERM, heed)
    signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    threading.Thread(target=watch, daemon=True).start()


def end_with_launcher():
    """
    Where a launcher has started this process, has it end as by SIGTERM when the launcher is gone: accelerate's does
    not pass signals on to a single process, and no launcher can pass on SIGKILL.
    """
    if not any(name in os.environ for name in LAUNCHER_VARIABLES):
        return
    launcher = os.getppid()

    def watch():
        while os.getppid() == launcher:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
