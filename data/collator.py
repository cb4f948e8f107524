"""Rows of a grounding dataset to one batch of the network's inputs and labels."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torchvision.transforms.v2 import functional as tvF

from plvl.data.masks import decode_segmentation
from plvl.data.sample_validation import NUM_READERS, reader_number
from plvl.data.schema import boxes_of, row_name
from plvl.processing.grounding_sample import Box, GroundingSample, LazyMask, Target

logger = logging.getLogger(__name__)


@dataclass
class GroundingCollator:
    """
    Calls the processor on a list of rows (`plvl.data.schema.ROW_FEATURES`), for training after an augmentation, for
    evaluation with the truths.

    The batch has `pixel_values`, `input_ids`, `attention_mask` and `labels` with `boxes`, `masks` and `has_mask`:
    a row without a segmentation counts only for boxes. With `expressions_per_image`, that many rows at a time are
    about one image, which is in the batch once. With `keep_truths` it also has `rows` (without their images) and
    `truths`: each row's `"boxes"`, a list of x1, y1, x2, y2 in pixels of its image, and `"mask"`, `(height, width)`,
    or `None` where it is unknown.

    `max_targets` is for models that answer with none, one or several objects: labels have `boxes` of shape `(rows,
    max_targets, 4)`, filled up with zeros, and `num_boxes` `(rows,)`. Of a row with more objects the largest
    `max_targets` are kept; `num_cut` counts such rows, of all data workers of this process, and a warning tells of the
    first. Without `max_targets` a row with none or several objects is an error.
    """

    processor: Any
    augmentation: Callable[[GroundingSample], GroundingSample] | None = None
    expressions_per_image: int = 1
    keep_truths: bool = False
    max_targets: int | None = None
    # A slot for each data worker, in memory that they share.
    cut: torch.Tensor = field(default_factory=lambda: torch.zeros(NUM_READERS, dtype=torch.int64).share_memory_())

    def __call__(self, rows: list[dict]) -> dict:
        size = self.expressions_per_image
        if len(rows) % size:
            raise ValueError(f"got {len(rows)} rows, which are no whole images with {size} expressions each")
        if self.max_targets is None:
            for row in rows:
                require_one_object(row)
        samples = [image_sample(rows[start : start + size]) for start in range(0, len(rows), size)]
        kept = described_with_truths(rows, samples) if self.keep_truths else {}
        if self.augmentation is not None:
            samples = [self.augmentation(sample) for sample in samples]
        targets = [target for sample in samples for target in sample.targets]
        batch = self.processor(
            images=[sample.image for sample in samples],
            text=[target.text for target in targets],
            masks=[mask for sample in samples for mask in sample.draw_masks()],
            return_tensors="pt",
            **self._box_labels(rows, targets),
        )
        return dict(batch) | kept

    def _box_labels(self, rows: list[dict], targets: list[Target]) -> dict:
        if self.max_targets is None:
            return {"boxes": [target.boxes[0] for target in targets]}
        boxes = [self._largest(target.boxes, self.max_targets, row) for target, row in zip(targets, rows, strict=True)]
        return {"boxes": boxes, "max_targets": self.max_targets}

    def _largest(self, boxes: tuple[Box, ...], most: int, row: dict) -> tuple[Box, ...]:
        if len(boxes) <= most:
            return boxes
        if not self.num_cut:
            logger.warning(
                "%s has %d objects, of which the largest %d are learned from (max_targets), and so with others",
                row_name(row),
                len(boxes),
                most,
            )
        self.cut[reader_number()] += 1
        return tuple(sorted(boxes, key=_area, reverse=True)[:most])

    @property
    def num_cut(self) -> int:
        """Rows so far that had more than `max_targets` objects."""
        return int(self.cut.sum())


def _area(box: Box) -> float:
    x1, y1, x2, y2 = box
    return (x2 - x1) * (y2 - y1)


def require_one_object(row: dict) -> None:
    """Raise ValueError unless a row has the one object that a model of one object learns from and is judged by."""
    if len(boxes_of(row)) != 1:
        raise ValueError(
            f"{row_name(row)} means {len(boxes_of(row)) or 'no'} objects, and this model is of one. "
            "One with `targets: any` learns from such rows"
        )


def described_with_truths(rows: list[dict], samples: list[GroundingSample]) -> dict[str, list[dict]]:
    """What evaluation reads beside a batch: the rows without their images, and the true answers, of the same masks."""
    targets = [target for sample in samples for target in sample.targets]
    return {
        "rows": [{key: value for key, value in row.items() if key != "image"} for row in rows],
        "truths": [
            {"boxes": list(each.boxes), "mask": None if each.mask is None else each.mask.pixels} for each in targets
        ],
    }


def row_truth(row: dict) -> tuple[tuple[Box, ...], np.ndarray | None]:
    """
    The objects of a row in its image's pixels: of each the box x1, y1, x2, y2, and one mask `(height, width)` of all,
    which has no pixel where there are none, and is `None` where it is unknown.
    """
    boxes = tuple((x, y, x + width, y + height) for x, y, width, height in boxes_of(row))
    return boxes, decode_segmentation(row["segmentation"], row["height"], row["width"])


def true_answer(row: dict) -> dict:
    """[`row_truth`] as what answers are compared with: `"boxes"`, a list, and `"mask"`."""
    boxes, mask = row_truth(row)
    return {"boxes": list(boxes), "mask": mask}


def image_sample(rows: list[dict]) -> GroundingSample:
    """Rows about one image in the form that the steps of the augmentation take."""
    return GroundingSample(tvF.pil_to_tensor(rows[0]["image"]), tuple(map(row_target, rows)))


def row_target(row: dict) -> Target:
    boxes, mask = row_truth(row)
    return Target(row["text"], boxes, None if mask is None else LazyMask.whole(mask))
