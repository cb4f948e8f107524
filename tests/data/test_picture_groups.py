"""Rows about one picture in groups of one size, and what becomes of them where rows are defective."""

import pytest
from datasets.distributed import split_dataset_by_node

from plvl.data.picture_groups import groups_of_picture
from plvl.data.training_rows import load_training_rows


@pytest.fixture
def training_rows(refer_set):
    """Loads the small set, whose picture 1 has five expressions in training and whose others have two."""
    refer_set.references[0]["sentences"] += [{"sent_id": number, "sent": f"board {number}"} for number in (91, 92, 93)]
    refer_set.write()

    def load(size, **how):
        how = {"shuffle_buffer": 0} | how
        return load_training_rows("refcoco", "train", **refer_set.roots, expressions_per_picture=size, **how)

    return load


def sentences(groups):
    return [[row["sent_id"] for row in group["rows"]] for group in groups]


@pytest.mark.parametrize(
    ("count", "size", "groups"),
    [
        (5, 1, [[0], [1], [2], [3], [4]]),
        (6, 3, [[0, 2, 4], [1, 3, 5]]),
        (5, 2, [[0, 3], [1, 4], [2, 0]]),
        (1, 3, [[0, 0, 0]]),
    ],
)
def test_each_row_is_in_a_group_and_the_first_ones_fill_up_the_last(count, size, groups):
    assert groups_of_picture(list(range(count)), size) == groups


def test_a_group_is_about_one_picture(training_rows):
    groups = list(training_rows(2).stream)
    assert sentences(groups) == [[10, 92], [11, 93], [91, 10], [20, 21], [30, 31], [40, 41]]
    assert all(len({row["image_id"] for row in group["rows"]}) == 1 for group in groups)


def test_groups_stay_together_however_they_are_shuffled_and_dealt_out(training_rows):
    shuffled = training_rows(2, shuffle_buffer=4, seed=1).stream
    parts = [list(split_dataset_by_node(shuffled, process, 2)) for process in range(2)]
    in_order = sentences(training_rows(2).stream)
    assert sorted(sentences(parts[0]) + sentences(parts[1])) == sorted(in_order)
    assert sentences(shuffled) != in_order


def test_the_picture_of_a_group_is_opened_once(training_rows):
    rows = training_rows(2)
    first, second = rows.open(next(iter(rows.stream)))
    assert first["image"].size == (40, 30)
    assert second["image"] is first["image"]
    assert (first["text"], second["text"]) == ("white board 1", "board 92")


def test_in_place_of_a_defective_row_stands_another_of_its_group(training_rows):
    rows = training_rows(2, max_skipped=1.0)
    first, second = next(iter(rows.stream))["rows"]
    opened = rows.open({"rows": [first | {"text": " "}, second]})
    assert [row["text"] for row in opened] == ["board 92", "board 92"]
    assert rows.open({"rows": [first | {"text": " "}, second | {"bbox": None}]}) is None
    assert rows.check.skipped == {"expression empty": 2, "box missing or not finite": 1}


def test_a_group_of_nothing_is_refused(training_rows):
    with pytest.raises(ValueError, match="expressions_per_picture must be 1 or more, got 0"):
        training_rows(0)
