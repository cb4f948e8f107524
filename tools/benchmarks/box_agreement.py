"""How far bfloat16 moves a model's boxes on real images."""

from itertools import islice

import torch
from torchvision.ops import box_convert, box_iou

from plvl.data import load_grounding_dataset
from plvl.modeling_plvl import PLVLModel
from plvl.processing import PLVLProcessor

SPLITS = ("val", "testA", "testB", "train")
MAX_BOXES = 20


@torch.inference_mode()
def box_agreement(model_folder: str, images: str, device: torch.device) -> list[float]:
    """
    Args:
        model_folder: a model and its processor, as training leaves them.
        images: folder with images/ and labels/refcoco.

    Returns:
        IoU of the boxes in bfloat16 and in float32 of each expression, of 20 at most.
    """
    processor = PLVLProcessor.from_pretrained(model_folder)
    float32, bfloat16 = (
        PLVLModel.from_pretrained(model_folder, dtype=dtype).eval().to(device)
        for dtype in (torch.float32, torch.bfloat16)
    )
    overlaps = []
    for row in islice(rows(images), MAX_BOXES):
        inputs = processor(images=row["image"], text=row["text"], return_tensors="pt").to(device)
        box = float32(**inputs).pred_boxes
        moved = bfloat16(**inputs.to(torch.bfloat16)).pred_boxes
        overlaps.append(box_iou(box_convert(box, "cxcywh", "xyxy"), box_convert(moved, "cxcywh", "xyxy")).item())
    return overlaps


def rows(images: str):
    for split in SPLITS:
        yield from load_grounding_dataset("refcoco", split, f"{images}/images", f"{images}/labels")
