"""The original's numbers, computed on this device in float32, and how far bfloat16 moves what networks answer."""

from collections.abc import Iterator
from statistics import median

import torch
from torchvision.ops import box_convert, box_iou

import reference_values
from gpu_check.sizes import Sizes
from plvl.checkpoints import CARRIED_CHECKPOINTS
from plvl.modeling_plvl import PLVLModel
from plvl.processing import PLVLProcessor
from plvl.processing.image_input import read_image
from plvl.scripts.demo_page.examples import read_examples

WORST_SHOWN = 5


def parity(device: torch.device, sizes: Sizes) -> Iterator[dict]:
    # Convolutions are computed in TF32 by default, of which 10 bits of the mantissa are left.
    torch.backends.cudnn.allow_tf32 = False
    network = reference_values.ReferenceNetwork(device)
    yield reference_rows("with gradients", [*network.outputs(), *network.hidden_stages(), *network.losses()])
    yield reference_rows("gradients", network.gradient_norms())
    for attention in ("sdpa", "eager"):
        yield reference_rows(attention, network.outputs(attention))
    yield bfloat16_of_reference(network)
    del network
    for name, folder in CARRIED_CHECKPOINTS.items():
        if folder.is_dir():
            yield bfloat16_of_checkpoint(name, folder, device)


def reference_rows(way: str, rows: list[reference_values.Row]) -> dict:
    """How many rows are compared and how many are beyond their tolerance, with the worst of these in words."""
    name = way.replace(" ", "_")
    beyond = sorted((row for row in rows if not row.agrees), key=lambda row: -row.difference / (row.tolerance or 1))
    figures = {f"{name}_rows": len(rows), f"{name}_beyond": len(beyond)}
    notes = [
        f"{row.what}: {row.difference:.1e} {row.measure}, tolerance {row.tolerance:g}" for row in beyond[:WORST_SHOWN]
    ]
    return {"figures": figures, "notes": notes}


@torch.no_grad()
def bfloat16_of_reference(network) -> dict:
    inputs = network.inputs
    float32 = network.model(**inputs)
    network.model.to(torch.bfloat16)
    bfloat16 = network.model(**inputs | {"pixel_values": inputs["pixel_values"].to(torch.bfloat16)})
    moved = {
        "score of a cell": (bfloat16.center_logits.float().sigmoid() - float32.center_logits.sigmoid()).abs().max(),
        "size": (bfloat16.size.float() - float32.size).abs().max(),
        "share of the mask's pixels": ((bfloat16.pred_masks > 0) != (float32.pred_masks > 0)).float().mean(),
    }
    text = ", ".join(f"{what} by {value.item():.2g}" for what, value in moved.items())
    return {"notes": [f"bfloat16 changes what the reference weights give, at most: {text}."]}


@torch.inference_mode()
def bfloat16_of_checkpoint(name: str, folder, device: torch.device) -> dict:
    """IoU of the boxes of both, of the first where there are several; of expressions that are found in float32."""
    processor = PLVLProcessor.from_pretrained(folder)
    float32, bfloat16 = (
        PLVLModel.from_pretrained(folder, dtype=dtype).eval().to(device) for dtype in (torch.float32, torch.bfloat16)
    )
    overlaps, changed, asked = [], 0, 0
    for example in read_examples(folder):
        image = read_image(example.image)
        for text in example.expressions:
            inputs = processor(images=image, text=text, return_tensors="pt").to(device)
            before, after = float32(**inputs), bfloat16(**inputs.to(torch.bfloat16))
            found, still_found = is_found(before), is_found(after)
            asked, changed = asked + 1, changed + (found != still_found)
            if found and still_found:
                overlaps.append(box_iou(first_box(before), first_box(after)).item())
    figures = {f"{name}_asked": asked, f"{name}_found_otherwise": changed}
    if not overlaps:
        return {
            "figures": figures,
            "notes": [f"bfloat16, checkpoint {name}: nothing is found of {asked} expressions."],
        }
    figures[f"{name}_box_iou"] = sum(overlaps) / len(overlaps)
    note = (
        f"IoU of bfloat16's boxes with float32's, checkpoint {name}, {len(overlaps)} expressions about its examples: "
        f"mean {figures[f'{name}_box_iou']:.4f}, median {median(overlaps):.4f}, smallest {min(overlaps):.4f}."
    )
    return {"figures": figures, "notes": [note]}


def first_box(output) -> torch.Tensor:
    """`(1, 4)`: x1, y1, x2, y2; the one of the highest score where there are several."""
    return box_convert(output.pred_boxes.float().reshape(-1, 4)[:1], "cxcywh", "xyxy")


def is_found(output) -> bool:
    """A model of one target finds every expression."""
    return output.presence_logits is None or bool(output.presence_logits.item() > 0)
