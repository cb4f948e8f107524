"""One run at a time writes into an output folder."""

import json
import os
import socket
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

# With an underscore, Trainer leaves them out of what it pushes to the Hub.
LOCK = "_run.lock"
OWNER = "_run.json"
# A killed run's data workers notice within seconds that it is gone; until then they hold what it held.
SECONDS_TO_WAIT = 15


class OutputFolderInUseError(RuntimeError):
    """Another run writes into the output folder; the message names its host and process."""


@contextmanager
def sole_run_in(output_dir, seconds_to_wait: float = SECONDS_TO_WAIT):
    """
    Holds `output_dir` for this process. The system lets go of it when the process ends, however it ends, so that a run
    whose process is gone never bars another; `_run.json` says who holds it.

    Raises:
        OutputFolderInUseError: another process holds it, still after `seconds_to_wait`.
    """
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    lock, owner = FileLock(folder / LOCK), folder / OWNER
    try:
        lock.acquire(timeout=seconds_to_wait)
    except Timeout:
        raise OutputFolderInUseError(
            f"{output_dir} is being written by another run ({_described(owner)}): end it, or give this run an "
            "output_dir of its own"
        ) from None
    try:
        this = {"host": socket.gethostname(), "process": os.getpid(), "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
        owner.write_text(json.dumps(this) + "\n", encoding="utf-8")
        yield
        owner.unlink(missing_ok=True)
    finally:
        lock.release()


def _described(owner: Path) -> str:
    try:
        this = json.loads(owner.read_text(encoding="utf-8"))
        return f"process {this['process']} on {this['host']}, since {this['since']}"
    except (OSError, ValueError, KeyError):
        return f"{owner} does not say whose"
