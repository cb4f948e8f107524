"""Rows of a grounding dataset to one batch of the network's inputs and labels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torchvision.transforms.v2 import functional as tvF

from plvl.data.masks import decode_segmentation
from plvl.processing.grounding_sample import GroundingSample, LazyMask, Target


@dataclass
class GroundingCollator:
    """
    Calls the processor on a list of rows (`plvl.data.schema.ROW_FEATURES`), for training after an augmentation, for
    evaluation with the truths.

    The batch has `pixel_values`, `input_ids`, `attention_mask` and `labels` with `boxes`, `masks` and `has_mask`:
    a row without a segmentation counts only for boxes. With `expressions_per_image`, that many rows at a time are
    about one image, which is in the batch once. With `keep_truths` it also has `rows` (without their images) and
    `truths`: each row's `"box"`, x1, y1, x2, y2 in pixels of its image, and `"mask"`, `(height, width)` or `None`.
    """

    processor: Any
    augmentation: Callable[[GroundingSample], GroundingSample] | None = None
    expressions_per_image: int = 1
    keep_truths: bool = False

    def __call__(self, rows: list[dict]) -> dict:
        size = self.expressions_per_image
        if len(rows) % size:
            raise ValueError(f"got {len(rows)} rows, which are no whole images with {size} expressions each")
        samples = [image_sample(rows[start : start + size]) for start in range(0, len(rows), size)]
        kept = described_with_truths(rows, samples) if self.keep_truths else {}
        if self.augmentation is not None:
            samples = [self.augmentation(sample) for sample in samples]
        targets = [target for sample in samples for target in sample.targets]
        batch = self.processor(
            images=[sample.image for sample in samples],
            text=[target.text for target in targets],
            boxes=[target.box for target in targets],
            masks=[mask for sample in samples for mask in sample.draw_masks()],
            return_tensors="pt",
        )
        return dict(batch) | kept


def described_with_truths(rows: list[dict], samples: list[GroundingSample]) -> dict[str, list[dict]]:
    """What evaluation reads beside a batch: the rows without their images, and the true answers, of the same masks."""
    targets = [target for sample in samples for target in sample.targets]
    return {
        "rows": [{key: value for key, value in row.items() if key != "image"} for row in rows],
        "truths": [{"box": each.box, "mask": None if each.mask is None else each.mask.pixels} for each in targets],
    }


def row_truth(row: dict) -> tuple[tuple[float, float, float, float], np.ndarray | None]:
    """The object of a row in its image's pixels: box x1, y1, x2, y2, and mask `(height, width)` or `None`."""
    x, y, width, height = row["bbox"]
    return (x, y, x + width, y + height), decode_segmentation(row["segmentation"], row["height"], row["width"])


def true_answer(row: dict) -> dict:
    """[`row_truth`] in the form of `post_process_grounding`: what an answer is compared with."""
    box, mask = row_truth(row)
    return {"box": box, "mask": mask}


def image_sample(rows: list[dict]) -> GroundingSample:
    """Rows about one image in the form that the steps of the augmentation take."""
    return GroundingSample(tvF.pil_to_tensor(rows[0]["image"]), tuple(map(row_target, rows)))


def row_target(row: dict) -> Target:
    box, mask = row_truth(row)
    return Target(row["text"], box, None if mask is None else LazyMask.whole(mask))
