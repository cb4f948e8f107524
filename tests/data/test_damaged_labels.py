"""Whatever a label file holds: rows, or rows that are skipped and counted, or a ValueError that names the file."""

import copy
import json
import os
import pickle
import re

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from plvl.data import decode_segmentation, load_grounding_dataset

# `make fuzz` asks for more.
EXAMPLES = int(os.environ.get("PLVL_FUZZ_EXAMPLES", 40))
POLYGON = [4, 6, 14, 6, 14, 26, 4.5, 26]
NAME = "COCO_train2014_000000000007.jpg"
ODD = [
    None,
    True,
    -1,
    0,
    2**31,
    2**70,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "12",
    "\ud83d",
    "é",
    [],
    {},
]
ODD += [
    [1],
    [[1, 2]],
    [[[1, 2]]],
    {"size": [30, 40], "counts": [600.5, 599.5]},
    {"size": [2**40, 2**40], "counts": "0"},
]
ODD += [[2e9] * 8, [[3, 3, 1e308, 3, 3, 9]], [{"size": [30, 40], "counts": [1200]}, POLYGON], {"polygons": [[1]]}]

IMAGE = {"id": 7, "file_name": NAME, "height": 30, "width": 40}
ANNOTATION = {"id": 70, "image_id": 7, "category_id": 3, "bbox": [4, 6, 10, 20], "segmentation": [POLYGON]}
CATEGORIES = [{"id": 3, "name": "board"}]
SENTENCES = [{"sent_id": 5, "sent": "the board", "raw": "", "tokens": []}, {"sent_id": 6, "sent": "it"}]
REFERENCE = {"ref_id": 1, "ann_id": 70, "image_id": 7, "category_id": 3, "split": "train", "sentences": SENTENCES}
NO_TARGET = {"ref_id": 2, "ann_id": [-1], "image_id": 7, "category_id": [-1], "split": "train", "no_target": True}
NO_TARGET |= {"sentences": [{"sent_id": 7, "sent": "the dog", "raw": "", "tokens": []}]}
LINE = {"file_name": NAME, "text": "the board", "bbox": [4, 6, 10, 20], "segmentation": [POLYGON], "height": 30}
SEVERAL = {key: value for key, value in LINE.items() if key != "bbox"} | {"boxes": [[4, 6, 10, 20], [4, 6, 10, 20]]}
ANNOTATIONS_OF_SEVERAL = {"id": 70, "image_id": 7, "boxes": [[4, 6, 10, 20]] * 2, "text": ["the boards", "them"]}
REGION = {"region_id": 8, "image_id": 7, "phrase": "a board", "x": 4, "y": 6, "width": 10, "height": 20}


def instances(annotation):
    return {"images": [IMAGE], "annotations": [annotation], "categories": CATEGORIES}


def lines(entries):
    return "".join(json.dumps(entry) + "\n" for entry in entries).encode()


def old_pack(entries):
    return b"".join(
        pickle.dumps(part, 2) for part in (119547037146038801333356, 1001, {"little_endian": True}, entries)
    )


def as_json(content):
    return json.dumps(content).encode()


# set: {file: (what it holds, how it is written)}; images lie where each set has them.
SETS = {
    "refcoco": {
        "refcoco/refs(unc).p": ([REFERENCE | {"file_name": NAME}], lambda content: pickle.dumps(content, 2)),
        "refcoco/instances.json": (instances(ANNOTATION), as_json),
    },
    "grefcoco": {
        "grefcoco/grefs(unc).json": (
            [
                REFERENCE | {"file_name": NAME, "ann_id": [70, 71], "category_id": [3, 3], "no_target": False},
                NO_TARGET | {"file_name": NAME},
            ],
            as_json,
        ),
        "grefcoco/instances.json": (
            instances(ANNOTATION) | {"annotations": [ANNOTATION, ANNOTATION | {"id": 71}]},
            as_json,
        ),
    },
    "jsonl": {"train.jsonl": ([LINE, SEVERAL, LINE], lines)},
    "coco": {"train.json": (instances(ANNOTATION | {"text": ["the board", "it"]}), as_json)},
    "coco, several": {"train.json": (instances(ANNOTATIONS_OF_SEVERAL), as_json)},
    "detection": {"instances_train.json": (instances(ANNOTATION), as_json)},
    "unc": {"unc/unc_train.pth": ([(NAME, "9.pth", [4, 6, 10, 20], "the board", [])], old_pack)},
    "visual_genome": {
        "visual-genome/region_descriptions.json": ([{"id": 7, "regions": [REGION]}], as_json),
        "visual-genome/image_data.json": ([{"image_id": 7, "height": 30, "width": 40, "coco_id": None}], as_json),
    },
    "flickr30k": {
        "flickr30k/train.txt": ("7", str.encode),
        "flickr30k/Sentences/7.txt": ("[/EN#5/people A boy] on [/EN#6/other a court] .\n", str.encode),
        "flickr30k/Annotations/7.xml": (
            "<annotation><size><width>40</width><height>30</height></size><object><name>5</name><bndbox><xmin>4</xmin>"
            "<ymin>6</ymin><xmax>14</xmax><ymax>26</ymax></bndbox></object></annotation>",
            str.encode,
        ),
    },
}
OWN_DATA = ("jsonl", "coco", "coco, several")
FILES = [(name, file) for name, files in SETS.items() for file in files]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    for place in (f"mscoco/images/train2014/{NAME}", NAME, "flickr30k/7.jpg", "visual-genome/VG_100K/7.jpg"):
        file = folder / "images" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(file)
    return folder


def write(folder, name, changed=(), damage=lambda content: content):
    for file, (content, written) in SETS[name].items():
        path = folder / "labels" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        content = dict(changed).get(file, content)
        path.write_bytes(damage(written(content)) if file in dict(changed) else written(content))


def read(folder, name):
    """The rows of a set with their masks drawn, or the error."""
    # The index of a file is kept until its time changes, and tests write faster than clocks tick.
    for file in SETS[name]:
        path = folder / "labels" / file
        read.clock += 1
        os.utime(path, (read.clock, read.clock))
    for suffix in ("jsonl", "json"):
        if name in OWN_DATA and f"train.{suffix}" not in SETS[name]:
            (folder / f"labels/train.{suffix}").unlink(missing_ok=True)
    set_name = "jsonl" if name in OWN_DATA else name
    if name == "detection":
        set_name = {name: {"expressions": {"per_image": 2, "none_rate": 0}}}
    rows = list(load_grounding_dataset(set_name, "train", folder / "images", folder / "labels", max_skipped=1.0))
    return [(row, decode_segmentation(row["segmentation"], row["height"], row["width"])) for row in rows]


read.clock = 1_000_000_000


def places(content, path=()):
    """The paths to everything in lists and dicts."""
    yield path
    items = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list | tuple)
        else ()
    )
    for key, value in items:
        yield from places(value, (*path, key))


def with_change(content, path, value):
    if not path:
        return value
    changed = list(content) if isinstance(content, tuple) else copy.copy(content)
    changed[path[0]] = with_change(content[path[0]], path[1:], value)
    return tuple(changed) if isinstance(content, tuple) else changed


def assert_rows_or_a_named_error(folder, name):
    try:
        rows = read(folder, name)
    except (ValueError, FileNotFoundError) as error:
        assert str(folder) in str(error) or "has no split 'train'" in str(error) or "has no rows" in str(error), error
    else:
        assert all(0 <= number < 40 for row, _ in rows for box in row["boxes"] for number in box[:2])


@pytest.mark.parametrize("name", SETS)
def test_the_files_undamaged_give_their_rows(folder, name):
    write(folder, name)
    rows = read(folder, name)
    assert len(rows) == {"unc": 1, "visual_genome": 1, "flickr30k": 1, "grefcoco": 3, "jsonl": 3}.get(name, 2)
    assert {tuple(box) for row, _ in rows for box in row["boxes"]} == {(4.0, 6.0, 10.0, 20.0)}


@pytest.mark.parametrize(("name", "file"), [each for each in FILES if not each[1].endswith(("txt", "xml"))])
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_value_put_in_the_place_of_any_other(folder, name, file, data):
    content = SETS[name][file][0]
    path = data.draw(st.sampled_from(list(places(content))))
    changed = with_change(content, path, data.draw(st.sampled_from(ODD)))
    try:
        write(folder, name, {file: changed})
    except (TypeError, UnicodeEncodeError, AttributeError):  # no list of lines
        return
    assert_rows_or_a_named_error(folder, name)


@pytest.mark.parametrize(("name", "file"), FILES)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_bytes_changed_or_cut_off(folder, name, file, data):
    content = SETS[name][file][0]
    whole = len(SETS[name][file][1](content))
    place, byte = data.draw(st.integers(0, whole - 1)), data.draw(st.sampled_from(b'\x00\xff\xe9"[{}]9.<&'))
    cuts = data.draw(st.booleans())
    write(
        folder, name, {file: content}, lambda good: good[:place] + (b"" if cuts else bytes([byte]) + good[place + 1 :])
    )
    assert_rows_or_a_named_error(folder, name)


@pytest.mark.parametrize(("name", "file"), [each for each in FILES if each[1].endswith("json") or each[0] == "jsonl"])
def test_json_nested_by_the_thousand_is_named_and_a_byte_order_mark_is_read(folder, name, file):
    write(folder, name, {file: SETS[name][file][0]}, lambda good: b"\xef\xbb\xbf" + good)
    assert read(folder, name)
    write(
        folder, name, {file: SETS[name][file][0]}, lambda good: good[:1] + b"[" * 100_000 + b"]" * 100_000 + good[1:]
    )
    with pytest.raises(ValueError, match=re.escape(file.rpartition("/")[2])):
        read(folder, name)


def test_a_zip_without_its_end_and_one_of_another_method_are_named(folder):
    entries = SETS["unc"]["unc/unc_train.pth"][0]
    write(folder, "unc")
    path = folder / "labels/unc/unc_train.pth"
    torch.save(entries, path)
    good = path.read_bytes()
    place = good.index(b"PK\x01\x02")
    for damaged in (good[: place + 60] + good[place + 90 :], good.replace(b"PK\x03\x04", b"PK\x03\x05", 1)):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"unc_train\.pth"):
            read(folder, "unc")
