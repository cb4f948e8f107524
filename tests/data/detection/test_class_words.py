import json
import re

import pytest
import yaml

from plvl.data.detection.class_words import Noun, read_class_words, regular_plural
from plvl.processing.expression_words import swap_sides

COCO = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, parking
meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag, tie,
suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis
racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot
dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard,
cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier,
toothbrush
"""
COCO = " ".join(COCO.split()).split(", ")


@pytest.fixture
def words_of(tmp_path):
    """Reads YAML text as a file of words."""

    def read(text):
        file = tmp_path / "words.yaml"
        file.write_text(text, encoding="utf-8")
        return read_class_words(file)

    return read


def test_each_class_of_coco_has_words_and_every_name_in_the_file_is_one():
    coco = read_class_words()
    assert set(coco.classes) == set(COCO) and len(COCO) == 80
    named = {other for words in (*coco.classes.values(), *coco.groups) for other in (*words.like, *words.classes)}
    assert named <= set(COCO)
    for words in (*coco.classes.values(), *coco.groups):
        said = [noun.one for noun in (*words.words, *words.kinds)]
        assert len(set(said)) == len(said), words.name
        assert all(re.fullmatch("[a-z]+( [a-z]+)*", each) and swap_sides(each) == each for each in said), said


def test_a_word_of_two_classes_of_coco_is_loose_or_the_classes_are_alike():
    """Else it would be said of none where the other class is, which is there but unsaid."""
    classes = read_class_words().classes.values()
    for one in classes:
        for other in classes:
            both = {noun for noun in one.words + one.kinds if noun.one in {n.one for n in other.words + other.kinds}}
            if one is not other and both - one.loose:
                assert other.name in one.like or one.name in other.like, (one.name, other.name, both)


@pytest.mark.parametrize(
    ("one", "many"),
    [("dog", "dogs"), ("bus", "buses"), ("box", "boxes"), ("bench", "benches"), ("dish", "dishes"),
     ("cherry", "cherries"), ("toy", "toys"), ("teddy bear", "teddy bears")],
)  # fmt: skip
def test_plurals_are_regular_unless_they_are_given(one, many):
    assert regular_plural(one) == many
    assert Noun.of(one) == Noun(one, many)
    assert Noun.of(f"{one}|others") == Noun(one, "others")


def test_a_file_names_words_kinds_relations_and_groups(words_of):
    words = words_of(
        """
        classes:
          kayak: {words: [kayak, boat], kinds: [canoe], loose: [thing], "on": [in, paddling], like: [raft]}
          raft:
        groups:
          vessel: {words: [vessel], classes: [kayak, raft], like: [buoy]}
        """
    )
    kayak, raft = words.of("kayak"), words.of("raft")
    assert [noun.one for noun in kayak.words] == ["kayak", "boat", "thing"]
    assert kayak.loose == {Noun("thing", "things")} and kayak.kinds == (Noun("canoe", "canoes"),)
    assert kayak.links == {"on": ("in", "paddling")} and kayak.like == {"raft"} and kayak.classes == {"kayak"}
    assert raft.words == (Noun("raft", "rafts"),) and raft.links == {}
    (vessel,) = words.groups_of("raft")
    assert vessel.classes == {"kayak", "raft"} and vessel.like == {"buoy"} and words.groups_of("buoy") == []


def test_a_class_without_words_is_called_by_its_name(words_of):
    words = words_of("classes: {Tool_Box: {kinds: [crate]}}")
    assert words.of("Tool_Box").words == (Noun("tool box", "tool boxes"),)
    screw = words.of("Wood_Screw")
    assert screw.words == (Noun("wood screw", "wood screws"),) and screw.classes == {"Wood_Screw"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "an object with classes is expected, this is NoneType"),
        ("groups: {}", "'classes' is missing"),
        ("classes: [dog]", "'classes' is .*, an object is expected"),
        ("classes: {}\ngroups: [pet]", "'groups' is .*, an object is expected"),
        ("classes: {dog: [puppy]}", "dog: 'words' is .*puppy.*, an object is expected"),
        ("classes: {1: {words: [one]}}", "1: 'name' is 1, text is expected"),
        ("classes: {dog: {words: puppy}}", "dog: 'words' is 'puppy', a list is expected"),
        ("classes: {dog: {words: [3]}}", "dog: 'words' has 3, which is no text"),
        ("classes: {dog: {words: ['|dogs']}}", r"dog: 'words' has '\|dogs', which is no text"),
        ("classes: {dog: {synonyms: [puppy]}}", "dog: 'synonyms' is none of words, loose, kinds, with, on, like$"),
        ("classes: {horse: {on: [riding]}}", r'horse: True is none of .* \(write "on" in quotes\)'),
        ("classes: {horse: {'on': [on, riding]}}", r"horse: 'on' has True, which is no text \(write \"on\" in quotes"),
        ("classes: {dog: {classes: [cat]}}", "dog: 'classes' is none of words, loose"),
        ("classes: {shoe: {words: [left shoe]}}", "shoe: 'words' has 'left shoe', which names a side"),
        ("classes: {shoe: {kinds: [Right-hand shoe]}}", "shoe: 'kinds' has .*, which names a side"),
        ("classes: {}\ngroups: {pet: {words: [pet]}}", "pet: a group has 'classes'"),
        ("classes: {}\ngroups: {pet: {classes: [dog], kinds: [puppy]}}", "pet: 'kinds' is none of words, classes"),
        ("classes: {dog: [", "no YAML"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(words_of, content, message):
    with pytest.raises(ValueError, match=rf"words\.yaml.*{message}"):
        words_of(content)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"mine\.yaml"):
        read_class_words(tmp_path / "mine.yaml")


def test_a_file_that_has_changed_is_read_again(words_of):
    assert words_of(json.dumps({"classes": {"dog": {"words": ["hound"]}}})).of("dog").words[0].one == "hound"
    changed = yaml.safe_dump({"classes": {"dog": {"words": ["doggy"]}}, "groups": {}})
    assert words_of(changed).of("dog").words[0].one == "doggy"
