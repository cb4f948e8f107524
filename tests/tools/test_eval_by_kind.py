import json
from collections import Counter

import numpy as np
import pytest

import eval_by_kind
from plvl.data.masks import encode_mask
from plvl.data.refer import label_files, read_index
from plvl.data.refshapes import sentence_kinds, write_refshapes
from plvl.scripts import run_grounding

NUM_IMAGES = 17  # of which two are val's


@pytest.fixture(scope="module")
def label_root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refshapes")
    write_refshapes(folder, num_images=NUM_IMAGES, seed=5)
    return folder / "labels"


@pytest.fixture
def measure(label_root, tmp_path):
    """Measures answers to val's expressions that `answer` makes of the truth, as (box, mask)."""
    truths = eval_by_kind.read_truths(label_root)

    def run(answer):
        lines = []
        for number, truth in truths.items():
            if number in val_sentences(label_root):
                box, mask = answer(truth)
                record = {"sent_id": number, "text": truth.text, "box": box, "mask": mask}
                lines.append(json.dumps({name: value for name, value in record.items() if value is not None}))
        (tmp_path / "predictions_val.jsonl").write_text("\n".join(lines) + "\n")
        eval_by_kind.main(["--predictions", str(tmp_path), "--label_root", str(label_root)])
        return json.loads((tmp_path / "metrics_by_kind.json").read_text(encoding="utf-8"))["refshapes/val"]

    return run


@pytest.fixture(scope="module")
def general_root(tmp_path_factory):
    """Labels of a set that also says none and several."""
    folder = tmp_path_factory.mktemp("general")
    write_refshapes(folder, num_images=NUM_IMAGES, seed=5, none_rate=0.2, several_rate=0.2)
    return folder / "labels"


def val_sentences(label_root):
    index = read_index(*label_files("refshapes", label_root, "unc"))
    references = [reference for image in index.references["val"] for reference in image]
    return {sentence["sent_id"] for reference in references for sentence in reference["sentences"]}


def empty_mask(truth):
    return encode_mask(np.zeros(truth.mask["size"]))


def test_each_kind_and_difficulty_counts_its_own_expressions(measure, label_root, capsys):
    wrong = [0.0, 0.0, 1.0, 1.0]
    measured = measure(lambda truth: (truth.box, truth.mask) if truth.kind == "place" else (wrong, empty_mask(truth)))
    kinds = [kind for number, kind in sentence_kinds(label_root).items() if number in val_sentences(label_root)]
    by_kind, by_difficulty = (Counter(getattr(kind, name) for kind in kinds) for name in ("kind", "difficulty"))
    assert {kind: values["num_samples"] for kind, values in measured["by_kind"].items()} == by_kind
    assert {int(level): values["num_samples"] for level, values in measured["by_difficulty"].items()} == by_difficulty
    for kind, values in measured["by_kind"].items():
        assert values["box_accuracy"] == values["mask_miou"] == (1 if kind == "place" else 0)
    assert measured["all"]["num_samples"] == len(kinds)
    assert measured["all"]["box_accuracy"] == pytest.approx(by_kind["place"] / len(kinds))
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines() if line][:2] == ["refshapes/val", "all"]


def test_a_model_without_masks_has_figures_of_boxes_alone(measure):
    measured = measure(lambda truth: (truth.box, None))
    assert measured["all"]["box_accuracy"] == 1
    assert "mask_miou" not in measured["all"]


def test_expressions_about_none_and_several_are_counted_and_leave_the_others_figures_alone(general_root, tmp_path):
    truths = eval_by_kind.read_truths(general_root)
    kinds = Counter(truth.kind for truth in truths.values())
    lines = [
        {"sent_id": number, "text": truth.text, "box": truth.box or [0.0, 0.0, 9.0, 9.0], "mask": truth.mask}
        for number, truth in truths.items()
    ]
    (tmp_path / "predictions_val.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    eval_by_kind.main(["--predictions", str(tmp_path), "--label_root", str(general_root)])
    measured = json.loads((tmp_path / "metrics_by_kind.json").read_text(encoding="utf-8"))["refshapes/val"]
    assert {kind: values["num_samples"] for kind, values in measured["by_kind"].items()} == kinds
    assert list(measured["by_kind"])[-2:] == ["none", "several"]
    assert all(measured["by_kind"][kind] == {"num_samples": kinds[kind]} for kind in ("none", "several"))
    assert measured["all"]["num_samples"] == kinds.total() - kinds["none"] - kinds["several"]
    assert measured["all"]["box_accuracy"] == measured["all"]["mask_miou"] == 1
    assert (
        sum(values["num_samples"] for values in measured["by_difficulty"].values()) == measured["all"]["num_samples"]
    )


def test_all_kinds_together_are_the_metrics_of_the_evaluation(label_root, model_folder, tmp_path):
    roots = ["--image_root", str(label_root.parent / "images"), "--label_root", str(label_root)]
    flags = ["--do_eval", "--do_predict", "--use_cpu", "--output_dir", str(tmp_path), "--gallery_size", "0"]
    run_grounding.main(["--dataset", "refshapes", "--model_name_or_path", str(model_folder), *roots, *flags])
    evaluated = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))["refshapes/val"]
    eval_by_kind.main(["--predictions", str(tmp_path), "--label_root", str(label_root)])
    together = json.loads((tmp_path / "metrics_by_kind.json").read_text(encoding="utf-8"))["refshapes/val"]["all"]
    assert together["num_samples"] == evaluated["num_samples"]
    for name in ("box_accuracy", "box_miou", "mask_miou"):
        assert together[name] == pytest.approx(evaluated[f"native_{name}"], abs=1e-6)
    assert together["box_miou"] > 0


def test_predictions_of_another_set_are_refused(label_root, tmp_path):
    line = json.dumps({"sent_id": 0, "text": "no such expression", "box": [0, 0, 1, 1]})
    (tmp_path / "predictions_testA.jsonl").write_text(line + "\n")
    with pytest.raises(SystemExit, match=r"predictions_testA.jsonl, line 1: the set has no expression 0 'no such"):
        eval_by_kind.main(["--predictions", str(tmp_path), "--label_root", str(label_root)])


def test_a_folder_without_predictions_is_refused(label_root, tmp_path):
    with pytest.raises(SystemExit, match="has no predictions_<split>.jsonl"):
        eval_by_kind.main(["--predictions", str(tmp_path), "--label_root", str(label_root)])
