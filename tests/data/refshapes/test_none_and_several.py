"""Expressions about several shapes of an image, and about none."""

import json
import math
import pickle
import random
import re
from collections import Counter

import pytest

from plvl.data.refshapes import ALL_KINDS, KINDS, make_referred_scene, sentence_kinds, split_of, write_refshapes
from plvl.data.refshapes.description import Description
from plvl.data.refshapes.expressions import make_expressions_about_none, make_expressions_about_several
from plvl.data.refshapes.language import is_about_none
from plvl.data.refshapes.other_nouns import HELD_OUT_NOUNS, NOUNS
from plvl.data.refshapes.refer_set import SPLITS, file_name_of, make_none_and_several
from plvl.data.refshapes.scene import HELD_OUT, has_held_out_pair
from plvl.data.refshapes.shapes import NEW_SHAPES, SHAPES
from plvl.data.refshapes.wording import word
from plvl.data.scene_language.meanings import (
    PLACES,
    Absent,
    Attribute,
    Between,
    Comparison,
    Exclusion,
    Order,
    Place,
    Relation,
    Several,
    difficulty_of,
    gap,
    is_about_several,
)
from plvl.data.scene_language.wording import MAX_WORDS
from plvl.processing.expression_words import swap_sides
from refshapes_reader import objects_of, understood, understood_of_several
from refshapes_scenes import a_scene, a_shape

NONE_RATE, SEVERAL_RATE = 0.15, 0.2
STAR, RING, ANYTHING = Description(name="star"), Description(name="ring"), Description()


@pytest.fixture(scope="module")
def made():
    """(split, scene, number of single expressions, [(positions, expressions)]) of 200 images, no typing errors."""
    images = []
    for index in range(200):
        referred = make_referred_scene(11, index, typo_rate=0.0)
        others = make_none_and_several(referred, 11, index, NONE_RATE, SEVERAL_RATE, typo_rate=0.0)
        images.append((split_of(index), referred.scene, sum(len(said) for _, said in referred.references), others))
    return images


@pytest.fixture(scope="module")
def said(made):
    """(split, scene, positions, expression) of each."""
    return [
        (split, scene, positions, expression)
        for split, scene, _, others in made
        for positions, expressions in others
        for expression in expressions
    ]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two sets of one seed, without and with expressions about none and several, and the summary of the second."""
    plain, general = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("general")
    write_refshapes(plain, 40, seed=3, typo_rate=0.0)
    rates = {"none_rate": NONE_RATE, "several_rate": SEVERAL_RATE}
    return plain, general, write_refshapes(general, 40, seed=3, typo_rate=0.0, **rates)


def references(folder):
    return pickle.loads((folder / "labels/refshapes/refs(unc).p").read_bytes())


def inner(expression):
    """The meaning that an expression says of several or of none, and whether it asks for several."""
    said = expression.meaning.said
    if isinstance(said, Several):
        return said.said, True
    return said, isinstance(expression.meaning, Several)


# What is true


def holds(scene, meaning, position):
    """Whether a meaning is true of a shape, as a person with a ruler would say: no margins, no borderline cases."""
    x, y = scene.middles[position]
    asked = {key: value for key, value in vars(meaning.description).items() if value is not None}
    group = [p for p, s in enumerate(scene.shapes) if all(getattr(s, key) == value for key, value in asked.items())]
    if position not in group:
        return False
    match meaning:
        case Attribute():
            return True
        case Place():
            halves = {"low": (0, 0.5), "mid": (0.35, 0.65), "high": (0.5, 1), None: (0, 1)}
            spans = [halves[each] for each in PLACES[meaning.place]]
            at = (x / scene.width, y / scene.height)
            return all(low <= where <= high for where, (low, high) in zip(at, spans, strict=True))
        case Order():
            axis, sign = {"left": (0, 1), "right": (0, -1), "top": (1, 1), "bottom": (1, -1)}[meaning.side]
            in_line = sorted(group, key=lambda p: sign * scene.middles[p][axis])
            return in_line[meaning.rank : meaning.rank + 1] == [position]
        case Comparison():
            best = max if meaning.largest else min
            return best(group, key=lambda p: scene.visible_areas[p]) == position
        case Exclusion():
            return not any(holds(scene, excluded, position) for excluded in meaning.excluded)
        case Between():
            (ax, ay), (bx, by) = (scene.middles[the_one(scene, anchor)] for anchor in meaning.anchors)
            longer = math.hypot(x - ax, y - ay) + math.hypot(bx - x, by - y)
            return longer < 1.1 * math.hypot(bx - ax, by - ay)
        case Relation():
            anchor = the_one(scene, meaning.anchor)
            return anchor != position and stands(scene, position, meaning.relation, anchor, group)


def the_one(scene, meaning):
    (position,) = (p for p in range(len(scene.shapes)) if holds(scene, meaning, p))
    return position


def stands(scene, position, relation, anchor, group):
    (x, y), (ax, ay) = scene.middles[position], scene.middles[anchor]
    own, others = scene.visible_areas[position], scene.visible_areas[anchor]
    distances = {p: math.dist(scene.middles[p], (ax, ay)) for p in group if p != anchor}
    return {
        "left": x < ax,
        "right": x > ax,
        "above": y < ay,
        "below": y > ay,
        "near": gap(scene, position, anchor) < 0.13 * (scene.width + scene.height) / 2,
        "nearest": min(distances, key=distances.get, default=None) == position,
        "larger": own > others,
        "smaller": own < others,
        "behind": scene.covered(position, anchor) > 0.02 * scene.shapes[position].area,
        "in front": scene.covered(anchor, position) > 0.02 * scene.shapes[anchor].area,
    }[relation]


def test_each_is_true_of_exactly_the_shapes_that_its_reference_names(said):
    for _, scene, positions, expression in said:
        meaning, _ = inner(expression)
        true = tuple(p for p in range(len(scene.shapes)) if holds(scene, meaning, p))
        assert true == positions, (expression.text, scene.shapes)
        assert (len(positions) > 1) == (expression.kind == "several")
        assert (len(positions) == 0) == (expression.kind == "none")
    assert len(said) > 1000


def test_a_reader_of_the_written_files_finds_what_is_meant(folders):
    objects, sizes = objects_of(folders[1])
    read = Counter()
    for ref in references(folders[1]):
        for sentence in ref["sentences"]:
            about, text = (objects[ref["image_id"]], *sizes[ref["image_id"]]), sentence["sent"]
            if sentence["kind"] == "several":
                (found, count), meant = understood_of_several(text, *about), ref["ann_id"]
            elif sentence["kind"] == "none" and not text.removeprefix("the ").startswith(("big", "small")):
                found, count, meant = understood(text, *about), None, []
            else:
                continue
            if found is not None:
                assert [thing["id"] for thing in found] == meant, (ref["file_name"], text)
                assert count in (None, len(meant)), (ref["file_name"], text)
                read[sentence["kind"], count is None] += 1
    assert read["several", True] > 20 and read["several", False] > 10 and read["none", True] > 12, read


def test_what_fits_none_is_a_near_miss(said):
    both_there = Counter()
    for _, scene, _, expression in said:
        description = inner(expression)[0].description
        asked = {key: value for key, value in vars(description).items() if value is not None}
        if expression.kind == "none" and description.name not in (*NOUNS, *HELD_OUT_NOUNS):
            agreeing = max(sum(getattr(s, key) == value for key, value in asked.items()) for s in scene.shapes)
            assert agreeing >= len(asked) - 1, expression.text
            if {"name", "colour"} <= set(asked) and agreeing < len(asked):
                seen = all(any(getattr(s, key) == value for s in scene.shapes) for key, value in asked.items())
                both_there[seen] += 1
    # A colour and a shape that are there, and not together, are what is asked for most.
    assert both_there[True] > both_there[False] > 0


def test_some_ask_for_things_that_are_no_shapes_and_training_never_names_those_of_the_other_splits(said):
    shapes = {*SHAPES, *NEW_SHAPES}
    assert not {*NOUNS} & {*HELD_OUT_NOUNS} and not {*NOUNS, *HELD_OUT_NOUNS} & shapes
    asked = Counter(
        (split, inner(expression)[0].description.name) for split, _, _, expression in said if expression.kind == "none"
    )
    others = {split: {name for where, name in asked if where == split} - shapes - {None} for split in SPLITS}
    assert others["train"] <= {*NOUNS} and others["val"] | others["testB"] <= {*HELD_OUT_NOUNS}
    assert others["val"] and others["testB"] and not others["testA"]
    in_train = {name: count for (split, name), count in asked.items() if split == "train"}
    assert 0.1 < sum(in_train[name] for name in others["train"]) / sum(in_train.values()) < 0.23


def test_grammar_alone_does_not_tell_that_there_is_nothing(made, said):
    singles = sum(number for _, _, number, _ in made)
    several = sum(expression.kind == "several" for *_, expression in said)
    none = [inner(expression) for *_, expression in said if expression.kind == "none"]
    plural = sum(is_plural for _, is_plural in none) / len(none)
    assert plural == pytest.approx(several / (several + singles), abs=0.06)
    kinds = Counter(meaning.kind for meaning, is_plural in none if not is_plural)
    assert all(kinds[kind] > 0.05 * kinds.total() for kind in KINDS), kinds
    referred = make_referred_scene(11, 0)
    alone = make_none_and_several(referred, 11, 0, none_rate=0.5, several_rate=0.0)
    assert len(alone) == 1 and not any(inner(expression)[1] for expression in alone[0][1])


def test_nothing_is_there_also_because_of_places_relations_and_exclusions(said):
    of_present_things = [
        inner(expression)[0]
        for _, scene, _, expression in said
        if expression.kind == "none" and inner(expression)[0].description.group(scene)
    ]
    assert {meaning.kind for meaning in of_present_things} >= {"place", "order", "relation", "exclusion"}
    relations = {meaning.relation for meaning in of_present_things if isinstance(meaning, Relation)}
    assert relations >= {"left", "right", "above", "below"}


def test_several_are_told_in_every_way_that_leaves_more_than_one(said):
    kinds = Counter(inner(expression)[0].kind for *_, expression in said if expression.kind == "several")
    assert set(kinds) == set(KINDS) - {"order"}
    assert min(kinds[kind] for kind in ("attribute", "place", "relation", "exclusion")) > 0.08 * kinds.total()


def test_shares_are_those_asked_for(made):
    counts = Counter()
    for split, _, singles, others in made:
        counts[split, "one"] += singles
        for positions, expressions in others:
            counts[split, "several" if positions else "none"] += len(expressions)
    for split in ("train", "val", "testA", "testB"):
        total = sum(number for (name, _), number in counts.items() if name == split)
        around = 0.012 if split == "train" else 0.035  # of the others there are few images
        assert counts[split, "none"] / total == pytest.approx(NONE_RATE, abs=around), split
        assert counts[split, "several"] / total == pytest.approx(SEVERAL_RATE, abs=around), split


def test_no_meaning_comes_twice_about_an_image(made):
    for _, _, _, others in made:
        meanings = [expression.meaning for _, expressions in others for expression in expressions]
        assert len(set(meanings)) == len(meanings)


def test_every_difficulty_occurs_and_counts_the_namesakes_that_are_not_meant(said):
    for kind in ("none", "several"):
        assert {e.difficulty for *_, e in said if e.kind == kind} == {1, 2, 3}
    reds = [a_shape("star", "red", (x, 60.0)) for x in (40.0, 110.0)]
    blues = [a_shape("star", "blue", (x, 200.0)) for x in (40.0, 110.0, 280.0)]
    red_stars = Several(Attribute(Description("star", "red")))
    assert difficulty_of(red_stars, a_scene(*reds, *blues[:2])) == 1
    assert difficulty_of(red_stars, a_scene(*reds, *blues)) == 2
    assert difficulty_of(Several(Attribute(STAR)), a_scene(*reds, *blues)) == 1
    green_star = Absent(Attribute(Description("star", "green")))
    assert [difficulty_of(green_star, a_scene(*reds, *blues[:n])) for n in (0, 1)] == [1, 2]


def test_test_a_asks_for_pairs_that_training_never_names(said):
    named = Counter()
    for split, scene, positions, expression in said:
        description = inner(expression)[0].description
        pair = (description.name, description.colour) in HELD_OUT or (
            description.name,
            description.texture,
        ) in HELD_OUT
        if expression.kind == "none":
            assert pair == (split == "testA"), (split, expression.text)
        elif split == "testA":
            shapes = [scene.shapes[position] for position in positions]
            assert any(has_held_out_pair(s.name, s.colour, s.texture) for s in shapes), expression.text
        named[split, expression.kind] += 1
    assert min(named["testA", kind] for kind in ("none", "several")) > 10


def test_one_of_the_shapes_asked_for_is_meant():
    stars = [a_shape("star", "red", (x, y)) for x in (40.0, 150.0, 280.0) for y in (40.0, 200.0)]
    several = make_expressions_about_several(a_scene(*stars), [1, 2], 60, random.Random(0))
    meant = [expression.meaning.targets(a_scene(*stars), True) for expression in several]
    assert len(several) > 10 and all({1, 2} & set(positions) for positions in meant)


def test_a_shape_that_is_new_is_asked_for_alone():
    index = 9
    assert split_of(index, "crown") == "testC"
    referred = make_referred_scene(4, index, new_shape="crown")
    assert make_none_and_several(referred, 4, index, NONE_RATE, SEVERAL_RATE, new_shape="crown") == []


# What may be said


def test_several_are_the_same_with_and_without_borderline_cases():
    stars = [a_shape("star", "red", (x, 120.0)) for x in (40.0, 60.0, 280.0)]
    border = a_shape("star", "blue", (150.0, 120.0))
    assert is_about_several(Place(STAR, "left"), a_scene(*stars))
    assert not is_about_several(Place(STAR, "left"), a_scene(*stars, border))
    assert not is_about_several(Place(STAR, "right"), a_scene(*stars))
    ring = a_shape("ring", "red", (200.0, 120.0))
    assert is_about_several(Relation(STAR, "left", Attribute(RING)), a_scene(*stars, ring))
    second_step = Relation(STAR, "left", Relation(RING, "right", Attribute(Description(name="cross"))))
    cross = a_shape("cross", "red", (120.0, 120.0))
    assert second_step.targets(a_scene(*stars, ring, cross), True) == [0, 1]
    assert not is_about_several(second_step, a_scene(*stars, ring, cross))


def test_a_medium_shape_passes_for_a_small_or_a_large_one_where_none_is():
    large, small = (Attribute(Description("star", size=size)) for size in ("large", "small"))
    for size, absent in (("small", [large]), ("large", [small]), ("medium", [])):
        scene = a_scene(a_shape("star", "red", (60.0, 60.0), size))
        assert [each for each in (large, small) if is_about_none(each, scene)] == absent
    medium = Attribute(Description("star", size="medium"))
    assert not is_about_none(medium, a_scene(a_shape("star", "red", (60.0, 60.0), "large")))
    assert is_about_none(medium, a_scene(a_shape("ring", "red", (60.0, 60.0), "large")))


@pytest.mark.parametrize(
    ("center", "absent"),
    [((280.0, 200.0), ["left", "middle", "top", "top left"]), ((170.0, 200.0), ["middle", "top", "top left"])]
    + [((145.0, 30.0), ["middle", "bottom"])],
)
def test_none_is_in_a_place_where_all_are_clearly_elsewhere(center, absent):
    scene = a_scene(a_shape("star", "red", center))
    places = ("left", "right", "middle", "top", "bottom", "top left")
    assert [place for place in places if is_about_none(Place(STAR, place), scene)] == absent


def test_a_relation_to_nothing_clear_is_not_said_of_none():
    star, ring, other = (
        a_shape(name, "red", (x, 60.0)) for name, x in (("star", 40.0), ("ring", 150.0), ("ring", 280.0))
    )
    right = Relation(STAR, "right", Attribute(RING))
    assert is_about_none(right, a_scene(star, ring))
    assert not is_about_none(right, a_scene(star, ring, other))
    assert not is_about_none(right, a_scene(star))
    assert not is_about_none(Relation(STAR, "left", Attribute(RING)), a_scene(star, ring))
    ends = Between(STAR, (Attribute(RING), Attribute(Description(name="cross"))))
    cross = a_shape("cross", "red", (280.0, 200.0))
    assert is_about_none(ends, a_scene(star, ring, cross))
    assert not is_about_none(ends, a_scene(star, ring, other, cross))


def test_what_two_hops_may_also_mean_is_not_said_of_none():
    """ "the star above the ring left of the square", where a star is above the other ring and left of the square"""
    square, ring, other, star = (
        a_shape(name, "blue", center)
        for name, center in (
            ("square", (240.0, 150.0)),
            ("ring", (140.0, 150.0)),
            ("ring", (290.0, 220.0)),
            ("star", (30.0, 180.0)),
        )
    )
    meaning = Relation(STAR, "above", Relation(RING, "left", Attribute(Description(name="square"))))
    assert is_about_none(meaning, a_scene(square, ring, star))
    scene = a_scene(square, ring, star, other)
    assert [meaning.anchor.targets(scene, strict) for strict in (True, False)] == [[1], [1]]
    assert [meaning.targets(scene, strict) for strict in (True, False)] == [[], []]
    assert not is_about_none(meaning, scene)


def test_what_is_excluded_leaves_none_where_it_is_clear():
    stars = [a_shape("star", "red", (x, 60.0), "medium") for x in (40.0, 100.0)]
    scene = a_scene(*stars, a_shape("ring", "blue", (280.0, 60.0)))
    assert is_about_none(Exclusion(STAR, (Attribute(Description(colour="red")),)), scene)
    assert is_about_none(Exclusion(STAR, (Place(ANYTHING, "left"),)), scene)
    assert not is_about_none(Exclusion(STAR, (Attribute(Description(size="medium")),)), scene)
    assert is_about_none(Exclusion(Description("cross"), (Attribute(Description(size="medium")),)), scene)


# How it is said


@pytest.fixture
def scene():
    reds = [a_shape("moon", "red", (x, 60.0)) for x in (40.0, 90.0)]
    circle = a_shape("circle", "blue", (200.0, 150.0), texture="striped")
    return a_scene(*reds, circle, a_shape("circle", "red", (280.0, 180.0), texture="striped"))


def ways(meaning, scene, count=4000):
    rng = random.Random(0)
    return {word(meaning, scene, rng) for _ in range(count)}


def test_what_people_say_of_several_is_among_the_ways_to_say_it(scene):
    moon, red = Description("moon"), Description(colour="red")
    for meaning, texts in (
        (Attribute(moon), {"both moons", "the moons", "moons", "the two moons", "all of the moons", "every moon"}),
        (Attribute(moon), {"both of the crescents", "two moons", "those moons", "each moon"}),
        (Attribute(red), {"the three red ones", "all three red ones", "the red ones", "all the red things"}),
        (Attribute(Description(texture="striped")), {"all the striped things", "both with stripes"}),
        (Place(moon, "left"), {"both moons on the left", "the left moons", "the moons that are on the left"}),
        (Place(ANYTHING, "left"), {"both on the left", "the two on the left", "the ones on the left"}),
        (Relation(moon, "above", Attribute(Description("circle", "blue"))), {"the moons above the blue circle"}),
        (Exclusion(red, (Attribute(Description("circle")),)), {"the red ones that are not circles"}),
        (Exclusion(ANYTHING, (Attribute(Description(colour="blue")),)), {"not the blue ones"}),
    ):
        found = ways(Several(meaning), scene, 6000)
        assert texts <= found, texts - found
    assert any(text.endswith("find both moons") for text in ways(Several(Attribute(moon)), scene, 6000))


def test_verbs_agree_with_what_is_meant(said):
    for *_, expression in said:
        text = expression.text
        if inner(expression)[1] and not re.search(r"\b(every|each)\b", text):
            assert not re.search(r"(that|which) (is|has|isn't|isnt)\b|that's|\bwhere|which one|\bit\b", text), text
        elif not inner(expression)[1]:
            assert not re.search(r"\b(both|all|those|every|each|are|have|aren't|arent)\b(?! black| of)", text) or (
                re.search(r"of all|neither|the \w+ ones", text)
            ), text


def test_counts_and_quantifiers_are_well_formed(said):
    for *_, expression in said:
        text = expression.text
        assert not re.search(
            r"\b(the|those|a) (both|all|every|each|not)\b|both (three|four)|(every|each) not", text
        ), text
        assert len(text.split()) <= MAX_WORDS
        assert re.fullmatch(r"[a-z0-9'-]+( [a-z0-9'-]+)*[.?]?", text), text
        assert swap_sides(swap_sides(text)) == text


def test_not_the_red_ones_stands_alone(scene):
    not_blue = Several(Exclusion(ANYTHING, (Attribute(Description(colour="blue")),)))
    texts = {text for text in ways(not_blue, scene, 12000) if "not the blue ones" in text}
    assert "not the blue ones" in texts
    assert not any(
        re.search(r"(find|show|point|mark|select|locate|for|want|mean|me|on|segment|to) not", t) for t in texts
    )


def test_nobody_speaks_of_the_other_of_two_where_both_are_excluded():
    stars = [a_shape("star", "red", (x, 60.0)) for x in (40.0, 160.0)]
    texts = ways(Absent(Exclusion(STAR, (Attribute(Description(colour="red")),))), a_scene(*stars))
    assert "the star that is not red" in texts
    assert not any("other" in text or "not the" in text for text in texts)


def test_none_is_asked_for_in_the_words_for_one_and_for_several(scene):
    green = Attribute(Description("moon", "green"))
    assert {"the green moon", "green moon", "can you find the green moon"} <= ways(Absent(green), scene)
    found = ways(Absent(Several(green)), scene)
    assert {"both green moons", "all green moons", "green moons", "the three green moons", "every green moon"} <= found


def test_of_two_is_also_said_where_there_is_nothing(scene):
    star = Description("star")
    assert "the larger of the two stars" in ways(Absent(Comparison(star, True)), scene)
    assert "the left one of the two stars" in ways(Absent(Order(star, 0, "left")), scene)


@pytest.mark.parametrize(
    ("name", "other", "noun"),
    [("circle", "ring", "round shape"), ("square", "rectangle", "box"), ("rectangle", "square", "rectangle")],
)
@pytest.mark.parametrize("about", [Absent, Several])
def test_a_noun_that_fits_another_shape_that_is_there_is_not_used(name, other, noun, about):
    meaning = about(Attribute(Description(name)))
    alone, beside = (
        a_scene(*(a_shape(each, "red", (x, 60.0)) for each, x in zip(shown, (40.0, 160.0, 260.0), strict=True)))
        for shown in ((name, name, "star"), (name, name, other))
    )
    assert any(noun in text for text in ways(meaning, alone, 500))
    assert not any(noun in text for text in ways(meaning, beside, 500))


def test_typing_errors_come_at_their_rate():
    def texts(rate):
        referred = make_referred_scene(11, 5)
        others = make_none_and_several(referred, 11, 5, 0.3, 0.3, typo_rate=rate)
        return [expression.text for _, expressions in others for expression in expressions]

    right, wrong = texts(0.0), texts(1.0)
    assert len(right) > 10
    assert right != wrong


# The written set


def test_references_name_all_objects_or_none(folders):
    instances = json.loads((folders[1] / "labels/refshapes/instances.json").read_text(encoding="utf-8"))
    annotations = {annotation["id"]: annotation for annotation in instances["annotations"]}
    seen = Counter()
    for ref in references(folders[1]):
        kinds = {sentence["kind"] for sentence in ref["sentences"]}
        assert ref["sent_ids"] == [sentence["sent_id"] for sentence in ref["sentences"]]
        stem = file_name_of(ref["image_id"] - 1).removesuffix(".jpg")
        if isinstance(ref["ann_id"], int):
            assert kinds <= set(KINDS) and isinstance(ref["category_id"], int) and "no_target" not in ref
            seen["one"] += 1
        elif ref["ann_id"] == [-1]:
            assert kinds == {"none"} and ref["category_id"] == [-1] and ref["no_target"] is True
            assert ref["file_name"] == f"{stem}_-1.jpg"
            seen["none"] += 1
        else:
            meant = [annotations[ann_id] for ann_id in ref["ann_id"]]
            assert kinds == {"several"} and len(meant) > 1 and "no_target" not in ref
            assert {annotation["image_id"] for annotation in meant} == {ref["image_id"]}
            assert ref["category_id"] == [annotation["category_id"] for annotation in meant]
            assert ref["file_name"] == f"{stem}_{'_'.join(map(str, ref['ann_id']))}.jpg"
            seen["several"] += 1
    assert min(seen[kind] for kind in ("one", "none", "several")) > 20
    assert {ref["ref_id"] for ref in references(folders[1])} == set(range(len(references(folders[1]))))
    kinds = sentence_kinds(folders[1] / "labels")
    assert set(kinds) == set(range(len(kinds))) and {kind.kind for kind in kinds.values()} == set(ALL_KINDS)


def test_all_else_is_as_in_the_set_without(folders):
    plain, general = folders[:2]

    def about_one(folder):
        return [
            (ref["image_id"], ref["ann_id"], [(each["sent"], each["kind"]) for each in ref["sentences"]])
            for ref in references(folder)
            if isinstance(ref["ann_id"], int)
        ]

    assert about_one(plain) == about_one(general)
    assert len(references(general)) > len(references(plain))
    for path in (plain / "images").rglob("*.jpg"):
        assert path.read_bytes() == (general / path.relative_to(plain)).read_bytes()
    name = "labels/refshapes/instances.json"
    assert (plain / name).read_bytes() == (general / name).read_bytes()


def test_the_bytes_are_the_same_for_any_number_of_workers_and_the_first_images_for_any_size(folders, tmp_path):
    rates = {"none_rate": NONE_RATE, "several_rate": SEVERAL_RATE}
    write_refshapes(tmp_path, 18, seed=3, typo_rate=0.0, num_workers=2, **rates)
    few = references(tmp_path)
    assert few == references(folders[1])[: len(few)]
    write_refshapes(tmp_path / "one", 18, seed=3, typo_rate=0.0, **rates)
    name = "labels/refshapes/refs(unc).p"
    assert (tmp_path / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_the_marker_tells_the_rates_and_another_set_is_left_alone(folders, tmp_path):
    plain, general = (json.loads((folder / "refshapes.json").read_text(encoding="utf-8")) for folder in folders[:2])
    assert general == plain | {"none_rate": NONE_RATE, "several_rate": SEVERAL_RATE}
    assert "none_rate" not in plain
    write_refshapes(tmp_path, 1, seed=3, several_rate=0.2)
    for other in ({}, {"none_rate": 0.2}, {"several_rate": 0.3}):
        with pytest.raises(FileExistsError, match='another RefShapes set.*"several_rate": 0.2'):
            write_refshapes(tmp_path, 1, seed=3, **other)


def test_the_summary_counts_them(folders):
    counted = Counter(sentence["kind"] for ref in references(folders[1]) for sentence in ref["sentences"])
    assert sum((Counter(counts) for counts in folders[2]["expressions"].values()), Counter()) == counted
    assert {kind for _, kind, _ in folders[2]["examples"]} == set(ALL_KINDS)


@pytest.mark.parametrize("rates", [(-0.1, 0.0), (0.0, -0.1), (0.5, 0.5), (1.0, 0.0), (0.0, float("nan"))])
def test_rates_that_leave_nothing_for_one_object_are_refused(rates, tmp_path):
    message = f"none_rate and several_rate must be .* together less than 1, got {rates[0]} and {rates[1]}"
    with pytest.raises(ValueError, match=message):
        write_refshapes(tmp_path / "set", 2, seed=0, none_rate=rates[0], several_rate=rates[1])
    assert not (tmp_path / "set").exists()


def test_fewer_are_made_where_there_is_little_to_say():
    stars = a_shape("star", "red", (40.0, 40.0)), a_shape("star", "red", (60.0, 200.0))
    scene = a_scene(*stars, a_shape("ring", "blue", (280.0, 120.0), "large", "dotted"))
    assert 5 < len(make_expressions_about_several(scene, [0], 200, random.Random(0))) < 200
    none = make_expressions_about_none(scene, 4, random.Random(0))
    assert len(none) == 4 and {inner(each)[0].description.name for each in none} <= {None, *SHAPES}
