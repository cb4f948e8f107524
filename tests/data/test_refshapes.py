import hashlib
import json
import math
import pickle
import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from plvl.data.refshapes import SPLITS, make_referred_scene, split_of, write_refshapes
from plvl.data.refshapes_drawing import draw_scene
from plvl.data.refshapes_language import (
    KINDS,
    Attribute,
    Description,
    Order,
    Place,
    Relation,
    is_unambiguous,
    referents,
)
from plvl.data.refshapes_scene import COLOURS, SHAPES, SIZES, TEXTURES, Background, Scene, Shape, make_scene

NUM_IMAGES = 150


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    output = tmp_path_factory.mktemp("refshapes")
    write_refshapes(output, NUM_IMAGES, seed=3)
    return output


@pytest.fixture(scope="module")
def instances(folder):
    return json.loads((folder / "labels/refshapes/instances.json").read_text())


@pytest.fixture(scope="module")
def refs(folder):
    return pickle.loads((folder / "labels/refshapes/refs(unc).p").read_bytes())


@pytest.fixture(scope="module")
def referred_scenes():
    return [make_referred_scene(seed=11, index=index) for index in range(400)]


def hashes(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def a_shape(name, colour, center, size="small", texture="plain"):
    return Shape(name, colour, size, texture, center, 20.0, 0.0, COLOURS[colour])


def a_scene(*shapes):
    return Scene(320, 240, Background((((200, 200, 190),),), 0), shapes)


# What is said


def test_every_expression_is_true_of_its_shape_alone(referred_scenes):
    count = 0
    for referred in referred_scenes:
        for position, expressions in referred.references:
            for expression in expressions:
                assert is_unambiguous(expression.meaning, referred.scene.shapes[position], referred.scene)
                count += 1
    assert count > 1500


def read_description(words):
    """The attributes that words such as "small red circle" ask for."""
    asked = {}
    for word in words.split():
        for key, values in (("name", SHAPES), ("colour", COLOURS), ("size", SIZES), ("texture", TEXTURES)):
            if word in values:
                asked[key] = word
    return asked


def described(words, objects):
    asked = read_description(words)
    return [thing for thing in objects if all(thing[key] == value for key, value in asked.items())]


def understood(sentence, objects, width, height):
    """The objects that a reader of the sentence finds, from its words and the written annotations alone."""
    words = sentence.removeprefix("the ").replace(" to the left of ", " left of ")
    words = words.replace(" to the right of ", " right of ")
    for relation, axis, sign in (
        (" left of ", 0, -1),
        (" right of ", 0, 1),
        (" above ", 1, -1),
        (" below ", 1, 1),
    ):
        if relation in words:
            head, anchor_words = words.split(relation + "the ")
            (anchor,) = described(anchor_words, objects)
            heads = [thing for thing in described(head, objects) if thing is not anchor]
            return [thing for thing in heads if sign * (thing["middle"][axis] - anchor["middle"][axis]) > 0]
    rank = {"first": 0, "second": 1, "third": 2}.get(words.split()[0])
    if rank is not None:
        head, side = words.split(" from the ")
        axis, sign = {"left": (0, 1), "right": (0, -1), "top": (1, 1), "bottom": (1, -1)}[side]
        ranked = sorted(described(head, objects), key=lambda thing: sign * thing["middle"][axis])
        return ranked[rank : rank + 1]
    found = described(words, objects)
    tests = {
        " left": lambda x, y: x < 0.5,
        " right": lambda x, y: x > 0.5,
        " top": lambda x, y: y < 0.5,
        " bottom": lambda x, y: y > 0.5,
        " middle": lambda x, y: 0.3 < x < 0.7 and 0.3 < y < 0.7,
    }
    for word, test in tests.items():
        if word in words:
            found = [t for t in found if test(t["middle"][0] / width, t["middle"][1] / height)]
    return found


def test_a_reader_of_the_written_files_finds_the_one_object_meant(instances, refs):
    names = {category["id"]: category["name"] for category in instances["categories"]}
    sizes = {image["id"]: (image["width"], image["height"]) for image in instances["images"]}
    objects = {image_id: [] for image_id in sizes}
    for annotation in instances["annotations"]:
        x, y, width, height = annotation["bbox"]
        thing = {"id": annotation["id"], "name": names[annotation["category_id"]], **annotation["attributes"]}
        objects[annotation["image_id"]].append({**thing, "middle": (x + width / 2, y + height / 2)})
    for ref in refs:
        for sentence in ref["sentences"]:
            found = understood(sentence["sent"], objects[ref["image_id"]], *sizes[ref["image_id"]])
            assert [thing["id"] for thing in found] == [ref["ann_id"]], (ref["file_name"], sentence["sent"])


def test_half_of_the_expressions_tell_attributes_and_no_kind_is_rare(referred_scenes):
    kinds = Counter(
        expression.kind
        for referred in referred_scenes
        for _, expressions in referred.references
        for expression in expressions
    )
    assert set(kinds) == set(KINDS)
    assert 0.5 <= kinds["attribute"] / kinds.total() <= 0.65
    assert min(kinds.values()) >= 0.1 * kinds.total()


def test_place_order_and_relation_are_told_where_attributes_do_not_suffice(referred_scenes):
    for referred in referred_scenes:
        for _, expressions in referred.references:
            for expression in expressions:
                if expression.kind != "attribute":
                    fitting = [s for s in referred.scene.shapes if expression.meaning.description.fits(s)]
                    assert len(fitting) > 1


def test_the_vocabulary_is_small(referred_scenes):
    words = {
        word
        for referred in referred_scenes
        for _, expressions in referred.references
        for expression in expressions
        for word in expression.text.split()
    }
    assert words >= {*SHAPES, *COLOURS, *SIZES, *TEXTURES, "shape"}
    assert len(words) <= 60


def test_a_shape_on_the_border_of_two_places_is_not_told_by_place():
    star, border, other = (a_shape("star", "red", (x, 120.0)) for x in (40.0, 150.0, 280.0))
    left = Place(Description(name="star"), "left")
    assert referents(left, a_scene(star, border, other), strict=True) == [star]
    assert not is_unambiguous(left, star, a_scene(star, border, other))
    assert is_unambiguous(left, star, a_scene(star, other))


def test_shapes_at_nearly_the_same_height_are_not_told_apart_by_order():
    star, level, low = (a_shape("star", "red", center) for center in ((40.0, 60.0), (160.0, 66.0), (280.0, 200.0)))
    scene = a_scene(star, level, low)
    assert not is_unambiguous(Order(Description(), 0, "top"), star, scene)
    assert is_unambiguous(Order(Description(), 0, "bottom"), low, scene)
    assert is_unambiguous(Order(Description(), 1, "left"), level, scene)


def test_a_relation_needs_one_anchor_and_a_clear_direction():
    star = a_shape("star", "red", (60.0, 60.0))
    lower_star = a_shape("star", "red", (200.0, 200.0))
    ring = a_shape("ring", "blue", (150.0, 70.0))
    left = Relation(Description(name="star"), "left", Description(name="ring"))
    assert is_unambiguous(left, star, a_scene(star, lower_star, ring))
    assert referents(left, a_scene(star, ring, a_shape("ring", "red", (280.0, 70.0))), strict=False) == []
    below = a_shape("star", "red", (140.0, 200.0))
    assert not is_unambiguous(left, star, a_scene(star, below, ring))


def test_a_twin_leaves_attributes_nothing_to_say():
    star, twin = a_shape("star", "red", (60.0, 60.0)), a_shape("star", "red", (200.0, 60.0))
    everything = Attribute(Description("star", "red", "small", "plain"))
    assert referents(everything, a_scene(star, twin), strict=True) == [star, twin]


# What is shown


def test_scenes_hold_three_to_six_shapes_apart_from_each_other_and_inside_the_picture():
    counts = set()
    for seed in range(200):
        scene = make_scene(random.Random(seed))
        counts.add(len(scene.shapes))
        for k, shape in enumerate(scene.shapes):
            x, y, width, height = shape.box
            assert x >= 0 and y >= 0 and x + width <= scene.width and y + height <= scene.height
            for other in scene.shapes[:k]:
                assert math.dist(shape.center, other.center) > shape.radius + other.radius
    assert counts == {3, 4, 5, 6}


def test_most_targets_have_a_distractor(referred_scenes):
    targets = distracted = 0
    for referred in referred_scenes:
        for position, _ in referred.references:
            target = referred.scene.shapes[position]
            others = [shape for shape in referred.scene.shapes if shape is not target]
            targets += 1
            distracted += any(o.name == target.name or o.colour == target.colour for o in others)
    assert distracted / targets > 0.6


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_covers_the_pixels_of_its_mask_and_no_others(name):
    shape = Shape(name, "black", "large", "plain", (70.0, 60.0), 40.0, 7.0, (0, 0, 0))
    scene = Scene(140, 120, Background((((255, 255, 255),),), 0), (shape,))
    polygons = [[number for point in polygon for number in point] for polygon in shape.polygons]
    mask = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, 120, 140))).astype(bool)
    # The shape is black, lit from above; the background under its shadow is still bright.
    drawn = np.asarray(draw_scene(scene).convert("L")) < 90
    assert (mask & drawn).sum() / (mask | drawn).sum() > 0.96


def test_a_ring_is_two_halves_without_a_gap_around_a_hole():
    for tilt in (-12.0, -5.3, 0.0, 9.1):
        for center in ((60.0, 60.0), (60.5, 60.37)):
            ring = Shape("ring", "red", "large", "plain", center, 40.0, tilt, COLOURS["red"])
            polygons = [[number for point in polygon for number in point] for polygon in ring.polygons]
            assert len(polygons) == 2
            mask = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, 120, 120)))
            y, x = np.mgrid[:120, :120] + 0.5
            distance = np.hypot(x - center[0], y - center[1])
            assert mask[(distance > 22) & (distance < 35)].all()
            assert not mask[(distance < 18) | (distance > 39)].any()


# What is written


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
        assert 1 <= len(ref["sentences"]) <= 3
        for sentence in ref["sentences"]:
            assert set(sentence) == {"sent_id", "sent", "raw", "tokens", "kind"}
            assert sentence["tokens"] == sentence["sent"].split()
            assert sentence["kind"] in KINDS
    assert len({ref["ref_id"] for ref in refs}) == len(refs)
    sent_ids = [sent_id for ref in refs for sent_id in ref["sent_ids"]]
    assert len(set(sent_ids)) == len(sent_ids)
    assert {ref["split"] for ref in refs} == set(SPLITS)
    for image in images.values():
        with Image.open(folder / "images/mscoco/images/train2014" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"])


def test_boxes_bound_the_masks(instances):
    images = {image["id"]: image for image in instances["images"]}
    multi_part = 0
    for annotation in instances["annotations"]:
        image = images[annotation["image_id"]]
        polygons = annotation["segmentation"]
        multi_part += len(polygons) > 1
        rle = coco_mask.merge(coco_mask.frPyObjects(polygons, image["height"], image["width"]))
        rows, columns = np.nonzero(coco_mask.decode(rle))
        x, y, width, height = annotation["bbox"]
        # A sharp tip covers little of its last pixels, so the mask may end up to two pixels inside the box.
        for first, last, start, end in (
            (columns.min(), columns.max() + 1, x, x + width),
            (rows.min(), rows.max() + 1, y, y + height),
        ):
            assert -0.6 <= first - start <= 2.0
            assert -0.6 <= end - last <= 2.0
        assert annotation["area"] == len(rows)
        assert annotation["iscrowd"] == 0
    assert multi_part > 0


def test_of_every_fifty_pictures_forty_train():
    assert Counter(map(split_of, range(50))) == {"train": 40, "val": 4, "testA": 3, "testB": 3}
    assert Counter(map(split_of, range(50, 100))) == Counter(map(split_of, range(50)))


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    write_refshapes(tmp_path / "one", 12, seed=5)
    write_refshapes(tmp_path / "two", 12, seed=5)
    write_refshapes(tmp_path / "two", 12, seed=5)  # writing again into the same folder
    write_refshapes(tmp_path / "other", 12, seed=6)
    one, other = hashes(tmp_path / "one"), hashes(tmp_path / "other")
    assert len(one) == 12 + 3
    assert hashes(tmp_path / "two") == one
    assert set(other) == set(one)
    assert not set(other.values()) & set(one.values())


def test_sets_of_different_sizes_share_their_first_pictures(folder, instances, refs, tmp_path):
    write_refshapes(tmp_path, 7, seed=3)
    small = json.loads((tmp_path / "labels/refshapes/instances.json").read_text())
    small_refs = pickle.loads((tmp_path / "labels/refshapes/refs(unc).p").read_bytes())
    assert small["images"] == instances["images"][:7]
    assert small["annotations"] == instances["annotations"][: len(small["annotations"])]
    assert small_refs == refs[: len(small_refs)]
    large_hashes, small_hashes = hashes(folder), hashes(tmp_path)
    pictures = [path for path in small_hashes if path.endswith(".jpg")]
    assert len(pictures) == 7
    assert all(small_hashes[path] == large_hashes[path] for path in pictures)


def test_the_summary_counts_what_was_written(tmp_path):
    summary = write_refshapes(tmp_path, 20, seed=0)
    refs = pickle.loads((tmp_path / "labels/refshapes/refs(unc).p").read_bytes())
    counted = {split: Counter() for split in SPLITS}
    for ref in refs:
        counted[ref["split"]].update(sentence["kind"] for sentence in ref["sentences"])
    assert summary["expressions"] == counted
    assert summary["pictures"] == 20
    assert len(summary["examples"]) == 3


def test_a_folder_with_other_contents_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="is not empty and not written by RefShapes"):
        write_refshapes(tmp_path, 2, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_set_from_other_arguments_is_left_alone(tmp_path):
    write_refshapes(tmp_path, 2, seed=0)
    before = hashes(tmp_path)
    with pytest.raises(FileExistsError, match='"num_images": 2, "seed": 0'):
        write_refshapes(tmp_path, 1, seed=0)
    assert hashes(tmp_path) == before


@pytest.mark.parametrize("num_images", [0, -3])
def test_less_than_one_picture_is_an_error(num_images, tmp_path):
    with pytest.raises(ValueError, match=f"num_images must be at least 1, got {num_images}"):
        write_refshapes(tmp_path / "new", num_images, seed=0)
    assert not (tmp_path / "new").exists()
