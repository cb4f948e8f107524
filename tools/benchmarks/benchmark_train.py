"""Training step of the base model with random weights, against the plain network's (plain_model.py).

A step is forward pass, losses, backward pass and AdamW. On a CPU: two expressions in float32, and under bfloat16
autocast. On a GPU: 20 under autocast, in bfloat16 and float16. Takes under 5 minutes on two CPU cores.
"""

from functools import partial

import torch

from benchmarks.benchmarked_models import BenchmarkedModel, plain_flops, random_inputs, random_labels
from benchmarks.comparisons import compare, memory_ratio, print_table, speed
from benchmarks.measuring import add_device_arguments, chosen_device, describe_machine, dtype_name
from benchmarks.peak_memory import can_measure_memory, held_memory, in_own_process, peak_memory
from plvl.configuration import PLVLConfig

CPU_BATCH, GPU_BATCH = 2, 20


def add_arguments(parser):
    add_device_arguments(parser)


def measure(arguments, config: PLVLConfig | None = None) -> dict:
    device, turns = chosen_device(arguments)
    on_device = measure_on_gpu if device.type == "cuda" else measure_on_cpu
    comparisons, figures = on_device(config or PLVLConfig(), device, turns)
    return {"machine": describe_machine(device), "comparisons": comparisons, "figures": figures, "notes": []}


def measure_on_cpu(config: PLVLConfig, device: torch.device, turns: int) -> tuple[list[dict], dict]:
    plvl, in_bfloat16 = BenchmarkedModel(plain=False), BenchmarkedModel(False, torch.bfloat16, autocast=True)
    comparison = compare_steps([BenchmarkedModel(plain=True), plvl, in_bfloat16], config, device, turns, CPU_BATCH)
    figures = {
        "speed": speed(comparison, plvl.name),
        "bfloat16_speed": speed(comparison, in_bfloat16.name),
        "memory": memory_ratio(comparison, plvl.name),
        "own_memory": memory_ratio(comparison, plvl.name, beyond_held=True),
    }
    return [comparison], figures


def measure_on_gpu(config: PLVLConfig, device: torch.device, turns: int) -> tuple[list[dict], dict]:
    comparisons, figures = [], {}
    for dtype in (torch.bfloat16, torch.float16):
        plain, plvl = (BenchmarkedModel(plain, dtype, autocast=True) for plain in (True, False))
        models = [plain, plvl]
        if dtype == torch.bfloat16:
            models.append(BenchmarkedModel(False, dtype, autocast=True, compiled="default"))
        comparison = compare_steps(models, config, device, turns, GPU_BATCH)
        comparisons.append(comparison)
        name = dtype_name(dtype)
        figures[f"{name}_speed"] = speed(comparison, plvl.name)
        figures[f"{name}_memory"] = memory_ratio(comparison, plvl.name)
        figures[f"{name}_share"] = comparison["ways"][plvl.name]["share_of_product"]
        if len(models) > 2:
            figures[f"{name}_compiled_speed"] = speed(comparison, models[-1].name)
    return comparisons, figures


def compare_steps(models, config, device, turns: int, batch_size: int) -> dict:
    inputs = batch(config, batch_size, device)
    side = config.vision_config.image_size
    comparison = compare(
        f"training step, batch {batch_size}, {side} × {side}",
        {each.name: partial(each.training_step(config, device), **inputs) for each in models},
        turns,
        device,
        plain_flops(config, batch_size, training=True),
        {each.name: each.dtype for each in models},
        items=batch_size,
    )
    for model in models if can_measure_memory(device) else []:
        memory = in_own_process(step_memory, model, config, batch_size, device, torch.get_num_threads())
        comparison["ways"][model.name]["memory"] = memory
    print_table(comparison)
    return comparison


def batch(config: PLVLConfig, batch_size: int, device: torch.device) -> dict:
    return random_inputs(config, batch_size, device) | {"labels": random_labels(config, batch_size, device)}


def step_memory(model: BenchmarkedModel, config: PLVLConfig, batch_size: int, device: torch.device, threads: int):
    """Bytes held between steps (weights and AdamW's moments) and at most in a step."""
    torch.set_num_threads(threads)
    empty = held_memory(device)
    inputs = batch(config, batch_size, device)
    step = partial(model.training_step(config, device), **inputs)
    step()  # makes AdamW's moments
    held = held_memory(device) - empty
    return {"held": held, "peak": peak_memory(step, device) - empty}
