import math

import pytest
import torch
from torchvision.ops import generalized_box_iou_loss

from plvl.modeling_plvl.loss_plvl import (
    box_losses,
    center_focal_loss,
    center_heatmap,
    gaussian_radius,
    giou_loss,
    mask_dice_loss,
    mask_focal_loss,
    mask_losses,
)


def test_the_heatmap_is_one_at_the_centre_cell_and_falls_off_as_a_gaussian():
    heatmap = center_heatmap(torch.tensor([[0.5, 0.25, 0.5, 0.5]]), (28, 28))[0]
    assert heatmap[7, 14] == 1
    assert (heatmap == 1).sum() == 1
    # A box of 14 x 14 cells: the smallest of the three roots is 3.83, so the radius is 3 and sigma 7 / 6.
    assert heatmap[7, 15] == pytest.approx(math.exp(-1 / (2 * (7 / 6) ** 2)), abs=1e-6)
    assert heatmap[7, 17] > 0
    assert heatmap[7, 18] == 0


def test_the_heatmap_has_the_images_rows_and_columns():
    # The centre is at 2.6 of 8 rows and 14.6 of 20 columns; the box is 8 rows high and 4 columns wide.
    heatmap = center_heatmap(torch.tensor([[0.73, 0.325, 0.2, 1.0]]), (8, 20))[0]
    assert heatmap.shape == (8, 20)
    assert (heatmap == 1).nonzero().tolist() == [[3, 15]]
    assert heatmap[2:5, 14:17].min() > 0 and (heatmap > 0).sum() == 9


@pytest.mark.parametrize(("height", "width"), [(20, 30), (8, 60), (55, 3), (0, 0)])
def test_the_radius_is_the_largest_that_keeps_an_overlap_of_seven_tenths(height, width):
    """CornerNet's third case in CenterNet's form, which is the narrowest for any box: by trying whole numbers."""
    radius = gaussian_radius(torch.tensor([float(height)]), torch.tensor([float(width)])).item()
    assert radius == max(r for r in range(100) if r**2 + 1.4 * (height + width) * r <= 0.84 * height * width)


def test_a_centre_outside_the_grid_draws_only_what_falls_inside():
    heatmap = center_heatmap(torch.tensor([[1.0, 0.5, 0.9, 0.9]]), (28, 28))[0]
    assert heatmap.max() < 1
    assert heatmap[14, 27] > 0


def test_the_centre_loss_is_not_divided_when_no_cell_is_one():
    probability = torch.full((1, 2, 2), 0.5)
    heatmap = torch.zeros(1, 2, 2)
    expected = -4 * math.log(0.5 + 1e-5) * 0.25
    assert center_focal_loss(probability, heatmap).item() == pytest.approx(expected, rel=1e-6)


def test_the_centre_loss_of_centernet():
    """Alpha 2 for how wrong a cell is, beta 4 for how near the centre it is."""
    probability, heatmap = torch.tensor([[[0.7, 0.2, 0.9]]]), torch.tensor([[[1.0, 0.6, 0.0]]])
    found = 0.3**2 * math.log(0.7)
    missed = 0.4**4 * 0.2**2 * math.log(0.8) + 0.9**2 * math.log(0.1)
    assert center_focal_loss(probability, heatmap).item() == pytest.approx(-(found + missed), rel=1e-3)


def test_the_centre_loss_is_divided_by_the_number_of_centres():
    probability, heatmap = torch.full((2, 2, 2), 0.5), torch.zeros(2, 2, 2)
    heatmap[:, 0, 0] = 1
    one = center_focal_loss(probability[:1], heatmap[:1])
    assert center_focal_loss(probability, heatmap).item() == pytest.approx(one.item(), rel=1e-6)


def test_a_perfect_box_has_no_box_loss_and_the_losses_carry_their_weight():
    boxes = torch.tensor([[0.5, 0.5, 0.25, 0.25]])
    center = torch.full((1, 8, 8), 1e-4)
    losses = box_losses(boxes, center, boxes, loss_alpha=1.0)
    assert losses["loss_giou"].item() == pytest.approx(0, abs=1e-5)
    assert losses["loss_l1"].item() == 0
    tenth = box_losses(boxes, center, boxes, loss_alpha=0.1)
    assert tenth["loss_center"].item() == pytest.approx(losses["loss_center"].item() / 10, rel=1e-6)


def test_the_giou_loss_is_torchvisions():
    generator = torch.Generator().manual_seed(0)
    top_left, sides = torch.rand(2, 50, 2, generator=generator), torch.rand(2, 50, 2, generator=generator)
    boxes = torch.cat([top_left, top_left + 0.5 * sides], dim=-1)
    boxes[1, :3] = boxes[0, :3]  # the same box,
    boxes[0, 3] = 0  # an empty one,
    boxes[1, 4] = boxes[0, 4] + 1  # and two that are apart
    gradients = []
    for loss in (giou_loss, generalized_box_iou_loss):
        ours, truth = boxes.clone().requires_grad_()
        values = loss(ours, truth)
        gradients.append((values.detach(), *torch.autograd.grad(values.sum(), ours)))
    torch.testing.assert_close(*gradients)


def test_the_true_box_is_cut_at_the_image():
    reaching_out = torch.tensor([[0.9, 0.5, 0.4, 0.2]])
    cut = torch.tensor([[0.85, 0.5, 0.3, 0.2]])
    losses = box_losses(cut, torch.full((1, 8, 8), 0.1), reaching_out, loss_alpha=1.0)
    assert losses["loss_l1"].item() == pytest.approx(0, abs=1e-6)


def test_the_focal_loss_of_a_mask_weighs_pixels_by_how_wrong_they_are():
    """An object's pixels count a quarter, the others three quarters."""
    logits, mask = torch.tensor([[[2.0, -1.0, 0.5]]]), torch.tensor([[[1.0, 1.0, 0.0]]])
    (sure, unsure, wrong), weights = logits.sigmoid().flatten().tolist(), (0.25, 0.25, 0.75)
    truths = (sure, unsure, 1 - wrong)
    expected = sum(weight * (1 - p) ** 2 * -math.log(p) for weight, p in zip(weights, truths, strict=True)) / 3
    assert mask_focal_loss(logits, logits.sigmoid(), mask).item() == pytest.approx(expected, rel=1e-5)


def test_dice_counts_the_overlap_twice_and_is_smoothed_by_one():
    probability, mask = torch.tensor([[[0.5, 1.0, 0.25]]]), torch.tensor([[[1.0, 1.0, 0.0]]])
    assert mask_dice_loss(probability, mask).item() == pytest.approx(1 - (2 * 1.5 + 1) / (1.75 + 2 + 1))


def test_dice_of_a_perfect_mask_is_zero_and_of_an_empty_pair_too():
    mask = torch.zeros(1, 4, 4)
    mask[0, :2] = 1
    assert mask_dice_loss(mask, mask).item() == 0
    assert mask_dice_loss(torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)).item() == 0


def test_samples_without_a_mask_do_not_count():
    logits, masks = torch.randn(3, 8, 8), (torch.rand(3, 8, 8) > 0.5).float()
    some = mask_losses(logits, masks, torch.tensor([True, False, True]), "logit")
    alone = mask_losses(logits[[0, 2]], masks[[0, 2]], torch.ones(2), "logit")
    for name in some:
        torch.testing.assert_close(some[name], alone[name])


def test_a_batch_without_any_mask_has_zero_loss_and_zero_gradient():
    logits = torch.randn(2, 8, 8, requires_grad=True)
    losses = mask_losses(logits, torch.zeros(2, 8, 8), torch.zeros(2), "probability")
    sum(losses.values()).backward()
    assert sum(losses.values()) == 0
    assert logits.grad.abs().max() == 0


def test_probability_and_logit_differ_in_what_the_cross_entropy_takes():
    logits, masks = torch.randn(1, 8, 8), (torch.rand(1, 8, 8) > 0.5).float()
    as_authors = mask_losses(logits, masks, torch.ones(1), "probability")["loss_mask_focal"]
    sound = mask_losses(logits, masks, torch.ones(1), "logit")["loss_mask_focal"]
    torch.testing.assert_close(sound, mask_focal_loss(logits, logits.sigmoid(), masks).mean())
    torch.testing.assert_close(as_authors, mask_focal_loss(logits.sigmoid(), logits.sigmoid(), masks).mean())
    assert as_authors != sound
