import json
import re

import pytest

from plvl.data.loading import load_grounding_dataset
from plvl.training.finetuning.own_rows import (
    UnusableRowsError,
    defect_lines,
    read_own_rows,
    split_by_image,
    write_rows,
)


def read(own, one_object=True, **options):
    return read_own_rows(own.labels, own.images, one_object, **options)


def complaint(own, **options) -> str:
    with pytest.raises(UnusableRowsError) as caught:
        read(own, **options)
    return str(caught.value)


def test_all_rows_are_read_those_about_one_image_together(own, rewrite):
    rewrite(own.lines[::2] + own.lines[1::2])
    rows = read(own).rows
    assert [row["file_name"] for row in rows] == [f"{number}.png" for number in range(6) for _ in range(2)]
    assert {row["sent_id"] for row in rows} == set(range(1, 13))
    assert all(set(row["image"]) == {"path", "bytes"} for row in rows)


def as_corners(box):
    x, y, width, height = box
    return [x, y, x + width, y + height]


def test_boxes_that_are_corners_are_refused(own, rewrite):
    read(own)
    # Six of twelve leave their images.
    rewrite([line | {"bbox": as_corners(line["bbox"])} for line in own.lines])
    said = complaint(own, max_skipped=1)
    assert said.startswith(f"{own.labels}: of 12 boxes 6 leave their image as x, y, width, height")
    assert said.endswith("write x1, y1, x2 - x1, y2 - y1")


def test_boxes_that_may_be_corners_are_warned_of(own, rewrite, caplog):
    lines = [line | {"bbox": as_corners(line["bbox"])} for line in own.lines]
    rewrite([lines[0] | {"bbox": [4, 6, 20, 19]}, lines[1] | {"bbox": [24, 12, 33, 27]}, *lines[2:]])
    read(own, max_skipped=1)
    (said,) = [record.getMessage() for record in caplog.records]
    assert str(own.labels) in said and "Are they given as corners?" in said


def test_a_missing_image_stops_and_is_named_with_what_is_there(own):
    (own.images / "2.png").rename(own.images / "two.png")
    said = complaint(own)
    assert "2 of the 12 expressions" in said and "(--max_skipped)" in said
    assert re.search(
        r"\n- image missing: 2, such as jsonl labels, reference 5, expression 5 \(2\.png\): .*2\.png", said
    )
    assert f"\n- images are looked for in {own.images}, which has 6, such as 0.png, 1.png, 3.png" in said


def test_a_few_are_left_out_and_counted_where_that_is_allowed(own):
    (own.images / "2.png").unlink()
    read_rows = read(own, max_skipped=2 / 12)
    assert len(read_rows.rows) == 10 and read_rows.num_defective == 2
    assert list(read_rows.defects) == ["image missing"]
    assert defect_lines(read_rows.defects)[0].startswith("image missing: 2, such as jsonl labels, reference 5")
    assert "2 of the 12" in complaint(own, max_skipped=0.16)


def test_labels_about_no_image_are_named(own):
    """An annotation of COCO's form whose image is not in its list."""
    images = [{"id": number, "file_name": f"{number}.png"} for number in range(5)]
    annotations = [
        {"id": number, "image_id": number, "text": "the red square", "bbox": [4, 6, 14, 11]} for number in range(6)
    ]
    coco = own.labels.with_suffix(".json")
    coco.write_text(json.dumps({"images": images, "annotations": annotations}), encoding="utf-8")
    own.labels = coco
    assert "annotation without an image: 1, such as jsonl labels, reference 5, expression 500 (None)" in complaint(own)
    assert len(read(own, max_skipped=0.2).rows) == 5


def test_the_named_file_is_read_and_not_another_of_its_name(own):
    coco = own.labels.with_suffix(".json")
    annotation = {"id": 8, "image_id": 3, "text": ["it", "this"], "bbox": [4, 6, 14, 11]}
    coco.write_text(json.dumps({"images": [{"id": 3, "file_name": "0.png"}], "annotations": [annotation]}))
    assert [row["text"] for row in read_own_rows(coco, own.images, True).rows] == ["it", "this"]
    assert len(read(own).rows) == 12


def test_an_empty_file_has_no_expressions(own, rewrite):
    rewrite([])
    assert complaint(own) == f"{own.labels} has no expressions"


def test_rows_of_none_or_several_objects_are_for_models_of_any(own, rewrite):
    box = [4, 6, 14, 11]
    of_others = [
        {"file_name": "0.png", "text": "nothing", "boxes": []},
        {"file_name": "0.png", "text": "all", "boxes": [box, [34, 12, 9, 16]]},
    ]
    rewrite(own.lines[:2] + of_others)
    assert "none or several objects: 2, such as" in complaint(own)
    assert len(read(own, one_object=False).rows) == 4


def test_images_that_no_row_is_about_are_counted(own, rewrite):
    rewrite(own.lines[:8])
    assert read(own).num_unlabelled == 2
    (own.images / "notes.txt").write_text("no image")
    assert read(own).num_unlabelled == 2


def test_no_image_is_in_both_parts_and_no_row_is_lost(own):
    rows = read(own).rows
    train, validation = split_by_image(rows, seed=0)
    names = [{row["file_name"] for row in part} for part in (train, validation)]
    assert not names[0] & names[1] and (len(names[0]), len(names[1])) == (5, 1)
    assert sorted(row["sent_id"] for row in train + validation) == list(range(1, 13))
    assert split_by_image(rows[::-1], seed=0)[1][0]["file_name"] == validation[0]["file_name"]
    assert {split_by_image(rows, seed)[1][0]["file_name"] for seed in range(20)} > {validation[0]["file_name"]}


@pytest.mark.parametrize(("num_images", "held_out"), [(2, 1), (10, 2), (50, 10), (999, 200), (2000, 200)])
def test_a_fifth_of_the_images_is_for_validation_but_never_more_than_two_hundred(num_images, held_out):
    rows = [{"file_name": f"{number}.png"} for number in range(num_images)]
    assert len(split_by_image(rows, seed=3)[1]) == held_out


def test_one_image_alone_cannot_be_divided(own, rewrite):
    rewrite(own.lines[:2])
    with pytest.raises(ValueError, match=r"about 0\.png; there must be a second image"):
        split_by_image(read(own).rows, seed=0)


def test_written_rows_are_read_as_they_were(own, rewrite, tmp_path):
    polygon = [4, 6, 18, 6, 18, 17, 4, 17]
    more = {"segmentation": [polygon], "category": "square", "height": 40, "width": 60, "image_id": 7, "ref_id": 8}
    rewrite([own.lines[0] | more, {"file_name": "3.png", "text": "nothing", "boxes": []}, *own.lines[2:4]])
    rows = read(own, one_object=False).rows
    write_rows(rows, tmp_path / "out/train.jsonl")
    again = list(load_grounding_dataset("jsonl", "train", own.images, tmp_path / "out"))
    assert len(again) == 4
    names = ("text", "boxes", "segmentation", "image_id", "ref_id", "sent_id", "category", "file_name")
    for row, read_again in zip(rows, again, strict=True):
        assert {name: row[name] for name in names} == {name: read_again[name] for name in names}
