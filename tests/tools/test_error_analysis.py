import json
import re

import pytest

import error_analysis
from eval_by_kind import read_truths
from plvl.data.refshapes import write_refshapes

NUM_IMAGES = 17  # of which two are val's


@pytest.fixture(scope="module")
def label_root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refshapes")
    write_refshapes(folder, num_images=NUM_IMAGES, seed=5)
    return folder / "labels"


@pytest.fixture
def table(label_root, tmp_path, capsys):
    """The rows printed for answers whose boxes `answer` makes of a truth and the objects of its image."""
    truths, images = read_truths(label_root), error_analysis.read_objects(label_root)

    def run(answer, score=0.5):
        records = [
            {"sent_id": number, "text": truth.text, "score": score, "box": answer(truth, images[truth.image_id])}
            for number, truth in truths.items()
        ]
        (tmp_path / "predictions_val.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        error_analysis.main(["--predictions", str(tmp_path), "--label_root", str(label_root)])
        lines = [line for line in capsys.readouterr().out.splitlines() if line][1:]
        cells = [(line[:20].strip(), re.split(" {2,}", line[20:].strip())) for line in lines]
        return {name: dict(zip(error_analysis.COLUMNS, values, strict=True)) for name, values in cells}

    return run


def boxes_of_others(truth, objects, same_shape):
    (target,) = (each for each in objects if each["id"] == truth.ann_id)
    others = [each for each in objects if each is not target]
    return [each["bbox"] for each in others if (each["category_id"] == target["category_id"]) == same_shape]


def test_true_boxes_are_right_in_every_row(table, label_root):
    rows = table(lambda truth, objects: truth.box, score=0.9)
    truths, images = read_truths(label_root), error_analysis.read_objects(label_root)
    assert int(rows["all"]["expressions"]) == len(truths)
    assert {row["box accuracy"] for row in rows.values()} == {"100.0 %"}
    for kind in {truth.kind for truth in truths.values()}:
        assert int(rows[kind]["expressions"]) == sum(truth.kind == kind for truth in truths.values())
    for number in {len(objects) for objects in images.values()}:
        expected = sum(len(images[truth.image_id]) == number for truth in truths.values())
        assert int(rows.get(f"{number} objects", {"expressions": 0})["expressions"]) == expected
    assert sum(int(rows[size]["expressions"]) for size in error_analysis.SIZES if size in rows) == len(truths)
    assert rows["score from 0.7"] == rows["all"] and "score below 0.7" not in rows


def test_a_wrong_box_counts_for_the_object_that_it_lies_on(table, label_root):
    truths, images = read_truths(label_root), error_analysis.read_objects(label_root)

    def with_another(same_shape):
        return sum(bool(boxes_of_others(truth, images[truth.image_id], same_shape)) for truth in truths.values())

    for same_shape, column in ((True, "same shape"), (False, "another shape")):
        rows = table(lambda truth, objects: (boxes_of_others(truth, objects, same_shape) or [truth.box])[0])  # noqa: B023
        assert 0 < int(rows["all"][column]) == with_another(same_shape)
        assert rows["score below 0.7"] == rows["all"]


def test_a_small_piece_of_the_right_object_is_too_far_off(table):
    rows = table(lambda truth, objects: [truth.box[0], truth.box[1], truth.box[2], truth.box[3] / 4])
    assert int(rows["all"]["right object"]) > int(rows["all"]["expressions"]) / 2
    assert rows["all"]["box accuracy"] == "0.0 %"


def test_a_box_outside_of_every_object_lies_on_nothing(table):
    rows = table(lambda truth, objects: [-20.0, -20.0, 10.0, 10.0])
    assert rows["all"]["nothing"] == rows["all"]["expressions"]


def test_answers_without_boxes_are_refused(table):
    with pytest.raises(SystemExit, match=r"expression \d+ '.+' has no box"):
        table(lambda truth, objects: None)


def test_expressions_about_none_and_several_are_left_out(tmp_path):
    write_refshapes(tmp_path / "set", num_images=4, seed=5, none_rate=0.2, several_rate=0.2)
    root = tmp_path / "set" / "labels"
    truths, images = read_truths(root), error_analysis.read_objects(root)
    one = [truth for truth in truths.values() if truth.ann_id is not None]
    assert 0 < len(one) < len(truths)
    answers = [({"box": truth.box, "score": 0.5}, truth) for truth in truths.values()]
    rows = error_analysis.counts_by_group(answers, images)
    assert rows["all"]["expressions"] == len(one) and rows["all"]["box accuracy"] == 1
    assert not {"none", "several"} & set(rows)
