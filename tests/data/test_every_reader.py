"""Every reader, of more images than shards: each row once, all of them counted, held-out images left out."""

import json
import pickle
import sys
from collections import Counter

import pytest
import torch
from PIL import Image

from plvl.data import authors_pth, flickr30k, own_data, parquet, refer, visual_genome
from plvl.data.parquet import write_parquet
from plvl.data.sample_validation import SampleValidator

# COCO's number of an image: what is said about it. Two of them lie in the same shard as the first.
SAID = {5: ["a", "b"], 2: ["c"], 9: ["d", "e", "f"], 4: ["g"], 7: ["h", "i"], 8: ["j"], 3: ["k"]}
HELD_OUT = frozenset({9, 3, 1})
BOX = [1, 2, 8, 4]


def name_of(number):
    """One of COCO's training images, or of its validation images, as 2014 or 2017 named them."""
    forms = ("COCO_train2014_{:012d}.jpg", "COCO_val2014_{:012d}.jpg", "{:012d}.jpg", "COCO_test2015_{:012d}.jpg")
    return forms[number % 4].format(number)


def write_refer(roots):
    folder = roots["label_root"] / "refcoco"
    folder.mkdir()
    (roots["image_root"] / "mscoco/images/train2014").mkdir(parents=True)
    ids = dict(enumerate(SAID, 1))
    form = {"category_id": 1, "split": "train"}
    references = [
        form
        | {"ref_id": place, "ann_id": place, "image_id": number, "file_name": name_of(number)}
        | {"sentences": [{"sent_id": 10 * place + k, "sent": text} for k, text in enumerate(SAID[number])]}
        for place, number in ids.items()
    ]
    images = [{"id": number, "file_name": name_of(number), "height": 30, "width": 40} for number in SAID]
    annotations = [{"id": place, "image_id": number, "bbox": BOX} for place, number in ids.items()]
    instances = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "board"}]}
    (folder / "refs(unc).p").write_bytes(pickle.dumps(references))
    (folder / "instances.json").write_text(json.dumps(instances))
    return refer, "refcoco"


def write_gref(roots):
    """References about none, one and two objects in turn."""
    folder = roots["label_root"] / "grefcoco"
    folder.mkdir()
    (roots["image_root"] / "mscoco/images/train2014").mkdir(parents=True)
    references = [
        {"ref_id": place, "image_id": number, "file_name": name_of(number), "split": "train"}
        | {"sentences": [{"sent_id": 10 * place + k, "sent": text} for k, text in enumerate(SAID[number])]}
        | dict.fromkeys(("ann_id", "category_id"), ([-1], [number], [number, number + 100])[place % 3])
        for place, number in enumerate(SAID)
    ]
    images = [{"id": number, "file_name": name_of(number), "height": 30, "width": 40} for number in SAID]
    annotations = [{"id": n + more, "image_id": n, "bbox": BOX} for n in SAID for more in (0, 100)]
    instances = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "board"}]}
    (folder / "grefs(unc).json").write_text(json.dumps(references))
    (folder / "instances.json").write_text(json.dumps(instances))
    return refer, "grefcoco"


def write_lines(roots):
    lines = [{"file_name": name_of(n), "text": text, "bbox": BOX} for n, texts in SAID.items() for text in texts]
    (roots["label_root"] / "train.jsonl").write_text("\n\n".join(map(json.dumps, lines)))
    return own_data, "jsonl"


def write_coco(roots):
    images = [{"id": number, "file_name": name_of(number), "height": 30, "width": 40} for number in SAID]
    annotations = [{"id": n, "image_id": n, "bbox": BOX, "text": texts} for n, texts in SAID.items()]
    (roots["label_root"] / "train.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return own_data, "jsonl"


def write_pack(roots):
    (roots["label_root"] / "unc").mkdir()
    entries = [(name_of(n), "mask.npy", BOX, text, []) for n, texts in SAID.items() for text in texts]
    torch.save(entries, roots["label_root"] / "unc/unc_train.pth")
    return authors_pth, "unc"


def write_genome(roots):
    """Its own number of an image is COCO's and 100."""
    for root in roots.values():
        (root / "visual-genome").mkdir()
    box = dict(zip(("x", "y", "width", "height"), BOX, strict=True))
    entries = [
        {"id": n + 100, "regions": [box | {"region_id": 10 * n + k, "image_id": n + 100, "phrase": text}]}
        for n, texts in SAID.items()
        for k, text in enumerate(texts)
    ]
    images = [{"image_id": n + 100, "width": 40, "height": 30, "coco_id": n} for n in SAID]
    (roots["label_root"] / "visual-genome/region_descriptions.json").write_text(json.dumps(entries))
    (roots["label_root"] / "visual-genome/image_data.json").write_text(json.dumps(images))
    return visual_genome, "visual_genome"


def write_flickr(roots):
    folder = roots["label_root"] / "flickr30k"
    for part in (folder / "Sentences", folder / "Annotations", roots["image_root"] / "flickr30k"):
        part.mkdir(parents=True)
    (folder / "train.txt").write_text("\n".join(map(str, SAID)))
    for number, texts in SAID.items():
        phrases = "\n".join(f"[/EN#1/people {text}] ." for text in texts)
        (folder / f"Sentences/{number}.txt").write_text(phrases)
        (folder / f"Annotations/{number}.xml").write_text(
            "<annotation><size><width>40</width><height>30</height></size><object><name>1</name><bndbox>"
            "<xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>6</ymax></bndbox></object></annotation>"
        )
    return flickr30k, "flickr30k"


def write_parquet_files(roots):
    reader, name = write_lines(roots)
    for number in SAID:
        Image.new("RGB", (40, 30), (20 * number, 0, 0)).save(roots["image_root"] / name_of(number))
    source = reader.open_split(name, "train", **roots)
    rows = [row for shard in source.shards for row in source.read_rows(shard, **source.where)]
    (roots["label_root"] / "train.jsonl").unlink()
    write_parquet(rows, SampleValidator({name: len(rows)}), roots["label_root"], "train", {}, shard_megabytes=0.001)
    return parquet, "parquet"


WRITERS = [
    write_refer,
    write_gref,
    write_lines,
    write_coco,
    write_pack,
    write_genome,
    write_flickr,
    write_parquet_files,
]


@pytest.fixture(params=WRITERS, ids=lambda writer: writer.__name__.removeprefix("write_"))
def open_source(request, tmp_path, monkeypatch):
    for name, module in list(sys.modules.items()):
        if name.startswith("plvl.data.") and hasattr(module, "MAX_SHARDS"):
            monkeypatch.setattr(module, "MAX_SHARDS", 3)
    roots = {"image_root": tmp_path / "images", "label_root": tmp_path / "labels"}
    for root in roots.values():
        root.mkdir()
    reader, name = request.param(roots)
    return lambda **more: reader.open_split(name, "train", **roots, **more)


def texts_of(source):
    shards = [[row["text"] for row in source.read_rows(shard, **source.where)] for shard in source.shards]
    return Counter(text for shard in shards for text in shard), [len(shard) for shard in shards]


def test_each_row_is_in_one_shard_and_all_are_counted(open_source):
    source = open_source()
    texts, sizes = texts_of(source)
    assert texts == Counter("abcdefghijk")
    assert (source.num_rows, source.held_back) == (11, 0)
    assert len(sizes) >= 3 and sum(size > 1 for size in sizes) >= 2, sizes


def test_rows_of_held_out_images_are_left_out_and_counted(open_source):
    source = open_source(hold_back=HELD_OUT)
    flickr = source.read_rows is flickr30k.read_rows
    assert texts_of(source)[0] == Counter("abcdefghijk" if flickr else "abcghij")
    assert (source.num_rows, source.held_back) == ((11, 0) if flickr else (7, 4))
