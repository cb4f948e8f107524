from collections import Counter

import pytest

from plvl.data.refshapes import make_referred_scene
from plvl.data.refshapes.description import Description
from plvl.data.scene_language.meanings import (
    KINDS,
    Attribute,
    Between,
    Comparison,
    Exclusion,
    Order,
    Place,
    Relation,
    difficulty_of,
    is_unambiguous,
)
from refshapes_scenes import a_scene, a_shape

STAR, RING, ANYTHING = Description(name="star"), Description(name="ring"), Description()


@pytest.fixture(scope="module")
def said():
    """(scene, position, expression) of 200 images."""
    referred = [make_referred_scene(seed=11, index=index) for index in range(200)]
    return [
        (each.scene, position, expression)
        for each in referred
        for position, expressions in each.references
        for expression in expressions
    ]


def both(meaning, scene):
    """The targets without borderline cases and with them."""
    return [meaning.targets(scene, strict) for strict in (True, False)]


def test_every_expression_is_true_of_its_shape_alone(said):
    for scene, position, expression in said:
        assert is_unambiguous(expression.meaning, position, scene)
    assert len(said) > 2000


def test_no_kind_is_rare_and_none_is_most(said):
    kinds = Counter(expression.kind for _, _, expression in said)
    assert set(kinds) == set(KINDS)
    for kind in KINDS:
        assert 0.07 < kinds[kind] / len(said) < 0.32, kind


def test_every_difficulty_is_common(said):
    difficulties = Counter(expression.difficulty for _, _, expression in said)
    assert set(difficulties) == {1, 2, 3}
    assert min(difficulties.values()) > 0.15 * len(said)


def test_a_shapes_expressions_differ_in_meaning():
    for index in range(20):
        for _, expressions in make_referred_scene(seed=11, index=index).references:
            assert len({expression.meaning for expression in expressions}) == len(expressions)


def test_a_twin_leaves_attributes_nothing_to_say():
    scene = a_scene(a_shape("star", "red", (60.0, 60.0)), a_shape("star", "red", (200.0, 60.0)))
    assert both(Attribute(Description("star", "red", "small", "plain")), scene) == [[0, 1], [0, 1]]


def test_a_shape_on_the_border_of_two_places_is_not_told_by_place():
    star, border, other = (a_shape("star", "red", (x, 120.0)) for x in (40.0, 150.0, 280.0))
    left = Place(STAR, "left")
    assert both(left, a_scene(star, border, other)) == [[0], [0, 1]]
    assert is_unambiguous(left, 0, a_scene(star, other))


def test_a_corner_is_left_and_top():
    scene = a_scene(*(a_shape("star", "red", center) for center in ((40.0, 40.0), (280.0, 40.0), (40.0, 200.0))))
    assert both(Place(ANYTHING, "top left"), scene) == [[0], [0]]
    assert both(Place(ANYTHING, "bottom right"), scene) == [[], []]


def test_shapes_at_nearly_the_same_height_are_not_told_apart_by_order():
    scene = a_scene(*(a_shape("star", "red", center) for center in ((40.0, 60.0), (160.0, 66.0), (280.0, 200.0))))
    assert not is_unambiguous(Order(ANYTHING, 0, "top"), 0, scene)
    assert is_unambiguous(Order(ANYTHING, 0, "bottom"), 2, scene)
    assert is_unambiguous(Order(ANYTHING, 1, "left"), 1, scene)
    assert is_unambiguous(Order(ANYTHING, 2, "right"), 0, scene)


def test_order_counts_only_the_shapes_described():
    ring = a_shape("ring", "red", (100.0, 60.0))
    scene = a_scene(*(a_shape("star", "red", (x, 60.0)) for x in (40.0, 160.0, 280.0)), ring)
    assert is_unambiguous(Order(STAR, 1, "left"), 1, scene)
    assert is_unambiguous(Order(ANYTHING, 1, "left"), 3, scene)


def test_the_largest_is_clearly_larger_than_each_other_described():
    small, medium, large = (
        a_shape("star", "red", (x, 100.0), size) for x, size in ((40.0, "small"), (120.0, "medium"), (240.0, "large"))
    )
    scene = a_scene(small, medium, large)
    assert is_unambiguous(Comparison(STAR, largest=True), 2, scene)
    assert is_unambiguous(Comparison(STAR, largest=False), 0, scene)
    scene = a_scene(small, medium, a_shape("star", "blue", (240.0, 100.0), "medium"))
    assert both(Comparison(STAR, largest=True), scene) == [[], [1, 2]]


def test_a_shape_may_be_larger_than_another():
    large, small = a_shape("star", "red", (60.0, 60.0), "large"), a_shape("star", "red", (160.0, 60.0))
    scene = a_scene(large, small, a_shape("ring", "red", (260.0, 100.0), "medium"))
    assert is_unambiguous(Relation(STAR, "larger", Attribute(RING)), 0, scene)
    assert is_unambiguous(Relation(STAR, "smaller", Attribute(RING)), 1, scene)
    scene = a_scene(large, small, a_shape("ring", "red", (260.0, 100.0)))
    # Star and ring of one size: the star is not clearly smaller, nor clearly not.
    assert both(Relation(STAR, "smaller", Attribute(RING)), scene) == [[], [1]]


def test_a_relation_needs_one_anchor_and_a_clear_direction():
    star, lower_star = a_shape("star", "red", (60.0, 60.0)), a_shape("star", "red", (200.0, 200.0))
    ring = a_shape("ring", "blue", (150.0, 70.0))
    left = Relation(STAR, "left", Attribute(RING))
    assert is_unambiguous(left, 0, a_scene(star, lower_star, ring))
    assert both(left, a_scene(star, ring, a_shape("ring", "red", (280.0, 70.0)))) == [[], []]
    below = a_shape("star", "red", (140.0, 200.0))
    assert not is_unambiguous(left, 0, a_scene(star, below, ring))


@pytest.mark.parametrize(
    ("relation", "center"),
    [("left", (60.0, 120.0)), ("right", (260.0, 120.0)), ("above", (160.0, 40.0)), ("below", (160.0, 200.0))],
)
def test_each_direction_has_its_side(relation, center):
    scene = a_scene(a_shape("ring", "red", (160.0, 120.0)), a_shape("star", "red", center))
    holding = [
        name
        for name in ("left", "right", "above", "below")
        if is_unambiguous(Relation(STAR, name, Attribute(RING)), 1, scene)
    ]
    assert holding == [relation]


def test_near_leaves_out_what_may_be_near_too():
    ring, star, far = (
        a_shape(name, "red", (x, 60.0)) for name, x in (("ring", 40.0), ("star", 80.0), ("star", 250.0))
    )
    near, nearest = (Relation(STAR, name, Attribute(RING)) for name in ("near", "nearest"))
    assert is_unambiguous(near, 1, a_scene(ring, star, far))
    rather_near = a_shape("star", "red", (120.0, 60.0))
    assert both(near, a_scene(ring, star, rather_near)) == [[1], [1, 2]]
    assert is_unambiguous(nearest, 1, a_scene(ring, star, rather_near))
    as_near = a_shape("star", "red", (40.0, 102.0))
    assert both(nearest, a_scene(ring, star, as_near)) == [[], [1, 2]]


def test_behind_and_in_front_are_said_of_shapes_that_overlap():
    low, high = a_shape("ring", "red", (60.0, 60.0)), a_shape("star", "red", (80.0, 60.0))
    apart = a_shape("star", "blue", (200.0, 60.0))
    scene = a_scene(low, high, apart)
    assert is_unambiguous(Relation(STAR, "in front", Attribute(RING)), 1, scene)
    behind = Relation(RING, "behind", Attribute(Description(name="star", colour="red")))
    assert is_unambiguous(behind, 0, scene)
    assert both(Relation(STAR, "behind", Attribute(RING)), scene) == [[], []]


def test_between_is_on_the_way_from_one_to_the_other():
    ends = a_shape("ring", "red", (40.0, 60.0)), a_shape("cross", "red", (280.0, 60.0))
    meaning = Between(STAR, (Attribute(RING), Attribute(Description(name="cross"))))
    beside = a_shape("star", "blue", (160.0, 230.0))
    assert is_unambiguous(meaning, 2, a_scene(*ends, a_shape("star", "red", (160.0, 70.0)), beside))
    assert both(meaning, a_scene(*ends, beside)) == [[], []]


def test_a_relation_may_start_from_a_relation():
    square, ring, other_ring = (
        a_shape(name, "blue", center)
        for name, center in (("square", (240.0, 40.0)), ("ring", (240.0, 140.0)), ("ring", (60.0, 25.0)))
    )
    inner = Relation(RING, "below", Attribute(Description(name="square")))
    meaning = Relation(STAR, "left", inner)
    near, far = a_shape("star", "red", (100.0, 140.0)), a_shape("star", "red", (300.0, 200.0))
    assert is_unambiguous(meaning, 3, a_scene(square, ring, other_ring, near, far))
    assert meaning.hops == 2


def test_what_two_hops_may_also_mean_is_not_said():
    """ "the star above the ring left of the square", where another star is above a ring and left of the square"""
    square, ring, other_ring = (
        a_shape(name, "blue", center)
        for name, center in (("square", (240.0, 150.0)), ("ring", (140.0, 150.0)), ("ring", (290.0, 220.0)))
    )
    inner = Relation(RING, "left", Attribute(Description(name="square")))
    meaning = Relation(STAR, "above", inner)
    star = a_shape("star", "red", (140.0, 40.0))
    scene = a_scene(square, ring, other_ring, star)
    assert is_unambiguous(meaning, 3, scene)
    other = a_shape("star", "red", (30.0, 180.0))  # lower than the first ring, above the second
    scene = a_scene(square, ring, other_ring, star, other)
    assert both(meaning, scene) == [[3], [3]]
    assert not is_unambiguous(meaning, 3, scene)


def test_exclusion_leaves_one():
    red, blue = a_shape("star", "red", (40.0, 60.0)), a_shape("star", "blue", (280.0, 60.0))
    ring = a_shape("ring", "red", (160.0, 200.0))
    scene = a_scene(red, blue, ring)
    not_red = Exclusion(STAR, (Attribute(Description(colour="red")),))
    assert is_unambiguous(not_red, 1, scene)
    assert is_unambiguous(Exclusion(STAR, (Place(ANYTHING, "left"),)), 1, scene)
    assert is_unambiguous(Exclusion(ANYTHING, (Attribute(STAR),)), 2, scene)
    border = a_shape("star", "red", (155.0, 60.0))
    assert not is_unambiguous(Exclusion(STAR, (Place(ANYTHING, "left"),)), 1, a_scene(red, blue, border))


def test_difficulty_counts_steps_and_namesakes():
    stars = [a_shape("star", colour, (x, 60.0)) for colour, x in (("red", 40.0), ("blue", 110.0))]
    ring = a_shape("ring", "red", (280.0, 60.0))
    scene = a_scene(*stars, ring)
    red_star = Attribute(Description("star", "red"))
    assert difficulty_of(red_star, scene) == 1
    assert difficulty_of(Order(STAR, 0, "left"), scene) == 2
    assert difficulty_of(Relation(STAR, "left", Order(STAR, 0, "right")), scene) == 3
    crowd = a_scene(*stars, ring, *(a_shape("star", "blue", (x, 200.0)) for x in (40.0, 110.0)))
    assert difficulty_of(red_star, crowd) == 2
    assert difficulty_of(Order(STAR, 0, "left"), crowd) == 3
    assert difficulty_of(Attribute(Description(colour="red")), crowd) == 2
