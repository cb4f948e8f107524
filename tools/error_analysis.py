"""What a model's wrong answers about RefShapes lie on, from the answers that do_predict wrote.

python tools/error_analysis.py --predictions outputs/evaluation --label_root outputs/refshapes/labels

Prints a table for every predictions_<split>.jsonl of the folder. A box with an IoU under 0.5 is wrong. It lies on the
object whose visible box it overlaps most: the right one, another one of its shape, or one of another shape.
Expressions about none or several are left out.
"""

import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from eval_by_kind import Truth, prediction_files, read_answers, read_truths
from plvl.data.refer import label_files
from plvl.data.refshapes import KINDS
from plvl.data.source_files import read_json
from plvl.scripts.program import ArgumentParser
from plvl.training.metrics import IOU_THRESHOLD
from plvl.training.results import print_metrics

WRONG = ("right object", "same shape", "another shape", "nothing")
COLUMNS = {name: name for name in ("expressions", "box accuracy", *WRONG)}
SIZES = ("small", "medium", "large")


def main(argv=None):
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--predictions", required=True, help="folder of predictions_<split>.jsonl")
    parser.add_argument("--label_root", required=True, help="folder of the labels of the RefShapes set")
    arguments = parser.parse_args(argv)
    try:
        files = prediction_files(Path(arguments.predictions))
        truths, images = read_truths(arguments.label_root), read_objects(arguments.label_root)
        for split, file in files.items():
            print_metrics(split, COLUMNS, counts_by_group(read_answers(file, truths), images))
    except (ValueError, OSError) as error:
        sys.exit(f"error_analysis: {error}")


def read_objects(label_root) -> dict[int, list[dict]]:
    """By `image_id`, the annotations of all the objects of each image, those that nobody refers to among them."""
    images = defaultdict(list)
    for annotation in read_json(label_files("refshapes", label_root, "unc")[1])["annotations"]:
        images[annotation["image_id"]].append(annotation)
    return images


def counts_by_group(answers: list[tuple[dict, Truth]], images: dict[int, list[dict]]) -> dict[str, dict[str, float]]:
    """Rows of `COLUMNS`: of all answers, and by the kind of expression, the size of the object that it means, the
    number of objects in the image, and the answer's score.

    Raises ValueError when an answer has no box.
    """
    outcomes = defaultdict(Counter)
    for answer, truth in answers:
        if truth.ann_id is None:
            continue
        if not answer.get("box"):
            raise ValueError(f"the answer to expression {answer['sent_id']} {truth.text!r} has no box")
        objects = images[truth.image_id]
        (target,) = (each for each in objects if each["id"] == truth.ann_id)
        outcome = lies_on(answer["box"], target, objects)
        number = f"{len(objects)} objects"
        score = "score from 0.7" if answer["score"] >= 0.7 else "score below 0.7"
        for group in ("all", truth.kind, target["attributes"]["size"], number, score):
            outcomes[group][outcome] += 1
    numbers = sorted((name for name in outcomes if name.endswith("objects")), key=lambda name: int(name.split()[0]))
    order = ("all", *KINDS, *SIZES, *numbers, "score below 0.7", "score from 0.7")
    return {name: _row(outcomes[name]) for name in order if name in outcomes}


def _row(outcomes: Counter) -> dict[str, float]:
    total = outcomes.total()
    return {"expressions": total, "box accuracy": outcomes["right"] / total} | {name: outcomes[name] for name in WRONG}


def lies_on(box: list[float], target: dict, objects: list[dict]) -> str:
    """`"right"`, or which of `WRONG` an answer is.

    Args:
        box: x, y, w, h in pixels.
        target: the annotation of the object that is meant.
        objects: the annotations of all objects of the image, `target` among them.
    """
    boxes = np.array([each["bbox"] for each in objects], float)
    overlaps = coco_mask.iou(np.array([box], float), boxes, [0] * len(objects))[0]
    if overlaps[objects.index(target)] >= IOU_THRESHOLD:
        return "right"
    if not overlaps.any():
        return "nothing"
    found = objects[overlaps.argmax()]
    if found is target:
        return "right object"
    return "same shape" if found["category_id"] == target["category_id"] else "another shape"


if __name__ == "__main__":
    main()
