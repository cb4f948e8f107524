import numpy as np
import pytest
import torch

import reference_values
from plvl.modeling_plvl import PLVLOutput
from plvl.training.metrics import (
    NATIVE_STATISTICS,
    grounding_metrics,
    grounding_statistics,
    native_statistics,
    paired_box_iou,
)


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
    assert (metrics["num_samples"], metrics["num_boxes"], metrics["num_masks"]) == (3, 3, 2)
    assert metrics["box_accuracy"] == pytest.approx(2 / 3)
    assert metrics["box_miou"] == pytest.approx((1 + 2 / 3 + 0) / 3, abs=1e-6)
    assert metrics["mask_miou"] == pytest.approx((1 + 1 / 3) / 2)
    assert metrics["mask_oiou"] == pytest.approx((32 + 16) / (32 + 48))


def test_the_centre_box_has_the_mean_size_of_the_split():
    outputs, labels = outputs_and_labels()
    labels["boxes"] = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.4, 0.4], [0.1, 0.1, 0.3, 0.3]])
    statistics = grounding_statistics(outputs, labels).numpy()
    native = np.zeros((3, len(NATIVE_STATISTICS)))
    # 0.3 x 0.3 in the middle: IoU 0.44, 0.56 and 0.
    for columns in (statistics, np.hstack([statistics, native])):
        assert grounding_metrics(columns)["center_box_accuracy"] == pytest.approx(1 / 3)


def test_the_centre_box_is_as_wide_and_high_as_the_boxes_are():
    outputs, labels = outputs_and_labels()
    labels["boxes"] = torch.tensor([[0.5, 0.5, 0.2, 0.7]] * 3)
    assert grounding_metrics(grounding_statistics(outputs, labels).numpy())["center_box_accuracy"] == 1


def test_a_model_without_a_task_has_no_metrics_of_it():
    outputs, labels = outputs_and_labels()
    only_boxes = grounding_metrics(grounding_statistics(PLVLOutput(pred_boxes=outputs.pred_boxes), labels).numpy())
    only_masks = grounding_metrics(grounding_statistics(PLVLOutput(pred_masks=outputs.pred_masks), labels).numpy())
    assert not {"mask_miou", "num_masks"} & only_boxes.keys() and "box_accuracy" in only_boxes
    assert not {"box_accuracy", "num_boxes"} & only_masks.keys() and "mask_miou" in only_masks


def test_a_split_without_masks_says_so():
    outputs, labels = outputs_and_labels()
    labels["has_mask"] = torch.tensor([False, False, False])
    metrics = grounding_metrics(grounding_statistics(outputs, labels).numpy())
    assert metrics["num_masks"] == 0 and not any("mask_" in name for name in metrics)
    native = native_statistics([{"mask": torch.ones(4, 6, dtype=torch.bool)}] * 3, [{"mask": None}] * 3)
    both = grounding_metrics(torch.cat([grounding_statistics(outputs, labels), native], 1).numpy())
    assert both == metrics


def test_boxes_that_do_not_meet_have_no_overlap():
    apart = paired_box_iou(torch.tensor([[0.2, 0.2, 0.2, 0.2]]), torch.tensor([[0.8, 0.8, 0.2, 0.2]]))
    assert apart.item() == 0
    empty = torch.zeros(1, 4)
    assert np.isfinite(paired_box_iou(empty, empty).item())


def test_metrics_agree_with_the_original_programs():
    assert [row for row in reference_values.metrics() if not row.agrees] == []


def test_precision_is_the_share_of_masks_of_an_iou_or_more():
    metrics = grounding_metrics(grounding_statistics(*outputs_and_labels()).numpy())
    # The IoU of the two masks are 1 and 1/3.
    assert [metrics[f"mask_precision@{limit}"] for limit in (0.5, 0.6, 0.7, 0.8, 0.9)] == [0.5] * 5


def test_the_images_own_size_has_its_own_metrics():
    outputs, labels = outputs_and_labels()
    mask = torch.zeros(4, 6, dtype=torch.bool)
    mask[:, :3] = True
    answers = [{"box": torch.tensor([0.0, 0.0, 3.0, 4.0]), "mask": mask}] * 3
    truths = [{"boxes": [[0, 0, 6, 4]], "mask": np.ones((4, 6), np.uint8)}, {"boxes": [[0, 0, 3, 4]], "mask": None}]
    truths.append({"boxes": [[4, 0, 6, 4]], "mask": mask.numpy()})
    native = native_statistics(answers, truths)
    metrics = grounding_metrics(torch.cat([grounding_statistics(outputs, labels), native], 1).numpy())
    assert metrics["native_box_accuracy"] == pytest.approx(2 / 3)
    assert metrics["native_box_miou"] == pytest.approx(0.5)
    assert metrics["native_mask_miou"] == pytest.approx(0.75)
    assert metrics["native_mask_oiou"] == pytest.approx(24 / 36)


def test_no_samples_have_no_metrics():
    assert grounding_metrics(np.zeros((0, 8))) == {"num_samples": 0}


def test_a_box_that_is_no_number_counts_as_a_miss():
    outputs, labels = outputs_and_labels()
    outputs.pred_boxes[0] = float("nan")
    metrics = grounding_metrics(grounding_statistics(outputs, labels).numpy())
    assert metrics["box_accuracy"] == pytest.approx(1 / 3)
    assert metrics["num_samples"] == 3
    outputs.pred_boxes[:] = float("nan")
    metrics = grounding_metrics(grounding_statistics(outputs, labels).numpy())
    assert metrics["box_accuracy"] == metrics["box_miou"] == 0 and metrics["num_boxes"] == 3
    native = native_statistics([{"box": torch.full((4,), float("nan"))}], [{"boxes": [[0, 0, 6, 4]], "mask": None}])
    assert native[0, 0] == 0
