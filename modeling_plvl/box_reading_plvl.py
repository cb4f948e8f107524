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
    return cell_boxes(offset, size).gather(1, cells[..., None].expand(-1, -1, 4))


def cell_boxes(offset: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """The boxes that all cells predict, as in `boxes_at_cells`: `(batch_size, rows * columns, 4)`."""
    rows, columns = offset.shape[-2:]
    # Where a cell lies is added to the map: a remainder by its width is an operator that graphs of any size lack.
    center_x = (torch.arange(columns, device=offset.device) + offset[:, 0]) / columns
    center_y = (torch.arange(rows, device=offset.device)[:, None] + offset[:, 1]) / rows
    return torch.stack([center_x, center_y, size[:, 0], size[:, 1]], dim=-1).flatten(1, 2)


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
    number = CANDIDATES_FOR_EACH * max_targets
    # On a grid of few cells the last ones are of no cell: their number is the same on every grid.
    heights = F.pad(center_logits.flatten(1), (0, number), value=-torch.inf)
    boxes = F.pad(cell_boxes(offset, size), (0, 0, 0, number))
    candidates = heights.topk(number)
    boxes = boxes.gather(1, candidates.indices[..., None].expand(-1, -1, 4))
    overlap = pairwise_iou(box_convert(boxes, "cxcywh", "xyxy"))
    is_lower = torch.ones_like(overlap, dtype=torch.bool).tril(-1)
    says_the_same = (overlap > SAME_OBJECT_IOU) & is_lower
    is_left = torch.ones_like(candidates.values, dtype=torch.bool)
    for _ in range(SUPPRESSION_ROUNDS):  # only what is left itself leaves others out
        is_left = ~(says_the_same & is_left[:, None]).any(2)
    scores = candidates.values.sigmoid() * is_left
    best = scores.topk(max_targets)
    return boxes.gather(1, best.indices[..., None].expand(-1, -1, 4)), best.values


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
