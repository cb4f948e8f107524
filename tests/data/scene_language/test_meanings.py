"""What RefShapes does not say, and what holds for any scene."""

import pytest

from detection_labels import HEIGHT, WIDTH, a_scene
from plvl.data.detection.class_words import read_class_words
from plvl.data.detection.scene import ClassDescription
from plvl.data.scene_language.meanings import (
    Attribute,
    Between,
    Comparison,
    Depth,
    Exclusion,
    Order,
    Place,
    Relation,
    difficulty_of,
    is_about_none,
    is_about_several,
    is_unambiguous,
    leaves_one,
)

DOG, CAT = (ClassDescription.of(read_class_words().of(name), frozenset()) for name in ("dog", "cat"))
NEAR, FAR = ("dog", [100, 200, 200, 180]), ("dog", [400, 150, 100, 90])


def both(meaning, *objects):
    """The targets without borderline cases and with them."""
    return [meaning.targets(a_scene(*objects), strict) for strict in (True, False)]


def test_the_closest_to_us_is_lower_in_the_image_and_larger():
    assert both(Depth(DOG, nearest=True), NEAR, FAR) == [[0], [0]]
    assert both(Depth(DOG, nearest=False), NEAR, FAR) == [[1], [1]]
    assert is_unambiguous(Depth(DOG, nearest=True), 0, a_scene(NEAR, FAR, ("cat", [0, 300, 300, 120])))


def test_what_is_lower_or_larger_alone_may_be_the_closest():
    smaller_and_lower = ("dog", [400, 330, 60, 60])
    assert both(Depth(DOG, nearest=True), NEAR, smaller_and_lower)[0] == []
    as_large = ("dog", [400, 150, 200, 180])
    assert both(Depth(DOG, nearest=True), NEAR, as_large) == [[], [0, 1]]
    level = ("dog", [400, 290, 100, 80])  # ends 10 pixels higher
    assert both(Depth(DOG, nearest=True), NEAR, level) == [[], [0]]


def test_the_closest_is_clearly_so_beside_each_other_one():
    third = ("dog", [500, 200, 180, 170])
    assert both(Depth(DOG, nearest=True), NEAR, FAR, third) == [[], [0, 2]]
    assert both(Depth(DOG, nearest=False), NEAR, FAR, third) == [[1], [1]]


def test_depth_is_a_comparison_of_one_step():
    meaning = Depth(DOG, nearest=True)
    assert (meaning.kind, meaning.hops, difficulty_of(meaning, a_scene(NEAR, FAR))) == ("comparison", 1, 2)
    assert not is_about_none(meaning, a_scene(NEAR, FAR)) and is_about_none(Depth(CAT, True), a_scene(NEAR))
    assert not is_about_several(meaning, a_scene(NEAR, FAR))


@pytest.mark.parametrize(
    ("meaning", "one"),
    [
        (Attribute(DOG), False),
        (Place(DOG, "left"), False),
        (Relation(DOG, "near", Attribute(CAT)), False),
        (Exclusion(DOG, (Place(DOG, "left"),)), False),
        (Relation(DOG, "nearest", Attribute(CAT)), True),
        (Order(DOG, 0, "left"), True),
        (Comparison(DOG, largest=True), True),
        (Depth(DOG, nearest=False), True),
        (Between(DOG, (Attribute(CAT), Attribute(CAT))), True),
        (Relation(DOG, "near", Order(CAT, 0, "left")), True),
    ],
)
def test_nobody_says_of_several_what_leaves_one_or_takes_two_steps(meaning, one):
    assert leaves_one(meaning) == one


def test_a_relation_that_wording_lacks_is_told_by_the_scene():
    umbrella = ClassDescription.of(read_class_words().of("umbrella"), frozenset())
    person = ClassDescription.of(read_class_words().of("person"), frozenset())
    meaning = Relation(person, "with", Attribute(umbrella))
    people = ("person", [100, 100, 100, 250]), ("person", [400, 100, 100, 250])
    scene = a_scene(*people, ("umbrella", [110, 80, 80, 80]))
    assert is_unambiguous(meaning, 0, scene)
    assert not is_unambiguous(meaning, 0, a_scene(*people, ("umbrella", [480, 80, 80, 80]), ("cat", [0, 0, 9, 9])))
    assert (scene.width, scene.height) == (WIDTH, HEIGHT)
