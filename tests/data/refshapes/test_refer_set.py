import hashlib
import json
import pickle
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from plvl.data import load_grounding_dataset
from plvl.data.refshapes import KINDS, SPLITS, VERSION, make_referred_scene, sentence_kinds, split_of, write_refshapes
from plvl.data.refshapes.scene import has_held_out_pair
from plvl.data.refshapes.shapes import SHAPES

NUM_IMAGES = 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    output = tmp_path_factory.mktemp("refshapes")
    write_refshapes(output, NUM_IMAGES, seed=3)
    return output


@pytest.fixture(scope="module")
def instances(folder):
    return json.loads((folder / "labels/refshapes/instances.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def refs(folder):
    return pickle.loads((folder / "labels/refshapes/refs(unc).p").read_bytes())


def hashes(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_files_are_in_refer_form(folder, instances, refs):
    annotations = {annotation["id"]: annotation for annotation in instances["annotations"]}
    images = {image["id"]: image for image in instances["images"]}
    assert len(images) == NUM_IMAGES
    keys = {"ref_id", "ann_id", "image_id", "category_id", "split", "file_name", "sent_ids", "sentences"}
    for ref in refs:
        assert set(ref) == keys
        annotation = annotations[ref["ann_id"]]
        assert (annotation["image_id"], annotation["category_id"]) == (ref["image_id"], ref["category_id"])
        assert ref["split"] == split_of(ref["image_id"] - 1)
        assert ref["sent_ids"] == [sentence["sent_id"] for sentence in ref["sentences"]]
        assert 1 <= len(ref["sentences"]) <= 4
        for sentence in ref["sentences"]:
            assert set(sentence) == {"sent_id", "sent", "raw", "tokens", "kind", "difficulty"}
            assert sentence["tokens"] == sentence["sent"].split()
            assert sentence["kind"] in KINDS
            assert sentence["difficulty"] in (1, 2, 3)
    assert len({ref["ref_id"] for ref in refs}) == len(refs)
    sent_ids = [sent_id for ref in refs for sent_id in ref["sent_ids"]]
    assert len(set(sent_ids)) == len(sent_ids)
    assert {ref["split"] for ref in refs} == set(SPLITS)
    for image in images.values():
        with Image.open(folder / "images/mscoco/images/train2014" / image["file_name"]) as opened:
            assert opened.size == (image["width"], image["height"])


def test_images_have_several_references_with_several_expressions(refs):
    in_training = Counter(ref["image_id"] for ref in refs if ref["split"] == "train")
    expressions = sum(len(ref["sentences"]) for ref in refs if ref["split"] == "train")
    assert 3.5 < sum(in_training.values()) / len(in_training) < 5
    assert expressions / len(in_training) > 10


def test_masks_are_what_is_seen_and_boxes_are_around_them(instances):
    images = {image["id"]: image for image in instances["images"]}
    seen = Counter()
    for annotation in instances["annotations"]:
        image = images[annotation["image_id"]]
        assert annotation["segmentation"]["size"] == [image["height"], image["width"]]
        mask = coco_mask.decode(annotation["segmentation"])
        rows, columns = np.nonzero(mask)
        x, y, width, height = annotation["bbox"]
        assert [columns.min(), rows.min()] == [x, y]
        assert [columns.max() + 1, rows.max() + 1] == [x + width, y + height]
        assert annotation["area"] == len(rows)
        assert annotation["iscrowd"] == 0
        assert 0.64 < annotation["visible"] <= 1
        seen[annotation["visible"] < 1] += 1
    assert seen[True] > 0.1 * seen.total()


def test_the_loader_reads_every_split_and_kinds_are_found_by_sent_id(folder, refs):
    kinds = sentence_kinds(folder / "labels")
    rows = [
        row
        for split in SPLITS
        for row in load_grounding_dataset(
            "refshapes", split, image_root=folder / "images", label_root=folder / "labels"
        ).remove_columns("image")
    ]
    assert len(rows) == len(kinds)
    written = {sentence["sent_id"]: sentence for ref in refs for sentence in ref["sentences"]}
    for row in rows:
        sentence = written[row["sent_id"]]
        assert row["text"] == sentence["sent"]
        assert kinds[row["sent_id"]] == (sentence["kind"], sentence["difficulty"])
        assert row["category"] in SHAPES
        assert row["segmentation"]["counts"]


def test_test_a_asks_for_pairs_that_training_never_shows(instances, refs):
    names = {category["id"]: category["name"] for category in instances["categories"]}
    annotations = {annotation["id"]: annotation for annotation in instances["annotations"]}

    def is_new(annotation):
        attributes = annotation["attributes"]
        return has_held_out_pair(names[annotation["category_id"]], attributes["colour"], attributes["texture"])

    for annotation in annotations.values():
        assert split_of(annotation["image_id"] - 1) == "testA" or not is_new(annotation)
    targets = [annotations[ref["ann_id"]] for ref in refs if ref["split"] == "testA"]
    assert targets and all(map(is_new, targets))


def test_of_every_fifty_images_forty_train():
    assert Counter(map(split_of, range(50))) == {"train": 40, "val": 4, "testA": 3, "testB": 3}
    assert Counter(map(split_of, range(50, 100))) == Counter(map(split_of, range(50)))


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_workers(tmp_path):
    write_refshapes(tmp_path / "one", 20, seed=5)
    write_refshapes(tmp_path / "two", 20, seed=5, num_workers=2)
    write_refshapes(tmp_path / "two", 20, seed=5)  # writing again into the same folder
    write_refshapes(tmp_path / "other", 20, seed=6)
    one, other = hashes(tmp_path / "one"), hashes(tmp_path / "other")
    assert len(one) == 20 + 3
    assert hashes(tmp_path / "two") == one
    assert set(other) == set(one)
    assert not set(other.values()) & set(one.values())


def test_sets_of_different_sizes_share_their_first_images(folder, instances, refs, tmp_path):
    write_refshapes(tmp_path, 7, seed=3)
    small = json.loads((tmp_path / "labels/refshapes/instances.json").read_text(encoding="utf-8"))
    small_refs = pickle.loads((tmp_path / "labels/refshapes/refs(unc).p").read_bytes())
    assert small["images"] == instances["images"][:7]
    assert small["annotations"] == instances["annotations"][: len(small["annotations"])]
    assert small_refs == refs[: len(small_refs)]
    large_hashes, small_hashes = hashes(folder), hashes(tmp_path)
    images = [path for path in small_hashes if path.endswith(".jpg")]
    assert len(images) == 7
    assert all(small_hashes[path] == large_hashes[path] for path in images)


def test_typing_errors_change_words_alone(tmp_path):
    right, wrong = (make_referred_scene(0, 0, typo_rate=rate) for rate in (0.0, 1.0))
    assert right.scene == wrong.scene
    # The error is drawn last for an expression, so that the first one differs by nothing else.
    first, first_wrong = (referred.references[0][1][0] for referred in (right, wrong))
    assert first.meaning == first_wrong.meaning
    assert first.text != first_wrong.text
    write_refshapes(tmp_path, 1, seed=0, typo_rate=1.0)
    assert sentence_kinds(tmp_path / "labels")[0] == (first.kind, first.difficulty)
    refs = pickle.loads((tmp_path / "labels/refshapes/refs(unc).p").read_bytes())
    assert refs[0]["sentences"][0]["sent"] == first_wrong.text


def test_photographs_are_part_of_what_a_set_is_made_from(tmp_path):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    Image.new("RGB", (300, 200), (10, 200, 30)).save(photographs / "grass.png")
    write_refshapes(tmp_path / "set", 6, seed=0, backgrounds=photographs)
    write_refshapes(tmp_path / "set", 6, seed=0, backgrounds=photographs)
    images = [Image.open(path) for path in (tmp_path / "set").rglob("*.jpg")]
    green = sum(np.asarray(p)[:, :, 1].mean() > np.asarray(p)[:, :, 0].mean() + 60 for p in images)
    assert 1 <= green <= 5
    Image.new("RGB", (300, 200), (10, 20, 30)).save(photographs / "water.png")
    with pytest.raises(FileExistsError, match='holds another RefShapes set.*"backgrounds"'):
        write_refshapes(tmp_path / "set", 6, seed=0, backgrounds=photographs)


def test_the_summary_counts_what_was_written(tmp_path):
    summary = write_refshapes(tmp_path, 20, seed=0)
    refs = pickle.loads((tmp_path / "labels/refshapes/refs(unc).p").read_bytes())
    counted = {split: Counter() for split in SPLITS}
    for ref in refs:
        counted[ref["split"]].update(sentence["kind"] for sentence in ref["sentences"])
    assert summary["expressions"] == counted
    assert summary["images"] == 20
    assert {kind for _, kind, _ in summary["examples"]} == set(KINDS)


def test_a_folder_with_other_contents_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="is not empty and not written by RefShapes"):
        write_refshapes(tmp_path, 2, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_set_from_other_arguments_is_left_alone(tmp_path):
    write_refshapes(tmp_path, 2, seed=0)
    before = hashes(tmp_path)
    with pytest.raises(FileExistsError, match=f'"version": {VERSION}, "num_images": 2, "seed": 0'):
        write_refshapes(tmp_path, 1, seed=0)
    assert hashes(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_images": 0}, "num_images must be at least 1, got 0"),
        ({"num_images": -3}, "num_images must be at least 1, got -3"),
        ({"typo_rate": 1.5}, "typo_rate must be from 0 to 1, got 1.5"),
        ({"num_workers": 0}, "num_workers must be at least 1, got 0"),
    ],
)
def test_a_number_out_of_its_range_is_an_error(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write_refshapes(**({"output": tmp_path / "new", "num_images": 2, "seed": 0} | arguments))
    assert not (tmp_path / "new").exists()


def test_photographs_that_are_missing_or_broken_are_an_error_before_anything_is_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no folder"):
        write_refshapes(tmp_path / "new", 2, seed=0, backgrounds=tmp_path / "nowhere")
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "cut.jpg").write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"cut\.jpg cannot be read"):
        write_refshapes(tmp_path / "new", 2, seed=0, backgrounds=tmp_path / "photographs")
    assert not (tmp_path / "new").exists()
