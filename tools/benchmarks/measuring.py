"""What all benchmarks measure with: ways that take turns, their medians, counted arithmetic, the machine itself."""

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
import transformers

# Side of the square matrices whose product shows what the device can do.
PRODUCT_SIDE = {"cpu": 4096, "cuda": 8192}
# Turns before those that count: compiled networks and CUDA graphs come to rest in three.
WARM_UP = {"cpu": 1, "cuda": 3}
# What decides how fast a CPU multiplies matrices.
CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_fp16", "asimd", "bf16", "sve")


def take_turns(
    ways: dict[Any, Callable],
    turns: int,
    device: torch.device,
    warm_up: int | None = None,
    clock: Callable[[], float] | None = None,
) -> dict[Any, dict]:
    """
    Runs the ways one after another, again and again, so that whatever else the machine does meets all of them.

    Args:
        warm_up: turns before those that count (default: 1 on a CPU, 3 on a GPU).
        clock: gives seconds (default: those that pass, or, on a CPU with one thread, those that it computes, which
            another program's load leaves out).

    Returns:
        for each way its seconds: {"median", "fastest", "slowest"}.
    """
    warm_up = WARM_UP[device.type] if warm_up is None else warm_up
    if clock is None:
        clock = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    seconds = {name: [] for name in ways}
    for turn in range(warm_up + turns):
        for name, way in ways.items():
            finish(device)
            start = clock()
            way()
            finish(device)
            if turn >= warm_up:
                seconds[name].append(clock() - start)
    return {
        name: {"median": median(each), "fastest": min(each), "slowest": max(each)} for name, each in seconds.items()
    }


def finish(device: torch.device):
    """Waits for what a GPU still has to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_product(dtype: torch.dtype, device: torch.device) -> tuple[Callable, int]:
    """One large product, a way to take turns with the others, and its floating-point operations."""
    side = PRODUCT_SIDE[device.type]
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return lambda: left @ right, 2 * side**3


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def add_device_arguments(parser):
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: cuda where there is one")
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's choice)")
    parser.add_argument("--turns", type=int, help="turns of each way (default: 5 on a CPU, 20 on a GPU)")


def chosen_device(arguments) -> tuple[torch.device, int]:
    """The device, and how many turns the ways take on it; sets the number of threads."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return device, arguments.turns or (20 if device.type == "cuda" else 5)


def describe_machine(device: torch.device) -> dict:
    """What the figures depend on; no name and no path of the machine."""
    cpu, flags = _processor()
    machine = {
        "device": device.type,
        "cpu": cpu,
        "cpu_flags": [flag for flag in CPU_FLAGS if flag in flags],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        machine["gpu"] = f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB"
    return machine


def machine_line(machine: dict) -> str:
    """The machine and the versions, in a line."""
    flags = f" ({', '.join(machine['cpu_flags'])})" if machine["cpu_flags"] else ""
    cpu = f"{machine['cpu']}{flags}, {machine['cores']} cores, {machine['threads']} threads"
    versions = ", ".join(f"{name} {machine[name]}" for name in ("torch", "transformers", "python"))
    return "Measured on " + "; ".join(filter(None, [machine.get("gpu"), cpu, versions])) + "."


def _processor() -> tuple[str, set[str]]:
    """The processor's name and what it can do, as far as the system tells."""
    path = Path("/proc/cpuinfo")
    lines = [line.partition(":") for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    fields = {name.strip(): value.strip() for name, _, value in lines}
    flags = fields.get("flags") or fields.get("Features") or ""
    return fields.get("model name") or platform.processor() or platform.machine(), set(flags.split())
