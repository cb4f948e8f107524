"""How well boxes and masks were found. Each sample gives a few numbers; the sums of those give every metric."""

from dataclasses import dataclass

import numpy as np
import torch
from torchvision.ops import box_convert

IOU_THRESHOLD = 0.5
STATISTICS = ("box_iou", "intersection", "union", "has_mask", "center_x", "center_y", "width", "height")


def paired_box_iou(boxes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """IoU of each box with its own counterpart: two of shape `(n, 4)`, cx, cy, w, h, give `(n,)`."""
    boxes, others = (box_convert(given.float(), "cxcywh", "xyxy") for given in (boxes, others))
    top_left = torch.maximum(boxes[:, :2], others[:, :2])
    bottom_right = torch.minimum(boxes[:, 2:], others[:, 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(1)
    areas = [(given[:, 2:] - given[:, :2]).prod(1) for given in (boxes, others)]
    return intersection / (areas[0] + areas[1] - intersection).clamp(min=1e-12)


def grounding_statistics(outputs, labels: dict[str, torch.Tensor], mask_threshold: float = 0.5) -> torch.Tensor:
    """
    What the metrics need to know of each sample, so that no mask leaves its process.

    Args:
        outputs ([`PLVLOutput`]): of the model.
        labels: as the model takes them; `boxes` are needed, `masks` only if the model gives masks.

    Returns:
        `torch.Tensor` of shape `(batch_size, 8)`, double: the columns are `STATISTICS`. Without boxes or masks in
        the outputs their columns are NaN and 0.
    """
    boxes = labels["boxes"]
    unknown = boxes.new_full((len(boxes),), float("nan"))
    box_iou = unknown if outputs.pred_boxes is None else paired_box_iou(outputs.pred_boxes, boxes)
    intersection = union = has_mask = torch.zeros_like(unknown)
    if outputs.pred_masks is not None:
        predicted, true = outputs.pred_masks.float().sigmoid() > mask_threshold, labels["masks"] > 0
        intersection, union = (predicted & true).sum((1, 2)), (predicted | true).sum((1, 2))
        has_mask = labels["has_mask"]
    return torch.stack([box_iou, intersection, union, has_mask, *boxes.unbind(1)], dim=1).double()


@dataclass
class _Columns:
    """A table of statistics by column name."""

    values: np.ndarray

    def __getattr__(self, name):
        return self.values[:, STATISTICS.index(name)]


def grounding_metrics(statistics: np.ndarray) -> dict[str, float]:
    """
    The metrics of a split from all its samples' statistics, `(samples, 8)`.

    Returns:
        `num_samples`; `box_accuracy` (share of boxes of IoU ≥ 0.5) and `box_miou`; `center_box_accuracy` (what a box
        in the middle of each picture, of the split's mean size, would get); over the samples with a mask `mask_miou`
        (mean IoU), `mask_oiou` (all intersections over all unions). Metrics of a task without samples are left out.
    """
    columns = _Columns(np.asarray(statistics, dtype=np.float64))
    metrics = {"num_samples": len(columns.values)}
    if not np.isnan(columns.box_iou).any():
        metrics["box_accuracy"] = float((columns.box_iou >= IOU_THRESHOLD).mean())
        metrics["box_miou"] = float(columns.box_iou.mean())
        metrics["center_box_accuracy"] = _center_box_accuracy(columns)
    masked = _Columns(columns.values[columns.has_mask > 0])
    if len(masked.values):
        metrics["mask_miou"] = float((masked.intersection / np.maximum(masked.union, 1)).mean())
        metrics["mask_oiou"] = float(masked.intersection.sum() / max(masked.union.sum(), 1))
    return metrics


def _center_box_accuracy(columns: _Columns) -> float:
    boxes = torch.from_numpy(columns.values[:, -4:])
    guess = torch.tensor([0.5, 0.5, columns.width.mean(), columns.height.mean()], dtype=boxes.dtype)
    return float((paired_box_iou(guess.expand_as(boxes), boxes) >= IOU_THRESHOLD).double().mean())
