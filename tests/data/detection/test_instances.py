"""Label files in COCO's form: what is read of them, and the rows that are made."""

import logging
import os
from collections import Counter

import numpy as np
import pytest

from detection_labels import (
    CATEGORIES,
    HEIGHT,
    WIDTH,
    an_annotation,
    an_image,
    random_labels,
    write_labels,
)
from plvl.data import decode_segmentation, load_grounding_dataset
from plvl.data.detection import (
    DetectionExpressions,
    count_kinds,
    expression_kinds,
    instances,
    open_split,
    read_rows,
)
from plvl.data.row_streams import rows_of_shards

NUM_IMAGES = 23


@pytest.fixture
def roots(tmp_path):
    return {"image_root": tmp_path / "images", "label_root": tmp_path / "labels"}


@pytest.fixture
def many(roots):
    return write_labels(random_labels(NUM_IMAGES), roots)


def open_train(roots, split="train", hold_back=frozenset(), **expressions):
    return open_split("detection", split, **roots, expressions=expressions, hold_back=hold_back)


def rows_of(source):
    return list(rows_of_shards(**source.reading))


def said_of(roots, **expressions):
    return [(row["sent_id"], row["text"]) for row in rows_of(open_train(roots, **expressions))]


def one_image(roots, *annotations, categories=CATEGORIES, **expressions):
    """The rows about an image with these annotations."""
    write_labels({"images": [an_image(7)], "annotations": list(annotations), "categories": categories}, roots)
    return rows_of(open_train(roots, per_image=40, **expressions))


DOG, OTHER_DOG = an_annotation(1, 7, "dog", [50, 100, 100, 80]), an_annotation(2, 7, "dog", [400, 100, 130, 90])
CAT = an_annotation(3, 7, "cat", [250, 250, 90, 120])


# Rows


def test_a_row_has_the_boxes_that_are_meant_and_numbers_of_its_own(many):
    labels = random_labels(NUM_IMAGES)
    annotations = {each["id"]: each for each in labels["annotations"]}
    names = {each["id"]: each["name"] for each in CATEGORIES}
    rows, kinds = (
        rows_of(open_train(many, several_rate=0.3)),
        expression_kinds("train", many["label_root"], {"several_rate": 0.3}),
    )
    numbers = Counter()
    for row in rows:
        of_image = [each for each in labels["annotations"] if each["image_id"] == row["image_id"]]
        meant = [each for each in of_image if each["bbox"] in row["boxes"]]
        assert [each["bbox"] for each in meant] == row["boxes"]
        assert row["ref_id"] == (meant[0]["id"] if meant else -1) and row["ref_id"] in {*annotations, -1}
        classes = {names[each["category_id"]] for each in meant}
        assert row["category"] == (classes.pop() if len(classes) == 1 else None)
        assert row["image"]["path"] == str(many["image_root"] / row["file_name"])
        assert (row["width"], row["height"], row["dataset"], row["split"]) == (WIDTH, HEIGHT, "detection", "train")
        numbers[min(len(meant), 2)] += 1
        kind = kinds[row["sent_id"]].kind
        assert (kind == "none", kind == "several") == (len(meant) == 0, len(meant) > 1)
    assert len({row["sent_id"] for row in rows}) == len(rows) == len(kinds) and min(numbers.values()) > 10
    assert any(row["category"] is None and row["boxes"] for row in rows), "a group's objects are of several classes"


def test_kinds_are_those_of_the_rows_by_their_numbers(many):
    options = {"per_image": 5, "seed": 4}
    kinds = expression_kinds("train", many["label_root"], options)
    assert {number for number, _ in said_of(many, **options)} == set(kinds)
    counted = count_kinds("train", many["label_root"], options)
    assert counted.pop("images") == NUM_IMAGES and 0 <= counted.pop("silent_images") < NUM_IMAGES
    assert counted == Counter(kind.kind for kind in kinds.values())
    assert {kind.difficulty for kind in kinds.values()} == {1, 2, 3}


def test_a_mask_is_that_of_all_objects_that_are_meant(many):
    labels = random_labels(NUM_IMAGES)
    for row in rows_of(open_train(many, several_rate=0.4)):
        drawn = decode_segmentation(row["segmentation"], HEIGHT, WIDTH)
        expected = np.zeros((HEIGHT, WIDTH), np.uint8)
        for x, y, w, h in row["boxes"]:
            expected[int(y) + 1 : int(y + h) - 1, int(x) + 1 : int(x + w) - 1] = 1
        assert (drawn != expected).mean() < 0.002, row["text"]
        assert bool(drawn.any()) == bool(row["boxes"])
    assert labels["annotations"][0]["segmentation"]


@pytest.mark.parametrize("unknown", [{"segmentation": []}, {}, {"segmentation": None}])
def test_a_mask_that_is_not_known_stays_unknown_and_that_of_none_is_empty(roots, unknown):
    masked = {"segmentation": [[51, 101, 149, 101, 149, 179, 51, 179]]}
    rows = one_image(roots, DOG | masked, OTHER_DOG | unknown, none_rate=0.2, several_rate=0.3)
    for row in rows:
        if not row["boxes"]:
            assert row["segmentation"] == {"polygons": [], "size": None, "counts": None}
        else:
            assert (row["segmentation"] is None) == (OTHER_DOG["bbox"] in row["boxes"])
    assert {len(row["boxes"]) for row in rows} == {0, 1, 2}


def test_run_lengths_are_masks_too(roots):
    rle = {"size": [HEIGHT, WIDTH], "counts": [60 * HEIGHT + 110, 20, HEIGHT - 20, 30, (WIDTH - 61) * HEIGHT - 140]}
    row = next(row for row in one_image(roots, DOG | {"segmentation": rle}) if row["boxes"])
    drawn = decode_segmentation(row["segmentation"], HEIGHT, WIDTH)
    assert drawn.sum() == 50 and drawn[110:130, 60].all() and drawn[110:140, 61].all()


# Which objects


def test_a_crowd_keeps_its_class_from_being_spoken_of(roots):
    crowd = an_annotation(9, 7, "dog", [0, 200, 200, 100], iscrowd=1)
    rows = one_image(roots, DOG, OTHER_DOG, CAT, crowd, none_rate=0.3, several_rate=0.2)
    assert rows and {tuple(map(tuple, row["boxes"])) for row in rows} == {(), (tuple(map(float, CAT["bbox"])),)}
    assert not any("dog" in row["text"] or "animal" in row["text"] for row in rows)


def test_a_box_outside_keeps_its_class_from_being_spoken_of_and_the_first_are_named(roots, caplog):
    outside = [
        [700, 10, 20, 20],
        [10, 10, 0, 5],
        [-50, 0, 50, 20],
        [1, 2, 3],
        ["a", 1, 2, 3],
        [10, float("nan"), 9, 9],
    ]
    wrong = [an_annotation(20 + place, 7, "dog", box) for place, box in enumerate(outside)]
    rows = one_image(roots, DOG, CAT, *wrong, none_rate=0.2)
    assert rows and not any("dog" in row["text"] for row in rows)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "instances_train.json: 6 boxes are none inside their image (the first: " in warning
    assert "[700, 10, 20, 20] of annotation 20, image 7 of 640 x 424" in warning
    assert "annotation 24" in warning and "annotation 25" not in warning


def test_a_box_is_cut_to_what_the_image_shows(roots):
    over = an_annotation(1, 7, "dog", [-30, 340, 100, 200])
    assert [0.0, 340.0, 70.0, 84.0] in [box for row in one_image(roots, over) for box in row["boxes"]]


def test_small_and_cut_off_objects_are_not_meant_and_count(roots):
    small = an_annotation(5, 7, "dog", [560, 300, 40, 40])  # 0.6 % of the image
    rows = one_image(roots, DOG, small, none_rate=0)
    assert {tuple(box) for row in rows for box in row["boxes"]} == {tuple(map(float, DOG["bbox"]))}
    assert not {"dog", "the dog", "only dog"} & {row["text"] for row in rows}
    both = {tuple(box) for row in one_image(roots, DOG, small, none_rate=0, smallest=0.005) for box in row["boxes"]}
    assert len(both) == 2
    for edge in ([0, 100, 100, 80], [540, 100, 100, 80], [300, 0, 100, 80], [300, 344, 100, 80]):
        at_edge = an_annotation(3, 7, "cat", edge)
        meant = [
            {
                tuple(box)
                for row in one_image(roots, at_edge, DOG, none_rate=0, cut_off=cut_off)
                for box in row["boxes"]
            }
            for cut_off in (True, False)
        ]
        assert tuple(map(float, edge)) in meant[0] and tuple(map(float, edge)) not in meant[1]


def test_images_about_which_nothing_can_be_said_are_counted_and_told_of_quietly(roots, caplog):
    twins = [an_annotation(place, 2, "dog", [100, 100 + place, 60, 60]) for place in (5, 6)]
    labels = {"images": [an_image(1), an_image(2)], "annotations": [DOG | {"image_id": 1}, *twins]}
    write_labels(labels | {"categories": CATEGORIES}, roots)
    options = {"none_rate": 0, "several_rate": 0}
    with caplog.at_level(logging.DEBUG, "plvl.data.detection"):
        rows = rows_of(open_train(roots, **options))
    assert {row["image_id"] for row in rows} == {1}
    assert [record.levelno for record in caplog.records] == [logging.DEBUG]
    assert "shard 1 of 2: 1 images about which nothing is said" in caplog.text
    counted = count_kinds("train", roots["label_root"], options)
    assert (counted["images"], counted["silent_images"]) == (2, 1)
    held = count_kinds("train", roots["label_root"], options, hold_back=frozenset([2]))
    assert held["images"] == 2, "00002.jpg has no number of COCO's"


@pytest.mark.parametrize(("there", "seen_with_it", "words"), [
    ("dog", "umbrella", ("umbrella", "parasol")), ("umbrella", "dog", ("dog", "pup"))
])  # fmt: skip
def test_likelier_absent_classes_are_those_seen_with_what_is_there(roots, there, seen_with_it, words):
    annotations = [an_annotation(1, 1, there, [100, 100, 200, 200])]
    for number in range(2, 21):
        annotations.append(an_annotation(2 * number, number, there, [100, 100, 200, 200]))
        annotations.append(an_annotation(2 * number + 1, number, seen_with_it, [400, 100, 100, 200]))
    images = [an_image(number) for number in range(1, 21)]
    write_labels({"images": images, "annotations": annotations, "categories": CATEGORIES}, roots)
    asked = Counter()
    for seed in range(40):
        rows = rows_of(open_train(roots, none_rate=1, several_rate=0, seed=seed))
        asked.update(any(word in row["text"] for word in words) for row in rows if row["image_id"] == 1)
    # Its weight is 1.25 of 3.95; without what is seen together it were a tenth of the absent, which are two thirds.
    assert 0.12 < asked[True] / asked.total() < 0.3, asked


# The same again, in whatever parts


def test_what_is_said_follows_from_the_seed(many):
    assert said_of(many, seed=3) == said_of(many, seed=3)
    assert {text for _, text in said_of(many, seed=3)} != {text for _, text in said_of(many, seed=4)}


def test_every_process_and_every_version_says_the_same_of_a_seed(roots):
    assert [row["text"] for row in one_image(roots, DOG, OTHER_DOG, CAT, seed=1)][:10] == [
        "that animal that is not a dog", "the top right dog", "every dog in this picture", "first dog from left",
        "cat", "right hand dog", "puppy on left", "the cat in the lower half", "each dog that is not in lower half",
        "left dog",
    ]  # fmt: skip


@pytest.mark.parametrize("num_shards", [1, 5])
def test_shards_have_each_image_once_and_say_the_same(many, monkeypatch, num_shards):
    whole = sorted(said_of(many))
    monkeypatch.setattr(instances, "MAX_SHARDS", num_shards)
    source = open_train(many)
    assert len(source.shards) == num_shards
    shards = [list(read_rows(shard, **source.where)) for shard in source.shards]
    assert sorted((row["sent_id"], row["text"]) for rows in shards for row in rows) == whole
    images = [{row["image_id"] for row in rows} for rows in shards]
    assert sum(map(len, images)) == len(set.union(*images))
    assert [row["image_id"] for row in shards[0]] == sorted(row["image_id"] for row in shards[0])


def test_an_image_says_the_same_beside_others(many, roots):
    whole = dict(said_of(many))
    labels = random_labels(NUM_IMAGES)
    part = labels | {"images": labels["images"][::-1]}
    write_labels(part, roots)
    assert dict(said_of(roots)) == whole


def test_images_that_are_held_back_are_left_out_and_counted(roots):
    labels = random_labels(6, file_name=lambda number: f"COCO_train2014_{number:012d}.jpg")
    write_labels(labels, roots)
    source = open_train(roots, hold_back=frozenset([2, 5, 99]), per_image=4)
    assert (source.num_rows, source.held_back) == (16, 8)
    rows = rows_of(source)
    assert {row["image_id"] for row in rows} <= {1, 3, 4, 6}
    everything = rows_of(open_train(roots, per_image=4))
    assert rows == [row for row in everything if row["image_id"] not in (2, 5)]
    assert not open_train(roots, hold_back=frozenset(range(9))).shards
    assert count_kinds("train", roots["label_root"], hold_back=frozenset([2, 5]))["images"] == 4


def test_no_more_rows_than_are_announced(many):
    source = open_train(many, per_image=3)
    assert source.num_rows == 3 * NUM_IMAGES >= len(rows_of(source)) > 2 * NUM_IMAGES
    assert source.label_files == (many["label_root"] / "instances_train.json", instances.COCO_WORDS)


def test_a_label_file_is_read_again_when_it_has_changed(roots):
    first = one_image(roots, DOG)
    os.utime(roots["label_root"] / "instances_train.json", ns=(1, 1))
    second = one_image(roots, CAT)
    assert {row["category"] for row in first if row["boxes"]} == {"dog"}
    assert {row["category"] for row in second if row["boxes"]} == {"cat"}


# Splits


def test_a_split_is_found_by_its_name_or_with_its_year(roots):
    for file in ("train2017", "val2014", "val2017", "test", "test2017"):
        write_labels(random_labels(2), roots, split=file)
    find = instances.label_file
    assert find("train", roots["label_root"]).name == "instances_train2017.json"
    assert find("val2014", roots["label_root"]).name == "instances_val2014.json"
    assert find("test", roots["label_root"]).name == "instances_test.json"
    with pytest.raises(ValueError, match=r"split 'val' in .* may be val2014 or val2017: name one of them"):
        find("val", roots["label_root"])
    with pytest.raises(
        ValueError, match=r"no split 'testA' in .*; it has test, test2017, train2017, val2014, val2017"
    ):
        find("testA", roots["label_root"])


def test_missing_files_are_named(roots, many):
    (many["label_root"] / "instances_train.json").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"instances_train\.json is not there, nor any other instances_<split>"
    ):
        open_train(many)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_split("detection", "train", many["image_root"], "nowhere")
    write_labels(random_labels(1), roots)
    with pytest.raises(FileNotFoundError, match="elsewhere is missing: the files of detection"):
        open_split("detection", "train", "elsewhere", roots["label_root"])
    with pytest.raises(FileNotFoundError, match=r"words\.yaml"):
        open_train(roots, classes="words.yaml")


# Labels and options that are wrong


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"categories": []}, "'categories' is empty, and expressions need the names of classes"),
        ({"categories": None}, "'categories' is None, a list is expected"),
        ({"categories": [{"id": 2}]}, "categories, entry 0: 'name' is missing"),
        ({"categories": [{"id": 2, "name": "_ "}]}, "category 2 has the name '_ '"),
        ({"annotations": [DOG | {"category_id": 99}]}, "annotation 1: there is no category 99"),
        ({"annotations": [DOG | {"image_id": 8}]}, "annotation 1: there is no image 8"),
        ({"annotations": [DOG | {"bbox": None}]}, "annotations, entry 0: 'bbox' is None, a list is expected"),
        (
            {"annotations": [DOG, {"id": 4, "image_id": 7, "category_id": 2}]},
            "annotations, entry 1: 'bbox' is missing",
        ),
        ({"annotations": [DOG, CAT | {"id": 1}]}, "two have the id 1"),
        ({"images": [an_image(7) | {"width": "wide"}]}, "images, entry 0: 'width' is 'wide', a whole number"),
        ({"images": [an_image(7) | {"height": 10**400}]}, "image 7: height is '1000.*, which no image has"),
        ({"images": [an_image(7) | {"width": 0}]}, "image 7: width is '0', which no image has"),
        ({"images": [an_image(7), an_image(7, "x.jpg")]}, "two have the id 7: '00007.jpg' and 'x.jpg'"),
        ({"images": [an_image(7), an_image(8, "00007.jpg")]}, "images: two have the file_name 00007.jpg: '7' and '8'"),
    ],
)
def test_what_is_wrong_in_a_label_file_is_named(roots, change, message):
    labels = {"images": [an_image(7)], "annotations": [DOG], "categories": CATEGORIES} | change
    write_labels(labels, roots)
    with pytest.raises(ValueError, match=rf"instances_train\.json.*{message}"):
        open_train(roots)


def test_labels_without_categories_are_refused(roots):
    write_labels({"images": [an_image(7)], "annotations": [DOG]}, roots)
    with pytest.raises(ValueError, match=r"instances_train\.json: 'categories' is missing"):
        open_train(roots)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per_picture": 4}, "have the options per_image, none_rate, several_rate, smallest, .*, not per_picture"),
        ({"per_image": 0}, "per_image must be from 1 to 100, got 0"),
        ({"per_image": 101}, "per_image must be from 1 to 100, got 101"),
        ({"per_image": 2.5}, "'per_image' is 2.5, a whole number is expected"),
        ({"none_rate": -0.1}, "none_rate and several_rate must be at least 0 and together at most 1, got -0.1"),
        ({"none_rate": 0.6, "several_rate": 0.5}, "together at most 1, got 0.6 and 0.5"),
        ({"several_rate": "many"}, "'several_rate' is 'many', a number is expected"),
        ({"smallest": 1}, "smallest must be at least 0 and less than 1, got 1"),
        ({"cut_off": "no"}, "'cut_off' is 'no', bool is expected"),
        ({"classes": 3}, "'classes' is 3, text is expected"),
    ],
)
def test_what_is_wrong_in_the_options_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        DetectionExpressions.of(options)


def test_options_are_what_a_recipe_gives_and_defaults_otherwise():
    assert DetectionExpressions.of(None) == DetectionExpressions.of({}) == DetectionExpressions()
    assert DetectionExpressions.of({"per_image": 3, "classes": None}) == DetectionExpressions(per_image=3)
    with pytest.raises(ValueError, match="'expressions' is 5, an object is expected"):
        DetectionExpressions.of(5)


def test_words_of_ones_own_are_said(roots, tmp_path):
    file = tmp_path / "words.yaml"
    file.write_text("classes: {dog: {words: [hound]}}", encoding="utf-8")
    texts = " ".join(row["text"] for row in one_image(roots, DOG, CAT, classes=str(file)))
    assert "hound" in texts and "dog" not in texts and "cat" in texts and "kitten" not in texts


def test_the_set_is_known_by_its_name(many):
    rows = list(load_grounding_dataset("detection", "train", **write_labels(random_labels(3), many, files=True)))
    assert {row["dataset"] for row in rows} == {"detection"} and rows[0]["image"].size == (WIDTH, HEIGHT)
