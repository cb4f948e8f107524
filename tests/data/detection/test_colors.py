"""Colours are measured where an object shows them, kept in the label file, and said only where they are clear."""

import json
import random
import re
import zlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from detection_labels import (
    HEIGHT,
    WIDTH,
    a_maker,
    a_scene,
    an_annotation,
    an_image,
    colored,
    inner,
    make_many,
    random_labels,
    random_objects,
    write_labels,
)
from plvl.data.detection import expression_kinds, instances
from plvl.data.detection.class_words import read_class_words
from plvl.data.detection.colors import color_names, object_colors, write_colors
from plvl.data.detection.scene import COLORS, ClassDescription
from plvl.data.row_streams import rows_of_shards
from plvl.data.scene_language.meanings import Absent, Attribute

RGB = {
    "red": (200, 20, 30),
    "orange": (240, 130, 20),
    "yellow": (240, 220, 40),
    "green": (40, 140, 60),
    "blue": (30, 70, 190),
    "purple": (120, 40, 170),
    "pink": (240, 120, 180),
    "brown": (110, 65, 30),
    "black": (25, 22, 28),
    "gray": (128, 130, 127),
    "white": (245, 246, 244),
}
SKIN = (224, 180, 150)
SEEDS = 60


def painted(*rectangles, background=(128, 130, 127), size=(40, 60)):
    """An RGB image of (height, width) `size` with rectangles (left, top, right, bottom, colour)."""
    pixels = np.full((*size, 3), background, np.uint8)
    for left, top, right, bottom, color in rectangles:
        pixels[top:bottom, left:right] = color
    return Image.fromarray(pixels)


def seen(box, *rectangles, name="dog", **how):
    found = object_colors(color_names(painted(*rectangles, **how)), box, name)
    return found["colors"], found["unclear_colors"]


def described(name, color=None):
    said = ClassDescription.of(read_class_words().of(name), set())
    return ClassDescription(said.name, said.classes, said.words_for_all, said.words_for_some, color=color)


# What is measured


@pytest.mark.parametrize("name", COLORS)
def test_each_color_has_its_name(name):
    names = color_names(painted((5, 3, 8, 4, RGB[name]), background=SKIN))
    assert names.shape == (40, 60)
    assert (names[3, 5:8] == COLORS.index(name)).all() and (np.delete(names, 3, axis=0) == -1).all()


@pytest.mark.parametrize(
    ("color", "name"),
    [((200, 10, 40), "red"), ((250, 130, 130), "pink"), ((90, 110, 60), "green"), ((150, 90, 30), "brown")],
)
def test_hues_at_the_end_of_the_circle_and_dark_and_pale_ones_have_theirs(color, name):
    assert color_names(painted(background=color))[0, 0] == COLORS.index(name)


def test_an_object_is_looked_at_in_its_middle():
    frame = (10, 5, 50, 35, RGB["green"])
    assert seen([10, 5, 40, 30], frame, (18, 11, 42, 30, RGB["yellow"])) == (["yellow"], ["orange", "green", "brown"])
    assert seen([10, 5, 40, 30], frame) == (["green"], ["yellow", "blue", "brown", "gray"])


def test_of_a_person_who_stands_the_shirt_is_looked_at():
    shirt, trousers = (20, 10, 32, 18, RGB["red"]), (20, 18, 32, 36, RGB["blue"])
    person = [20, 4, 12, 32]
    assert seen(person, shirt, trousers, name="person")[0] == ["red"]
    assert seen(person, shirt, trousers)[0] == ["blue"]


def test_of_a_person_seen_from_the_waist_up_the_shirt_is_lower():
    face, shirt = (10, 2, 40, 17, SKIN), (10, 20, 40, 36, RGB["white"])
    assert seen([10, 2, 30, 34], face, shirt, name="person") == (["white"], ["gray"])


def test_a_color_of_a_part_is_unclear_and_what_is_nowhere_near_is_clear():
    box = [0, 0, 60, 40]
    stripe = (0, 12, 60, 18, RGB["red"])
    sure, unclear = seen(box, stripe, background=RGB["blue"])
    assert sure == ["blue"] and "red" in unclear and not {"yellow", "white", "pink"} & set(unclear)
    half = (0, 0, 33, 40, RGB["red"])
    assert seen(box, half, background=RGB["white"])[0] == ["red"]
    thirds = (0, 0, 24, 40, RGB["red"]), (24, 0, 32, 40, RGB["white"])
    sure, unclear = seen(box, *thirds, background=RGB["green"])
    # "orange" of what is red for a third nobody denies, "gray" of what has a little white one does.
    assert sure == [] and {"red", "green", "white", "orange"} <= set(unclear) and "black" not in unclear


def test_what_is_pale_may_be_called_any_of_the_warm_colors():
    assert seen([10, 5, 40, 30], background=SKIN) == ([], ["orange", "yellow", "pink", "brown", "white"])


def test_what_a_person_wears_beside_the_shirt_is_unclear():
    shirt, jeans = (20, 10, 32, 22, RGB["white"]), (20, 22, 32, 36, RGB["blue"])
    sure, unclear = seen([20, 4, 12, 32], shirt, jeans, name="person", background=RGB["green"])
    assert sure == ["white"] and "blue" in unclear and "red" not in unclear


def test_of_a_traffic_light_no_color_is_said():
    assert seen([10, 5, 40, 30], name="traffic light", background=RGB["black"]) == ([], list(COLORS))


@pytest.mark.parametrize(
    "box", [[57.5, 39.2, 2.5, 0.8], [0, 0, 0.2, 0.3], [59.9, 0, 0.1, 40], [10, 40 - 1e-14, 20, 1e-14]]
)
def test_the_smallest_boxes_have_a_color_too(box):
    for name in ("dog", "person"):
        assert seen(box, background=RGB["purple"], name=name)[0] == ["purple"]


# What is written


@pytest.fixture
def labels(tmp_path):
    """Two images, one of them upright, and one that is not there."""
    images = [
        {"id": 3, "file_name": "a.png", "width": 60, "height": 40},
        {"id": 5, "file_name": "in/b.png", "width": 30, "height": 50, "license": 4},
        {"id": 9, "file_name": "gone.png", "width": 30, "height": 50},
    ]
    boxes = {
        1: (3, "car", [2, 3, 20, 10]),
        2: (3, "person", [40, 4, 12, 32]),
        4: (5, "car", [8, 30, 20, 15]),
        6: (9, "car", [0, 0, 10, 10]),
        7: (5, "dog", [90, 90, 10, 10]),
    }
    annotations = [an_annotation(number, *said, keypoints=[number]) for number, said in boxes.items()]
    (tmp_path / "in").mkdir()
    shirt, trousers = (40, 10, 52, 18, RGB["yellow"]), (40, 18, 52, 36, RGB["blue"])
    painted((2, 3, 22, 13, RGB["red"]), shirt, trousers).save(tmp_path / "a.png")
    painted((8, 30, 28, 45, RGB["green"]), size=(50, 30)).save(tmp_path / "in" / "b.png")
    categories = [{"id": number, "name": name} for number, name in ((1, "person"), (2, "dog"), (4, "car"))]
    content = {"info": {"year": 1}, "images": images, "annotations": annotations, "categories": categories}
    file = tmp_path / "instances_train.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def test_labels_are_written_again_with_the_colors_of_each_object(labels, tmp_path):
    (tmp_path / "out").mkdir()
    output = tmp_path / "out" / labels.name
    objects, number, unusable = write_colors(labels, tmp_path, output)
    before, after = (json.loads(file.read_text(encoding="utf-8")) for file in (labels, output))
    of = {each["id"]: each for each in after["annotations"]}
    assert {key: each.pop("colors") for key, each in of.items()} == {
        1: ["red"],
        2: ["yellow"],
        4: ["green"],
        6: [],
        7: [],
    }
    assert [of[key].pop("unclear_colors") for key in (6, 7)] == [list(COLORS)] * 2
    for key in (1, 2, 4):
        assert 0 < len(of[key].pop("unclear_colors")) < 6
    assert after == before
    assert (objects, number) == (5, 3)
    assert [each.split(":")[0] for each in unusable] == ["image missing"] and "gone.png" in unusable[0]
    assert [each.name for each in output.parent.iterdir()] == [labels.name]


def test_an_image_of_another_size_than_its_labels_say_is_named(labels, tmp_path):
    painted(size=(40, 61)).save(tmp_path / "a.png")
    _, number, unusable = write_colors(labels, tmp_path, tmp_path / "out.json")
    assert number == 1 and "61 x 40, its labels say 60 x 40" in " ".join(unusable)


def test_what_is_not_there_is_said(labels, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is missing"):
        write_colors(labels, tmp_path / "nowhere", tmp_path / "out.json")
    labels.write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="'images' is missing"):
        write_colors(labels, tmp_path, tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def test_a_large_image_is_looked_at_in_small(labels, tmp_path):
    content = json.loads(labels.read_text(encoding="utf-8"))
    content["images"][0] |= {"width": 1920, "height": 1280}
    for annotation in content["annotations"][:2]:
        annotation["bbox"] = [32 * side for side in annotation["bbox"]]
    labels.write_text(json.dumps(content), encoding="utf-8")
    Image.open(tmp_path / "a.png").resize((1920, 1280), Image.Resampling.NEAREST).save(tmp_path / "a.png")
    write_colors(labels, tmp_path, labels)
    after = json.loads(labels.read_text(encoding="utf-8"))["annotations"]
    assert [each["colors"] for each in after[:3]] == [["red"], ["yellow"], ["green"]]


def test_where_no_image_can_be_used_nothing_is_written(labels, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"none of its 3 images can be used \(the first: image missing: .*a.png"):
        write_colors(labels, tmp_path / "empty", tmp_path / "out.json")
    assert not list(tmp_path.glob("out.json*"))


@pytest.mark.parametrize(
    "colors",
    [
        {"colors": ["left"], "unclear_colors": []},
        {"colors": [3], "unclear_colors": []},
        {"colors": ["red"], "unclear_colors": [" "]},
        {"colors": "red", "unclear_colors": []},
        {"colors": ["red"]},
        {"unclear_colors": ["red"]},
    ],
)
def test_colors_that_are_none_are_refused_with_their_annotation(labels, colors):
    content = json.loads(labels.read_text(encoding="utf-8"))
    content["annotations"][2] |= colors
    labels.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match="annotation 4: "):
        instances.read_instances(labels)


# What is said

CAR, OTHER_CAR, THIRD_CAR = ("car", [20, 100, 100, 80]), ("car", [260, 90, 110, 80]), ("car", [500, 110, 90, 80])


def of_color(made, color):
    return [each for each in made if re.search(rf"\b{color}\b", each.text)]


def test_the_one_of_its_color_is_called_by_it():
    scene = a_scene(CAR, OTHER_CAR, THIRD_CAR, colors=(colored("blue"), colored("red"), colored("blue", "gray")))
    red = of_color(make_many(scene, seeds=SEEDS), "red")
    assert {each.targets for each in red if isinstance(each.meaning, Attribute)} == {(1,)}
    assert len(red) > 20 and {each.kind for each in red} >= {"attribute", "place", "relation"}
    blue = of_color(make_many(scene, seeds=SEEDS), "blue")
    assert {each.kind for each in blue} >= {"place", "order"} and not any(each.kind == "attribute" for each in blue)
    several = [
        each
        for each in of_color(make_many(scene, several_rate=1.0, seeds=SEEDS), "blue")
        if isinstance(each.meaning.said, Attribute)
    ]
    assert {each.targets for each in several} == {(0, 2)}


@pytest.mark.parametrize("other", [colored("blue", "red"), colored("", "red"), None])
def test_what_may_be_of_a_color_keeps_it_from_being_said(other):
    made = make_many(
        a_scene(CAR, OTHER_CAR, colors=(colored("red"), other)), none_rate=0.3, several_rate=0.3, seeds=SEEDS
    )
    assert made and not of_color(made, "red")


def test_objects_of_other_classes_may_be_of_any_color():
    scene = a_scene(CAR, OTHER_CAR, ("dog", [150, 300, 70, 60]), colors=(colored("red"), colored("white"), None))
    assert {each.targets for each in of_color(make_many(scene, seeds=SEEDS), "red") if each.kind == "attribute"} == {
        (0,)
    }


def test_what_a_relation_starts_from_may_be_told_by_its_color():
    scene = a_scene(CAR, OTHER_CAR, ("dog", [150, 300, 70, 60]), colors=(colored("red"), colored("white"), None))
    made = [each for each in make_many(scene, seeds=SEEDS) if re.search(r"\bdog\b.* red car\b", each.text)]
    assert made and {each.targets for each in made} == {(2,)}


DOG = ("dog", [150, 300, 70, 60])


def near_misses(*objects, colors):
    """The words and colours of expressions about none that say what nothing there has."""
    none = make_many(a_scene(*objects, colors=colors), none_rate=1.0, seeds=SEEDS)
    assert all(isinstance(each.meaning, Absent) and each.targets == () for each in none)
    said = [(each.text, inner(each)[0]) for each in none]
    return [(text, one.description) for text, one in said if isinstance(one, Attribute) and one.description.color]


def test_of_none_is_said_a_color_that_another_object_has():
    colors = (colored("red", "orange"), colored("white", "gray"), colored("black", "gray brown"))
    found = {(one.name, one.color) for _, one in near_misses(CAR, OTHER_CAR, DOG, colors=colors)}
    assert found == {("car", "black"), ("dog", "red"), ("dog", "white")}


def test_of_none_no_color_is_said_that_what_may_be_called_so_has():
    truck = ("truck", [400, 250, 90, 80])
    colors = (colored("red"), colored("white"), colored("white", "red"))
    assert not [one for _, one in near_misses(CAR, DOG, truck, colors=colors) if one.name in ("car", "truck")]
    sign = ("stop sign", [400, 20, 60, 60])
    said = {text for text, _ in near_misses(sign, DOG, colors=(colored("red"), colored("white")))}
    assert any("stop sign" in text for text in said) and not any(
        "sign" in text.replace("stop sign", "") for text in said
    )


def test_where_colors_are_known_kinds_name_none():
    bears = [("bear", box) for _, box in (CAR, OTHER_CAR)]
    made = make_many(a_scene(*bears, colors=(colored("black"), colored("brown"))), none_rate=0.2, seeds=SEEDS)
    assert {each.targets for each in of_color(made, "brown") if each.kind == "attribute"} == {(1,)}
    said = [each.text for each in made]
    assert not any(
        "polar" not in text and "grizzly" not in text and re.search("black brown|brown black", text) for text in said
    )
    assert any("polar bear" in text or "grizzly" in text for text in said)
    oranges = a_scene(("orange", CAR[1]), ("orange", OTHER_CAR[1]), colors=(colored("orange"), colored("green")))
    of_oranges = make_many(oranges, seeds=SEEDS)
    assert not [each for each in of_oranges if re.search("orange oranges?", each.text)]
    assert of_color(of_oranges, "green")


def test_each_color_that_is_said_is_true_of_all_that_are_meant_and_of_no_others():
    numbers = Counter()
    for number in range(150):
        rng = random.Random(number)
        objects = random_objects(rng)
        colors = [
            colored(rng.choice(("red", "black", "")), rng.choice(("", "", "gray", "pink")))
            if rng.random() < 0.95
            else None
            for _ in objects
        ]
        scene = a_scene(*objects, colors=colors)
        for each in a_maker(scene, number).make(20, 0.2, 0.2):
            text, (meaning, _) = each.text, inner(each)
            color = meaning.description.color
            if color is None:
                continue
            alike = [p for p, name in enumerate(scene.names) if name in meaning.description.classes]
            assert all(colors[p] is not None and color not in colors[p].unclear for p in alike), text
            true = {p for p in alike if color in colors[p].sure}
            assert set(each.targets) <= true and (each.kind != "several" or len(each.targets) > 1), text
            if isinstance(meaning, Attribute):
                assert set(each.targets) == true, text
            numbers[each.kind] += 1
    assert numbers["attribute"] > 30 and numbers["several"] > 10 and numbers["none"] > 10, numbers


def test_people_wear_a_color_and_things_have_it():
    rng = random.Random(0)
    people = {described("person", "orange").words(rng, ("left",)) for _ in range(900)}
    plain = {
        "left man in orange",
        "left person wearing orange",
        "left woman with an orange shirt",
        "left orange shirt guy",
    }
    assert plain <= people and not any(text.startswith("left orange ") and "shirt" not in text for text in people)
    alone = {described("person", "orange").words(rng, noun_needed=False) for _ in range(300)}
    assert "orange shirt" in alone
    plural = {described("person", "red").words(rng, plural=True) for _ in range(90)}
    assert plural == {"people in red", "people wearing red", "red shirt people"}
    before = [described("person", "red").words(rng, behind=False) for _ in range(50)]
    assert all(text.startswith("red shirt ") for text in before)
    assert {described("zebra", "red").words(rng, ("second",)) for _ in range(20)} == {"second red zebra"}


def test_where_no_color_is_known_none_is_drawn_for(tmp_path):
    write_labels(random_labels(9), {"label_root": tmp_path})
    how = {"per_image": 30, "none_rate": 0.5}
    source = instances.open_split("detection", "train", tmp_path, tmp_path, how)
    said = [row["text"] for row in rows_of_shards(**source.reading)]
    assert (len(said), zlib.crc32("\n".join(said).encode())) == (195, 2899017488)


def test_rows_of_a_file_with_colors_speak_of_them(tmp_path):
    annotations = [
        an_annotation(1, 2, *CAR, colors=["blue"], unclear_colors=["gray"]),
        an_annotation(2, 2, *OTHER_CAR, colors=["red"], unclear_colors=[]),
    ]
    content = {"images": [an_image(2)], "annotations": annotations, "categories": [{"id": 4, "name": "car"}]}
    (tmp_path / "instances_train.json").write_text(json.dumps(content), encoding="utf-8")
    source = instances.open_split("detection", "train", tmp_path, tmp_path, {"per_image": 60, "none_rate": 0.0})
    rows = list(rows_of_shards(**source.reading))
    blue = [row for row in rows if re.search(r"\bblue car\b", row["text"])]
    red = [row for row in rows if re.search(r"\bred car\b", row["text"])]
    kinds = expression_kinds("train", tmp_path, {"per_image": 60, "none_rate": 0.0})
    assert {tuple(row["boxes"][0]) for row in blue if kinds[row["sent_id"]].kind == "attribute"} == {tuple(CAR[1])}
    assert {tuple(row["boxes"][0]) for row in red if kinds[row["sent_id"]].kind == "attribute"} == {
        tuple(OTHER_CAR[1])
    }
    assert (rows[0]["width"], rows[0]["height"]) == (WIDTH, HEIGHT)
