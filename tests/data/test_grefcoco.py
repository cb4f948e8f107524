"""References about none, one or several objects, as gRefCOCO has them."""

import json
import logging
import pickle
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
from datasets.distributed import split_dataset_by_node
from PIL import Image
from torch.utils.data import DataLoader

from plvl.data import decode_segmentation, load_grounding_dataset, refer
from plvl.data.image_groups import number_of_groups
from plvl.data.masks import NO_OBJECT
from plvl.data.parquet import write_parquet
from plvl.data.sample_validation import SampleValidator

HEIGHT, WIDTH = 30, 40
# Each image has these annotations, whose numbers follow its own: number 3 has 31 to 35.
BOXES = {1: [4, 6, 10, 20], 2: [20, 3, 12, 5], 3: [30, 20, 8, 6], 4: [0, 0, 2, 30], 5: [16, 10, 3, 4]}
CATEGORIES = {1: 7, 2: 7, 3: 9, 4: 7, 5: 9}


def place_of(kind):
    x, y, w, h = BOXES[kind]
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[y : y + h, x : x + w] = 1
    return mask


def segmentation_of(kind):
    """Polygons of 1 and 2, run lengths of 3 and of 4, which is a crowd; the mask of 5 is unknown."""
    x, y, w, h = BOXES[kind]
    if kind <= 2:
        return [[x, y, x + w, y, x + w, y + h, x, y + h]]
    if kind == 5:
        return []
    flat = place_of(kind).flatten(order="F")
    ends = np.flatnonzero(np.diff(flat, prepend=0)).tolist()
    return {"size": [HEIGHT, WIDTH], "counts": np.diff([0, *ends, flat.size]).tolist()}


@pytest.fixture
def gref(tmp_path):
    """A small gRefCOCO of 8 images: `write(references)` puts it on disk, in either form."""
    images, labels = tmp_path / "images/mscoco/images/train2014", tmp_path / "labels/grefcoco"
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    instances = {"images": [], "annotations": [], "categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "cup"}]}
    for number in range(1, 9):
        name = f"COCO_train2014_{number:012d}.jpg"
        Image.new("RGB", (WIDTH, HEIGHT), (20 * number, 60, 90)).save(images / name)
        instances["images"].append({"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH})
        instances["annotations"] += [
            {"id": 10 * number + kind, "image_id": number, "category_id": CATEGORIES[kind], "iscrowd": int(kind == 4)}
            | {"bbox": BOXES[kind], "segmentation": segmentation_of(kind)}
            for kind in BOXES
        ]
    (labels / "instances.json").write_text(json.dumps(instances))
    roots = {"image_root": tmp_path / "images", "label_root": tmp_path / "labels"}

    def write(references, form="json"):
        file = labels / f"grefs(unc).{form}"
        file.write_bytes(json.dumps(references).encode() if form == "json" else pickle.dumps(references, 2))

    def load(split="train", **more):
        return list(load_grounding_dataset("grefcoco", split, **roots, **more))

    return SimpleNamespace(roots=roots, labels=labels, write=write, load=load)


def reference(number, ann_id, *sentences, split="train", **more):
    """About image `number` % 10, with numbers of its own."""
    of_each = {-1: -1} | {10 * image + kind: CATEGORIES[kind] for image in range(1, 9) for kind in BOXES}
    categories = [of_each.get(each, 7) for each in ann_id] if isinstance(ann_id, list) else of_each.get(ann_id, 7)
    return {
        "ref_id": number,
        "ann_id": ann_id,
        "category_id": categories,
        "image_id": number % 10,
        "split": split,
        "file_name": f"COCO_train2014_{number % 10:012d}.jpg",
        "sent_ids": [number * 10 + place for place in range(len(sentences))],
        "sentences": [
            {"sent_id": number * 10 + place, "sent": text, "raw": text, "tokens": text.split()}
            for place, text in enumerate(sentences)
        ],
        "no_target": ann_id == [-1],
    } | more


def drawn(row):
    return decode_segmentation(row["segmentation"], row["height"], row["width"])


NONE_ONE_SEVERAL = [
    reference(1, [-1], "the dog", "any dog"),
    reference(2, [21], "a cat"),
    reference(3, 32, "a lone number"),
    reference(4, [41, 42], "both cats"),
    reference(5, [52, 53, 51], "all three"),
]


@pytest.mark.parametrize("form", ["json", "p"])
def test_a_reference_means_none_one_or_several_objects(gref, form):
    gref.write(NONE_ONE_SEVERAL, form)
    rows = gref.load()
    assert [(row["text"], row["boxes"]) for row in rows] == [
        ("the dog", []),
        ("any dog", []),
        ("a cat", [BOXES[1]]),
        ("a lone number", [BOXES[2]]),
        ("both cats", [BOXES[1], BOXES[2]]),
        ("all three", [BOXES[2], BOXES[3], BOXES[1]]),
    ]
    for row, kinds in zip(rows, ([], [], [1], [2], [1, 2], [1, 2, 3]), strict=True):
        expected = sum(map(place_of, kinds), np.zeros((HEIGHT, WIDTH), np.uint8))
        np.testing.assert_array_equal(drawn(row), expected)


def test_objects_of_one_class_have_it_in_common(gref):
    gref.write(NONE_ONE_SEVERAL)
    assert [row["category"] for row in gref.load()] == [None, None, "cat", "cat", "cat", None]


def test_polygons_stay_polygons_and_become_an_rle_only_beside_one(gref):
    gref.write(NONE_ONE_SEVERAL)
    *_, both, three = gref.load()
    assert both["segmentation"]["polygons"] == [*segmentation_of(1), *segmentation_of(2)]
    assert three["segmentation"]["polygons"] is None and three["segmentation"]["size"] == [HEIGHT, WIDTH]


def test_where_nothing_is_meant_the_mask_is_known_and_where_one_objects_is_unknown_it_is_unknown(gref):
    gref.write([reference(1, [-1], "nothing"), reference(2, [21, 25], "two, and a mask of one")])
    nothing, two = gref.load()
    assert nothing["segmentation"] == NO_OBJECT and not drawn(nothing).any()
    assert two["segmentation"] is None and two["boxes"] == [BOXES[1], BOXES[5]]


@pytest.mark.parametrize("without", ["no_target", "ann_id"])
def test_either_minus_one_or_no_target_says_that_nothing_is_meant(gref, without):
    said = reference(1, [-1], "the dog")
    if without == "no_target":
        del said["no_target"]
    else:
        said["ann_id"] = []
    gref.write([said, reference(2, -1, "the dogs")])
    assert [row["boxes"] for row in gref.load()] == [[], []]


def test_crowds_are_passed_over(gref):
    gref.write([reference(1, [14, 11, 12], "the cats"), reference(2, [22, 24], "the cat")])
    several, one = gref.load()
    assert several["boxes"] == [BOXES[1], BOXES[2]] and not drawn(several)[:, :2].any()
    assert one["boxes"] == [BOXES[2]]


@pytest.mark.parametrize(
    ("ann_id", "more"),
    [
        ([11, 999], {}),
        ([11, -1], {}),
        ([], {}),
        ([14], {}),
        ([11], {"no_target": True}),
    ],
    ids=["not there", "one of several is none", "no list of objects", "crowds alone", "no_target with objects"],
)
def test_what_the_labels_do_not_say_is_skipped_and_counted_and_never_nothing(gref, ann_id, more, caplog, monkeypatch):
    monkeypatch.setattr(refer, "_contradictions", count())
    gref.write([reference(1, ann_id, "the cats", **more), reference(2, [21], "a cat")])
    with caplog.at_level(logging.WARNING):
        assert [row["text"] for row in gref.load(max_skipped=0.5)] == ["a cat"]
    assert "skipped grefcoco train, reference 1, expression 10" in caplog.text and "box missing" in caplog.text
    assert ("no_target says that nothing is meant, and there are annotations" in caplog.text) == bool(more)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ann_id": [11, [12]]}, r"reference 1: 'ann_id' has \'\[12\]\'"),
        ({"ann_id": 1.5}, "entry 0: 'ann_id' is 1.5"),
        ({"category_id": [7, "cat"]}, "reference 1: 'category_id' has 'cat'"),
    ],
)
def test_references_of_another_form_are_named(gref, change, message):
    gref.write([reference(1, [11], "a cat") | change])
    with pytest.raises(ValueError, match=rf"grefs\(unc\)\.json, {message}"):
        gref.load()


def test_the_json_is_read_where_both_forms_are_there(gref):
    gref.write([reference(1, [11], "of the pickle")], "p")
    assert [row["text"] for row in gref.load()] == ["of the pickle"]
    gref.write([reference(1, [11], "of the json")])
    assert [row["text"] for row in gref.load()] == ["of the json"]


def test_a_missing_file_and_a_json_cut_in_half_are_named(gref):
    with pytest.raises(FileNotFoundError, match=r"grefs\(unc\)\.json is missing: grefcoco needs"):
        gref.load()
    file = gref.labels / "grefs(unc).json"
    file.write_text(json.dumps(NONE_ONE_SEVERAL)[:500])
    with pytest.raises(ValueError, match=r"grefs\(unc\)\.json: cut short or no JSON"):
        gref.load()


def more_images_than_shards(gref, monkeypatch):
    monkeypatch.setattr(refer, "MAX_SHARDS", 3)
    kinds = {1: [-1], 2: [21], 3: [31, 32], 4: [-1], 5: [52], 6: [61, 62, 63], 7: [71], 8: [-1]}
    references = [reference(number, ids, f"{number} a", f"{number} b") for number, ids in kinds.items()]
    gref.write([*references, reference(17, [-1], "7 c"), reference(12, [21, 22], "2 c")])
    return sorted([f"{number} {letter}" for number in kinds for letter in "ab"] + ["7 c", "2 c"])


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("workers", [0, 2])
def test_every_row_of_more_images_than_shards_is_seen_once(gref, monkeypatch, processes, workers):
    texts = more_images_than_shards(gref, monkeypatch)
    whole = load_grounding_dataset("grefcoco", "train", **gref.roots)
    assert whole.num_shards == 3
    seen = []
    for rank in range(processes):
        part = split_dataset_by_node(whole.select_columns(["text", "boxes"]), rank, processes)
        seen += [row["text"] for row in DataLoader(part, batch_size=None, num_workers=workers)]
    assert sorted(seen) == texts


def test_rows_about_one_image_are_together_whatever_they_mean(gref, monkeypatch):
    more_images_than_shards(gref, monkeypatch)
    source = refer.open_split("grefcoco", "train", **gref.roots)
    assert (number_of_groups(source, 8), number_of_groups(source, 1)) == (8, 18)


@pytest.mark.parametrize("how", ["cached", "parquet", "parquet, cached"])
def test_known_nothing_and_the_unknown_stay_apart_through_cache_and_parquet(gref, tmp_path, how):
    gref.write([*NONE_ONE_SEVERAL, reference(6, [61, 65], "a mask of one")])
    rows = gref.load()
    if "parquet" in how:
        source = refer.open_split("grefcoco", "train", **gref.roots)
        unopened = [row for shard in source.shards for row in source.read_rows(shard, **source.where)]
        write_parquet(unopened, SampleValidator({"grefcoco": len(unopened)}), tmp_path / "out", "train", {})
        again = load_grounding_dataset("parquet", "train", label_root=tmp_path / "out", streaming="cached" not in how)
    else:
        again = load_grounding_dataset("grefcoco", "train", streaming=False, **gref.roots)
    without = [{key: value for key, value in row.items() if key != "image"} for row in rows]
    assert [{key: value for key, value in row.items() if key != "image"} for row in again] == without
    assert without[0]["segmentation"] == NO_OBJECT and without[-1]["segmentation"] is None
