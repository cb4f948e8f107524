import json
from collections import Counter

import pytest

import eval_detection_by_kind
from detection_labels import HEIGHT, WIDTH, random_labels, write_labels
from plvl.data.detection import expression_kinds, open_split
from plvl.data.masks import decode_segmentation, encode_mask
from plvl.data.row_streams import rows_of_shards

OPTIONS = {"none_rate": 0.3, "several_rate": 0.3}


@pytest.fixture
def roots(tmp_path):
    roots = {"image_root": tmp_path / "images", "label_root": tmp_path / "labels"}
    return write_labels(random_labels(12), roots, split="val")


@pytest.fixture
def measure(roots, tmp_path):
    """Measures answers that `answer` makes of each row, as (boxes, mask)."""

    def run(answer, **changes):
        source = open_split("detection", "val", **roots, expressions=OPTIONS)
        lines = [{"dataset": "jsonl", "sent_id": 1, "text": "of another set"}]
        for row in rows_of_shards(**source.reading):
            boxes, mask = answer(row)
            said = {name: row[name] for name in ("dataset", "sent_id", "text")} | changes
            said |= {"boxes": boxes, "scores": [0.9] * len(boxes)}
            lines.append(said | ({} if mask is None else {"mask": encode_mask(mask)}))
        file = tmp_path / "predictions_val.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return eval_detection_by_kind.measure(file, roots["label_root"], "val", OPTIONS)

    return run


def kinds_of(roots):
    return Counter(kind.kind for kind in expression_kinds("val", roots["label_root"], OPTIONS).values())


def truth(row):
    return row["boxes"], decode_segmentation(row["segmentation"], HEIGHT, WIDTH)


def test_each_kind_counts_its_own_and_the_truth_is_all_right(measure, roots):
    measured, kinds = measure(truth), kinds_of(roots)
    assert {kind: values["num_samples"] for kind, values in measured.items()} == kinds | {"all": kinds.total()}
    assert all(values["grec_precision_plain_iou"] == 1 for values in measured.values())
    assert measured["none"]["grec_n_acc"] == measured["several"]["grec_t_acc"] == measured["place"]["gres_giou"] == 1


def test_a_model_that_answers_one_box_is_right_of_one(measure):
    measured = measure(lambda row: (row["boxes"][:1] or [[0, 0, 9, 9]], None))
    assert measured["place"]["grec_precision_plain_iou"] == 1
    assert measured["none"]["grec_n_acc"] == measured["several"]["grec_precision_plain_iou"] == 0
    assert measured["several"]["grec_t_acc"] == 1 and "gres_giou" not in measured["place"]
    assert 0 < measured["all"]["grec_precision_plain_iou"] < 1


def test_predictions_of_other_options_are_refused(measure, roots, tmp_path):
    with pytest.raises(ValueError, match=r"predictions_val\.jsonl, line 2: val has no expression \d+ 'it'; are the"):
        measure(truth, text="it")
    with pytest.raises(ValueError, match="has no predictions of detection"):
        measure(truth, dataset="refcoco")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jsonl"):
        eval_detection_by_kind.main(["--predictions=nowhere.jsonl", f"--label_root={roots['label_root']}"])


def test_the_table_has_a_line_for_each_kind(measure, roots, tmp_path, capsys):
    measure(truth)
    flags = [f"--predictions={tmp_path / 'predictions_val.jsonl'}", f"--label_root={roots['label_root']}"]
    eval_detection_by_kind.main([*flags, f"--expressions={json.dumps(OPTIONS)}"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    assert lines[0] == ["kind", "expressions", "all", "right", "N-acc", "T-acc", "gIoU"]
    assert [line[0] for line in lines[1:]][0] == "all" and {line[0] for line in lines[1:]} == {"all", *kinds_of(roots)}
    assert ["none", str(kinds_of(roots)["none"]), "100.0", "%", "100.0", "%"] in [line[:6] for line in lines]
