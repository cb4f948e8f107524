"""What a checkpoint is known to do on a small slice of RefShapes, recorded in its folder and checked against later.

    <folder>/slice.json   {"refshapes_version": 2, "seed": 0, "indices": [3, 16, ...],
                           "metrics": {"num_samples": 112, "box_accuracy": ...}, "boxes": [[x, y, w, h], ...]}

The slice is made on the spot: `indices` are images of the set made from `seed`. So a checkout without any data can
tell whether checkpoint, network, processor and generator still do together what they did.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from plvl.data.refshapes import VERSION
from plvl.data.refshapes.rows import set_rows
from plvl.training.evaluation import evaluate_rows

FILE = "slice.json"
SEED = 0
INDICES = (3, 16, 31, 46, 53, 66, 81, 96, 103, 116, 131)  # the first of val, with about 100 expressions
METRICS = ("box_accuracy", "box_miou", "mask_miou", "loss")
# Other processors and libraries round otherwise: figures may differ by this much, and one box in 50 may be elsewhere.
TOLERANCE = 0.005
SAME_BOX = 2.0  # pixels that a number may differ by
BOXES_ELSEWHERE = 0.02


class SliceDiffersError(ValueError):
    """A checkpoint does not do what its folder records; the message says what was recorded and what came out."""


def record_slice(folder, model, processor, seed: int = SEED, indices: Iterable[int] = INDICES) -> dict:
    """
    Evaluates the slice and writes `slice.json` into the checkpoint's folder.

    Args:
        folder: of the checkpoint.
        model, processor: as they load from it; the model gives boxes.
        seed, indices: which images the slice has.

    Returns:
        what was written.
    """
    recorded = {"refshapes_version": VERSION, "seed": seed, "indices": list(indices)}
    recorded |= measure_slice(model, processor, seed, indices)
    Path(folder, FILE).write_text(json.dumps(recorded) + "\n", encoding="utf-8")
    return recorded


def check_slice(folder, model, processor) -> dict[str, float]:
    """
    Evaluates the slice that `slice.json` of a checkpoint's folder names.

    Returns:
        the metrics, which are those recorded, but for rounding.

    Raises:
        SliceDiffersError: a metric is another, boxes are elsewhere, or RefShapes has another version, so that its
            images are no longer the same.
    """
    file = Path(folder, FILE)
    recorded = json.loads(file.read_text(encoding="utf-8"))
    if recorded["refshapes_version"] != VERSION:
        raise SliceDiffersError(f"{file} is of RefShapes {recorded['refshapes_version']}, which is now {VERSION}")
    measured = measure_slice(model, processor, recorded["seed"], recorded["indices"])
    expected, metrics = recorded["metrics"], measured["metrics"]
    # Boxes that may be elsewhere may count for the accuracy.
    tolerances = {"num_samples": 0, "box_accuracy": BOXES_ELSEWHERE}
    for name in expected.keys() | metrics.keys():
        if not abs(expected.get(name, -1) - metrics.get(name, -1)) <= tolerances.get(name, TOLERANCE):
            raise SliceDiffersError(f"{file} records {expected}, but the checkpoint gives {metrics}")
    differences = np.abs(np.subtract(recorded["boxes"], measured["boxes"])).max(axis=1)
    elsewhere = int((differences > SAME_BOX).sum())
    if elsewhere > BOXES_ELSEWHERE * metrics["num_samples"]:
        raise SliceDiffersError(f"{elsewhere} of the {metrics['num_samples']} boxes are not those that {file} records")
    return metrics


def measure_slice(model, processor, seed: int, indices: Iterable[int]) -> dict:
    """
    Over all expressions about some images `"metrics"`: `num_samples` and those of `METRICS` that the model's tasks
    have; and `"boxes"`, x, y, w, h in pixels, to a hundredth.
    """
    evaluated = evaluate_rows(model, processor, set_rows(seed, indices))
    found = evaluated.metrics()
    return {
        "metrics": {name: found[name] for name in ("num_samples", *METRICS) if name in found},
        "boxes": [[round(side, 2) for side in answer["box"]] for answer in evaluated.answers],
    }
