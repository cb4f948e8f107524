import numpy as np
import pytest
import torch

from plvl.modeling_plvl import PLVLOutput
from plvl.training.metrics import grounding_metrics, grounding_statistics, paired_box_iou


def outputs_and_labels():
    """Three samples: a perfect one, a half right one without a mask, a wrong one."""
    boxes = torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.3, 0.3, 0.2, 0.2], [0.8, 0.8, 0.2, 0.2]])
    pred_boxes = boxes.clone()
    pred_boxes[1] = torch.tensor([0.35, 0.3, 0.3, 0.2])
    pred_boxes[2] = torch.tensor([0.2, 0.2, 0.2, 0.2])
    masks, pred_masks = torch.zeros(3, 8, 8), torch.full((3, 8, 8), -1.0)
    masks[0, :4], pred_masks[0, :4] = 1, 1.0
    masks[2, :4], pred_masks[2, 2:6] = 1, 1.0
    labels = {"boxes": boxes, "masks": masks, "has_mask": torch.tensor([True, False, True])}
    return PLVLOutput(pred_boxes=pred_boxes, pred_masks=pred_masks), labels


def test_the_metrics_of_three_samples_are_those_computed_by_hand():
    metrics = grounding_metrics(grounding_statistics(*outputs_and_labels()).numpy())
    assert metrics["num_samples"] == 3
    assert metrics["box_accuracy"] == pytest.approx(2 / 3)
    assert metrics["box_miou"] == pytest.approx((1 + 2 / 3 + 0) / 3, abs=1e-6)
    assert metrics["mask_miou"] == pytest.approx((1 + 1 / 3) / 2)
    assert metrics["mask_oiou"] == pytest.approx((32 + 16) / (32 + 48))


def test_the_centre_box_has_the_mean_size_of_the_split():
    outputs, labels = outputs_and_labels()
    labels["boxes"] = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.4, 0.4], [0.1, 0.1, 0.3, 0.3]])
    metrics = grounding_metrics(grounding_statistics(outputs, labels).numpy())
    # 0.3 x 0.3 in the middle: IoU 0.44, 0.56 and 0.
    assert metrics["center_box_accuracy"] == pytest.approx(1 / 3)


def test_a_model_without_a_task_has_no_metrics_of_it():
    outputs, labels = outputs_and_labels()
    only_boxes = grounding_metrics(grounding_statistics(PLVLOutput(pred_boxes=outputs.pred_boxes), labels).numpy())
    only_masks = grounding_metrics(grounding_statistics(PLVLOutput(pred_masks=outputs.pred_masks), labels).numpy())
    assert "mask_miou" not in only_boxes and "box_accuracy" in only_boxes
    assert "box_accuracy" not in only_masks and "mask_miou" in only_masks


def test_boxes_that_do_not_meet_have_no_overlap():
    apart = paired_box_iou(torch.tensor([[0.2, 0.2, 0.2, 0.2]]), torch.tensor([[0.8, 0.8, 0.2, 0.2]]))
    assert apart.item() == 0
    empty = torch.zeros(1, 4)
    assert np.isfinite(paired_box_iou(empty, empty).item())
