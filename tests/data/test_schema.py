"""What every reader's rows are made by."""

import logging
from itertools import count

import pytest

from plvl.data.masks import NO_OBJECT
from plvl.data.schema import ROW_FEATURES, labelled_row, row_name

POLYGON = [4, 6, 14, 6, 14, 26, 4, 26]


def make_row(**changes):
    columns = {"path": "a.jpg", "text": "the cats", "boxes": [[4, 6, 10, 20]], "segmentations": [None]}
    columns |= {"height": 30, "width": 40, "image_id": 1, "ref_id": 2, "sent_id": 3, "category": None}
    columns |= {"dataset": "x", "split": "train", "file_name": "a.jpg"}
    return labelled_row("a file, line 7", **(columns | changes))


def test_a_row_has_the_columns_of_the_schema():
    assert list(make_row()) == list(ROW_FEATURES)


def test_boxes_that_are_unknown_are_not_the_boxes_of_nothing():
    assert make_row(boxes=[])["boxes"] == []
    assert make_row(boxes=None)["boxes"] is None
    assert make_row(boxes=[[4, 6, 10, 20], None])["boxes"] is None


def test_where_one_of_several_is_no_box_it_is_warned_of_and_none_is_known(caplog, monkeypatch):
    monkeypatch.setattr("plvl.data.schema._boxes_that_are_none", count())
    with caplog.at_level(logging.WARNING):
        assert make_row(boxes=[[4, 6, 10, 20], ["4", 6, 10, "20"]])["boxes"] == [[4, 6, 10, 20]] * 2
        assert not caplog.text
        assert make_row(boxes=[[4, 6, 10, 20], [4, 6, 10]])["boxes"] is None
    assert "a file, line 7: the box is [4, 6, 10], and not four numbers x, y, width, height" in caplog.text


@pytest.mark.parametrize("segmentations", [[], [None], [[]], [NO_OBJECT], [{"size": [30, 40], "counts": [1200]}]])
def test_a_row_about_nothing_has_a_known_mask_whatever_the_labels_say_of_it(segmentations):
    assert make_row(boxes=[], segmentations=segmentations)["segmentation"] == NO_OBJECT


@pytest.mark.parametrize("segmentation", [[POLYGON], {"size": [30, 40], "counts": [600, 600]}])
def test_a_mask_of_nothing_is_an_error(segmentation):
    with pytest.raises(ValueError, match="^a file, line 7: there is a mask, and boxes say that there is no object"):
        make_row(boxes=[], segmentations=[segmentation])


def test_nothing_is_no_mask_of_an_object():
    assert make_row(segmentations=[NO_OBJECT])["segmentation"] is None


def test_masks_of_several_objects_are_united_and_one_that_cannot_be_read_is_named():
    boxes = [[4, 6, 10, 20]] * 2
    assert make_row(boxes=boxes, segmentations=[[POLYGON], [POLYGON]])["segmentation"]["polygons"] == [POLYGON] * 2
    with pytest.raises(ValueError, match="^a file, line 7: a polygon must be"):
        make_row(boxes=boxes, segmentations=[[POLYGON], [[1, 2, 3]]])


def test_a_row_is_named_so_that_a_person_finds_it():
    row = {"dataset": "refcoco", "split": "train", "ref_id": 5, "sent_id": 7, "file_name": "a.jpg"}
    assert row_name(row) == "refcoco train, reference 5, expression 7 (a.jpg)"
    assert row_name({"sent_id": 7, "file_name": "a.jpg"}) == "expression 7 (a.jpg)"
