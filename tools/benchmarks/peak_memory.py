"""The most memory that one way of computing needs, measured in a process of its own.

On a CPU it is the process's resident set at its highest (`VmHWM` of Linux, which can be set back), beyond what the
process held with its libraries loaded and nothing else: all that the machine must have for the way, whoever asked for
it. On a GPU it is what PyTorch's allocator had given out at most.

What the C library keeps of memory given back differs from run to run. `tensor_memory`, what PyTorch's allocator gives
out to a way, does not, and leaves out what other libraries take.
"""

import ctypes
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.measuring import finish


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
    with open("/proc/self/clear_refs", "w", encoding="utf-8") as peaks:
        peaks.write("5")  # the peak is from now on
    way()
    return _status("VmHWM")


def tensor_memory(way: Callable, device: torch.device) -> int:
    """Bytes that PyTorch's allocator has given out to `way` at most at one time, beside what was held before."""
    if device.type == "cuda":
        held = held_memory(device)
        return peak_memory(way, device) - held
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        way()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    changes = [event["args"] for event in events if event.get("name") == "[memory]"]
    # An earlier call's tensors that are still held are in the totals, too.
    before = changes[0]["Total Allocated"] - changes[0]["Bytes"]
    return max(change["Total Allocated"] for change in changes) - before


def _status(field: str) -> int:
    with open("/proc/self/status", encoding="utf-8") as status:
        line = next(line for line in status if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
