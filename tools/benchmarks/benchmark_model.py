"""Inference of the base model with random weights, against the plain network (plain_model.py).

Time and memory of forward passes, images of twice the side, many expressions about one image, and, with
--images, how far bfloat16 moves the boxes of the models that are given. Takes under 5 minutes on two CPU cores.
"""

from functools import partial
from pathlib import Path
from statistics import median

import torch

from benchmarks.benchmarked_models import BenchmarkedModel, plain_flops, random_inputs
from benchmarks.comparisons import compare, memory_ratio, print_table, speed
from benchmarks.measuring import add_device_arguments, chosen_device, describe_machine
from benchmarks.peak_memory import (
    can_measure_memory,
    held_memory,
    in_own_process,
    peak_memory,
    tensor_memory,
)
from plvl.configuration import PLVLConfig

BF16 = torch.bfloat16
PLAIN, PLVL, PLVL_BF16 = (
    BenchmarkedModel(plain=True),
    BenchmarkedModel(plain=False),
    BenchmarkedModel(plain=False, dtype=BF16),
)
PLAIN_AUTOCAST = BenchmarkedModel(plain=True, dtype=BF16, autocast=True)
COMPILED = BenchmarkedModel(plain=False, dtype=BF16, compiled="default")
CUDA_GRAPHS = BenchmarkedModel(plain=False, dtype=BF16, compiled="reduce-overhead")
GPU_BATCH = 32
EXPRESSIONS = 16


def add_arguments(parser):
    add_device_arguments(parser)
    compared = "whose boxes in bfloat16 and float32 are compared"
    parser.add_argument("--model", help=f"folder of a trained model {compared}")
    parser.add_argument("--random_model", help=f"folder of a model with random weights {compared}")
    parser.add_argument(
        "--images", help="folder with images/ and labels/refcoco in the REFER layout, for these comparisons"
    )


def measure(arguments, config: PLVLConfig | None = None) -> dict:
    models = {"bfloat16_box_iou": arguments.model, "random_box_iou": arguments.random_model}
    models = {figure: folder for figure, folder in models.items() if folder is not None}
    if bool(models) != (arguments.images is not None):
        raise SystemExit("benchmark.py model: --images goes together with --model or --random_model")
    device, turns = chosen_device(arguments)
    on_device = measure_on_gpu if device.type == "cuda" else measure_on_cpu
    comparisons, figures = on_device(config or PLVLConfig(), device, turns)
    notes = []
    for figure, folder in models.items():
        figures[figure], note = compare_boxes(folder, arguments.images, device)
        notes.append(note)
    print(*notes or ["IoU of bfloat16's boxes with float32's: not measured (no --images)."], sep="\n")
    return {"machine": describe_machine(device), "comparisons": comparisons, "figures": figures, "notes": notes}


def compare_boxes(model_folder: str, images: str, device: torch.device) -> tuple[float, str]:
    """The mean IoU of a model's boxes in bfloat16 with those in float32, and a sentence about it."""
    # The data sets' libraries are needed for this alone.
    from benchmarks.box_agreement import box_agreement

    overlaps = box_agreement(model_folder, images, device)
    mean = sum(overlaps) / len(overlaps)
    return mean, (
        f"IoU of bfloat16's boxes with float32's, {Path(model_folder).name}, {len(overlaps)} expressions: mean "
        f"{mean:.4f}, median {median(overlaps):.4f}, smallest {min(overlaps):.4f}."
    )


def measure_on_cpu(config: PLVLConfig, device: torch.device, turns: int) -> tuple[list[dict], dict]:
    small, large = compare_passes([PLAIN, PLVL, PLVL_BF16], config, device, turns, batch_size=1, scales=(1, 2))
    expressions = compare_expressions(PLVL, config, device, turns=2)
    figures = {
        "float32_speed": speed(small, PLVL.name),
        "bfloat16_speed": speed(small, PLVL_BF16.name),
        "shared_image_speed": speed(expressions, "shared"),
        "memory_growth": memory_growth(small, large, PLVL.name),
    }
    return [small, large, expressions], figures


def measure_on_gpu(config: PLVLConfig, device: torch.device, turns: int) -> tuple[list[dict], dict]:
    [batch] = compare_passes([PLAIN_AUTOCAST, PLVL_BF16, COMPILED], config, device, turns, GPU_BATCH)
    [one] = compare_passes([PLAIN_AUTOCAST, PLVL_BF16, CUDA_GRAPHS], config, device, turns, batch_size=1)
    small, large = compare_passes([PLAIN_AUTOCAST, PLVL_BF16], config, device, turns, batch_size=4, scales=(1, 2))
    expressions = compare_expressions(PLVL_BF16, config, device, turns)
    figures = {
        "compiled_speed": speed(batch, COMPILED.name),
        "compiled_memory": memory_ratio(batch, COMPILED.name),
        "compiled_share": batch["ways"][COMPILED.name]["share_of_product"],
        "shared_image_speed": speed(expressions, "shared"),
        "memory_growth": memory_growth(small, large, PLVL_BF16.name),
    }
    return [batch, one, small, large, expressions], figures


def compare_passes(models, config, device, turns: int, batch_size: int, scales=(1,)) -> list[dict]:
    """Forward passes of a batch: a comparison for each scale of the images' sides, larger ones in fewer turns."""
    passes = {model: model.forward_pass(config, device) for model in models}
    dtypes = {model.name: model.dtype for model in models}
    comparisons = []
    for scale in scales:
        inputs = random_inputs(config, batch_size, device, scale)
        side = inputs["pixel_values"].shape[-1]
        comparisons.append(
            compare(
                f"forward pass, batch {batch_size}, {side} × {side}",
                {model.name: partial(forward, **inputs) for model, forward in passes.items()},
                turns if scale == 1 else max(turns // 4, 1),
                device,
                plain_flops(config, batch_size, scale),
                dtypes,
                items=batch_size,
                warm_up=0 if scale > 1 and device.type == "cpu" else None,
            )
        )
    del passes
    for model in models if can_measure_memory(device) else []:
        arguments = (model, config, batch_size, scales, device, torch.get_num_threads())
        for comparison, memory in zip(comparisons, in_own_process(pass_memory, *arguments), strict=True):
            comparison["ways"][model.name]["memory"] = memory
    for comparison in comparisons:
        print_table(comparison)
    return comparisons


def pass_memory(model, config, batch_size: int, scales, device, threads: int) -> list[dict]:
    """
    Bytes held before a forward pass (mostly the weights), at most during it, and those of the tensors that it makes,
    for each scale.
    """
    torch.set_num_threads(threads)
    empty = held_memory(device)
    forward = model.forward_pass(config, device)

    def one_pass(scale: int):
        return partial(forward, **random_inputs(config, batch_size, device, scale))

    one_pass(scales[0])()  # what libraries keep is held from then on
    memory = []
    for scale in scales:
        measured = one_pass(scale)
        held = held_memory(device) - empty
        memory.append({"held": held, "peak": peak_memory(measured, device) - empty})
    # Last, since a profiler keeps memory of its own.
    for scale, entry in zip(scales, memory, strict=True):
        entry["tensors"] = tensor_memory(one_pass(scale), device)
    return memory


def memory_growth(small: dict, large: dict, name: str) -> float | None:
    """How many times what tensors take in a small image's pass they take in a large one's, over that of tokens."""
    memory = [comparison["ways"][name].get("memory") for comparison in (small, large)]
    if None in memory:
        return None
    return memory[1]["tensors"] / memory[0]["tensors"] / 4  # twice the side is four times the tokens


def compare_expressions(model: BenchmarkedModel, config: PLVLConfig, device: torch.device, turns: int) -> dict:
    """Many expressions about one image: in calls of their own, and with what the image alone decides shared."""
    network = model.network(config, device).eval()
    inputs = random_inputs(config, EXPRESSIONS, device)
    image = inputs.pop("pixel_values")[:1].to(model.dtype)

    @torch.inference_mode()
    def separate():
        for row in range(EXPRESSIONS):
            network(pixel_values=image, **{name: values[row : row + 1] for name, values in inputs.items()})

    @torch.inference_mode()
    def shared():
        network(image_embeddings=network.get_image_embeddings(image), **inputs)

    comparison = compare(
        f"{EXPRESSIONS} expressions about one image, {model.name}",
        {"separate calls": separate, "shared": shared},
        turns,
        device,
        items=EXPRESSIONS,
        warm_up=0 if device.type == "cpu" else None,
    )
    print_table(comparison)
    return comparison
