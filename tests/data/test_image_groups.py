"""Rows about one image in groups of one size, and what becomes of them where rows are defective."""

import json
import shutil

import pytest
from datasets.distributed import split_dataset_by_node

from plvl.data.image_groups import groups_of_image
from plvl.data.training_rows import load_training_rows


@pytest.fixture
def training_rows(refer_set):
    """Loads the small set, whose image 1 has five expressions in training and whose others have two."""
    refer_set.references[0]["sentences"] += [{"sent_id": number, "sent": f"board {number}"} for number in (91, 92, 93)]
    refer_set.write()

    def load(size, **how):
        how = {"shuffle_buffer": 0} | how
        return load_training_rows("refcoco", "train", **refer_set.roots, expressions_per_image=size, **how)

    return load


def sentences(groups):
    return [[row["sent_id"] for row in group["rows"]] for group in groups]


@pytest.mark.parametrize(
    ("count", "size", "groups"),
    [
        (5, 1, [[0], [1], [2], [3], [4]]),
        (6, 3, [[0, 2, 4], [1, 3, 5]]),
        (5, 2, [[0, 3], [1, 4], [2]]),
        (1, 3, [[0]]),
    ],
)
def test_each_row_is_in_one_group_with_rows_from_all_over_the_image(count, size, groups):
    assert groups_of_image(list(range(count)), size) == groups


def test_a_group_is_about_one_image(training_rows):
    groups = list(training_rows(2).stream)
    assert sentences(groups) == [[10, 92], [11, 93], [91], [20, 21], [30, 31], [40, 41]]
    assert all(len({row["image_id"] for row in group["rows"]}) == 1 for group in groups)


def test_a_pass_has_as_many_rows_as_are_counted_and_each_of_the_labels(training_rows, caplog):
    rows = training_rows(2)
    opened = [row["sent_id"] for group in rows.stream for row in rows.open(group)]
    assert len(rows) == len(opened) == 12
    assert sorted(opened) == [10, 11, 20, 21, 30, 31, 40, 41, 91, 91, 92, 93]
    assert "refcoco: 6 groups of 2 rows about one image; 9 rows in 100 come again" in caplog.text
    assert rows.check.seen == 11
    assert len(training_rows(1)) == 11


def test_of_two_sets_each_has_its_share_of_the_groups(refer_set, training_rows):
    labels = refer_set.roots["label_root"]
    shutil.copytree(labels / "refcoco", labels / "refcoco+")
    rows = load_training_rows(["refcoco", "refcoco+"], "train", **refer_set.roots, expressions_per_image=2)
    names = [group["rows"][0]["dataset"] for group in rows.stream]
    # Image 1 is held back: it is in testA, too.
    assert sorted(names) == ["refcoco"] * 3 + ["refcoco+"] * 3
    assert all(len({row["dataset"] for row in group["rows"]}) == 1 for group in rows.stream)
    assert len(rows) == 12


def test_groups_stay_together_however_they_are_shuffled_and_dealt_out(training_rows):
    shuffled = training_rows(2, shuffle_buffer=4, seed=1).stream
    parts = [list(split_dataset_by_node(shuffled, process, 2)) for process in range(2)]
    in_order = sentences(training_rows(2).stream)
    assert sorted(sentences(parts[0]) + sentences(parts[1])) == sorted(in_order)
    assert sentences(shuffled) != in_order


def test_the_image_of_a_group_is_opened_once(training_rows):
    rows = training_rows(2)
    first, second = rows.open(next(iter(rows.stream)))
    assert first["image"].size == (40, 30)
    assert second["image"] is first["image"]
    assert (first["text"], second["text"]) == ("white board 1", "board 92")


@pytest.fixture
def own_rows(refer_set, tmp_path, monkeypatch):
    """Loads lines of one's own about an image, in groups of two."""
    monkeypatch.setattr("plvl.data.own_data.MAX_SHARDS", 1)

    def load(rows):
        (tmp_path / "own").mkdir()
        (tmp_path / "own/train.jsonl").write_text("\n".join(map(json.dumps, rows)))
        how = {"expressions_per_image": 2, "shuffle_buffer": 0, "max_skipped": 1.0}
        return load_training_rows("jsonl", "train", refer_set.image_folder, tmp_path / "own", **how)

    return load


def test_a_row_that_gives_the_image_another_size_is_in_no_group_with_others(own_rows):
    image = {"file_name": "COCO_train2014_000000000001.jpg", "height": 30, "width": 40}
    rows = [image | {"text": text, "bbox": [4, 6, 10, 20]} for text in ("the board", "a board", "white board")]
    rows[1]["height"] = 31
    rows = own_rows(rows)
    opened = [rows.open(group) for group in rows.stream]
    assert [group and group[0]["text"] for group in opened] == ["the board", None, "white board"]
    assert rows.check.skipped == {"image of another size": 1}


def test_rows_of_ones_own_without_a_number_of_the_image_are_grouped_by_its_file(own_rows):
    row = {"file_name": "COCO_train2014_000000000001.jpg", "bbox": [4, 6, 10, 20]}
    rows = own_rows([row | {"text": text} for text in ("the board", "a board")])
    assert [[row["text"] for row in group["rows"]] for group in rows.stream] == [["the board", "a board"]]


def test_in_place_of_a_defective_row_stands_another_of_its_group(training_rows):
    rows = training_rows(2, max_skipped=1.0)
    first, second = next(iter(rows.stream))["rows"]
    opened = rows.open({"rows": [first | {"text": " "}, second]})
    assert [row["text"] for row in opened] == ["board 92", "board 92"]
    assert rows.open({"rows": [first | {"text": " "}, second | {"boxes": None}]}) is None
    assert rows.check.skipped == {"expression empty": 2, "box missing or not finite": 1}


def test_a_group_of_nothing_is_refused(training_rows):
    with pytest.raises(ValueError, match="expressions_per_image must be 1 or more, got 0"):
        training_rows(0)
