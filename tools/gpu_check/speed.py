"""Inference and training steps of the base model against the plain network: time, rate, memory, waits for the device.

Figures of memory and waits need CUDA and are left out without it.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from benchmarks.benchmark_train import batch
from benchmarks.benchmarked_models import BenchmarkedModel, plain_flops, random_inputs
from benchmarks.comparisons import compare, memory_ratio, print_table, speed
from benchmarks.measuring import finish
from benchmarks.peak_memory import held_memory
from gpu_check.sizes import Sizes

BF16 = torch.bfloat16
PLAIN = BenchmarkedModel(plain=True, dtype=BF16, autocast=True)
INFERENCE = BenchmarkedModel(plain=False, dtype=BF16)
INFERENCE_COMPILED = BenchmarkedModel(plain=False, dtype=BF16, compiled="reduce-overhead")
TRAINING = BenchmarkedModel(plain=False, dtype=BF16, autocast=True)
TRAINING_COMPILED = BenchmarkedModel(plain=False, dtype=BF16, autocast=True, compiled="reduce-overhead")
# A CUDA graph is recorded in the second or third call; memory is at its most until then.
FIRST_CALLS = 4
SYNCHRONISATION = "called a synchronizing CUDA operation"  # what PyTorch warns of in this mode


def inference(device: torch.device, sizes: Sizes) -> Iterator[dict]:
    return passes([PLAIN, INFERENCE], device, sizes)


def inference_compiled(device: torch.device, sizes: Sizes) -> Iterator[dict]:
    return passes([PLAIN, INFERENCE_COMPILED], device, sizes)


def training(device: torch.device, sizes: Sizes) -> Iterator[dict]:
    return steps([PLAIN, TRAINING], device, sizes)


def training_compiled(device: torch.device, sizes: Sizes) -> Iterator[dict]:
    return steps([PLAIN, TRAINING_COMPILED], device, sizes)


def passes(models: list[BenchmarkedModel], device: torch.device, sizes: Sizes) -> Iterator[dict]:
    number = sizes.inference_batch
    inputs = random_inputs(sizes.config, number, device)
    makers = {model: partial(model.forward_pass, sizes.config, device) for model in models}
    flops = plain_flops(sizes.config, number)
    return against_plain(f"forward pass, batch {number}", makers, inputs, flops, number, device, sizes)


def steps(models: list[BenchmarkedModel], device: torch.device, sizes: Sizes) -> Iterator[dict]:
    number = sizes.training_batch
    inputs = batch(sizes.config, number, device)
    makers = {model: partial(model.training_step, sizes.config, device) for model in models}
    flops = plain_flops(sizes.config, number, training=True)
    return against_plain(f"training step, batch {number}", makers, inputs, flops, number, device, sizes)


def against_plain(title, makers: dict, inputs: dict, flops: int, items: int, device, sizes: Sizes) -> Iterator[dict]:
    """
    Args:
        makers: two models, the plain one first, and what makes the function of `inputs` that is measured.
    """
    ways, memory = {}, {}
    for model, make in makers.items():
        start = time.perf_counter()
        ways[model.name], memory[model.name] = made_and_called(make, inputs, device)
        taken = time.perf_counter() - start
        yield {"notes": [f"{title}, {model.name}: made, and called {FIRST_CALLS} times, in {taken:.1f} s."]}
    side = sizes.config.vision_config.image_size
    dtypes = {model.name: model.dtype for model in makers}
    comparison = compare(f"{title}, {side} × {side}", ways, sizes.turns, device, flops, dtypes, items=items)
    if device.type == "cuda":
        for name, way in ways.items():
            comparison["ways"][name] |= {"memory": memory[name], "synchronisations": synchronisations(way)}
    print_table(comparison)
    plain, ours = (comparison["ways"][name] for name in ways)
    name = list(ways)[1]
    figures = {"speed": speed(comparison, name), "share": ours["share_of_product"]}
    notes = ["Peak memory and the number of waits for the device: needs CUDA."]
    if device.type == "cuda":
        figures["memory"] = memory_ratio(comparison, name)
        figures |= {"waits": len(ours["synchronisations"]), "plain_waits": len(plain["synchronisations"])}
        notes = [f"{title}, {name} waits in {place}." for place in dict.fromkeys(ours["synchronisations"])]
    yield {"figures": figures, "comparisons": [comparison], "notes": notes}


def made_and_called(make: Callable, inputs: dict, device: torch.device) -> tuple[Callable, dict | None]:
    """
    A way to compute, after its first calls, and with CUDA the bytes that it holds between calls and held at most.

    They are counted in this process, beside what is there before, so that all ways can take turns in it afterwards.
    The first calls are in it, because what a CUDA graph needs is handed out as it is recorded and not as it runs.
    """
    is_cuda = device.type == "cuda"
    if is_cuda:
        before = held_memory(device)
        torch.cuda.reset_peak_memory_stats(device)
    way = partial(make(), **inputs)
    for _ in range(FIRST_CALLS):
        way()
    finish(device)
    if not is_cuda:
        return way, None
    return way, {"held": held_memory(device) - before, "peak": torch.cuda.max_memory_allocated(device) - before}


def synchronisations(way: Callable) -> list[str]:
    """Where a call makes this program wait for the GPU: "file:line", as often as it does."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            way()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    of_waits = [warning for warning in caught if SYNCHRONISATION in str(warning.message)]
    return [f"{Path(warning.filename).name}:{warning.lineno}" for warning in of_waits]
