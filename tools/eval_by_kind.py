"""How well a model understands each kind of expression of RefShapes, from the answers that do_predict wrote.

python tools/eval_by_kind.py --predictions outputs/evaluation --label_root outputs/refshapes/labels

Reads every predictions_<split>.jsonl of the folder, prints a table and writes metrics_by_kind.json beside them:

    {"refshapes/val": {"all": METRICS, "by_kind": {"attribute": METRICS, ...}, "by_difficulty": {"1": METRICS, ...}}}

METRICS are num_samples, box_accuracy, box_miou and mask_miou at the image's own size, of the expressions about one
object. Of those about none and about several it counts how many there are (num_samples of these kinds).
"""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from plvl.data.refer import label_files
from plvl.data.refshapes import ALL_KINDS, KINDS, sentence_kinds
from plvl.data.safe_pickle import load_label_pickle
from plvl.data.source_files import read_json
from plvl.scripts.program import ArgumentParser
from plvl.training.metrics import answer_statistics, grounding_metrics
from plvl.training.results import print_metrics

RESULT = "metrics_by_kind.json"
COLUMNS = {"expressions": "num_samples", "box accuracy": "box_accuracy", "mask mIoU": "mask_miou"}
FIGURES = ("num_samples", "box_accuracy", "box_miou", "mask_miou")


class Truth(NamedTuple):
    """What an expression says and means: `box` x, y, w, h in pixels, `mask` compressed RLE.

    `ann_id`, `box` and `mask` are those of the one object that is meant, and None where it is none or several.
    """

    image_id: int
    ann_id: int | None
    text: str
    box: list[float] | None
    mask: dict | None
    kind: str
    difficulty: int


def main(argv=None):
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--predictions", required=True, help="folder of predictions_<split>.jsonl")
    parser.add_argument("--label_root", required=True, help="folder of the labels of the RefShapes set")
    arguments = parser.parse_args(argv)
    try:
        measured = measure(Path(arguments.predictions), arguments.label_root)
    except (ValueError, OSError) as error:
        sys.exit(f"eval_by_kind: {error}")
    Path(arguments.predictions, RESULT).write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    print_table(measured)


def measure(folder: Path, label_root) -> dict[str, dict]:
    """What goes into metrics_by_kind.json.

    Raises:
        FileNotFoundError: the folder has no predictions, or the labels are not there.
        ValueError: a line of the predictions is about no expression of this set.
    """
    files, truths = prediction_files(folder), read_truths(label_root)
    return {split: metrics_by_group(read_answers(file, truths)) for split, file in files.items()}


def prediction_files(folder: Path) -> dict[str, Path]:
    """By `"refshapes/<split>"`, the predictions in a folder; FileNotFoundError where there are none."""
    files = sorted(folder.glob("predictions_*.jsonl"))
    if not files:
        raise FileNotFoundError(f"{folder} has no predictions_<split>.jsonl: run run_grounding.py with do_predict")
    return {f"refshapes/{file.stem.removeprefix('predictions_')}": file for file in files}


def read_truths(label_root) -> dict[int, Truth]:
    """By `sent_id`, every expression of the set."""
    refs_file, instances_file = label_files("refshapes", label_root, "unc")
    kinds = sentence_kinds(label_root)
    annotations = {each["id"]: each for each in read_json(instances_file)["annotations"]}
    truths = {}
    for reference in load_label_pickle(refs_file):
        ann_id = reference["ann_id"] if isinstance(reference["ann_id"], int) else None
        annotation = annotations.get(ann_id, {})
        for sentence in reference["sentences"]:
            number = sentence["sent_id"]
            meaning = sentence["sent"], annotation.get("bbox"), annotation.get("segmentation"), *kinds[number]
            truths[number] = Truth(reference["image_id"], ann_id, *meaning)
    return truths


def read_answers(file: Path, truths: dict[int, Truth]) -> list[tuple[dict, Truth]]:
    """Each answer of a file, as `answer_record` made it, with its truth.

    Raises ValueError when a line is about no expression of this set.
    """
    answers = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        answer = json.loads(line)
        truth = truths.get(answer["sent_id"])
        if truth is None or truth.text != answer["text"]:
            raise ValueError(
                f"{file}, line {number}: the set has no expression {answer['sent_id']} {answer['text']!r}"
            )
        answers.append((answer, truth))
    return answers


def metrics_by_group(answers: list[tuple[dict, Truth]]) -> dict:
    """The metrics of all the answers, of each kind and of each difficulty that there is; of the kinds none and several
    their number."""
    others = Counter(truth.kind for _, truth in answers if truth.ann_id is None)
    answers = [(answer, truth) for answer, truth in answers if truth.ann_id is not None]
    truths = [truth for _, truth in answers]
    statistics = answer_statistics(
        [{"box": answer.get("box"), "mask": answer.get("mask")} for answer, _ in answers],
        [{"box": truth.box, "mask": truth.mask} for truth in truths],
    )
    kinds, difficulties = (np.array([getattr(truth, name) for truth in truths]) for name in ("kind", "difficulty"))

    def figures(chosen):
        metrics = grounding_metrics(statistics[chosen])
        return {name: metrics[name] for name in FIGURES if name in metrics}

    return {
        "all": figures(np.full(len(truths), True)),
        "by_kind": {kind: figures(kinds == kind) for kind in KINDS if kind in kinds}
        | {kind: {"num_samples": others[kind]} for kind in ALL_KINDS if kind in others},
        "by_difficulty": {str(level): figures(difficulties == level) for level in sorted(set(difficulties.tolist()))},
    }


def print_table(measured: dict[str, dict]):
    for split, groups in measured.items():
        rows = {"all": groups["all"], **groups["by_kind"]}
        rows |= {f"difficulty {level}": values for level, values in groups["by_difficulty"].items()}
        print_metrics(split, COLUMNS, rows)


if __name__ == "__main__":
    main()
