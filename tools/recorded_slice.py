"""What a checkpoint is known to do on a small slice of images, recorded in its folder and checked against later.

    <folder>/slice.json   {"refshapes_version": 2, "seed": 0, "indices": [3, 16, ...],
                           "metrics": {"num_samples": 112, "box_accuracy": ...}, "boxes": [[x, y, w, h], ...]}

The slice is made on the spot: `indices` are images of the set made from `seed`. So a checkout without any data can
tell whether checkpoint, network, processor and generator still do together what they did. Of a model of any number of
targets there are, in the place of `boxes`, its answers to these expressions and to those about the checkpoint's own
examples, which are photographs:

    "answers": [{"image": "refshapes_000004.jpg", "text": "the blue moon", "present": 0.98, "scores": [0.81],
                 "boxes": [[x, y, w, h]], "mask": [share of the image, x and y of its centre, in pixels]}, ...],
    "examples": [{"image": "cat.jpg", "text": "the dog", "present": 0.1, "scores": [], "boxes": [], "mask": null}, ...]
"""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from pycocotools import mask as coco_mask

from plvl.data.refshapes import VERSION
from plvl.data.refshapes.rows import set_rows
from plvl.processing.image_input import read_image
from plvl.scripts.demo_page.examples import read_examples
from plvl.training.evaluation import answer_record, evaluate_rows

FILE = "slice.json"
SEED = 0
INDICES = (3, 16, 31, 46, 53, 66, 81, 96, 103, 116, 131)  # the first of val, with about 100 expressions
METRICS = ("box_accuracy", "box_miou", "mask_miou", "loss", "gres_giou", "grec_precision_plain_iou")
# Other processors and libraries round otherwise: figures may differ by this much (a loss above 1 by this share), and
# one answer in 50, or a single one of fewer, may be another.
TOLERANCE = 0.005
SAME_BOX = 2.0  # pixels that a number may differ by
SAME_SCORE = 0.02
ANSWERS_ELSEWHERE = 0.02
# Answers that may be others may count for these.
COUNTING = ("box_accuracy", "box_miou", "gres_giou", "grec_precision_plain_iou")


class SliceDiffersError(ValueError):
    """A checkpoint does not do what its folder records; the message says what was recorded and what came out."""


def record_slice(folder, model, processor, seed: int = SEED, indices: Iterable[int] = INDICES) -> dict:
    """
    Evaluates the slice and writes `slice.json` into the checkpoint's folder.

    Args:
        folder: of the checkpoint, with its examples, if it has any.
        model, processor: as they load from it; the model gives boxes.
        seed, indices: which images of RefShapes the slice has.

    Returns:
        what was written.
    """
    questions = [(each.image, text) for each in read_examples(folder) for text in each.expressions]
    recorded = {"refshapes_version": VERSION, "seed": seed, "indices": list(indices)}
    recorded |= measure_slice(model, processor, seed, indices, questions)
    Path(folder, FILE).write_text(json.dumps(recorded) + "\n", encoding="utf-8")
    return recorded


def check_slice(folder, model, processor) -> dict[str, float]:
    """
    Evaluates the slice that `slice.json` of a checkpoint's folder names.

    Returns:
        the metrics, which are those recorded, but for rounding.

    Raises:
        SliceDiffersError: a metric is another, answers are others, or RefShapes has another version, so that its
            images are no longer the same.
        ValueError: an example that was recorded is not there.
    """
    file = Path(folder, FILE)
    recorded = json.loads(file.read_text(encoding="utf-8"))
    if recorded["refshapes_version"] != VERSION:
        raise SliceDiffersError(f"{file} is of RefShapes {recorded['refshapes_version']}, which is now {VERSION}")
    questions = [(Path(folder, "examples", each["image"]), each["text"]) for each in recorded.get("examples", ())]
    measured = measure_slice(model, processor, recorded["seed"], recorded["indices"], questions)
    expected, metrics = recorded["metrics"], measured["metrics"]
    for name in expected.keys() | metrics.keys():
        if not abs(expected.get(name, -1) - metrics.get(name, -1)) <= _tolerance(name, expected.get(name, 0)):
            raise SliceDiffersError(f"{file} records {expected}, but the checkpoint gives {metrics}")
    answers, expected_answers = _answers(measured), _answers(recorded)
    if len(answers) != len(expected_answers):
        raise SliceDiffersError(f"{file} records {len(expected_answers)} answers, but there are {len(answers)}")
    others = [pair for pair in zip(expected_answers, answers, strict=True) if not is_same_answer(*pair)]
    if len(others) > max(ANSWERS_ELSEWHERE * len(answers), 1):
        before, now = others[0]
        raise SliceDiffersError(
            f"{len(others)} of the {len(answers)} answers are not those that {file} records: of {before} became {now}"
        )
    return metrics


def measure_slice(model, processor, seed: int, indices: Iterable[int], questions=()) -> dict:
    """
    Over all expressions about some images `"metrics"`: `num_samples` and those of `METRICS` that the model's tasks
    have; and `"boxes"`, x, y, w, h in pixels, to a hundredth. Of a model of any number of targets `"answers"` in their
    place, and `"examples"`, its answers to `questions`, pairs of an image's file and an expression.
    """
    evaluated = evaluate_rows(model, processor, set_rows(seed, indices))
    found = evaluated.metrics()
    measured: dict = {"metrics": {name: found[name] for name in ("num_samples", *METRICS) if name in found}}
    if model.config.targets == "one":
        return measured | {"boxes": [[round(side, 2) for side in answer["box"]] for answer in evaluated.answers]}
    asked = [example_record(model, processor, *question) for question in questions]
    return measured | {"answers": list(map(summary, evaluated.answers)), "examples": list(map(summary, asked))}


@torch.no_grad()
def example_record(model, processor, file: Path, text: str) -> dict:
    """The answer about an image, as [`answer_record`] has it."""
    image = read_image(file)
    outputs = model(**processor(images=image, text=text, return_tensors="pt"))
    [answer] = processor.post_process_grounding(outputs, target_sizes=[(image.height, image.width)])
    return answer_record({"file_name": file.name, "text": text}, answer)


def summary(record: dict) -> dict:
    """What is recorded of an answer of a model of any number of targets, from its `answer_record`."""
    told = {"image": record["file_name"], "text": record["text"], "present": round(record["present"], 4)}
    if "boxes" in record:
        told["scores"] = [round(score, 4) for score in record["scores"]]
        told["boxes"] = [[round(side, 2) for side in box] for box in record["boxes"]]
    if "mask" in record:
        rows, columns = np.nonzero(coco_mask.decode(record["mask"]))
        height, width = record["mask"]["size"]
        told["mask"] = None
        if len(rows):
            centre = [round(float(each.mean()), 2) for each in (columns, rows)]
            told["mask"] = [round(len(rows) / (height * width), 4), *centre]
    return told


def is_same_answer(recorded, measured) -> bool:
    """Whether two answers are the same but for rounding: boxes of a model of one target, or summaries."""
    if isinstance(recorded, list):
        return _is_near(recorded, measured, SAME_BOX)
    if [recorded[name] for name in ("image", "text")] != [measured[name] for name in ("image", "text")]:
        return False
    (numbers, sides, share, centre), others = _numbers(recorded), _numbers(measured)
    return (
        _is_near(numbers, others[0], SAME_SCORE)
        and _is_near(sides, others[1], SAME_BOX)
        and _is_near(share, others[2], TOLERANCE)
        and _is_near(centre, others[3], SAME_BOX)
    )


def _numbers(told: dict) -> tuple[list[float], list[float], list[float], list[float]]:
    """Of a summary the probabilities, the boxes' sides, the mask's share, and its centre."""
    mask = told.get("mask") or []
    sides = [side for box in told.get("boxes", ()) for side in box]
    return [told["present"], *told.get("scores", ())], sides, mask[:1], mask[1:]


def _is_near(some: list[float], others: list[float], tolerance: float) -> bool:
    return len(some) == len(others) and all(abs(a - b) <= tolerance for a, b in zip(some, others, strict=True))


def _answers(slice_: dict) -> list:
    """All that was asked, whatever it is called."""
    return [*slice_.get("boxes", ()), *slice_.get("answers", ()), *slice_.get("examples", ())]


def _tolerance(metric: str, value: float) -> float:
    if metric == "num_samples":
        return 0
    if metric in COUNTING:
        return ANSWERS_ELSEWHERE
    return TOLERANCE * max(value, 1.0) if metric == "loss" else TOLERANCE
