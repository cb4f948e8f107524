"""Models of any number of targets: a peak for each object, a presence logit, losses over the objects there are."""

import math

import pytest
import torch
import torch.nn.functional as F
from huggingface_hub.errors import StrictDataclassError
from torchvision.ops import generalized_box_iou_loss

from conftest import small_config
from plvl.modeling_plvl import PLVLModel
from plvl.modeling_plvl.box_reading_plvl import boxes_at_cells, read_any_boxes, read_boxes
from plvl.modeling_plvl.loss_plvl import any_box_losses, box_losses, center_cells, center_focal_loss, center_heatmap

ROWS, COLUMNS = 6, 9
IDS = torch.tensor([[2, 5, 6, 3], [2, 7, 8, 3], [2, 9, 5, 3]])


def maps(peaks, height=0.2, width=0.1):
    """A centre map of these logits by cell (row, column); each cell's box is as high and wide as given."""
    center_logits = torch.full((1, ROWS, COLUMNS), -5.0)
    for (row, column), logit in peaks.items():
        center_logits[0, row, column] = logit
    offset = torch.stack([torch.full((ROWS, COLUMNS), 0.25), torch.full((ROWS, COLUMNS), 0.5)])[None]
    size = torch.stack([torch.full((ROWS, COLUMNS), width), torch.full((ROWS, COLUMNS), height)])[None]
    return center_logits, offset, size


def test_each_peak_is_a_box_the_highest_first():
    boxes, scores = read_any_boxes(*maps({(1, 2): 0.5, (4, 7): 2.0, (5, 0): 1.0}), max_targets=4)
    assert boxes.shape == (1, 4, 4) and scores.shape == (1, 4)
    expected = [[7.25 / 9, 4.5 / 6, 0.1, 0.2], [0.25 / 9, 5.5 / 6, 0.1, 0.2], [2.25 / 9, 1.5 / 6, 0.1, 0.2]]
    torch.testing.assert_close(boxes[0, :3], torch.tensor(expected))
    torch.testing.assert_close(scores[0, :3], torch.tensor([2.0, 1.0, 0.5]).sigmoid())
    assert scores[0, 3] < 0.01


def test_objects_side_by_side_are_found_in_neighbouring_cells():
    peaks = {(2, 3): 1.0, (2, 4): 2.0, (3, 3): 1.5}
    _, scores = read_any_boxes(*maps(peaks, width=0.1, height=0.15), max_targets=4)
    torch.testing.assert_close(scores[0, :3], torch.tensor([2.0, 1.5, 1.0]).sigmoid())
    _, scores = read_any_boxes(*maps(peaks, width=0.8, height=0.8), max_targets=4)
    torch.testing.assert_close(scores[0, 0], torch.tensor(2.0).sigmoid())
    assert scores[0, 1] < 0.01, "cells of one object"


def test_of_boxes_that_say_the_same_the_higher_peak_stays():
    peaks = {(2, 2): 1.0, (2, 4): 2.0, (2, 8): 0.5}
    _, scores = read_any_boxes(*maps(peaks, width=0.9, height=0.9), max_targets=4)
    # The first overlaps the second by 60 %, the third by 34 %.
    torch.testing.assert_close(scores[0, :2], torch.tensor([2.0, 0.5]).sigmoid())
    assert scores[0, 2] < 0.01
    _, scores = read_any_boxes(*maps(peaks, width=0.3), max_targets=4)
    assert (scores[0] > 0.5).sum() == 3


def test_a_box_that_is_left_out_leaves_no_other_out():
    """The second overlaps both others, which hardly overlap."""
    center_logits, offset, size = torch.full((1, 1, 20), -9.0), torch.full((1, 2, 1, 20), 0.5), torch.ones(1, 2, 1, 20)
    center_logits[0, 0, [3, 6, 9]] = torch.tensor([3.0, 2.0, 1.0])
    size[:, 0] = 0.5
    _, scores = read_any_boxes(center_logits, offset, size, max_targets=4)
    torch.testing.assert_close(scores[0, :2], torch.tensor([3.0, 1.0]).sigmoid())
    assert scores[0, 2] < 0.01


def test_there_are_no_more_boxes_than_asked_for_and_none_beyond_the_grid():
    peaks = {(0, 0): 1.0, (0, 3): 3.0, (3, 0): 2.0}
    boxes, scores = read_any_boxes(*maps(peaks), max_targets=2)
    torch.testing.assert_close(scores, torch.tensor([[3.0, 2.0]]).sigmoid())
    assert boxes.shape == (1, 2, 4)
    center_logits, offset, size = (each[..., :2, :3] for each in maps({(1, 1): 1.0}))
    boxes, scores = read_any_boxes(center_logits, offset, size, max_targets=16)
    assert boxes.shape == (1, 16, 4) and (scores[0, 6:] == 0).all() and scores[0, 0] > 0.5


def test_a_model_of_one_target_reads_the_best_cell():
    center_logits, offset, size = maps({(4, 7): 2.0, (5, 0): 1.0})
    boxes, _ = read_any_boxes(center_logits, offset, size, max_targets=1)
    assert torch.equal(read_boxes(center_logits, offset, size), boxes[:, 0])


def test_the_centre_map_has_a_peak_for_each_object_and_none_for_padding():
    boxes = torch.tensor([[[0.3, 0.3, 0.4, 0.5], [0.7, 0.6, 0.3, 0.6], [0.1, 0.9, 0.5, 0.5]]])
    probability = torch.rand(1, ROWS, COLUMNS, generator=torch.Generator().manual_seed(0)).clamp(0.01, 0.99)
    losses = any_box_losses(boxes, probability, boxes, torch.tensor([2]), loss_alpha=0.5)
    both = torch.maximum(*center_heatmap(boxes[0, :2], (ROWS, COLUMNS)))
    assert (both == 1).sum() == 2
    expected = 0.5 * center_focal_loss(probability, both[None])
    assert losses["loss_center"].item() == pytest.approx(expected.item(), rel=1e-6)
    # By hand from CenterNet's formula, over the peaks and what is around them.
    p = probability[0]
    found = ((1 - p) ** 2 * torch.log(p + 1e-5))[both == 1].sum()
    missed = ((1 - both) ** 4 * p**2 * torch.log(1 - p + 1e-5))[both < 1].sum()
    assert losses["loss_center"].item() == pytest.approx(-0.5 * (found + missed).item() / 2, rel=1e-5)


def test_where_gaussians_meet_the_map_has_the_higher_one():
    boxes = torch.tensor([[[0.45, 0.5, 0.9, 0.9], [0.56, 0.5, 0.9, 0.9]]])
    probability = torch.full((1, ROWS, COLUMNS), 0.3)
    one, other = center_heatmap(boxes[0], (ROWS, COLUMNS))
    assert ((one > 0) & (other > 0)).any()
    expected = center_focal_loss(probability, torch.maximum(one, other)[None])
    losses = any_box_losses(boxes, probability, boxes, torch.tensor([2]), loss_alpha=1.0)
    assert losses["loss_center"].item() == pytest.approx(expected.item(), rel=1e-6)


@torch.no_grad()
def test_presence_hears_how_high_the_centre_map_is():
    model = any_model()
    before = model(pixel_values=images(), input_ids=IDS).presence_logits
    model.head.center[-1].bias.add_(3.0)
    assert (model(pixel_values=images(), input_ids=IDS).presence_logits - before).abs().min() > 1e-3


def test_boxes_are_asked_at_each_objects_own_cell_and_averaged_over_objects():
    generator = torch.Generator().manual_seed(1)
    boxes = 0.2 + 0.4 * torch.rand(3, 4, 4, generator=generator)
    offset, size = (torch.rand(3, 2, ROWS, COLUMNS, generator=generator) for _ in range(2))
    num_boxes = torch.tensor([0, 3, 1])
    cells = center_cells(boxes, (ROWS, COLUMNS))
    losses = any_box_losses(
        boxes_at_cells(cells, offset, size), torch.full((3, ROWS, COLUMNS), 0.5), boxes, num_boxes, loss_alpha=1.0
    )
    giou = l1 = 0.0
    for sample, number in enumerate(num_boxes.tolist()):
        for cx, cy, w, h in boxes[sample, :number].tolist():
            column, row = round(cx * COLUMNS), round(cy * ROWS)
            x = (column + offset[sample, 0, row, column]) / COLUMNS
            y = (row + offset[sample, 1, row, column]) / ROWS
            half_width, half_height = size[sample, :, row, column] / 2
            predicted = torch.stack([x - half_width, y - half_height, x + half_width, y + half_height])
            true = torch.tensor([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]).clamp(0, 1)
            giou += generalized_box_iou_loss(predicted, true).item() / 4
            l1 += (predicted - true).abs().mean().item() / 4
    assert losses["loss_giou"].item() == pytest.approx(giou, rel=1e-4)
    assert losses["loss_l1"].item() == pytest.approx(l1, rel=1e-4)


def test_a_batch_in_which_nothing_is_meant_asks_for_no_boxes():
    boxes = torch.zeros(2, 4, 4)
    at_centers = torch.rand(2, 4, 4, requires_grad=True)
    probability = torch.full((2, ROWS, COLUMNS), 0.3)
    losses = any_box_losses(at_centers, probability, boxes, torch.tensor([0, 0]), loss_alpha=1.0)
    assert losses["loss_giou"] == losses["loss_l1"] == 0
    expected = -2 * ROWS * COLUMNS * 0.09 * math.log(0.7 + 1e-5)
    assert losses["loss_center"].item() == pytest.approx(expected, rel=1e-5)
    sum(losses.values()).backward()
    assert at_centers.grad.abs().max() == 0


def test_one_object_for_each_is_what_the_paper_asks_at_the_centre():
    """Where the centre is found, both forms ask the same."""
    boxes = torch.tensor([[0.34, 0.26, 0.2, 0.4], [0.6, 0.7, 0.3, 0.2]])
    predicted = boxes + 0.03
    probability = torch.rand(2, ROWS, COLUMNS, generator=torch.Generator().manual_seed(2)).clamp(0.01, 0.99)
    padded = F.pad(boxes[:, None], (0, 0, 0, 3))
    at_centers = F.pad(predicted[:, None], (0, 0, 0, 3), value=0.9)
    one = box_losses(predicted, probability, boxes, 0.1)
    several = any_box_losses(at_centers, probability, padded, torch.tensor([1, 1]), 0.1)
    assert one.keys() == several.keys()
    for name, loss in one.items():
        torch.testing.assert_close(several[name], loss)


def any_model(**changes) -> PLVLModel:
    torch.manual_seed(0)
    model = PLVLModel(small_config(targets="any", max_targets=3, **changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def labels_of(num_boxes, height=64, width=96):
    generator = torch.Generator().manual_seed(3)
    boxes = 0.2 + 0.3 * torch.rand(len(num_boxes), 3, 4, generator=generator)
    masks = torch.zeros(len(num_boxes), height, width)
    masks[torch.tensor(num_boxes) > 0, 10:30, 20:50] = 1
    return {"boxes": boxes, "num_boxes": torch.tensor(num_boxes), "masks": masks}


def images(number=3):
    return torch.randn(number, 3, 64, 96, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("tasks", [["rec", "res"], ["rec"], ["res"]])
def test_every_parameter_learns_and_every_loss_is_named(tasks):
    model = any_model(tasks=tasks).train()
    outputs = model(pixel_values=images(), input_ids=IDS, labels=labels_of([0, 3, 1]))
    outputs.loss.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    assert outputs.presence_logits.shape == (3,)
    assert "loss_presence" in outputs.loss_dict
    if "rec" in tasks:
        assert outputs.pred_boxes.shape == (3, 3, 4) and outputs.pred_scores.shape == (3, 3)
    else:
        assert outputs.pred_boxes is None and outputs.pred_scores is None


def test_presence_is_asked_of_every_row():
    model = any_model()
    with torch.no_grad():
        outputs = model(pixel_values=images(), input_ids=IDS, labels=labels_of([0, 2, 1]))
    logits = outputs.presence_logits
    expected = (F.softplus(logits[0]) + F.softplus(-logits[1]) + F.softplus(-logits[2])) / 3
    assert outputs.loss_dict["loss_presence"].item() == pytest.approx(expected.item(), rel=1e-5)


@torch.no_grad()
def test_presence_hears_the_expression_and_sees_the_image():
    model = any_model()
    logits = model(pixel_values=images(1), input_ids=IDS).presence_logits
    other = model(pixel_values=images(2)[1:], input_ids=IDS).presence_logits
    assert len(set(logits.tolist())) == 3
    assert (logits - other).abs().min() > 1e-4


def test_a_row_without_objects_whose_mask_is_empty_counts_for_the_mask():
    model = any_model()
    labels = labels_of([0, 2, 1])
    with torch.no_grad():
        known = model(pixel_values=images(), input_ids=IDS, labels=labels).loss_dict
        labels["has_mask"] = torch.tensor([0.0, 1.0, 1.0])
        unknown = model(pixel_values=images(), input_ids=IDS, labels=labels).loss_dict
    assert known["loss_mask_dice"] != unknown["loss_mask_dice"]


def test_labels_of_another_form_are_refused():
    model = any_model()
    labels = labels_of([0, 2, 1])
    with pytest.raises(ValueError, match=r"labels\['boxes'\] must have the shape \(3, 3, 4\), got \(3, 4\)"):
        model(pixel_values=images(), input_ids=IDS, labels=labels | {"boxes": labels["boxes"][:, 0]})
    del labels["num_boxes"]
    with pytest.raises(ValueError, match=r"labels\['num_boxes'\] must have the shape \(3,\), got None"):
        model(pixel_values=images(), input_ids=IDS, labels=labels)


@torch.no_grad()
def test_a_model_of_one_target_starts_one_of_any(tmp_path):
    torch.manual_seed(0)
    PLVLModel(small_config()).save_pretrained(tmp_path)
    options = {"targets": "any", "max_targets": 3, "output_loading_info": True}
    model, info = PLVLModel.from_pretrained(tmp_path, **options)
    assert all(name.startswith("head.presence") for name in info["missing_keys"]) and len(info["missing_keys"]) == 4
    one = PLVLModel.from_pretrained(tmp_path).eval()(pixel_values=images(), input_ids=IDS)
    outputs = model.eval()(pixel_values=images(), input_ids=IDS)
    assert torch.equal(outputs.center_logits, one.center_logits)
    assert torch.equal(outputs.pred_boxes[:, 0], one.pred_boxes)


@torch.no_grad()
def test_reading_compiles_without_a_break():
    model = any_model()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    for field in ("pred_boxes", "pred_scores", "presence_logits"):
        inputs = {"pixel_values": images(), "input_ids": IDS}
        torch.testing.assert_close(compiled(**inputs)[field], model(**inputs)[field])


def test_what_is_no_number_of_targets_is_refused():
    with pytest.raises(
        (ValueError, StrictDataclassError), match=r"targets must be one of \['one', 'any'\], got 'many'"
    ):
        small_config(targets="many")
    with pytest.raises((ValueError, StrictDataclassError), match="max_targets must be at least 1, got 0"):
        small_config(targets="any", max_targets=0)
