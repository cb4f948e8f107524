import json
from itertools import count

import numpy as np
import pytest
from datasets.distributed import split_dataset_by_node
from PIL import Image

from plvl.data import decode_segmentation, load_grounding_dataset, own_data
from plvl.data.image_groups import number_of_groups
from plvl.data.masks import NO_OBJECT
from plvl.data.sample_validation import TooManySkippedError

PART = [4, 6, 14, 6, 14, 16, 4, 16]


@pytest.fixture
def roots(tmp_path):
    (tmp_path / "images/inside").mkdir(parents=True)
    (tmp_path / "labels").mkdir()
    for name in ("a.jpg", "inside/b.png"):
        Image.new("RGB", (40, 30)).save(tmp_path / "images" / name)
    return {"image_root": tmp_path / "images", "label_root": tmp_path / "labels"}


def write_lines(roots, split, entries):
    lines = [entry if isinstance(entry, str) else json.dumps(entry) for entry in entries]
    (roots["label_root"] / f"{split}.jsonl").write_text("\n".join(lines))


def entry(text, file_name="a.jpg", **more):
    return {"file_name": file_name, "text": text, "bbox": [4, 6, 10, 20]} | more


def test_a_line_is_a_row_and_what_it_leaves_out_is_filled_in(roots):
    full = {"segmentation": [PART], "image_id": 5, "ref_id": 6, "sent_id": 7, "category": "board"}
    write_lines(roots, "train", [entry("one"), "", entry("two", "inside/b.png", height=30, width=40, **full)])
    one, two = load_grounding_dataset("jsonl", "train", **roots)
    assert (one["text"], one["boxes"], one["segmentation"]) == ("one", [[4, 6, 10, 20]], None)
    assert (one["height"], one["width"], one["sent_id"], one["category"]) == (30, 40, 1, None)
    assert {key: two[key] for key in full if key != "segmentation"} | {"segmentation": [PART]} == full
    assert two["file_name"] == "inside/b.png"
    assert decode_segmentation(two["segmentation"], 30, 40).sum() == 100


def test_the_lines_are_dealt_out(roots):
    images = ("a.jpg", "inside/b.png")
    write_lines(roots, "train", [entry(f"é {number}", images[number % 2]) for number in range(500)])
    whole = load_grounding_dataset("jsonl", "train", **roots)
    parts = [[row["text"] for row in split_dataset_by_node(whole, rank, 3)] for rank in range(3)]
    assert sorted(sum(parts, [])) == sorted(f"é {number}" for number in range(500))
    assert min(map(len, parts)) > 100
    assert {row["sent_id"] for row in whole} == set(range(1, 501))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"file_name": "a.jpg", "te', "cut short or no JSON"),
        ({"file_name": "a.jpg", "bbox": [1, 2, 3, 4]}, "'text' is missing"),
        ("[1, 2]", "an object with file_name, text is expected, this is list"),
        (entry(["a", "b"]), "'text' is "),
        (entry("x", file_name=5), "'file_name' is 5, text is expected"),
        (entry("x", bbox=5), "'bbox' is 5, a list is expected"),
        (entry("x", image_id="abc"), "'image_id' is 'abc', a whole number is expected"),
        (entry("x", segmentation=[5]), "a polygon must be"),
        (entry("x", segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "a polygon must be"),
    ],
)
def test_a_bad_line_is_named_with_file_and_number(roots, line, message):
    write_lines(roots, "train", [entry("one")] * 300 + [line])
    with pytest.raises(ValueError, match=rf"train\.jsonl, line 301: {message}"):
        list(load_grounding_dataset("jsonl", "train", **roots))


def test_an_unknown_split_and_an_empty_file_are_named(roots):
    write_lines(roots, "train", [])
    with pytest.raises(ValueError, match="no split 'val'; it has train"):
        load_grounding_dataset("jsonl", "val", **roots)
    with pytest.raises(ValueError, match="train has no rows"):
        load_grounding_dataset("jsonl", "train", **roots)


def coco(**more):
    box = {"bbox": [4, 6, 10, 20], "segmentation": [PART], "category_id": 1}
    return {
        "images": [{"id": 3, "file_name": "a.jpg", "height": 30, "width": 40}],
        "categories": [{"id": 1, "name": "board"}],
        "annotations": [box | {"id": 8, "image_id": 3, "text": ["the board", "it"]}],
    } | more


def test_a_coco_style_annotation_is_a_row_for_each_of_its_texts(roots):
    (roots["label_root"] / "val.json").write_text(json.dumps(coco()))
    rows = list(load_grounding_dataset("jsonl", "val", **roots))
    assert [row["text"] for row in rows] == ["the board", "it"]
    assert {row["category"] for row in rows} == {"board"}
    assert [(row["image_id"], row["ref_id"], row["sent_id"]) for row in rows] == [(3, 8, 800), (3, 8, 801)]
    np.testing.assert_array_equal(rows[0]["boxes"], [[4, 6, 10, 20]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": []}, "'annotations' is missing"),
        ([], "an object with images, annotations is expected"),
        (coco(annotations={"id": 1}), "'annotations' is"),
        (coco(annotations=[{"id": 1, "image_id": 3}]), "annotations, entry 0: 'text' is missing"),
        (coco(images=[{"id": 3}]), "images, entry 0: 'file_name' is missing"),
        (coco(categories=["board"]), "categories, entry 0: an object with id, name is expected"),
    ],
)
def test_a_coco_style_file_of_another_form_is_named(roots, content, message):
    (roots["label_root"] / "val.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"val\.json.*{message}"):
        load_grounding_dataset("jsonl", "val", **roots)


@pytest.mark.parametrize("change", [{"bbox": 5}, {"text": [["x"]]}, {"segmentation": 5}])
def test_a_coco_style_annotation_of_another_form_is_named(roots, change):
    content = coco()
    content["annotations"][0].update(change)
    (roots["label_root"] / "val.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"val\.json, annotation 8: "):
        list(load_grounding_dataset("jsonl", "val", **roots))


def test_an_rle_speaks_of_the_images_size(roots):
    """A mask of another image than the one that is there must not wait for its drawing to fail."""
    right = {"size": [30, 40], "counts": [0, 60, 1140]}
    wrong = {"size": [40, 30], "counts": [0, 60, 1140]}
    write_lines(roots, "train", [entry("one", segmentation=right), entry("two", segmentation=wrong)])
    (row,) = load_grounding_dataset("jsonl", "train", max_skipped=0.5, **roots)
    assert row["text"] == "one"
    with pytest.raises(TooManySkippedError, match="a.jpg has 40 x 30, its labels say 30 x 40"):
        list(load_grounding_dataset("jsonl", "train", **roots))


def test_a_coco_style_annotation_without_its_image_is_skipped(roots):
    annotations = [{"id": 1, "image_id": 99, "text": "x", "bbox": [1, 2, 3, 4]}]
    (roots["label_root"] / "val.json").write_text(json.dumps(coco(annotations=annotations)))
    assert list(load_grounding_dataset("jsonl", "val", max_skipped=1, **roots)) == []


def test_numbers_written_as_text_are_numbers_streamed_and_cached(roots):
    write_lines(
        roots, "train", [entry("one"), entry("two") | {"bbox": ["4", "6", "10", "20"], "height": "30", "width": 40.0}]
    )
    for streaming in (True, False):
        rows = list(load_grounding_dataset("jsonl", "train", streaming=streaming, **roots))
        assert [(row["boxes"], row["height"]) for row in rows] == [([[4, 6, 10, 20]], 30)] * 2


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
def test_two_with_one_id_are_both_named_and_one_twice_is_one(roots, part):
    labels = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 30, "width": 40}],
        "annotations": [{"id": 1, "image_id": 1, "bbox": [4, 6, 10, 20], "text": "one", "category_id": 1}],
        "categories": [{"id": 1, "name": "board"}],
    }
    labels[part] *= 2
    (roots["label_root"] / "train.json").write_text(json.dumps(labels))
    assert {row["text"] for row in load_grounding_dataset("jsonl", "train", **roots)} == {"one"}
    name = {"images": "file_name", "annotations": "text", "categories": "name"}[part]
    labels[part] = [labels[part][0], labels[part][0] | {name: "other"}]
    (roots["label_root"] / "train.json").write_text(json.dumps(labels))
    with pytest.raises(ValueError, match=rf"train\.json, {part}: two have the id 1: '.*' and 'other'"):
        list(load_grounding_dataset("jsonl", "train", **roots))


def test_two_images_of_one_file_are_named_by_their_ids(roots):
    images = [{"id": number, "file_name": "a.jpg", "height": 30, "width": 40} for number in (3, 4)]
    annotations = [{"id": 1, "image_id": 4, "bbox": [4, 6, 10, 20], "text": "one"}]
    (roots["label_root"] / "train.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    with pytest.raises(ValueError, match=r"train\.json, images: two have the file_name a\.jpg: '3' and '4'"):
        list(load_grounding_dataset("jsonl", "train", **roots))


def test_lines_about_one_image_that_follow_one_another_are_read_together(roots, monkeypatch):
    images = ["a.jpg"] * 3 + ["inside/b.png"] * 4
    write_lines(roots, "train", [entry(str(number), image) for number, image in enumerate(images * 30)])
    source = own_data.open_split("jsonl", "train", **roots)
    assert number_of_groups(source, 4) == 60 and len(source.shards) > 30
    monkeypatch.setattr(own_data, "MAX_SHARDS", 4)
    images = ["a.jpg"] * 3 + ["inside/b.png"] * 3
    write_lines(roots, "train", [entry(f"{number:03}", image) for number, image in enumerate(images * 101)])
    source = own_data.open_split("jsonl", "train", **roots)
    assert number_of_groups(source, 3) == 202 and len(source.shards) == 4
    write_lines(roots, "train", [entry(f"{number:03}") for number in range(500)])
    source = own_data.open_split("jsonl", "train", **roots)
    assert [len(list(source.read_rows(shard, **source.where))) for shard in source.shards] == [225, 225, 50]


def test_annotations_without_an_expression_are_counted(roots, caplog):
    image = {"id": 3, "file_name": "a.jpg", "height": 30, "width": 40}
    annotations = [{"id": n, "image_id": 3, "bbox": [4, 6, 10, 20], "text": ["x"] * n} for n in (0, 1, 2)]
    (roots["label_root"] / "train.json").write_text(json.dumps({"images": [image], "annotations": annotations}))
    assert len(list(load_grounding_dataset("jsonl", "train", **roots))) == 3
    assert "train.json: 1 annotations have an empty list as text, and so no rows" in caplog.text


@pytest.mark.parametrize("box", [[80, 80, 40], [[1, 2], [3, 4]], ["a", "2", "3", "4"], "1 2 3 4"])
def test_what_is_no_box_is_warned_of_with_its_value_and_line(roots, box, caplog, monkeypatch):
    monkeypatch.setattr("plvl.data.schema._boxes_that_are_none", count())
    write_lines(roots, "train", [entry("one"), *[entry("two", bbox=box)] * 7])
    if isinstance(box, str):
        with pytest.raises(ValueError, match="line 2: 'bbox' is '1 2 3 4', a list is expected"):
            list(load_grounding_dataset("jsonl", "train", **roots))
        return
    assert len(list(load_grounding_dataset("jsonl", "train", **roots, max_skipped=1))) == 1
    assert f"train.jsonl, line 2: the box is {box}, and not four numbers x, y, width, height" in caplog.text
    assert caplog.text.count("and not four numbers") == 5


def test_a_file_cut_short_while_it_is_read_is_an_error(roots):
    images = ("a.jpg", "inside/b.png")
    write_lines(roots, "train", [entry(f"board {number}", images[number % 2]) for number in range(50)])
    rows = iter(load_grounding_dataset("jsonl", "train", **roots))
    next(rows)
    file = roots["label_root"] / "train.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:7]))
    with pytest.raises(ValueError, match=r"train\.jsonl: cut short while it was being read, after line \d+"):
        list(rows)


SEVERAL = [[4, 6, 10, 20], [20, 3, 12, 5]]


def without_box(**more):
    return {"file_name": "a.jpg", "text": "one"} | more


def test_a_line_may_mean_none_or_several_objects(roots):
    mask = [PART, [20, 3, 32, 3, 32, 8]]
    lines = [without_box(boxes=[]), without_box(boxes=SEVERAL, segmentation=mask), without_box(boxes=SEVERAL)]
    write_lines(roots, "train", [*lines, without_box(boxes=SEVERAL[:1]), without_box(bbox=SEVERAL[1], boxes=None)])
    for streaming in (True, False):
        rows = list(load_grounding_dataset("jsonl", "train", streaming=streaming, **roots))
        assert [row["boxes"] for row in rows] == [[], SEVERAL, SEVERAL, SEVERAL[:1], SEVERAL[1:]]
        masks = [row["segmentation"] for row in rows]
        assert masks == [NO_OBJECT, NO_OBJECT | {"polygons": mask}, None, None, None]


def test_a_coco_style_annotation_may_mean_none_or_several_objects(roots):
    content = coco()
    (one,) = content["annotations"]
    content["annotations"] = [
        {"id": 8, "image_id": 3, "text": ["nothing", "no such thing"], "boxes": [], "segmentation": []},
        {"id": 9, "image_id": 3, "text": "both", "boxes": SEVERAL, "segmentation": [PART], "category_id": 1},
        one | {"id": 10, "segmentation": []},
    ]
    (roots["label_root"] / "val.json").write_text(json.dumps(content))
    rows = list(load_grounding_dataset("jsonl", "val", **roots))
    assert [row["boxes"] for row in rows] == [[], [], SEVERAL, SEVERAL[:1], SEVERAL[:1]]
    assert [row["segmentation"] for row in rows] == [NO_OBJECT] * 2 + [NO_OBJECT | {"polygons": [PART]}] + [None] * 2
    assert [row["category"] for row in rows] == [None, None, "board", "board", "board"]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"bbox": [4, 6, 10, 20], "boxes": []}, "there are 'bbox' and 'boxes', and either is expected"),
        ({}, "'bbox' or 'boxes' is missing"),
        ({"boxes": 5}, "'boxes' is 5, a list is expected"),
        ({"boxes": [], "segmentation": [PART]}, "there is a mask, and boxes say that there is no object"),
    ],
)
@pytest.mark.parametrize("form", ["jsonl", "json"])
def test_boxes_of_another_form_are_named(roots, said, message, form):
    if form == "jsonl":
        write_lines(roots, "train", [entry("one"), without_box(**said)])
    else:
        annotation = {"id": 8, "image_id": 3, "text": "one"} | said
        (roots["label_root"] / "train.json").write_text(json.dumps(coco(annotations=[annotation])))
    where = {"jsonl": r"train\.jsonl, line 2", "json": r"train\.json, annotation 8"}[form]
    with pytest.raises(ValueError, match=f"{where}: {message}"):
        list(load_grounding_dataset("jsonl", "train", **roots))


@pytest.mark.parametrize("boxes", [None, [4, 6, 10, 20], [[4, 6, 10, 20], [1, 2, 3]], [[4, 6, 10, 20], None]])
def test_boxes_of_which_one_is_none_are_no_boxes(roots, boxes):
    write_lines(roots, "train", [entry("one"), without_box(boxes=boxes)])
    assert len(list(load_grounding_dataset("jsonl", "train", **roots, max_skipped=0.5))) == 1
