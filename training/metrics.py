"""How well boxes and masks were found. Each sample gives a few numbers; the sums of those give every metric."""

from dataclasses import dataclass

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torchvision.ops import box_convert

IOU_THRESHOLD = 0.5
PRECISION_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
STATISTICS = ("box_iou", "intersection", "union", "has_mask", "center_x", "center_y", "width", "height")
# The same at the image's own size; these may follow the others.
NATIVE_STATISTICS = ("native_box_iou", "native_intersection", "native_union")


def paired_box_iou(boxes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """IoU of each box with its own counterpart: two of shape `(n, 4)`, cx, cy, w, h, give `(n,)`."""
    return paired_corner_iou(*(box_convert(given, "cxcywh", "xyxy") for given in (boxes.float(), others.float())))


def paired_corner_iou(boxes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """As `paired_box_iou`, of boxes x1, y1, x2, y2. A box that is no number overlaps nothing: it is a miss."""
    top_left = torch.maximum(boxes[:, :2], others[:, :2])
    bottom_right = torch.minimum(boxes[:, 2:], others[:, 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(1)
    areas = [(given[:, 2:] - given[:, :2]).prod(1) for given in (boxes, others)]
    return (intersection / (areas[0] + areas[1] - intersection).clamp(min=1e-12)).nan_to_num(0)


def mask_overlap(predicted: torch.Tensor, true: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels in both and in either of two boolean masks, over the last two dimensions."""
    return (predicted & true).sum((-2, -1)), (predicted | true).sum((-2, -1))


def grounding_statistics(outputs, labels: dict[str, torch.Tensor], mask_threshold: float = 0.5) -> torch.Tensor:
    """
    What the metrics need to know of each sample, so that no mask leaves its process.

    Args:
        outputs ([`PLVLOutput`]): of the model.
        labels: as the model takes them; `boxes` are needed, `masks` only if the model gives masks.

    Returns:
        `torch.Tensor` of shape `(batch_size, 8)`, double: the columns are `STATISTICS`. Without boxes in the outputs
        `box_iou` is NaN, without masks `has_mask`.
    """
    boxes = labels["boxes"]
    box_iou = boxes.new_full((len(boxes),), float("nan"))
    if outputs.pred_boxes is not None:
        # As the authors measure it: what a box has outside the image does not count.
        predicted = box_convert(outputs.pred_boxes.float(), "cxcywh", "xyxy").clamp(0, 1)
        box_iou = paired_corner_iou(predicted, box_convert(boxes.float(), "cxcywh", "xyxy"))
    intersection = union = torch.zeros_like(box_iou)
    has_mask = torch.full_like(box_iou, float("nan"))
    if outputs.pred_masks is not None:
        predicted, true = outputs.pred_masks.float().sigmoid() > mask_threshold, labels["masks"] > 0
        intersection, union = mask_overlap(predicted, true)
        has_mask = labels["has_mask"]
    return torch.stack([box_iou, intersection, union, has_mask, *boxes.unbind(1)], dim=1).double()


def native_statistics(answers: list[dict], truths: list[dict]) -> torch.Tensor:
    """
    What the metrics at the image's own size need to know of each sample.

    Args:
        answers: from `PLVLProcessor.post_process_grounding` with the images' sizes.
        truths: for each sample `"boxes"`, of its one object x1, y1, x2, y2 in pixels, and `"mask"`, `(height, width)`
            or `None`.

    Returns:
        `torch.Tensor` of shape `(samples, 3)`, double: the columns are `NATIVE_STATISTICS`, 0 for a mask that is not
        there and NaN for a box that is not.
    """
    statistics = torch.zeros(len(answers), len(NATIVE_STATISTICS), dtype=torch.float64)
    for sample, answer, truth in zip(statistics, answers, truths, strict=True):
        sample[0] = float("nan")
        if "box" in answer:
            true = torch.tensor(truth["boxes"][:1]).double()
            sample[0] = paired_corner_iou(answer["box"][None].double().cpu(), true)[0]
        if "mask" in answer and truth["mask"] is not None:
            true = torch.as_tensor(truth["mask"], device=answer["mask"].device) > 0
            sample[1], sample[2] = mask_overlap(answer["mask"], true)
    return statistics


def right_answers(answers: list[dict], truths: list[dict]) -> list[bool]:
    """
    Whether what a person sees of each answer is right: the box and the mask, as far as there are, have an IoU of 0.5
    or more with the true ones at the image's own size.

    Args:
        answers, truths: as for [`native_statistics`].
    """
    found = []
    for box_iou, intersection, union in native_statistics(answers, truths).tolist():
        box_is_wrong = box_iou < IOU_THRESHOLD  # not so where there is none, which is NaN
        found.append(not box_is_wrong and intersection >= IOU_THRESHOLD * union)
    return found


def answer_statistics(answers: list[dict], truths: list[dict]) -> np.ndarray:
    """
    What the metrics need to know of each sample, from answers as a predictions file has them.

    Args:
        answers, truths: of each sample `"box"` (x, y, w, h in pixels, or `None`) and `"mask"` (compressed RLE,
            `{"size": [height, width], "counts": str}`; `None` or one without counts says that there is none). An
            answer without what its truth has is a miss, unless no answer has it.

    Returns:
        `(samples, 8)`: the columns are `STATISTICS`, of which the last four, which serve the centre box, are 0,
        and NaN where there is no true box.

    Raises:
        ValueError: an answer's mask has another size than the true one.
    """
    statistics = np.zeros((len(answers), len(STATISTICS)))
    masks_are_answered = any(map(_has_mask, answers))
    for row, answer, truth in zip(statistics, answers, truths, strict=True):
        row[0] = _pixel_box_iou(answer["box"], truth["box"])
        row[3] = _has_mask(truth) if masks_are_answered else float("nan")
        if masks_are_answered and _has_mask(truth):
            row[1:3] = _rle_overlap(answer["mask"], truth["mask"]) if _has_mask(answer) else (0, _area(truth["mask"]))
        if not truth["box"]:
            row[4:] = float("nan")
    return statistics


def _pixel_box_iou(answer, truth) -> float:
    if not answer or not truth:
        return float("nan")
    return float(coco_mask.iou(np.array([answer], float), np.array([truth], float), [0])[0, 0])


def _has_mask(sample) -> bool:
    return bool(sample["mask"] and sample["mask"]["counts"])


def _rle_overlap(answer, truth) -> tuple[float, float]:
    if list(answer["size"]) != list(truth["size"]):
        raise ValueError(f"a mask of {list(answer['size'])} was given for one of {list(truth['size'])}")
    masks = [_with_bytes(mask) for mask in (answer, truth)]
    either, both = (float(coco_mask.area(coco_mask.merge(masks, intersect=how))) for how in (False, True))
    return both, either


def _area(mask) -> float:
    return float(coco_mask.area(_with_bytes(mask)))


def _with_bytes(mask) -> dict:
    return {"size": list(mask["size"]), "counts": mask["counts"].encode("ascii")}


@dataclass
class _Columns:
    """A table of statistics by column name."""

    values: np.ndarray

    def __getattr__(self, name):
        return self.values[:, (STATISTICS + NATIVE_STATISTICS).index(name)]


def grounding_metrics(statistics: np.ndarray) -> dict[str, float]:
    """
    The metrics of a split from all its samples' statistics.

    Args:
        statistics: `(samples, 8)`, the columns of `STATISTICS`, or `(samples, 11)` with `NATIVE_STATISTICS` too.

    Returns:
        `num_samples`, and of these `num_boxes` and `num_masks`, those that have a box and a mask; over the ones with a
        box `box_accuracy` (share of boxes of IoU ≥ 0.5), `box_miou` and `center_box_accuracy` (what a box in the
        middle of each image, of the split's mean size, would get); over the ones with a mask `mask_miou` (mean IoU),
        `mask_oiou` (all intersections over all unions) and `mask_precision@0.5` to `mask_precision@0.9` (share of
        masks of that IoU or more). With the native statistics these again, at the image's own size, as `native_...`.
        What the model does not answer is left out, with its number; where it does and no sample has any, the number
        is 0.
    """
    columns = _Columns(np.asarray(statistics, dtype=np.float64))
    metrics: dict[str, float] = {"num_samples": len(columns.values)}
    if not len(columns.values):
        return metrics
    boxed = _Columns(columns.values[~np.isnan(columns.width)])
    masked = _Columns(columns.values[columns.has_mask > 0])
    if not np.isnan(boxed.box_iou).all() or not len(boxed.values):
        metrics["num_boxes"] = len(boxed.values)
    if not np.isnan(columns.has_mask).all():
        metrics["num_masks"] = len(masked.values)
    metrics |= _box_metrics(boxed.box_iou)
    if "box_accuracy" in metrics:
        metrics["center_box_accuracy"] = _center_box_accuracy(boxed)
    metrics |= _mask_metrics(masked.intersection, masked.union)
    if columns.values.shape[1] > len(STATISTICS):
        native = _box_metrics(boxed.native_box_iou) | _mask_metrics(masked.native_intersection, masked.native_union)
        metrics |= {f"native_{name}": value for name, value in native.items()}
    return metrics


def _box_metrics(iou: np.ndarray) -> dict[str, float]:
    if np.isnan(iou).all():
        return {}
    # A box that is no number is a miss; only where all are there was no box to find.
    iou = np.nan_to_num(iou, nan=0.0)
    return {"box_accuracy": float((iou >= IOU_THRESHOLD).mean()), "box_miou": float(iou.mean())}


def _mask_metrics(intersection: np.ndarray, union: np.ndarray) -> dict[str, float]:
    if not len(union):
        return {}
    iou = intersection / np.maximum(union, 1)
    metrics = {"mask_miou": float(iou.mean()), "mask_oiou": float(intersection.sum() / max(union.sum(), 1))}
    return metrics | {f"mask_precision@{limit}": float((iou >= limit).mean()) for limit in PRECISION_THRESHOLDS}


def _center_box_accuracy(columns: _Columns) -> float:
    sides = (columns.center_x, columns.center_y, columns.width, columns.height)
    boxes = torch.from_numpy(np.stack(sides, axis=1))
    guess = torch.tensor([0.5, 0.5, columns.width.mean(), columns.height.mean()], dtype=boxes.dtype)
    return float((paired_box_iou(guess.expand_as(boxes), boxes) >= IOU_THRESHOLD).double().mean())
