"""Sets with a shape that no other set has."""

import json
import pickle
import random
from collections import Counter

import pytest

from plvl.data.refshapes import NEW_SHAPES, SPLITS, make_referred_scene, split_of, write_refshapes
from plvl.data.refshapes.description import Description, _noun
from plvl.data.refshapes.shapes import SHAPES

NUM_IMAGES = 50


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Folders of the plain set and of that with hourglasses, of one seed, and the summary of the second."""
    plain, new = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("new")
    write_refshapes(plain, NUM_IMAGES, seed=4)
    summary = write_refshapes(new, NUM_IMAGES, seed=4, new_shape="hourglass")
    return plain, new, summary


def labels(folder):
    """instances.json, and the references by split."""
    instances = json.loads((folder / "labels/refshapes/instances.json").read_text(encoding="utf-8"))
    refs = pickle.loads((folder / "labels/refshapes/refs(unc).p").read_bytes())
    return instances, {split: [ref for ref in refs if ref["split"] == split] for split in (*SPLITS, "testC")}


def image(folder, image_id):
    return (folder / f"images/mscoco/images/train2014/refshapes_{image_id:06d}.jpg").read_bytes()


def names_by_image(instances):
    names = {category["id"]: category["name"] for category in instances["categories"]}
    shown = {image["id"]: Counter() for image in instances["images"]}
    for annotation in instances["annotations"]:
        shown[annotation["image_id"]][names[annotation["category_id"]]] += 1
    return shown


def test_the_other_splits_are_those_of_the_plain_set(sets):
    (_, plain), (_, new) = map(labels, sets[:2])
    for split in ("val", "testA", "testB"):
        assert plain[split]
        assert [(ref["image_id"], [sentence["sent"] for sentence in ref["sentences"]]) for ref in plain[split]] == [
            (ref["image_id"], [sentence["sent"] for sentence in ref["sentences"]]) for ref in new[split]
        ]
        for ref in plain[split]:
            assert image(sets[0], ref["image_id"]) == image(sets[1], ref["image_id"])


def test_training_shows_the_new_shape_among_the_others_and_no_held_out_split_of_the_plain_set_does(sets):
    shown = names_by_image(labels(sets[1])[0])
    in_training = Counter()
    for image_id, names in shown.items():
        split = split_of(image_id - 1, "hourglass")
        assert (names["hourglass"] > 0) == (split in ("train", "testC")), (image_id, split)
        if split == "train":
            in_training.update(names)
    assert set(in_training) == {*SHAPES, "hourglass"}
    assert 0.15 < in_training["hourglass"] / in_training.total() < 0.6


def test_every_expression_of_test_c_is_about_the_new_shape(sets):
    instances, refs = labels(sets[1])
    names = {category["id"]: category["name"] for category in instances["categories"]}
    assert {names[ref["category_id"]] for ref in refs["testC"]} == {"hourglass"}
    about = [sentence["sent"] for ref in refs["testC"] for sentence in ref["sentences"]]
    assert sum("hourglass" in text for text in about) > 0.4 * len(about)
    assert any(names[ref["category_id"]] != "hourglass" for ref in refs["train"])
    assert sum(sets[2]["expressions"]["testC"].values()) == len(about)


def test_of_every_fifty_images_thirty_six_train_and_four_are_test_c():
    splits = Counter(split_of(index, "hourglass") for index in range(50))
    assert splits == {"train": 36, "val": 4, "testA": 3, "testB": 3, "testC": 4}
    assert splits == Counter(split_of(index, "crown") for index in range(50, 100))


def test_a_plain_set_knows_no_new_shape(sets):
    instances, refs = labels(sets[0])
    assert [category["name"] for category in instances["categories"]] == list(SHAPES)
    assert refs["testC"] == []
    assert "new_shape" not in json.loads((sets[0] / "refshapes.json").read_text(encoding="utf-8"))
    assert json.loads((sets[1] / "refshapes.json").read_text(encoding="utf-8"))["new_shape"] == "hourglass"


def test_two_new_shapes_are_two_numbers_and_two_sets(sets, tmp_path):
    write_refshapes(tmp_path, 2, seed=4, new_shape="crown")
    categories = [labels(folder)[0]["categories"][-1] for folder in (tmp_path, sets[1])]
    assert [category["name"] for category in categories] == ["crown", "hourglass"]
    assert categories[0]["id"] != categories[1]["id"]
    with pytest.raises(FileExistsError, match='another RefShapes set.*"new_shape": "crown"'):
        write_refshapes(tmp_path, 2, seed=4, new_shape="hourglass")


@pytest.mark.parametrize("name", ["spoon", "star", ""])
def test_a_shape_that_is_not_new_is_refused_before_anything_is_written(name, tmp_path):
    with pytest.raises(ValueError, match=f"new_shape must be one of {', '.join(NEW_SHAPES)}, got '{name}'"):
        write_refshapes(tmp_path / "set", 2, seed=0, new_shape=name)
    assert not (tmp_path / "set").exists()


def test_a_scene_is_the_plain_one_in_all_other_splits():
    index = 3
    assert split_of(index) == "val"
    assert make_referred_scene(0, index, new_shape="crown") == make_referred_scene(0, index)
    assert make_referred_scene(0, index + 1, new_shape="crown") != make_referred_scene(0, index + 1)


def test_the_words_for_a_new_shape_are_english():
    rng = random.Random(0)
    assert {Description(name=name).predicate(rng) for name in NEW_SHAPES} == {"a crown", "an hourglass"}
    assert {_noun(name, rng, plural=True) for name in NEW_SHAPES} == {"crowns", "hourglasses"}
