"""Words of place in expressions: which forbid a crop, and which a mirrored image swaps."""

import pytest

from plvl.processing.expression_words import says_position, swap_sides


@pytest.mark.parametrize(
    ("text", "mirrored"),
    [
        ("the man on the left", "the man on the right"),
        ("right of the left chair", "left of the right chair"),
        ("leftmost player", "rightmost player"),
        ("left-most player", "right-most player"),
        ("the left-hand door", "the right-hand door"),
        ("righthand side", "lefthand side"),
        ("rightside couch", "leftside couch"),
        ("leaning rightwards", "leaning leftwards"),
        ("left's twin", "right's twin"),
        ("top-left/bottom right", "top-right/bottom left"),
        ("Left one, RIGHT edge", "Right one, LEFT edge"),
        ("left", "right"),
        ("the one on the right behind him", "the one on the left behind him"),
        ("far right by the door", "far left by the door"),
        ("guy on very right by cart", "guy on very left by cart"),
        ("all the way right in front", "all the way left in front"),
        ("right man next to her", "left man next to her"),
    ],
)
def test_mirroring_swaps_left_and_right_and_back(text, mirrored):
    assert swap_sides(text) == mirrored
    assert swap_sides(mirrored) == text


@pytest.mark.parametrize(
    "text",
    [
        "right behind him",
        "the dog right next to the bench",
        "Right in front of the bus",
        "right there, in the middle",
        "the bright lamp",
        "upright piano",
        "a cleft rock",
        "brightest light",
        "rightful",
        "leftover",
        "lefty",
    ],
)
def test_mirroring_leaves_other_words_alone(text):
    assert swap_sides(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "man on left",
        "Right!",
        "the top-most box",
        "topmost",
        "bottom shelf",
        "the middle",
        "middlemost",
        "lefthand",
        "in the Center",
        "centre cup",
        "centermost",
        "central one",
        "upper bunk",
        "uppermost",
        "lower shelf",
        "corner",
        "in the corners",
    ],
)
def test_an_expression_that_says_where_is_known(text):
    assert says_position(text)


@pytest.mark.parametrize(
    "text",
    [
        "bright stop sign",
        "topping",
        "laptop",
        "bottomless pit",
        "the middleman",
        "a flower",
        "eccentric",
        "cornered",
        "cornerstone",
        "",
    ],
)
def test_an_expression_that_does_not_say_where_is_known(text):
    assert not says_position(text)
