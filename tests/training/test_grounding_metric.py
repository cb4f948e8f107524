"""The metrics through the `evaluate` library, loaded from the project's folder."""

import evaluate
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from plvl.training import grounding_metric


@pytest.fixture(scope="module")
def metric(tmp_path_factory):
    folder = grounding_metric.__path__[0]
    return evaluate.load(folder, cache_dir=str(tmp_path_factory.mktemp("evaluate")))


def rle(rows):
    mask = np.zeros((8, 8), np.uint8, order="F")
    mask[rows] = 1
    encoded = coco_mask.encode(mask)
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


def test_boxes_and_masks_are_measured_at_the_images_own_size(metric):
    truth = [{"box": [0, 0, 10, 10], "mask": rle(slice(0, 4))}, {"box": [5, 5, 10, 10], "mask": None}]
    answers = [{"box": [0, 0, 10, 8], "mask": rle(slice(1, 5))}, {"box": [5, 5, 10, 4], "mask": rle(slice(0, 1))}]
    measured = metric.compute(predictions=answers, references=truth)
    assert measured["num_samples"] == 2
    assert measured["box_accuracy"] == 0.5
    assert measured["box_miou"] == pytest.approx(0.6)
    assert measured["mask_miou"] == pytest.approx(3 / 5)
    assert measured["mask_precision@0.6"] == 1 and measured["mask_precision@0.7"] == 0


def test_answers_without_boxes_have_mask_metrics_only(metric):
    samples = [{"box": None, "mask": rle(slice(0, 4))}]
    measured = metric.compute(predictions=samples, references=samples)
    assert measured["mask_oiou"] == 1 and "box_accuracy" not in measured


def test_what_a_reference_lacks_is_not_counted_and_what_an_answer_lacks_is_a_miss(metric):
    whole = {"box": [0, 0, 10, 10], "mask": rle(slice(0, 4))}
    for prediction, reference in [
        (whole, whole),
        ({"box": None, "mask": None}, whole),
        (whole, {"box": [0, 0, 10, 10], "mask": None}),
        (whole, {"box": None, "mask": rle(slice(2, 4))}),
        (whole, {"box": None, "mask": None}),
    ]:
        metric.add(prediction=prediction, reference=reference)
    measured = metric.compute()
    assert (measured["num_samples"], measured["num_boxes"], measured["num_masks"]) == (5, 3, 3)
    assert measured["box_accuracy"] == measured["box_miou"] == pytest.approx(2 / 3)
    assert measured["mask_miou"] == pytest.approx((1 + 0 + 1 / 2) / 3)
    # Of 32 pixels, of 32 that nothing answers, and 16 of 32.
    assert measured["mask_oiou"] == pytest.approx((32 + 0 + 16) / (32 + 32 + 32))


def test_references_without_masks_are_counted_as_such(metric):
    metric.add_batch(
        predictions=[{"box": [0, 0, 9, 5], "mask": rle(slice(0, 4))}], references=[{"box": [0, 0, 9, 5], "mask": None}]
    )
    measured = metric.compute()
    assert measured["num_masks"] == 0 and "mask_miou" not in measured
    boxes = [{"box": [0, 0, 9, 5], "mask": None}]
    measured = metric.compute(predictions=boxes, references=[{"box": [0, 0, 9, 5], "mask": rle(slice(0, 4))}])
    assert "num_masks" not in measured and measured["num_boxes"] == measured["box_accuracy"] == 1


def test_masks_of_different_sizes_are_refused(metric):
    other = coco_mask.encode(np.ones((4, 8), np.uint8, order="F"))
    answer = {"box": None, "mask": {"size": list(other["size"]), "counts": other["counts"].decode()}}
    with pytest.raises(ValueError, match=r"\[4, 8\] was given for one of \[8, 8\]"):
        metric.compute(predictions=[answer], references=[{"box": None, "mask": rle(slice(0, 4))}])


def test_answers_added_one_by_one_or_some_at_a_time_are_measured_as_all_at_once(metric):
    truth = [{"box": [0, 0, 10, 10], "mask": rle(slice(0, top))} for top in (4, 5, 6)]
    answers = [{"box": [0, 0, 10, side], "mask": rle(slice(1, 4))} for side in (9, 6, 3)]
    at_once = metric.compute(predictions=answers, references=truth)
    metric.add(prediction=answers[0], reference=truth[0])
    metric.add_batch(references=truth[1:], predictions=answers[1:])
    assert metric.compute() == at_once
    assert at_once["box_accuracy"] == pytest.approx(2 / 3) and at_once["num_samples"] == 3


def several_and_none():
    answers = [
        {"boxes": [[0, 0, 4, 8], [5, 0, 3, 3]], "scores": [0.9, 0.8], "mask": rle(slice(0, 5))},
        {"boxes": [[0, 0, 4, 8], [4, 0, 4, 4]], "scores": [0.6, 0.9], "mask": rle(slice(0, 4))},
        {"boxes": [], "scores": [], "mask": None},
        {"boxes": [[0, 0, 4, 8]], "scores": [0.6], "mask": rle(slice(0, 1))},
        {"boxes": [], "scores": [], "mask": rle(slice(0, 0))},
    ]
    truth = [
        {"boxes": [[5, 0, 3, 3], [0, 0, 4, 8]], "mask": rle(slice(0, 4))},
        {"boxes": [[4, 0, 4, 4]], "mask": rle(slice(0, 4))},
        {"boxes": [[4, 4, 4, 4]], "mask": rle(slice(4, 8))},
        {"boxes": [], "mask": None},
        {"boxes": [], "mask": rle(slice(0, 0))},
    ]
    return answers, truth


def test_expressions_that_mean_none_or_several_have_metrics_of_their_own(metric):
    answers, truth = several_and_none()
    measured = metric.compute(predictions=answers, references=truth)
    assert (measured["num_samples"], measured["num_no_target"]) == (5, 2)
    # Right are the first and the last.
    assert measured["grec_precision"] == measured["grec_precision_plain_iou"] == pytest.approx(2 / 5)
    assert measured["grec_n_acc"] == 1 / 2 and measured["grec_t_acc"] == pytest.approx(2 / 3)
    assert measured["gres_giou"] == pytest.approx((32 / 40 + 1 + 0 + 0 + 1) / 5)
    assert measured["gres_ciou"] == pytest.approx((32 + 32) / (40 + 32 + 32 + 8))
    assert measured["gres_n_acc"] == 1 / 2 and measured["gres_t_acc"] == pytest.approx(2 / 3)


def test_metrics_of_one_object_are_over_the_references_that_mean_one(metric):
    measured = metric.compute(**dict(zip(("predictions", "references"), several_and_none(), strict=True)))
    assert (measured["num_boxes"], measured["num_masks"]) == (2, 2)
    # The box of the highest score is right; none is not.
    assert measured["box_accuracy"] == measured["mask_miou"] == 1 / 2


def test_boxes_of_a_low_score_do_not_count_where_a_threshold_is_given(metric):
    answers, truth = several_and_none()
    measured = metric.compute(predictions=answers, references=truth, box_threshold=0.7)
    assert measured["grec_precision"] == pytest.approx(4 / 5) and measured["grec_n_acc"] == 1
    # Masks are no boxes.
    assert measured["gres_n_acc"] == 1 / 2


def test_one_box_may_answer_where_several_are_meant_and_the_other_way_round(metric):
    # The first two have an IoU of 0.6.
    one = [{"box": [0, 0, 10, 8]}, {"box": [0, 0, 4, 8]}, {"box": None}]
    several = [{"boxes": [[4, 0, 6, 8]]}, {"boxes": [[0, 0, 4, 8], [4, 0, 4, 4]]}, {"boxes": []}]
    measured = metric.compute(predictions=one, references=several)
    assert measured["grec_precision"] == pytest.approx(2 / 3) and "gres_giou" not in measured
    measured = metric.compute(predictions=several[:2], references=one[:2])
    assert measured["grec_precision"] == 1 / 2 and measured["box_accuracy"] == 1


def test_lists_of_one_true_box_are_measured_as_boxes(metric):
    boxes, listed = [[0, 0, 10, 10], [5, 5, 10, 10]], [[[0, 0, 10, 10]], [[5, 5, 10, 10]]]
    answers = [{"box": [0, 0, 10, 8]}, {"box": [5, 5, 10, 4]}]
    measured = metric.compute(predictions=answers, references=[{"boxes": of} for of in listed])
    assert measured == metric.compute(predictions=answers, references=[{"box": box} for box in boxes])
    assert measured["box_accuracy"] == 1 / 2


def test_answers_that_are_all_none_miss_every_box(metric):
    measured = metric.compute(predictions=[{"boxes": []}], references=[{"boxes": [[0, 0, 4, 8]]}])
    assert measured["box_accuracy"] == measured["grec_precision"] == measured["grec_t_acc"] == 0


def test_boxes_without_scores_and_references_without_boxes_are_named(metric):
    with pytest.raises(ValueError, match="prediction 1 has 0 scores for 1 boxes"):
        answers = [{"boxes": []}, {"boxes": [[0, 0, 4, 8]]}]
        metric.compute(predictions=answers, references=[{"boxes": []}] * 2, box_threshold=0.7)
    with pytest.raises(ValueError, match="prediction 0 has 2 scores for 1 boxes"):
        answers = [{"boxes": [[0, 0, 4, 8]], "scores": [0.1, 0.9]}]
        metric.compute(predictions=answers, references=[{"boxes": [[0, 0, 4, 8]]}])
    with pytest.raises(ValueError, match="reference 1 says no boxes"):
        references = [{"boxes": []}, {"mask": rle(slice(0, 4))}]
        metric.compute(predictions=[{"boxes": []}] * 2, references=references)
