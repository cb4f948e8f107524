import random

import pytest

from detection_labels import a_scene
from plvl.data.detection.class_words import Noun, Words, read_class_words
from plvl.data.detection.scene import ClassDescription


def both(scene, relation, position=0, anchor=1):
    """Whether it clearly stands so, and whether it may."""
    return [scene.stands(position, relation, anchor, strict) for strict in (True, False)]


def described(name, others=frozenset(), absent=False):
    return ClassDescription.of(read_class_words().of(name), others, absent)


def test_larger_is_clear_in_area_and_in_the_longer_side():
    scene = a_scene(("dog", [0, 0, 100, 60]), ("dog", [200, 0, 80, 50]), ("dog", [300, 0, 100, 30]))
    assert scene.is_larger(0, 1) and not scene.is_larger(1, 0)  # 1.5 times the area, 1.25 times the side
    assert not scene.is_larger(0, 2)  # twice the area, as long
    assert scene.areas == [6000, 4000, 3000] and scene.middles[1] == (240, 25)


def test_what_meets_and_reaches_farther_down_is_in_front():
    couch, dog = ("couch", [100, 100, 300, 150]), ("dog", [150, 200, 90, 100])
    scene = a_scene(dog, couch)
    assert both(scene, "in front") == [True, True] and both(scene, "behind") == [False, False]
    scene = a_scene(couch, dog)
    assert both(scene, "behind") == [True, True] and both(scene, "in front") == [False, False]


def test_boxes_that_do_not_meet_or_end_level_are_not_in_front():
    apart = a_scene(("dog", [500, 200, 90, 100]), ("couch", [100, 100, 300, 150]))
    assert both(apart, "in front") == [False, False]
    level = a_scene(("dog", [350, 150, 90, 102]), ("couch", [100, 100, 300, 150]))
    assert both(level, "in front") == [False, True] and both(level, "behind") == [False, True]
    touching = a_scene(("dog", [390, 200, 90, 100]), ("couch", [100, 100, 300, 150]))  # a ninth of the dog's width
    assert both(touching, "in front") == [False, True]


def test_a_cup_on_a_table_is_neither_behind_it_nor_surely_not_before_it():
    scene = a_scene(("cup", [200, 180, 40, 60]), ("dining table", [100, 200, 400, 200]))
    assert both(scene, "behind") == [False, True] and both(scene, "in front") == [False, True]
    assert both(scene, "in front", 1, 0) == [False, True]


def test_a_person_is_with_what_is_mostly_within_their_box():
    person, umbrella = ("person", [100, 100, 100, 200]), ("umbrella", [120, 80, 60, 80])  # three quarters of it inside
    assert both(a_scene(person, umbrella), "with") == [True, True]
    assert both(a_scene(person, ("umbrella", [190, 150, 50, 40])), "with") == [False, True]
    assert both(a_scene(person, ("umbrella", [196, 150, 50, 40])), "with") == [False, False]
    assert both(a_scene(("dog", person[1]), umbrella), "with") == [False, False]


def test_a_person_is_on_what_is_under_them_and_meets_them():
    person = ("person", [110, 50, 60, 130])
    assert both(a_scene(person, ("horse", [80, 120, 140, 150])), "on") == [True, True]
    assert both(a_scene(person, ("horse", [145, 120, 140, 150])), "on") == [False, True]  # beside rather than over
    assert both(a_scene(person, ("horse", [80, 200, 140, 150])), "on") == [False, False]
    below = a_scene(("person", [110, 150, 60, 130]), ("horse", [80, 20, 140, 150]))
    assert both(below, "on") == [False, True]
    assert both(a_scene(("dog", person[1]), ("horse", [80, 120, 140, 150])), "on") == [False, False]


def test_a_description_fits_the_objects_of_its_classes():
    scene = a_scene(("dog", [0, 0, 9, 9]), ("car", [9, 0, 9, 9]), ("cat", [20, 0, 9, 9]), ("dog", [30, 0, 9, 9]))
    animal = next(ClassDescription.of(group, frozenset()) for group in read_class_words().groups_of("dog"))
    assert described("dog").group(scene) == [0, 3] == described("dog").namesakes(scene)
    assert animal.group(scene) == [0, 2, 3]
    assert described("zebra").group(scene) == [] and not described("dog").is_empty


def test_words_of_other_classes_that_are_there_are_not_said():
    assert [noun.one for noun in described("bicycle").words_for_all] == ["bike", "bicycle", "cycle"]
    assert [noun.one for noun in described("bicycle", {"bike", "cycle"}).words_for_all] == ["bicycle"]
    assert Noun("van", "vans") not in described("car", {"van"}).words_for_some
    assert described("bicycle", {"bike", "bicycle", "cycle"}) is None


def test_loose_words_are_not_said_of_none():
    assert Noun("sign", "signs") in described("stop sign").words_for_all
    assert described("stop sign", absent=True).words_for_all == (Noun("stop sign", "stop signs"),)
    only_loose = Words("lamp", (Noun("light", "lights"),), loose=frozenset([Noun("light", "lights")]))
    assert ClassDescription.of(only_loose, frozenset(), absent=True) is None


def test_kinds_are_said_of_one_object_and_never_of_several():
    rng = random.Random(0)
    one = {described("dog").words(rng) for _ in range(300)}
    several = {described("dog").words(rng, plural=True) for _ in range(300)}
    excluded = {described("dog").predicate(rng) for _ in range(300)}
    assert one == {"dog", "puppy", "pup", "doggy"} and several == {"dogs"} and excluded == {"a dog"}
    people = [described("person").words(rng) for _ in range(400)]
    assert 0.5 < sum(each != "person" for each in people) / 400 < 0.7
    assert {described("person").words(rng, plural=True) for _ in range(50)} == {"people"}


def test_the_usual_word_is_said_most():
    rng = random.Random(1)
    said = [described("bicycle").words(rng) for _ in range(600)]
    counts = [said.count(word) for word in ("bike", "bicycle", "cycle")]
    assert counts[0] > counts[1] > counts[2] > 60


@pytest.mark.parametrize(("name", "predicate"), [("umbrella", "an umbrella"), ("zebra", "a zebra")])
def test_what_is_excluded_has_its_article(name, predicate):
    assert predicate in {described(name).predicate(random.Random(seed)) for seed in range(20)}
    assert described("dog").predicate(random.Random(0), plural=True) == "dogs"
