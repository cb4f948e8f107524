"""Metrics of expressions that mean none, one or several objects, with numbers worked out by hand."""

import numpy as np
import pytest
import torch

from plvl.training.generalized_metrics import (
    GENERALIZED_STATISTICS,
    choose_thresholds,
    generalized_metrics,
    generalized_statistics,
)

HEIGHT, WIDTH = 4, 6


def mask(columns=slice(0, 0), rows=slice(None)):
    pixels = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    pixels[rows, columns] = True
    return pixels


def answer(boxes=(), scores=None, pixels=None, found=True):
    given = {"found": found, "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)}
    given["scores"] = torch.ones(len(boxes)) if scores is None else torch.tensor(scores)
    return given if pixels is None else given | {"mask": pixels}


def truth(boxes=(), pixels=None):
    return {"boxes": list(boxes), "mask": None if pixels is None else pixels.numpy().astype(np.uint8)}


def measure(answers, truths, **kwargs):
    return generalized_metrics(generalized_statistics(answers, truths, **kwargs).numpy())


BOX, OTHER = (0, 0, 3, 4), (3, 0, 6, 2)


def six_rows():
    """Half of a target; a target said to be none; a target found whole; no target: said so, answered, said so."""
    answers = [
        answer([BOX], pixels=mask(slice(0, 3))),
        answer(found=False, pixels=mask()),
        answer([BOX, OTHER], pixels=mask(rows=slice(0, 2), columns=slice(None))),
        answer(found=False, pixels=mask()),
        answer([OTHER], pixels=mask(slice(1, 6), slice(0, 1))),
        answer(found=False, pixels=mask()),
    ]
    truths = [
        truth([BOX], mask(slice(1, 4))),
        truth([OTHER], mask(slice(3, 6), slice(0, 2))),
        truth([BOX, OTHER], mask(rows=slice(0, 2), columns=slice(None))),
        *[truth(pixels=mask()) for _ in range(3)],
    ]
    return answers, truths


def test_gres_counts_rows_without_a_target_by_whether_they_are_said_to_be_none():
    metrics = measure(*six_rows())
    assert (metrics["num_samples"], metrics["num_no_target"]) == (6, 3)
    assert metrics["gres_giou"] == pytest.approx((8 / 16 + 0 + 1 + 1 + 0 + 1) / 6)
    assert metrics["gres_n_acc"] == metrics["gres_t_acc"] == pytest.approx(2 / 3)
    assert [metrics[f"gres_precision@{limit}"] for limit in (0.7, 0.8, 0.9)] == pytest.approx([1 / 3] * 3)


def test_ciou_adds_the_union_of_a_target_said_to_be_none_and_the_pixels_that_answer_what_is_not_there():
    assert measure(*six_rows())["gres_ciou"] == pytest.approx((8 + 0 + 12) / (16 + 6 + 12 + 0 + 5 + 0))


def test_the_mask_of_an_answer_that_is_none_meets_nothing():
    given = answer(found=False, pixels=mask(slice(0, 3)))
    metrics = measure([given, given], [truth([BOX], mask(slice(1, 4))), truth(pixels=mask())])
    assert metrics["gres_giou"] == 1 / 2 and metrics["gres_ciou"] == 0
    intersection, union = generalized_statistics([given] * 2, [truth([BOX], mask(slice(1, 4))), truth()]).T[-2:]
    assert intersection.tolist() == [0, 0] and union.tolist() == [16, 0]


def test_an_empty_mask_is_none_for_gres_though_a_box_is_found():
    answers = [answer([BOX], pixels=mask())] * 2
    metrics = measure(answers, [truth([BOX], mask(slice(0, 3))), truth(pixels=mask())])
    assert metrics["gres_n_acc"] == 1 and metrics["gres_t_acc"] == 0 and metrics["gres_giou"] == 0.5
    assert metrics["grec_n_acc"] == 0 and metrics["grec_t_acc"] == 1


def test_precision_of_masks_is_from_an_iou_on():
    # 14, 16 and 18 of 20 pixels.
    answers, truths = [], []
    for count in (14, 16, 18):
        pixels = torch.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
        answers.append(answer([BOX], pixels=pixels < count))
        truths.append(truth([BOX], pixels < 20))
    metrics = measure(answers, truths)
    assert [metrics[f"gres_precision@{limit}"] for limit in (0.7, 0.8, 0.9)] == pytest.approx([1, 2 / 3, 1 / 3])


def test_rows_whose_mask_is_not_known_count_for_boxes_alone():
    answers, truths = six_rows()
    answers.append(answer([BOX], pixels=mask(slice(0, 3))))
    truths.append(truth([BOX]))
    with_it, without = measure(answers, truths), measure(answers[:-1], truths[:-1])
    assert {name: value for name, value in with_it.items() if "gres" in name} == {
        name: value for name, value in without.items() if "gres" in name
    }
    assert with_it["grec_precision_plain_iou_one"] == pytest.approx(2 / 3)
    assert without["grec_precision_plain_iou_one"] == 1 / 2


def test_without_boxes_the_mask_is_known_to_be_empty():
    metrics = measure([answer([BOX], pixels=mask(slice(0, 1)))], [truth()])
    assert metrics["gres_giou"] == metrics["gres_ciou"] == 0


def test_masks_are_not_measured_where_no_target_has_a_known_one():
    answers = [answer([BOX], pixels=mask(slice(0, 3))), answer(found=False, pixels=mask())]
    metrics = measure(answers, [truth([BOX]), truth()])
    assert not any("gres" in name for name in metrics) and metrics["grec_precision"] == 1


def test_what_a_model_does_not_answer_has_no_metrics():
    answers, truths = six_rows()
    only_masks = measure([{"found": given["found"], "mask": given["mask"]} for given in answers], truths)
    only_boxes = measure([{key: given[key] for key in ("found", "boxes", "scores")} for given in answers], truths)
    assert "gres_giou" in only_masks and not any("grec" in name for name in only_masks)
    assert "grec_precision" in only_boxes and not any("gres" in name for name in only_boxes)


def test_a_split_of_one_sort_has_no_shares_of_the_other():
    answers, truths = six_rows()
    targets, no_targets = measure(answers[:3], truths[:3]), measure(answers[3:], truths[3:])
    absent_in = {name for name in targets if name not in no_targets}
    assert absent_in == {"gres_t_acc", "grec_t_acc"} | {
        *(f"gres_precision@{limit}" for limit in (0.7, 0.8, 0.9)),
        *(f"grec_precision_plain_iou_{number}" for number in ("one", "several")),
    }
    assert {name for name in no_targets if name not in targets} == {
        "gres_n_acc",
        "grec_n_acc",
        "grec_precision_plain_iou_none",
    }
    # Where everything is rightly none there is no union.
    assert "gres_ciou" not in measure(answers[3:4], truths[3:4])


def test_no_samples_have_no_metrics():
    assert generalized_metrics(np.zeros((0, len(GENERALIZED_STATISTICS)))) == {"num_samples": 0}


def test_grec_is_right_where_every_box_has_its_own():
    answers, truths = six_rows()
    answers[5] = answer([BOX], found=False, pixels=mask())
    metrics = measure(answers, truths)
    # One of the first two, the third, and the fourth.
    assert metrics["grec_precision"] == metrics["grec_precision_plain_iou"] == pytest.approx(3 / 6)
    assert metrics["grec_precision_plain_iou_none"] == metrics["grec_n_acc"] == pytest.approx(1 / 3)
    assert metrics["grec_precision_plain_iou_one"] == 1 / 2
    assert metrics["grec_precision_plain_iou_several"] == 1
    assert metrics["grec_t_acc"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("boxes", [[BOX], [BOX, OTHER, (0, 0, 1, 1)], [BOX, BOX], [BOX, (0, 0, 1, 1)], []])
def test_a_box_too_few_too_many_twice_or_elsewhere_is_wrong(boxes):
    metrics = measure([answer(boxes)], [truth([BOX, OTHER])])
    assert metrics["grec_precision"] == metrics["grec_precision_plain_iou"] == 0
    assert metrics["grec_t_acc"] == bool(boxes)


def test_matching_is_greedy_where_another_would_match_more():
    first, second = (3, 0, 13, 10), (7, 0, 17, 10)
    # Overlaps with first and second: 9/11 and 7/13; 7/13 and 3/17. The best pair leaves the other box with 3/17.
    answers = [answer([(4, 0, 14, 10), (0, 0, 10, 10)])]
    statistics = generalized_statistics(answers, [truth([first, second])])[0].tolist()
    assert statistics[:4] == [2, 2, 1, 1]
    assert generalized_statistics(answers, [truth([second, first])])[0, :4].tolist() == [2, 2, 1, 1]


def test_the_best_pair_comes_first_whatever_the_scores():
    first, second = (3, 0, 13, 10), (7, 0, 17, 10)
    # The better box by score is nearer to the first target too, 9/11, but the other is that target itself.
    metrics = measure([answer([(4, 0, 14, 10), first], scores=[0.9, 0.8])], [truth([first, second])])
    assert metrics["grec_precision"] == metrics["grec_precision_plain_iou"] == 1


def test_generalised_and_plain_iou_differ_in_what_they_accept():
    # 25 x 8 pixels in both, 400 in either: IoU 0.5. The hull has 35 x 12, 20 more: generalised IoU 0.5 - 20/420.
    metrics = measure([answer([(5, 2, 35, 12)])], [truth([(0, 0, 30, 10)])])
    assert metrics["grec_precision"] == 0
    assert metrics["grec_precision_plain_iou"] == metrics["grec_precision_plain_iou_one"] == 1


def test_boxes_below_the_threshold_do_not_count():
    answers = [
        answer([BOX, OTHER], scores=[0.9, 0.7]),
        answer([BOX, OTHER], scores=[0.9, 0.69]),
        answer([BOX], scores=[0.6]),
    ]
    truths = [truth([BOX, OTHER]), truth([BOX]), truth()]
    assert measure(answers, truths, box_threshold=0.7)["grec_precision"] == 1
    assert measure(answers, truths, box_threshold=0.71)["grec_precision"] == pytest.approx(2 / 3)
    metrics = measure(answers, truths)
    assert metrics["grec_precision"] == pytest.approx(1 / 3) and metrics["grec_n_acc"] == 0


def test_a_box_that_is_no_number_is_one_too_many():
    broken = (float("nan"),) * 4
    statistics = generalized_statistics([answer([BOX, broken])] * 2, [truth([BOX]), truth([BOX, OTHER])])
    assert statistics[:, 1:4].tolist() == [[2, 1, 1], [2, 1, 1]]


def test_masks_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match=r"\[4, 6\] was given for one of \[6, 4\]"):
        generalized_statistics([answer([BOX], pixels=mask(slice(0, 3)))], [truth([BOX], mask(slice(0, 3)).T)])


def test_parts_measured_by_several_processes_are_the_whole():
    answers, truths = six_rows()
    answers.append(answer([BOX], pixels=mask(slice(0, 3))))
    truths.append(truth([BOX]))
    parts = [generalized_statistics(answers[rank::3], truths[rank::3]) for rank in range(3)]
    assert generalized_metrics(torch.cat(parts).numpy()) == pytest.approx(measure(answers, truths), abs=1e-12)


def candidates(present, boxes, scores, truth_boxes):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {"present": present, "boxes": boxes, "scores": torch.tensor(scores), "truth_boxes": truth_boxes}


def test_thresholds_are_the_middle_of_those_that_make_most_rows_right():
    rows = [
        candidates(0.9, [OTHER, BOX], [0.4, 0.8], [BOX]),
        candidates(0.3, [BOX, OTHER], [0.99, 0.98], []),
    ]
    chosen = choose_thresholds(rows)
    # Any box threshold in 0.41 .. 0.80 with any of presence in 0.31 .. 0.90.
    assert chosen.box_threshold == pytest.approx(0.605, abs=0.0051)
    assert chosen.presence_threshold == pytest.approx(0.605, abs=0.0051)
    assert chosen.metrics == {"grec_precision_plain_iou": 1, "grec_n_acc": 1}


def test_thresholds_keep_away_from_where_answers_get_worse():
    # One row is right from 0.51 to 0.90, the other from 0.11 to 0.14: the middle of both together is nearer to 0.5.
    rows = [
        candidates(0.99, [BOX, OTHER], [0.9, 0.5], [BOX]),
        candidates(0.99, [BOX, OTHER], [0.14, 0.1], [BOX]),
    ]
    chosen = choose_thresholds(rows)
    assert chosen.box_threshold == pytest.approx(0.705, abs=0.0051)
    assert chosen.presence_threshold == pytest.approx(0.5)


def test_of_equally_good_thresholds_those_that_say_none_rightly_are_chosen():
    rows = [candidates(0.9, [BOX], [0.5], [BOX]), candidates(0.9, [BOX], [0.5], []), candidates(0.9, [], [], [OTHER])]
    chosen = choose_thresholds(rows)
    assert chosen.metrics == {"grec_precision_plain_iou": pytest.approx(1 / 3), "grec_n_acc": 1}
    assert chosen.box_threshold > 0.5 or chosen.presence_threshold > 0.9


def test_rows_with_targets_alone_have_no_share_of_nones():
    assert choose_thresholds([candidates(0.2, [BOX], [0.5], [BOX])]).metrics == {"grec_precision_plain_iou": 1}


def test_no_thresholds_follow_from_no_rows():
    with pytest.raises(ValueError, match="no rows"):
        choose_thresholds([])


def test_chosen_thresholds_give_what_they_promise_and_no_others_give_more():
    generator = torch.Generator().manual_seed(3)
    rows = []
    for _ in range(40):
        boxes = torch.rand(5, 2, generator=generator) * 8
        boxes = torch.cat([boxes, boxes + 2 + torch.rand(5, 2, generator=generator) * 6], 1)
        num_targets = int(torch.randint(0, 4, (), generator=generator))
        truths = (boxes[:num_targets] + torch.rand(num_targets, 4, generator=generator)).tolist()
        better = torch.tensor([0.3 if place < num_targets else 0.0 for place in range(5)])
        scores = torch.rand(5, generator=generator) * 0.7 + better
        present = float(torch.rand((), generator=generator) * 0.7 + (0.3 if num_targets else 0))
        order = torch.randperm(5, generator=generator)
        rows.append({"present": present, "boxes": boxes[order], "scores": scores[order], "truth_boxes": truths})

    def measured(box_threshold, presence_threshold):
        answers = []
        for row in rows:
            keep = (row["scores"] >= box_threshold) & (row["present"] >= presence_threshold)
            answers.append({"found": bool(keep.any()), "boxes": row["boxes"][keep], "scores": row["scores"][keep]})
        metrics = measure(answers, [{"boxes": row["truth_boxes"], "mask": None} for row in rows])
        return metrics["grec_precision_plain_iou"], metrics["grec_n_acc"]

    chosen = choose_thresholds(rows)
    promised = chosen.metrics["grec_precision_plain_iou"], chosen.metrics["grec_n_acc"]
    assert measured(chosen.box_threshold, chosen.presence_threshold) == pytest.approx(promised)
    choices = [place / 100 for place in range(5, 96, 6)]
    assert promised >= max(measured(box, presence) for box in choices for presence in choices)
    assert 0.2 < promised[0] < 1
