"""PLVL's losses (arXiv 2504.16145): box, centre, mask and presence. No loop over the batch, no wait for the device."""

import torch
import torch.nn.functional as F
from torchvision.ops import box_convert

GAUSSIAN_MIN_OVERLAP = 0.7


def gaussian_radius(height: torch.Tensor, width: torch.Tensor) -> torch.Tensor:
    """
    The radius in which a centre may move so that its box still overlaps the true one by 0.7 (CornerNet,
    arXiv 1808.01244), in the form that CenterNet made common: each root is (b + sqrt(b² - 4ac)) / 2.

    Args:
        height, width (`torch.Tensor` of any one shape): sides of the boxes, in grid cells.

    Returns:
        `torch.Tensor` of that shape: whole numbers, at least 0.
    """
    overlap = GAUSSIAN_MIN_OVERLAP
    side_sum, area = height + width, height * width
    coefficients = (
        (1.0, side_sum, area * (1 - overlap) / (1 + overlap)),
        (4.0, 2 * side_sum, area * (1 - overlap)),
        (4.0 * overlap, -2 * overlap * side_sum, area * (overlap - 1)),
    )
    roots = [(b + (b**2 - 4 * a * c).clamp(min=0).sqrt()) / 2 for a, b, c in coefficients]
    return torch.stack(roots).amin(0).clamp(min=0).trunc()


def center_heatmap(boxes: torch.Tensor, grid_size: tuple[int, int]) -> torch.Tensor:
    """
    Draws a Gaussian around each box's centre: 1 at the centre cell, σ = (2r + 1) / 6, 0 beyond the radius r.
    A centre outside the grid draws only the part that falls inside.

    Args:
        boxes (`torch.Tensor` of shape `(batch_size, 4)`): cx, cy, w, h in 0..1.
        grid_size (`tuple[int, int]`): rows and columns of the map.

    Returns:
        `torch.Tensor` of shape `(batch_size, rows, columns)`, in 0..1.
    """
    rows, columns = grid_size
    center_x, center_y, width, height = boxes.unbind(-1)
    radius = gaussian_radius(height * rows, width * columns)[:, None, None]
    dx = torch.arange(columns, device=boxes.device) - (center_x * columns).round()[:, None, None]
    dy = torch.arange(rows, device=boxes.device)[:, None] - (center_y * rows).round()[:, None, None]
    sigma = (2 * radius + 1) / 6
    heatmap = torch.exp(-(dx**2 + dy**2) / (2 * sigma**2))
    return heatmap * ((dx.abs() <= radius) & (dy.abs() <= radius))


def center_focal_loss(probability: torch.Tensor, heatmap: torch.Tensor) -> torch.Tensor:
    """
    CenterNet's focal loss (arXiv 1904.07850, α = 2, β = 4), divided by the number of cells equal to 1, if any.

    Args:
        probability, heatmap (`torch.Tensor` of shape `(batch_size, rows, columns)`): in 0..1.
    """
    is_center = heatmap == 1
    found = torch.log(probability + 1e-5) * (1 - probability) ** 2
    missed = torch.log(1 - probability + 1e-5) * probability**2 * (1 - heatmap) ** 4
    return -torch.where(is_center, found, missed).sum() / is_center.sum().clamp(min=1)


def mask_focal_loss(logits, probability, masks, alpha: float = 0.25, gamma: float = 2.0) -> torch.Tensor:
    """
    Focal loss (arXiv 1708.02002) of each mask, averaged over its pixels.

    Args:
        logits (`torch.Tensor` of shape `(batch_size, height, width)`): what the cross-entropy takes for a logit.
        probability (same shape): of being object, in 0..1; weighs the pixels by how wrong they are.
        masks (same shape): 0 or 1.

    Returns:
        `torch.Tensor` of shape `(batch_size,)`.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    probability_of_truth = probability * masks + (1 - probability) * (1 - masks)
    weight = alpha * masks + (1 - alpha) * (1 - masks)
    return (weight * (1 - probability_of_truth) ** gamma * cross_entropy).mean((-2, -1))


def mask_dice_loss(probability: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Dice loss of each mask, smoothed by 1; shapes as in `mask_focal_loss`, `probability` in 0..1."""
    overlap = 2 * (probability * masks).sum((-2, -1))
    return 1 - (overlap + 1) / (probability.sum((-2, -1)) + masks.sum((-2, -1)) + 1)


def giou_loss(pred_corners: torch.Tensor, corners: torch.Tensor, epsilon: float = 1e-7) -> torch.Tensor:
    """
    1 - GIoU (arXiv 1902.09630) of each pair of boxes. torchvision's own picks out the pairs that overlap, for which
    the host must wait for the device.

    Args:
        pred_corners, corners (`torch.Tensor` of shape `(batch_size, 4)`): x1, y1, x2, y2.

    Returns:
        `torch.Tensor` of shape `(batch_size,)`, in 0..2.
    """

    def area(top_left, bottom_right):
        width, height = (bottom_right - top_left).clamp(min=0).unbind(-1)
        return width * height

    (top_left, bottom_right), (true_top_left, true_bottom_right) = pred_corners.split(2, -1), corners.split(2, -1)
    overlap = area(torch.maximum(top_left, true_top_left), torch.minimum(bottom_right, true_bottom_right))
    union = area(top_left, bottom_right) + area(true_top_left, true_bottom_right) - overlap
    hull = area(torch.minimum(top_left, true_top_left), torch.maximum(bottom_right, true_bottom_right))
    return 1 - overlap / (union + epsilon) + (hull - union) / (hull + epsilon)


def box_losses(pred_boxes, center_probability, boxes, loss_alpha: float) -> dict[str, torch.Tensor]:
    """
    The three losses of REC, each times `loss_alpha`: GIoU and L1 on the corners of the box, focal on the centre.

    Args:
        pred_boxes, boxes (`torch.Tensor` of shape `(batch_size, 4)`): cx, cy, w, h in 0..1. The true box is
            cut at the image's border.
        center_probability (`torch.Tensor` of shape `(batch_size, rows, columns)`): in 0..1, clamped.
    """
    pred_corners = box_convert(pred_boxes.float(), "cxcywh", "xyxy")
    corners = box_convert(boxes.float(), "cxcywh", "xyxy").clamp(0, 1)
    heatmap = center_heatmap(boxes.float(), center_probability.shape[-2:])
    losses = {
        "loss_giou": giou_loss(pred_corners, corners).mean(),
        "loss_l1": F.l1_loss(pred_corners, corners),
        "loss_center": center_focal_loss(center_probability.float(), heatmap),
    }
    return {name: loss_alpha * loss for name, loss in losses.items()}


def any_box_losses(
    boxes_at_centers, center_probability, boxes, num_boxes, loss_alpha: float
) -> dict[str, torch.Tensor]:
    """
    The three losses of REC where an expression means any number of objects: GIoU and L1 of each object's box as its
    own centre cell predicts it, averaged over the objects of the batch; focal on a centre map that has a peak for
    each, the maximum of their Gaussians.

    Args:
        boxes_at_centers (`torch.Tensor` of shape `(batch_size, max_targets, 4)`): cx, cy, w, h, from
            [`boxes_at_cells`] at the cells of `boxes`.
        center_probability (`torch.Tensor` of shape `(batch_size, rows, columns)`): in 0..1, clamped.
        boxes (`torch.Tensor` of shape `(batch_size, max_targets, 4)`): cx, cy, w, h in 0..1; of each sample the first
            `num_boxes` count.
        num_boxes (`torch.Tensor` of shape `(batch_size,)`): whole numbers, 0 where nothing is meant.
    """
    is_object = torch.arange(boxes.shape[1], device=boxes.device) < num_boxes[:, None]
    count = is_object.sum().clamp(min=1)
    pred_corners = box_convert(boxes_at_centers.float(), "cxcywh", "xyxy").flatten(0, 1)
    corners = box_convert(boxes.float(), "cxcywh", "xyxy").clamp(0, 1).flatten(0, 1)
    counts = is_object.flatten().float()
    heatmaps = center_heatmap(boxes.float().flatten(0, 1), center_probability.shape[-2:]).unflatten(0, boxes.shape[:2])
    heatmap = (heatmaps * is_object[..., None, None]).amax(1)
    losses = {
        "loss_giou": (giou_loss(pred_corners, corners) * counts).sum() / count,
        "loss_l1": ((pred_corners - corners).abs().mean(-1) * counts).sum() / count,
        "loss_center": center_focal_loss(center_probability.float(), heatmap),
    }
    return {name: loss_alpha * loss for name, loss in losses.items()}


def center_cells(boxes: torch.Tensor, grid_size: tuple[int, int]) -> torch.Tensor:
    """
    The cell of a grid in which [`center_heatmap`] has each box's peak, at the border the nearest one.

    Args:
        boxes (`torch.Tensor` of shape `(..., 4)`): cx, cy, w, h in 0..1.

    Returns:
        `torch.Tensor` of shape `(...)`: the cell's number, row by row.
    """
    rows, columns = grid_size
    column = (boxes[..., 0] * columns).round().clamp(0, columns - 1)
    row = (boxes[..., 1] * rows).round().clamp(0, rows - 1)
    return (row * columns + column).long()


def mask_losses(mask_logits, masks, has_mask, focal_input: str) -> dict[str, torch.Tensor]:
    """
    The two losses of RES, averaged over the samples that have a mask (0 where none has).

    Args:
        mask_logits, masks (`torch.Tensor` of shape `(batch_size, height, width)`): masks are 0 or 1.
        has_mask (`torch.Tensor` of shape `(batch_size,)`): whether the sample has a mask at all.
        focal_input (`str`): "probability" gives the focal loss's cross-entropy the mask's probability where it
            expects a logit, as the authors' weights were trained; "logit" gives it the logit.
    """
    mask_logits, masks, has_mask = mask_logits.float(), masks.float(), has_mask.float()
    probability = mask_logits.sigmoid()
    focal_logits = probability if focal_input == "probability" else mask_logits
    per_sample = {
        "loss_mask_focal": mask_focal_loss(focal_logits, probability, masks),
        "loss_mask_dice": mask_dice_loss(probability, masks),
    }
    count = has_mask.sum().clamp(min=1)
    return {name: (loss * has_mask).sum() / count for name, loss in per_sample.items()}
