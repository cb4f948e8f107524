"""How well a model of any number of targets answers each kind of expression that is made of detection labels.

python tools/eval_detection_by_kind.py --predictions outputs/run/predictions_val.jsonl --label_root LABELS --split val

The predictions are what do_predict wrote; those of other sets in the file are passed over. `--expressions` are the
options, in YAML, that the evaluation had. The table has of each kind the share that is all right (each object has a
box, each box an object, by an IoU of 0.5), N-acc or T-acc (the share of which it said rightly that there is none, or
something), and the masks' mean IoU (gIoU).
"""

import json
from collections import defaultdict
from pathlib import Path

import yaml

from plvl.data.detection import expression_kinds, open_split
from plvl.data.masks import decode_segmentation, encode_mask
from plvl.data.row_streams import rows_of_shards
from plvl.data.scene_language.meanings import ALL_KINDS
from plvl.scripts.program import ArgumentParser, run_as_program
from plvl.training.generalized_metrics import generalized_answer_statistics, generalized_metrics
from plvl.training.results import print_metrics

COLUMNS = {
    "expressions": "num_samples",
    "all right": "grec_precision_plain_iou",
    "N-acc": "grec_n_acc",
    "T-acc": "grec_t_acc",
    "gIoU": "gres_giou",
}


def main(argv=None):
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--predictions", required=True, help="predictions_<split>.jsonl")
    parser.add_argument("--label_root", required=True, help="folder of instances_<split>.json")
    parser.add_argument("--split", default="val", help="the split (default: val)")
    parser.add_argument("--expressions", type=yaml.safe_load, help="options as the recipe had them, in YAML")
    arguments = parser.parse_args(argv)
    print_metrics("kind", COLUMNS, measure(**vars(arguments)))


def measure(predictions, label_root, split: str, expressions: dict | None = None) -> dict[str, dict[str, float]]:
    """By kind, and of "all", the metrics of [`plvl.training.generalized_metrics.generalized_metrics`].

    Raises:
        ValueError: a line is about no expression of this split and these options, or there is none about any.
    """
    # Images stay closed, so any folder will do.
    source = open_split("detection", split, label_root, label_root, expressions)
    truths = {row["sent_id"]: row for row in rows_of_shards(**source.reading)}
    kinds = expression_kinds(split, label_root, expressions)
    groups = defaultdict(list)
    for number, line in enumerate(Path(predictions).read_text(encoding="utf-8").splitlines(), 1):
        answer = json.loads(line)
        if answer["dataset"] != "detection":
            continue
        row = truths.get(answer["sent_id"])
        if row is None or row["text"] != answer["text"]:
            raise ValueError(
                f"{predictions}, line {number}: {split} has no expression {answer['sent_id']} {answer['text']!r}; "
                "are the labels and the options those of the evaluation?"
            )
        given = {name: answer.get(name) for name in ("boxes", "scores", "mask")}
        pair = given, {"boxes": row["boxes"], "mask": _mask(row)}
        groups["all"].append(pair)
        groups[kinds[row["sent_id"]].kind].append(pair)
    if not groups:
        raise ValueError(f"{predictions} has no predictions of detection")
    return {
        name: generalized_metrics(generalized_answer_statistics(*map(list, zip(*groups[name], strict=True))))
        for name in ("all", *ALL_KINDS)
        if name in groups
    }


def _mask(row):
    mask = decode_segmentation(row["segmentation"], row["height"], row["width"])
    return None if mask is None else encode_mask(mask)


if __name__ == "__main__":
    run_as_program(main)
