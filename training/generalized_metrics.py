"""
Metrics of expressions that mean no object, one or several: GRES of masks, GREC of boxes.

They are counted as the benchmarks' own programs count (GRES: arXiv 2306.00968, GREC: arXiv 2308.16182);
docs/generalized.md has the rules, and where these differ from the programs'. Each sample gives a few numbers; the sums
of those give every metric.
"""

from typing import NamedTuple

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torchvision.ops import box_convert, box_iou, generalized_box_iou

from plvl.training.metrics import IOU_THRESHOLD, mask_overlap

GRES_PRECISION_THRESHOLDS = (0.7, 0.8, 0.9)
GENERALIZED_STATISTICS = (
    "num_targets",
    "num_boxes",
    "generalized_iou_matches",
    "plain_iou_matches",
    "says_none",
    "intersection",
    "union",
)
_THRESHOLD_GRID = np.arange(5, 96) / 100


class ChosenThresholds(NamedTuple):
    """Thresholds, and what they give on the rows that they were chosen by: see [`choose_thresholds`]."""

    box_threshold: float
    presence_threshold: float
    metrics: dict[str, float]


def generalized_statistics(
    answers: list[dict], truths: list[dict], box_threshold: float | None = None
) -> torch.Tensor:
    """
    What the metrics need to know of each sample, so that no mask leaves its process.

    Args:
        answers: from `PLVLProcessor.post_process_grounding` with the images' sizes: `"found"`, `bool`; of a model with
            boxes `"boxes"`, tensor `(n, 4)`, x1, y1, x2, y2 in pixels, and `"scores"`, `(n,)`; of one with masks
            `"mask"`, `bool` tensor `(height, width)`.
        truths: for each sample `"boxes"`, any number of x1, y1, x2, y2 in pixels, and `"mask"` of all of them,
            `(height, width)`, or `None` where it is not known. Without boxes the mask is known to be empty.
        box_threshold: boxes of a lower score do not count; `None` counts all that were answered.

    Returns:
        `torch.Tensor` of shape `(samples, 7)`, double: the columns are `GENERALIZED_STATISTICS`. Those of boxes are
        NaN for a model without boxes, `intersection` and `union` where a mask is not answered or not known.

    Raises:
        ValueError: an answer's mask has another size than the true one.
    """
    statistics = torch.full((len(answers), len(GENERALIZED_STATISTICS)), float("nan"), dtype=torch.float64)
    for sample, answer, truth in zip(statistics, answers, truths, strict=True):
        true_boxes = _corners(truth["boxes"])
        sample[0] = len(true_boxes)
        if "boxes" in answer:
            boxes = answer["boxes"].double().cpu()
            if box_threshold is not None:
                boxes = boxes[answer["scores"].cpu() >= box_threshold]
            sample[1] = len(boxes)
            is_box = (boxes[:, 2:] > boxes[:, :2]).all(1)
            sample[2] = _num_matches(generalized_box_iou(boxes, true_boxes).where(is_box[:, None], -1.0))
            sample[3] = _num_matches(box_iou(boxes, true_boxes))
        sample[4] = not answer["found"]
        if "mask" in answer:
            sample[4] = not answer["found"] or not answer["mask"].any()
            sample[5:] = _gres_overlap(answer["mask"], truth["mask"], len(true_boxes) > 0, bool(sample[4]))
    return statistics


def right_generalized_answers(answers: list[dict], truths: list[dict]) -> list[bool]:
    """
    Whether what a person sees of each answer is right: every box has an object of its own, and every object a box (by
    an IoU of 0.5), and the mask, if both are known, has an IoU of 0.5 or more; nothing is answered where nothing is
    meant.

    Args:
        answers, truths: as for [`generalized_statistics`].
    """
    found = []
    for sample in generalized_statistics(answers, truths).tolist():
        num_targets, num_boxes, _, matches, _, intersection, union = sample
        # What is not known is NaN, of which no comparison is true.
        boxes_are_wrong = num_boxes >= 0 and not num_boxes == matches == num_targets
        mask_is_wrong = intersection < IOU_THRESHOLD * union
        found.append(not boxes_are_wrong and not mask_is_wrong)
    return found


def _corners(boxes) -> torch.Tensor:
    return torch.as_tensor(np.asarray(boxes, dtype=np.float64).reshape(-1, 4))


def _num_matches(overlaps: torch.Tensor) -> int:
    """Pairs of an answer (rows) and a truth (columns), the best overlap first, each box in one pair at most."""
    # A box that is no number, or has no area, overlaps nothing.
    left = np.nan_to_num(overlaps.numpy(), nan=-1.0)
    for matches in range(min(left.shape)):
        row, column = np.unravel_index(left.argmax(), left.shape)
        if left[row, column] < IOU_THRESHOLD:
            return matches
        left[row, :] = left[:, column] = -1
    return min(left.shape)


def _gres_overlap(predicted: torch.Tensor, true, has_target: bool, says_none: bool) -> torch.Tensor:
    """Intersection and union as GRES adds them up."""
    if true is None and has_target:
        return torch.full((2,), float("nan"))
    true = torch.zeros_like(predicted) if true is None else torch.as_tensor(true, device=predicted.device) > 0
    if predicted.shape != true.shape:
        raise ValueError(f"a mask of {list(predicted.shape)} was given for one of {list(true.shape)}")
    intersection, union = mask_overlap(predicted, true)
    if says_none:
        intersection = torch.zeros_like(intersection)
        union = union if has_target else intersection
    return torch.stack([intersection, union]).cpu()


def generalized_answer_statistics(
    answers: list[dict], truths: list[dict], box_threshold: float | None = None
) -> np.ndarray:
    """
    As [`generalized_statistics`], from answers as a predictions file has them.

    Args:
        answers: of each sample `"boxes"` (list of x, y, w, h in pixels, or `None`), `"scores"` (as many, or `None`)
            and `"mask"` (compressed RLE, `{"size": [height, width], "counts": str}`; `None` or one without counts says
            that there is none). An answer without boxes, or without a mask, has said none by it, unless no answer has
            them. For GRES an answer is none where its mask has no pixel.
        truths: alike. Boxes must be there (`[]` where nothing is meant); a mask that is not is not known, but for a
            sample without boxes, where it is empty.
        box_threshold: boxes of a lower score do not count.

    Returns:
        `(samples, 7)`: the columns are `GENERALIZED_STATISTICS`.

    Raises:
        ValueError: a truth says no boxes, there are more or fewer scores than boxes (with `box_threshold` they are
            needed), or a mask has another size than the true one.
    """
    boxes_are_answered = any(answer["boxes"] is not None for answer in answers)
    masks_are_answered = any(_has_mask(answer) for answer in answers)
    statistics = np.zeros((len(answers), len(GENERALIZED_STATISTICS)))
    for row, (answer, truth) in enumerate(zip(answers, truths, strict=True)):
        if truth["boxes"] is None:
            raise ValueError(f"reference {row} says no boxes: give a list, which is empty where nothing is meant")
        true = {"boxes": _sides_to_corners(truth["boxes"]), "mask": _pixels(truth) if _has_mask(truth) else None}
        given: dict = {"found": True}
        if boxes_are_answered:
            given["boxes"] = _sides_to_corners(answer["boxes"])
        if answer["scores"] is not None or box_threshold is not None:
            given["scores"] = _scores(answer, row)
        if masks_are_answered:
            nothing = np.zeros((1, 1) if true["mask"] is None else true["mask"].shape)
            given["mask"] = torch.from_numpy(_pixels(answer) if _has_mask(answer) else nothing) > 0
        statistics[row] = generalized_statistics([given], [true], box_threshold)[0]
    return statistics


def _has_mask(sample) -> bool:
    return bool(sample["mask"] and sample["mask"]["counts"])


def _pixels(sample) -> np.ndarray:
    mask = sample["mask"]
    return coco_mask.decode({"size": list(mask["size"]), "counts": mask["counts"].encode("ascii")})


def _sides_to_corners(boxes) -> torch.Tensor:
    return box_convert(_corners(boxes or []), "xywh", "xyxy")


def _scores(answer, row) -> torch.Tensor:
    boxes, scores = answer["boxes"] or [], answer["scores"] or []
    if len(scores) != len(boxes):
        raise ValueError(f"prediction {row} has {len(scores)} scores for {len(boxes)} boxes")
    return torch.tensor(scores, dtype=torch.float64)


def generalized_metrics(statistics: np.ndarray) -> dict[str, float]:
    """
    The metrics of a split from all its samples' statistics.

    Args:
        statistics: `(samples, 7)`, the columns of `GENERALIZED_STATISTICS`.

    Returns:
        `num_samples` and `num_no_target`, those that mean no object. Of masks, over the samples whose mask is known:
        `gres_giou` (mean IoU; a sample without a target counts 1 if the answer is none, else 0), `gres_ciou` (all
        intersections over all unions), `gres_n_acc` (share of those without a target whose answer is none),
        `gres_t_acc` (share of those with a target whose answer is not), `gres_precision@0.7` to `@0.9` (share of those
        with a target of that IoU or more). Of boxes: `grec_precision` (share of samples of F1 = 1 where boxes match
        from a *generalised* IoU of 0.5, as the benchmark's program has it), `grec_precision_plain_iou` (from an IoU
        of 0.5) and the same over the samples of no target, one and several (`grec_precision_plain_iou_none`, `_one`,
        `_several`), `grec_n_acc` and `grec_t_acc`, which go by whether any box is answered. All in 0..1. Left out is
        what would be over no samples, what the model does not answer, and all of masks where no sample with a target
        has a known one.
    """
    values = np.asarray(statistics, dtype=np.float64)
    metrics: dict[str, float] = {"num_samples": len(values)}
    if not len(values):
        return metrics
    columns = dict(zip(GENERALIZED_STATISTICS, values.T, strict=True))
    metrics["num_no_target"] = int((columns["num_targets"] == 0).sum())
    return metrics | _gres_metrics(columns) | _grec_metrics(columns)


def _gres_metrics(columns: dict[str, np.ndarray]) -> dict[str, float]:
    known = ~np.isnan(columns["union"])
    if (columns["num_targets"] > 0).any() and not known[columns["num_targets"] > 0].any():
        return {}
    has_target = columns["num_targets"][known] > 0
    says_none = columns["says_none"][known] > 0
    intersection, union = columns["intersection"][known], columns["union"][known]
    iou = intersection / np.maximum(union, 1)
    metrics = _means(
        {
            "gres_giou": np.where(has_target, iou, says_none),
            "gres_n_acc": says_none[~has_target],
            "gres_t_acc": ~says_none[has_target],
        }
        | {f"gres_precision@{limit}": iou[has_target] >= limit for limit in GRES_PRECISION_THRESHOLDS}
    )
    if union.sum() > 0:
        metrics["gres_ciou"] = float(intersection.sum() / union.sum())
    return metrics


def _grec_metrics(columns: dict[str, np.ndarray]) -> dict[str, float]:
    if np.isnan(columns["num_boxes"]).any():
        return {}
    num_targets, num_boxes = columns["num_targets"], columns["num_boxes"]
    # F1 is 1 where every box answered has its own true one, and every true one its own answer.
    right, plainly_right = (
        (num_boxes == num_targets) & (columns[matches] == num_targets)
        for matches in ("generalized_iou_matches", "plain_iou_matches")
    )
    return _means(
        {
            "grec_precision": right,
            "grec_precision_plain_iou": plainly_right,
            "grec_precision_plain_iou_none": plainly_right[num_targets == 0],
            "grec_precision_plain_iou_one": plainly_right[num_targets == 1],
            "grec_precision_plain_iou_several": plainly_right[num_targets > 1],
            "grec_n_acc": num_boxes[num_targets == 0] == 0,
            "grec_t_acc": num_boxes[num_targets > 0] > 0,
        }
    )


def _means(of_samples: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: float(values.mean()) for name, values in of_samples.items() if len(values)}


def choose_thresholds(rows: list[dict]) -> ChosenThresholds:
    """
    The thresholds that make most answers of a validation split right.

    An answer is none where the presence is below `presence_threshold`, else it is the boxes of a score of
    `box_threshold` or more. Both are looked for in 0.05, 0.06 … 0.95.

    Args:
        rows: of each sample `"present"` (0..1), `"boxes"`, tensor `(n, 4)`, all candidates as x1, y1, x2, y2 in
            pixels, `"scores"`, `(n,)`, and `"truth_boxes"`, any number of x1, y1, x2, y2.

    Returns:
        [`ChosenThresholds`], those of the highest `grec_precision_plain_iou`; of equal ones those of the highest
        `grec_n_acc`, and of these the ones farthest from others. Its `metrics` are these two (the second where a row
        means nothing).

    Raises:
        ValueError: there are no rows.
    """
    if not rows:
        raise ValueError("no rows to choose thresholds by")
    present = np.array([float(row["present"]) for row in rows]) >= _THRESHOLD_GRID[:, None]
    right_if_present = np.stack([_boxes_are_right(row) for row in rows])
    no_target = np.array([len(row["truth_boxes"]) == 0 for row in rows])
    # Counts of rows, presence thresholds down and box thresholds across.
    right_none = _counts(present[:, no_target], right_if_present[no_target]) + (~present[:, no_target]).sum(1)[:, None]
    num_right = right_none + _counts(present[:, ~no_target], right_if_present[~no_target])
    best = num_right == num_right.max()
    best &= right_none == right_none[best].max()
    presence, box = _middle(best)
    metrics = {"grec_precision_plain_iou": float(num_right[presence, box] / len(rows))}
    if no_target.any():
        metrics["grec_n_acc"] = float(right_none[presence, box] / no_target.sum())
    return ChosenThresholds(float(_THRESHOLD_GRID[box]), float(_THRESHOLD_GRID[presence]), metrics)


def _boxes_are_right(row: dict) -> np.ndarray:
    """Whether a row's boxes are right where its answer is not none, by the box threshold."""
    scores, truths = row["scores"].double().cpu(), _corners(row["truth_boxes"])
    # They can be only where as many are kept as there are targets, and those have the best scores.
    best = row["boxes"].double().cpu()[scores.argsort(descending=True)[: len(truths)]]
    num_kept = (scores.numpy()[:, None] >= _THRESHOLD_GRID).sum(0)
    return (num_kept == len(truths)) & (_num_matches(box_iou(best, truths)) == len(truths))


def _counts(present: np.ndarray, right: np.ndarray) -> np.ndarray:
    return present.astype(np.float64) @ right.astype(np.float64)


def _middle(wanted: np.ndarray) -> tuple[int, int]:
    """The place of a table that is the farthest inside of those wanted, and of these nearest to their mean."""
    inside = wanted
    while inside.any():
        wanted = inside
        around = np.pad(wanted, 1)
        inside = wanted & around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    places = np.argwhere(wanted)
    row, column = places[((places - places.mean(0)) ** 2).sum(1).argmin()]
    return int(row), int(column)
