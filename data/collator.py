"""Rows of a grounding dataset to one batch of the network's inputs and labels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torchvision.transforms.v2 import functional as tvF

from plvl.data.masks import decode_segmentation
from plvl.processing.grounding_sample import GroundingSample, MaskView


@dataclass
class GroundingCollator:
    """
    Calls the processor on a list of rows (`plvl.data.schema.ROW_FEATURES`), for training after an augmentation.

    The batch has `pixel_values`, `input_ids`, `attention_mask` and `labels` with `boxes`, `masks` and `has_mask`:
    a row without a segmentation counts only for boxes.
    """

    processor: Any
    augmentation: Callable[[GroundingSample], GroundingSample] | None = None

    def __call__(self, rows: list[dict]) -> dict:
        samples = [row_sample(row) for row in rows]
        if self.augmentation is not None:
            samples = [self.augmentation(sample) for sample in samples]
        batch = self.processor(
            images=[sample.image for sample in samples],
            text=[sample.text for sample in samples],
            boxes=[sample.box for sample in samples],
            masks=[sample.draw_mask() for sample in samples],
            return_tensors="pt",
        )
        return dict(batch)


def row_truth(row: dict) -> tuple[tuple[float, float, float, float], np.ndarray | None]:
    """The object of a row in its picture's pixels: box x1, y1, x2, y2, and mask `(height, width)` or `None`."""
    x, y, width, height = row["bbox"]
    return (x, y, x + width, y + height), decode_segmentation(row["segmentation"], row["height"], row["width"])


def row_sample(row: dict) -> GroundingSample:
    """The row in the form that the steps of the augmentation take."""
    box, mask = row_truth(row)
    return GroundingSample(
        image=tvF.pil_to_tensor(row["image"]),
        text=row["text"],
        box=box,
        mask=None if mask is None else MaskView.whole(mask),
    )
