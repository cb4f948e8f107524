"""A process that has claimed a shard of answers and stands still: holding_shard.py LOCK_FILE."""

import sys
import time
from pathlib import Path

from filelock import FileLock

if __name__ == "__main__":
    Path(sys.argv[1]).parent.mkdir(parents=True)
    with FileLock(sys.argv[1]):
        print("held", flush=True)
        time.sleep(300)
