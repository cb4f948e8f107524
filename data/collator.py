"""Rows of a grounding dataset to one batch of the network's inputs and labels."""

from dataclasses import dataclass
from typing import Any

from plvl.data.masks import decode_segmentation


@dataclass
class GroundingCollator:
    """
    Calls the processor on a list of rows (`plvl.data.schema.ROW_FEATURES`).

    The batch has `pixel_values`, `input_ids`, `attention_mask` and `labels` with `boxes`, `masks` and `has_mask`:
    a row without a segmentation counts only for boxes.
    """

    processor: Any

    def __call__(self, rows: list[dict]) -> dict:
        boxes = [(x, y, x + width, y + height) for x, y, width, height in (row["bbox"] for row in rows)]
        masks = [decode_segmentation(row["segmentation"], row["height"], row["width"]) for row in rows]
        batch = self.processor(
            images=[row["image"] for row in rows],
            text=[row["text"] for row in rows],
            boxes=boxes,
            masks=masks,
            return_tensors="pt",
        )
        return dict(batch)
