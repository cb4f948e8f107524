import json
import logging
import pickle
import shutil
from collections import Counter

import pytest
import torch
from PIL import Image

from plvl.data import authors_pth, load_grounding_dataset, visual_genome
from plvl.data.mixtures import held_out_images
from plvl.data.parquet import write_parquet
from plvl.data.sample_validation import SampleValidator, TooManySkippedError


def coco_name(number):
    return f"COCO_train2014_{number:012d}.jpg"


@pytest.fixture
def family(tmp_path):
    """RefCOCO, + and g with two expressions an image; image 3 is in RefCOCOg's test split, 4 in + val."""
    images = tmp_path / "images/mscoco/images/train2014"
    images.mkdir(parents=True)
    for number in range(1, 5):
        Image.new("RGB", (40, 30)).save(images / coco_name(number))
    splits = {
        ("refcoco", "unc"): {1: "train", 2: "train", 3: "train"},
        ("refcoco+", "unc"): {1: "train", 2: "train", 4: "val"},
        ("refcocog", "umd"): {1: "train", 3: "test", 4: "train"},
    }
    for (name, split_by), images_of_set in splits.items():
        folder = tmp_path / "labels" / name
        folder.mkdir(parents=True)
        references = [
            {
                "ref_id": number,
                "ann_id": number,
                "image_id": number,
                "category_id": 1,
                "split": split,
                "file_name": coco_name(number).replace(".jpg", f"_{number}.jpg"),
                "sentences": [{"sent_id": 2 * number + k, "sent": f"{name} {number} {k}"} for k in range(2)],
            }
            for number, split in images_of_set.items()
        ]
        instances = {
            "images": [
                {"id": number, "file_name": coco_name(number), "height": 30, "width": 40} for number in range(1, 5)
            ],
            "annotations": [{"id": number, "bbox": [1, 2, 3, 4]} for number in range(1, 5)],
            "categories": [{"id": 1, "name": "board"}],
        }
        (folder / f"refs({split_by}).p").write_bytes(pickle.dumps(references, protocol=2))
        (folder / "instances.json").write_text(json.dumps(instances))
    return {"image_root": tmp_path / "images", "label_root": tmp_path / "labels"}


@pytest.fixture
def family_and_more(family):
    """Beside them Visual Genome, whose image 8 is COCO's 3, and Flickr30k Entities."""
    for folder in ("visual-genome", "flickr30k"):
        (family["image_root"] / folder).mkdir()
        for number in (7, 8):
            Image.new("RGB", (40, 30)).save(family["image_root"] / folder / f"{number}.jpg")
    genome = family["label_root"] / "visual-genome"
    genome.mkdir()
    box = {"x": 1, "y": 2, "width": 3, "height": 4}
    entries = [{"id": n, "regions": [box | {"region_id": n, "image_id": n, "phrase": f"genome {n}"}]} for n in (7, 8)]
    images = [{"image_id": n, "width": 40, "height": 30, "coco_id": 3 if n == 8 else None} for n in (7, 8)]
    (genome / "region_descriptions.json").write_text(json.dumps(entries))
    (genome / "image_data.json").write_text(json.dumps(images))
    flickr = family["label_root"] / "flickr30k"
    for part in ("Sentences", "Annotations"):
        (flickr / part).mkdir(parents=True)
    (flickr / "train.txt").write_text("7")
    (flickr / "Sentences/7.txt").write_text("[/EN#1/people flickr 7] .")
    (flickr / "Annotations/7.xml").write_text(
        "<annotation><size><width>40</width><height>30</height></size><object><name>1</name><bndbox>"
        "<xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object></annotation>"
    )
    return family


def texts(dataset):
    return Counter(row["text"] for row in dataset)


def both(*names):
    return Counter(f"{name} {place}" for name in names for place in range(2))


@pytest.mark.parametrize("streaming", [True, False])
def test_mixed_coco_has_each_row_once_without_held_out_images(family, streaming, caplog):
    with caplog.at_level(logging.INFO):
        mixed = texts(load_grounding_dataset("mixed_coco", "train", streaming=streaming, **family))
    assert mixed == both("refcoco 1", "refcoco 2", "refcoco+ 1", "refcoco+ 2", "refcocog 1")
    # refcoco 3 and refcocog 4, two expressions each.
    assert "held back 4 rows" in caplog.text
    assert "(refcoco 2, refcoco+ 0, refcocog 2)" in caplog.text


def test_a_held_out_image_does_not_come_back_through_visual_genome(family_and_more, caplog):
    with caplog.at_level(logging.INFO):
        mixed = texts(load_grounding_dataset("mixed_pretrain", "train", **family_and_more))
    assert mixed == both("refcoco 1", "refcoco 2", "refcoco+ 1", "refcoco+ 2", "refcocog 1") + Counter(
        ["flickr 7", "genome 7"]
    )
    assert "visual_genome 1" in caplog.text and "held back 5 rows" in caplog.text


def test_several_names_are_one_dataset_with_the_same_guard(family):
    mixed = texts(load_grounding_dataset(["refcoco", "refcoco+"], "train", **family))
    assert mixed == both("refcoco 1", "refcoco 2", "refcoco+ 1", "refcoco+ 2")


@pytest.mark.parametrize("streaming", [True, False])
def test_a_set_that_is_lost_stops_the_mixture(family, streaming):
    """All of RefCOCOg's rows are bad, less than half of the mixture."""
    file = family["label_root"] / "refcocog/refs(umd).p"
    references = pickle.loads(file.read_bytes())
    for number, reference in enumerate(references):
        reference["sentences"] = [{"sent_id": number, "sent": ""}]
    file.write_bytes(pickle.dumps(references))
    with pytest.raises(TooManySkippedError, match="rows read of refcocog were skipped"):
        list(load_grounding_dataset("mixed_coco", "train", max_skipped=0.5, streaming=streaming, **family))


@pytest.mark.parametrize("streaming", [True, False])
def test_a_set_that_the_guard_leaves_nothing_of_is_named(family, tmp_path, streaming):
    """Of a set without rows interleaving would wait for ever."""
    held_out = coco_name(4)
    line = {"file_name": f"mscoco/images/train2014/{held_out}", "text": "own", "bbox": [4, 6, 10, 20]}
    (family["label_root"] / "train.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(ValueError, match="jsonl train has no rows left: the images of all 1 are in a validation or"):
        load_grounding_dataset({"jsonl": 1, "refcoco": 2}, "train", streaming=streaming, **family)


def test_own_data_alone_that_the_guard_leaves_nothing_of_are_left_out(family):
    line = {"file_name": f"mscoco/images/train2014/{coco_name(4)}", "text": "own", "bbox": [4, 6, 10, 20]}
    (family["label_root"] / "train.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(ValueError, match="test split of the RefCOCO family. Leave it out"):
        load_grounding_dataset("jsonl", "train", **family)


def test_a_benchmark_alone_keeps_all_its_rows(family):
    assert texts(load_grounding_dataset("refcoco", "train", **family)) == both("refcoco 1", "refcoco 2", "refcoco 3")


def test_visual_genome_alone_is_guarded_too(family_and_more, caplog):
    with caplog.at_level(logging.INFO):
        alone = texts(load_grounding_dataset("visual_genome", "train", **family_and_more))
    assert alone == Counter(["genome 7"])
    assert "held back 1 rows" in caplog.text and "(visual_genome 1)" in caplog.text


@pytest.mark.parametrize("known_by", ["2017's name", "a path", "coco_url"])
def test_own_data_alone_are_guarded_by_cocos_number_however_it_is_written(family, caplog, known_by):
    """Images 3 and 4 are in a validation or test split of the family, 5 in none."""
    names = {
        "2017's name": "{:012d}.jpg",
        "a path": "train2017/{:012d}.png",
        "coco_url": "mine_{}.jpg",
    }
    images = [{"id": n, "file_name": names[known_by].format(n), "height": 30, "width": 40} for n in (3, 4, 5)]
    for image in images:
        file = family["image_root"] / image["file_name"]
        file.parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 30)).save(file)
        if known_by == "coco_url":
            image["coco_url"] = f"http://images.cocodataset.org/train2017/{image['id']:012d}.jpg"
    annotations = [{"id": n, "image_id": n, "bbox": [4, 6, 10, 20], "text": f"own {n}"} for n in (3, 4, 5)]
    (family["label_root"] / "train.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    with caplog.at_level(logging.INFO):
        assert texts(load_grounding_dataset("jsonl", "train", **family)) == Counter(["own 5"])
    assert "held back 2 rows" in caplog.text


def test_own_data_without_the_familys_labels_are_nobodys_business(tmp_path, caplog):
    Image.new("RGB", (40, 30)).save(tmp_path / "000000000003.jpg")
    line = {"file_name": "000000000003.jpg", "text": "own", "bbox": [4, 6, 10, 20]}
    (tmp_path / "train.jsonl").write_text(json.dumps(line) + "\n")
    with caplog.at_level(logging.INFO):
        assert len(list(load_grounding_dataset("jsonl", "train", image_root=tmp_path, label_root=tmp_path))) == 1
    assert not caplog.text


@pytest.mark.parametrize("streaming", [True, False])
def test_weights_say_how_often_a_set_is_drawn_from(family, streaming):
    weights = {"refcoco": 9, "refcocog": 1}
    mixed = texts(load_grounding_dataset(weights, "train", streaming=streaming, **family))
    drawn = Counter(text.split()[0] for text in mixed.elements())
    assert drawn["refcoco"] > 3 * drawn["refcocog"]
    assert set(mixed) == set(both("refcoco 1", "refcoco 2", "refcocog 1")), "a set was not seen whole"


@pytest.mark.parametrize("streaming", [True, False])
def test_an_evaluation_split_of_several_sets_is_all_their_rows(family, streaming):
    file = family["label_root"] / "refcoco/refs(unc).p"
    references = pickle.loads(file.read_bytes())
    file.write_bytes(pickle.dumps([reference | {"split": "val"} for reference in references]))
    rows = texts(load_grounding_dataset(["refcoco", "refcoco+"], "val", streaming=streaming, **family))
    assert rows == both("refcoco 1", "refcoco 2", "refcoco 3", "refcoco+ 4")


def test_a_mixture_takes_the_authors_pack_where_there_is_one_and_guards_it_too(family):
    folder = family["label_root"] / "mixed_coco"
    folder.mkdir()
    entries = [(coco_name(number), "coco", [1, 2, 3, 4], f"pack {number}", []) for number in range(1, 5)]
    torch.save(entries, folder / "mixed_coco_train.pth")
    assert texts(load_grounding_dataset("mixed_coco", "train", **family)) == Counter(["pack 1", "pack 2"])


def save_mixed_pack(roots):
    """The authors' mixed pack with an image of each source; Visual Genome's 8 is COCO's held-out 3."""
    (roots["label_root"] / "mixed_pretrain").mkdir()
    entries = [(coco_name(1), "coco", [1, 2, 3, 4], "coco 1", []), ("8.jpg", "flickr", [1, 2, 3, 4], "flickr 8", [])]
    entries += [(f"{number}.jpg", "vg", [1, 2, 3, 4], f"genome {number}", []) for number in (7, 8)]
    torch.save(entries, roots["label_root"] / "mixed_pretrain/mixed_pretrain_train.pth")


def test_the_guard_sees_visual_genome_in_the_authors_pack(family_and_more, caplog):
    save_mixed_pack(family_and_more)
    with caplog.at_level(logging.INFO):
        mixed = texts(load_grounding_dataset("mixed_pretrain", "train", **family_and_more))
    assert mixed == Counter(["coco 1", "flickr 8", "genome 7"])
    assert "held back 1 rows" in caplog.text


@pytest.mark.parametrize(("reader", "name"), [(visual_genome, "visual_genome"), (authors_pth, "mixed_pretrain")])
def test_the_guard_sees_visual_genome_in_parquet(family_and_more, reader, name, caplog):
    save_mixed_pack(family_and_more)
    source = reader.open_split(name, "train", **family_and_more)
    rows = [row for shard in source.shards for row in source.read_rows(shard, **source.where)]
    write_parquet(rows, SampleValidator({name: len(rows)}), family_and_more["label_root"], "train", {})
    with caplog.at_level(logging.INFO):
        mixed = texts(load_grounding_dataset(["parquet", "refcocog"], "train", **family_and_more))
    assert mixed == both("refcocog 1") + Counter(row["text"] for row in rows if row["text"] != "genome 8")
    assert "parquet 1" in caplog.text


def test_a_guard_that_cannot_tell_visual_genomes_images_says_so(family_and_more, caplog):
    save_mixed_pack(family_and_more)
    (family_and_more["label_root"] / "visual-genome/image_data.json").unlink()
    with caplog.at_level(logging.INFO):
        mixed = texts(load_grounding_dataset("mixed_pretrain", "train", **family_and_more))
    assert mixed["genome 8"] == 1
    assert "image_data.json is missing: which images of Visual Genome" in caplog.text


def test_packs_count_among_the_held_out_labels(tmp_path):
    folder = tmp_path / "gref_umd"
    folder.mkdir()
    for split, number in {"train": 1, "val": 2, "test": 3}.items():
        entry = (coco_name(number), "coco", [1, 2, 3, 4], "x", [])
        torch.save([entry], folder / f"gref_umd_{split}.pth")
    assert held_out_images(tmp_path) == {2, 3}


@pytest.mark.parametrize("pack", ["unc", "unc+", "gref", "gref_umd"])
@pytest.mark.parametrize("year", ["train", "val"])
def test_each_pack_of_the_family_holds_back(tmp_path, pack, year):
    (tmp_path / pack).mkdir()
    for split, number in {"train": 1, "val": 2, "testB": 3}.items():
        entry = (f"COCO_{year}2014_{number:012d}.jpg", "mask.npy", [1, 2, 3, 4], "x", [])
        torch.save([entry], tmp_path / pack / f"{pack}_{split}.pth")
    assert held_out_images(tmp_path) == {2, 3}


def test_every_way_of_splitting_a_set_holds_back(family):
    """RefCOCOg's images of google's val are in nobody else's."""
    umd = family["label_root"] / "refcocog/refs(umd).p"
    [first, *_] = pickle.loads(umd.read_bytes())
    umd.with_name("refs(google).p").write_bytes(pickle.dumps([first | {"split": "val"}]))
    assert held_out_images(family["label_root"]) == {1, 3, 4}
    mixed = texts(load_grounding_dataset(["refcoco", "refcoco+"], "train", **family))
    assert mixed == both("refcoco 2", "refcoco+ 2")


def test_own_coco_json_is_guarded_and_images_of_other_names_are_not(family, caplog):
    names = [coco_name(2), coco_name(3).replace("train", "val"), "3.jpg", "COCO_3.jpg"]
    images = [{"id": n, "file_name": name, "height": 30, "width": 40} for n, name in enumerate(names)]
    annotations = [
        {"id": n, "image_id": n, "bbox": [1, 2, 3, 4], "text": [f"own {n} {k}" for k in range(2)]} for n in range(4)
    ]
    (family["label_root"] / "train.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    for name in names:
        Image.new("RGB", (40, 30)).save(family["image_root"] / name)
    with caplog.at_level(logging.INFO):
        mixed = texts(load_grounding_dataset(["jsonl", "refcocog"], "train", **family))
    assert mixed == both("refcocog 1", "own 0", "own 2", "own 3")
    assert "jsonl 2, refcocog 2" in caplog.text


@pytest.mark.parametrize("streaming", [True, False])
def test_a_mixture_is_drawn_by_its_seed_and_what_is_evaluated_is_not_mixed(family, streaming):
    def order(name, split, **how):
        return [row["text"] for row in load_grounding_dataset(name, split, streaming=streaming, **how, **family)]

    orders = {seed: order(["refcoco", "refcoco+"], "train", seed=seed) for seed in range(6)}
    assert len({tuple(each) for each in orders.values()}) > 1
    assert orders[3] == order(["refcoco", "refcoco+"], "train", seed=3)
    file = family["label_root"] / "refcoco/refs(unc).p"
    references = pickle.loads(file.read_bytes())
    file.write_bytes(pickle.dumps([reference | {"split": "val"} for reference in references]))
    assert order(["refcoco", "refcoco+"], "val", seed=3) == [
        *(f"refcoco {n} {k}" for n in (1, 2, 3) for k in range(2)),
        *("refcoco+ 4 0", "refcoco+ 4 1"),
    ]


@pytest.mark.parametrize("streaming", [True, False])
def test_each_set_of_a_mixture_may_lie_elsewhere_and_is_guarded_there(family, tmp_path, streaming):
    """RefCOCO and RefCOCO+ have moved away from RefCOCOg: 3 is held out in the one place, 4 in the other."""
    moved = tmp_path / "moved"
    moved.mkdir()
    for one in ("refcoco", "refcoco+"):
        (family["label_root"] / one).rename(moved / one)
    name = {"refcoco": {"label_root": moved, "split_by": "unc"}, "refcocog": {}}
    mixed = texts(load_grounding_dataset(name, "train", streaming=streaming, **family))
    assert mixed == both("refcoco 1", "refcoco 2", "refcocog 1")


def test_a_set_that_lies_elsewhere_needs_no_other_folders(family):
    name = {one: {"weight": weight} | family for one, weight in (("refcoco", 9), ("refcocog", 1))}
    drawn = Counter(text.split()[0] for text in texts(load_grounding_dataset(name, "train")).elements())
    assert drawn["refcoco"] > 3 * drawn["refcocog"]


def test_a_guard_without_labels_says_that_it_holds_nothing_back(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        assert held_out_images(tmp_path) == frozenset()
    assert "no labels of RefCOCO" in caplog.text


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("mixed_coco", "testA", "'testA'; it has train, val"),
        (["refcoco", "mixed_coco"], "train", "named twice"),
        ({"mixed_coco": 1, "visual_genome": 2}, "train", "weights are for single sets"),
        (["refcoco", "coco"], "train", "unknown dataset 'coco'"),
        ({"refcoco": 0, "refcocog": 1}, "train", "the weight of refcoco must be a number above 0, got 0"),
        ({"refcoco": 2, "refcocog": {}}, "train", "refcoco has a weight, so give each of refcoco, refcocog one"),
        ({"refcoco": {"root": "a"}}, "train", "refcoco has options weight, image_root, .*, not root"),
        ({"jsonl": {"split_by": "unc"}}, "train", "split_by='unc' is for REFER sets, 'jsonl' is none"),
        ({"refcoco": {"label_root": None}}, "train", "'refcoco' needs image_root and label_root, got .* and None"),
    ],
)
def test_what_cannot_be_mixed_is_named(family, name, split, message):
    with pytest.raises(ValueError, match=message):
        load_grounding_dataset(name, split, **family)


def test_own_images_from_coco_are_guarded_by_their_names(family, caplog):
    """And not by the names of other images that a line speaks of."""
    lines = [{"text": f"own {n}", "from": coco_name(3), "file_name": coco_name(n)} for n in range(1, 5)]
    lines = [line | {"bbox": [1, 2, 3, 4]} for line in lines]
    (family["label_root"] / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    for name in range(1, 5):
        image = family["image_root"] / "mscoco/images/train2014" / coco_name(name)
        (family["image_root"] / coco_name(name)).write_bytes(image.read_bytes())
    with caplog.at_level(logging.INFO):
        mixed = texts(load_grounding_dataset(["jsonl", "refcocog"], "train", **family))
    assert mixed == both("refcocog 1") + Counter(["own 1", "own 2"])
    assert "jsonl 2, refcocog 2" in caplog.text


def write_gref(roots, splits, file):
    """References to one of two objects, or to nothing, about images of the family."""
    folder = roots["label_root"] / "grefcoco"
    folder.mkdir(exist_ok=True)
    references = [
        {"ref_id": n, "ann_id": [-1] if split == "none" else [n, n + 10], "category_id": [1], "image_id": n}
        | {"split": "train" if split == "none" else split, "file_name": coco_name(n).replace(".jpg", f"_{n}.jpg")}
        | {"sentences": [{"sent_id": 2 * n + k, "sent": f"grefcoco {n} {k}"} for k in range(2)]}
        for n, split in splits.items()
    ]
    images = [{"id": n, "file_name": coco_name(n), "height": 30, "width": 40} for n in range(1, 5)]
    annotations = [{"id": n + more, "bbox": [1, 2, 3, 4]} for n in range(1, 5) for more in (0, 10)]
    instances = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "board"}]}
    (folder / "instances.json").write_text(json.dumps(instances))
    is_json = file.endswith("json")
    (folder / file).write_bytes(json.dumps(references).encode() if is_json else pickle.dumps(references))


@pytest.mark.parametrize("file", ["grefs(unc).json", "grefs(unc).p", "grefs(other).json"])
@pytest.mark.parametrize("split", ["val", "testA", "testB"])
def test_grefcocos_held_out_images_are_left_out_of_every_mixture(family, file, split, caplog):
    write_gref(family, {1: "train", 2: split}, file)
    with caplog.at_level(logging.INFO):
        mixed = texts(load_grounding_dataset("mixed_coco", "train", **family))
    assert mixed == both("refcoco 1", "refcoco+ 1", "refcocog 1")
    assert "held back 8 rows" in caplog.text and "(refcoco 4, refcoco+ 2, refcocog 2)" in caplog.text


def test_grefcoco_in_a_mixture_is_held_back_from_by_the_family_and_alone_is_whole(family):
    write_gref(family, {1: "train", 2: "none", 3: "train", 4: "none"}, "grefs(unc).json")
    mixed = texts(load_grounding_dataset(["grefcoco", "refcoco"], "train", **family))
    assert mixed == both("grefcoco 1", "grefcoco 2", "refcoco 1", "refcoco 2")
    alone = texts(load_grounding_dataset("grefcoco", "train", **family))
    assert alone == both("grefcoco 1", "grefcoco 2", "grefcoco 3", "grefcoco 4")


def test_labels_of_grefcoco_alone_are_enough_to_guard_by(family, caplog):
    for name in ("refcoco+", "refcocog"):
        shutil.rmtree(family["label_root"] / name)
    write_gref(family, {3: "testB"}, "grefs(unc).json")
    line = {"file_name": f"mscoco/images/train2014/{coco_name(3)}", "text": "own", "boxes": []}
    other = line | {"file_name": f"mscoco/images/train2014/{coco_name(4)}"}
    (family["label_root"] / "train.jsonl").write_text(f"{json.dumps(line)}\n{json.dumps(other)}\n")
    rows = list(load_grounding_dataset("jsonl", "train", **family))
    assert [row["file_name"] for row in rows] == [other["file_name"]]
