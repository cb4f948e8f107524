"""Expressions of detection labels by the one call for every set: alone, mixed, cached, shared out, as Parquet."""

import pickle
import re
from collections import Counter

import pytest
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader

from detection_labels import random_labels, write_labels
from plvl.data import load_grounding_dataset
from plvl.data.loading import open_sources
from plvl.scripts import prepare_data

NUM_IMAGES = 9


def coco_name(number):
    return f"COCO_train2014_{number:012d}.jpg"


@pytest.fixture
def photos(tmp_path):
    roots = {"image_root": tmp_path / "photos", "label_root": tmp_path / "labels"}
    return write_labels(random_labels(NUM_IMAGES, file_name=coco_name), roots, files=True)


def load(roots, split="train", name="detection", **how):
    return load_grounding_dataset(name, split, **roots, **how)


def said(rows):
    return sorted((row["sent_id"], row["text"], row["boxes"]) for row in rows)


def with_expressions(**options):
    return {"detection": {"expressions": options}}


def test_a_cache_has_the_rows_of_the_stream_and_another_for_other_options(photos):
    stream, cached = list(load(photos)), load(photos, streaming=False)
    assert said(stream) == said(cached) and len(cached) > 2 * NUM_IMAGES
    other = load(photos, name=with_expressions(seed=5), streaming=False)
    assert said(other) == said(load(photos, name=with_expressions(seed=5))) != said(cached)


def test_options_are_those_of_the_mixture_s_set(photos):
    rows = list(load(photos, name=with_expressions(none_rate=1, several_rate=0, per_image=3)))
    assert 0 < len(rows) <= 3 * NUM_IMAGES and not any(row["boxes"] for row in rows)
    with pytest.raises(ValueError, match="expressions have the options .*, not per_picture"):
        load(photos, name=with_expressions(per_picture=3))
    with pytest.raises(ValueError, match="expressions are made for detection, and 'refcoco' has its own"):
        load(photos, name={"refcoco": {"expressions": {"per_image": 3}}})
    with pytest.raises(ValueError, match="split_by='umd' is for REFER sets, 'detection' is none"):
        load(photos, split_by="umd")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_processes_and_workers_share_the_images_out(photos, num_workers):
    whole = said(load(photos))
    parts = []
    for rank in range(2):
        part = split_dataset_by_node(load(photos, shuffle_buffer=5, seed=1), rank, 2)
        loader = DataLoader(part, batch_size=4, num_workers=num_workers, collate_fn=list)
        parts.append([row for batch in loader for row in batch])
    assert said(parts[0] + parts[1]) == whole and all(parts)
    if num_workers == 0:
        images = [{row["image_id"] for row in part} for part in parts]
        assert images[0] | images[1] == {row for row, *_ in Counter(each // 100 for each, *_ in whole).items()}


def test_epochs_have_the_same_rows_in_another_order(photos):
    dataset = load(photos, shuffle_buffer=30, seed=1)
    orders = []
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        orders.append([row["sent_id"] for row in dataset])
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1])


@pytest.fixture
def lines(photos):
    photos["label_root"].joinpath("train.jsonl").write_text(
        "".join(
            f'{{"file_name": "{coco_name(n)}", "text": "line {n}", "bbox": [4, 6, 20, 30]}}\n' for n in range(1, 6)
        )
    )
    return photos


def test_it_mixes_with_other_sets(lines):
    together = Counter(row["dataset"] for row in load(lines, name=["detection", "jsonl"]))
    assert together == {"jsonl": 5, "detection": len(list(load(lines)))}
    weighted = {"detection": {"weight": 3, "expressions": {"per_image": 2}}, "jsonl": {"weight": 1}}
    rows = list(load(lines, name=weighted))
    assert {row["dataset"] for row in rows} == {"detection", "jsonl"}
    in_train = Counter(row["image_id"] for row in rows if row["dataset"] == "detection")
    assert max(in_train.values()) >= 2


def test_evaluation_images_of_the_refcoco_family_are_held_back_from_training(photos):
    folder = photos["label_root"] / "refcoco"
    folder.mkdir()
    reference = {"ref_id": 1, "ann_id": 1, "image_id": 4, "category_id": 1, "split": "val", "file_name": coco_name(4)}
    sentences = [{"sent_id": 1, "sent": "it", "raw": "it", "tokens": ["it"]}]
    (folder / "refs(unc).p").write_bytes(pickle.dumps([reference | {"sentences": sentences}], 2))
    everything = said(load(photos, split=write_as(photos, "val")))
    held = said(load(photos))
    assert held == [row for row in everything if row[0] // 100 != 4] and len(held) < len(everything)
    source = open_sources("detection", "train", photos["image_root"], photos["label_root"], None)["detection"]
    assert source.held_back == 8


def write_as(photos, split):
    write_labels(random_labels(NUM_IMAGES, file_name=coco_name), photos, split=split)
    return split


def test_it_is_prepared_as_parquet_and_says_of_how_many_images_nothing_is_said(photos, tmp_path, capsys):
    labels = random_labels(NUM_IMAGES, file_name=coco_name)
    silent = {each["id"] for each in labels["images"][:2]}
    for each in labels["annotations"]:
        each["iscrowd"] = int(each["image_id"] in silent)
    everywhere = [
        {
            **labels["annotations"][0],
            "id": 5000 + place,
            "category_id": category["id"],
            "iscrowd": 1,
            "image_id": image,
        }
        for image in silent
        for place, category in enumerate(labels["categories"], 100 * image)
    ]
    labels["annotations"] += everywhere
    write_labels(labels, photos, split="val", files=True)
    before = list(load(photos, split="val"))
    flags = [f"--{key}={value}" for key, value in photos.items()]
    prepare_data.main(["detection", "--split", "val", *flags, f"--output={tmp_path / 'out'}"])
    after = list(load_grounding_dataset("parquet", "val", label_root=tmp_path / "out"))
    assert said(after) == said(before) and all(row["dataset"] == "detection" for row in after)
    out = capsys.readouterr().out
    assert re.search(rf"val: {len(before)} rows in 1 shards", out)
    quiet = NUM_IMAGES - len({row["image_id"] for row in before})
    assert quiet >= len(silent) and f"val: of {quiet} of {NUM_IMAGES} images nothing is said" in out
