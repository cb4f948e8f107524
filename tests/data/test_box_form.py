"""Boxes that look like corners where x, y, width, height are read."""

import json
import logging
import random

import pytest
from PIL import Image

from plvl.data import load_grounding_dataset
from plvl.data.box_form import BoxForm

WIDTH, HEIGHT = 60, 40


def boxes_of_an_image(seed: int, count: int) -> list[list[int]]:
    """x1, y1, x2, y2 inside."""
    drawn = random.Random(seed)
    boxes = []
    for _ in range(count):
        x, y = drawn.randrange(WIDTH - 8), drawn.randrange(HEIGHT - 8)
        boxes.append([x, y, drawn.randrange(x + 4, WIDTH), drawn.randrange(y + 4, HEIGHT)])
    return boxes


def as_sizes(box):
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def counted(boxes) -> BoxForm:
    form = BoxForm()
    for box in boxes:
        form.count([box], WIDTH, HEIGHT)
    return form


@pytest.mark.parametrize("seed", range(5))
def test_corners_are_told_from_sizes(seed):
    corners = boxes_of_an_image(seed, 20)
    form = counted(corners)
    assert form.looks_like_corners and (form.boxes, form.corners) == (20, 20)
    assert form.warning().startswith(f"of 20 boxes {form.leaving} leave their image as x, y, width, height, and none")
    assert not counted(map(as_sizes, corners)).looks_like_corners


def test_one_box_that_is_none_as_corners_is_enough():
    corners = boxes_of_an_image(0, 20)
    assert not counted([*corners, [30, 20, 20, 30]]).looks_like_corners
    assert not counted([*corners, [20, 30, 30, 20]]).looks_like_corners
    assert not counted([*corners, [20, 10, 62, 30]]).looks_like_corners
    assert not counted([*corners, [20, 10, 40, 42]]).looks_like_corners
    # Rounded outwards.
    assert counted([*corners, [20, 10, 61, 41]]).looks_like_corners


def test_few_boxes_that_leave_or_few_boxes_say_nothing():
    inside = [[2, 1, 10, 9 + place] for place in range(21)]
    leaving = [[30, 1, 40 + place, 9] for place in range(7)]
    assert counted([*inside, *leaving]).looks_like_corners
    assert not counted([*inside, *leaving[1:]]).looks_like_corners
    assert not counted(leaving).looks_like_corners
    assert counted([*leaving, [1, 20, 9, 30]]).looks_like_corners


@pytest.mark.parametrize("leaving", [[40, 5, 50, 9], [5, 30, 9, 35]])
def test_a_box_leaves_its_image_on_either_side(leaving):
    form = BoxForm()
    form.count([leaving, [5, 5, 9, 9]], WIDTH, HEIGHT)
    assert (form.boxes, form.leaving, form.corners) == (2, 1, 2)


def test_an_object_that_many_expressions_mean_counts_once():
    assert counted([[30, 20, 50, 30]] * 20).boxes == 1


@pytest.fixture
def own_set(tmp_path):
    """Writes boxes as one's own set; gives its folders."""

    def write(boxes):
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
        lines = (json.dumps({"file_name": "a.png", "text": "a cup", "bbox": box}) + "\n" for box in boxes)
        (tmp_path / "train.jsonl").write_text("".join(lines), encoding="utf-8")
        return {"image_root": tmp_path, "label_root": tmp_path}

    return write


@pytest.mark.parametrize("streaming", [True, False])
def test_reading_warns_once_with_the_numbers(own_set, caplog, streaming):
    corners = boxes_of_an_image(1, 30)
    with caplog.at_level(logging.WARNING):
        rows = list(load_grounding_dataset("jsonl", "train", **own_set(corners), streaming=streaming))
    assert len(rows) == 30
    [warning] = [record.getMessage() for record in caplog.records if "corners" in record.getMessage()]
    assert warning.startswith("jsonl train: of ") and " leave their image as x, y, width, height" in warning


def test_reading_of_sizes_warns_of_nothing(own_set, caplog):
    corners = boxes_of_an_image(1, 30)
    list(load_grounding_dataset("jsonl", "train", **own_set(list(map(as_sizes, corners)))))
    assert "corners" not in caplog.text
