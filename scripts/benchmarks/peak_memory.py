"""The most memory that one way of computing needs, measured in a process of its own.

On a CPU it is the process's resident set at its highest (`VmHWM` of Linux, which can be set back), beyond what the
process held with its libraries loaded and nothing else: all that the machine must have for the way, whoever asked for
it. On a GPU it is what PyTorch's allocator had given out at most.
"""

import ctypes
import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import torch

from plvl.scripts.benchmarks.measuring import finish


def in_own_process(function: Callable, *arguments):
    """What `function` gives in a new process; it and its arguments must be picklable."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def can_measure_memory(device: torch.device) -> bool:
    return device.type == "cuda" or sys.platform == "linux"


def held_memory(device: torch.device) -> int:
    """Bytes held now; what was freed is given back to the system first."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    ctypes.CDLL(None).malloc_trim(0)
    return _status("VmRSS")


def peak_memory(way: Callable, device: torch.device) -> int:
    """Bytes held at most while `way` runs."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        way()
        finish(device)
        return torch.cuda.max_memory_allocated(device)
    with open("/proc/self/clear_refs", "w") as peaks:
        peaks.write("5")  # the peak is from now on
    way()
    return _status("VmHWM")


def _status(field: str) -> int:
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
