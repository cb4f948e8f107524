"""From the head's maps to boxes: the one at the best centre cell, or those at the peaks of the centre map."""

import torch
import torch.nn.functional as F
from torchvision.ops import box_convert

SAME_OBJECT_IOU = 0.5
SUPPRESSION_ROUNDS = 8  # how long a chain of boxes may be, each of which overlaps the next
CANDIDATES_FOR_EACH = 4  # cells looked at for each box that is answered: most of them say what a higher one says


def boxes_at_cells(cells: torch.Tensor, offset: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """
    The boxes that some cells of each sample predict.

    Args:
        cells (`torch.Tensor` of shape `(batch_size, number)`): their numbers, row by row.
        offset, size (`torch.Tensor` of shape `(batch_size, 2, rows, columns)`): as in [`PLVLOutput`].

    Returns:
        `torch.Tensor` of shape `(batch_size, number, 4)`: cx, cy, w, h as shares of the image.
    """
    rows, columns = offset.shape[-2:]
    values = torch.cat([offset, size], dim=1).flatten(2)
    offset_x, offset_y, width, height = values.gather(2, cells[:, None].expand(-1, 4, -1)).unbind(1)
    center_x, center_y = (cells % columns + offset_x) / columns, (cells // columns + offset_y) / rows
    return torch.stack([center_x, center_y, width, height], dim=-1)


def read_boxes(center_logits: torch.Tensor, offset: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """The box at the best centre cell: `(batch_size, 4)`, cx, cy, w, h as shares of the image."""
    # Of the logits: as probabilities, clamped or in half precision, cells that are sure would tie.
    best = center_logits.flatten(1).argmax(1, keepdim=True)
    return boxes_at_cells(best, offset, size).squeeze(1)


def read_any_boxes(center_logits, offset, size, max_targets: int) -> tuple[torch.Tensor, torch.Tensor]:
    """
    The boxes at the peaks of the centre map: cells that are higher than all others that say the same, by boxes of an
    IoU above 0.5. Objects side by side may so have their centres in neighbouring cells.

    Returns:
        `(batch_size, max_targets, 4)`, cx, cy, w, h as shares of the image, the highest peaks first, and their
        scores, `(batch_size, max_targets)` in 0..1, which are 0 where there are no more.
    """
    heights = center_logits.flatten(1)
    candidates = heights.topk(min(CANDIDATES_FOR_EACH * max_targets, heights.shape[1]))
    boxes = boxes_at_cells(candidates.indices, offset, size)
    overlap = pairwise_iou(box_convert(boxes, "cxcywh", "xyxy"))
    is_lower = torch.ones_like(overlap, dtype=torch.bool).tril(-1)
    says_the_same = (overlap > SAME_OBJECT_IOU) & is_lower
    is_left = torch.ones_like(heights[:, : boxes.shape[1]], dtype=torch.bool)
    for _ in range(SUPPRESSION_ROUNDS):  # only what is left itself leaves others out
        is_left = ~(says_the_same & is_left[:, None]).any(2)
    scores = candidates.values.sigmoid() * is_left
    best = scores.topk(min(max_targets, scores.shape[1]))
    boxes = boxes.gather(1, best.indices[..., None].expand(-1, -1, 4))
    missing = max_targets - boxes.shape[1]  # on a grid of few cells
    return F.pad(boxes, (0, 0, 0, missing)), F.pad(best.values, (0, missing))


def pairwise_iou(corners: torch.Tensor) -> torch.Tensor:
    """
    Of all boxes of a sample with one another: `(batch_size, number, 4)`, x1, y1, x2, y2, give `(batch_size, number,
    number)`.
    """
    one, other = corners[:, :, None], corners[:, None]
    sides = (torch.minimum(one[..., 2:], other[..., 2:]) - torch.maximum(one[..., :2], other[..., :2])).clamp(min=0)
    areas = (corners[..., 2:] - corners[..., :2]).prod(-1)
    intersection = sides.prod(-1)
    return intersection / (areas[:, :, None] + areas[:, None] - intersection).clamp(min=1e-12)
