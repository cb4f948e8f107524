"""What is said about photographs is true of exactly the objects that are meant."""

import math
import random
import re
from collections import Counter

import pytest

from detection_labels import CLASSES, HEIGHT, WIDTH, a_maker, a_scene, inner, make_many, random_objects
from plvl.data.detection.class_words import read_class_words
from plvl.data.scene_language.meanings import (
    KINDS,
    PLACES,
    Attribute,
    Between,
    Comparison,
    Depth,
    Exclusion,
    Order,
    Place,
    Relation,
    gap,
)
from plvl.data.scene_language.wording import MAX_WORDS

WORDS = read_class_words()
ABSENT = dict.fromkeys(CLASSES.values(), 1.0)


@pytest.fixture(scope="module")
def made():
    """(scene, crowds, eligible positions, expressions) of 250 images."""
    images = []
    for number in range(250):
        rng = random.Random(number)
        objects = random_objects(rng)
        if number % 10 == 0:
            objects += ("person", [200, 100, 120, 300]), ("umbrella", [210, 80, 90, 110])
        crowds = {rng.choice(tuple(CLASSES.values()))} if number % 5 == 0 else set()
        scene = a_scene(*objects, crowds=crowds)
        eligible = [position for position in range(len(objects)) if position % 4 != 3]
        maker = a_maker(scene, number, eligible=eligible, absent=without(ABSENT, scene.names))
        images.append((scene, crowds, eligible, maker.make(14, none_rate=0.25, several_rate=0.25)))
    return images


@pytest.fixture(scope="module")
def said(made):
    return [(scene, expression) for scene, _, _, expressions in made for expression in expressions]


def without(classes, names):
    return {name: weight for name, weight in classes.items() if name not in names}


# What is true


def holds(scene, meaning, position):
    """Whether a meaning is true of an object, as a person with a ruler would say: no margins, no borderline cases."""
    x, y = scene.middles[position]
    group = [p for p, name in enumerate(scene.names) if name in meaning.description.classes]
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
            return best(group, key=lambda p: math.prod(scene.boxes[p][2:])) == position
        case Depth():
            best = max if meaning.nearest else min
            return best(group, key=lambda p: bottom(scene, p)) == position
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
    (position,) = (p for p in range(len(scene.names)) if holds(scene, meaning, p))
    return position


def bottom(scene, position):
    return scene.boxes[position][1] + scene.boxes[position][3]


def meet(scene, one, other):
    (ax, ay, aw, ah), (bx, by, bw, bh) = scene.boxes[one], scene.boxes[other]
    return ax < bx + bw and bx < ax + aw and ay < by + bh and by < ay + ah


def stands(scene, position, relation, anchor, group):
    (x, y), (ax, ay) = scene.middles[position], scene.middles[anchor]
    distances = {p: math.dist(scene.middles[p], (ax, ay)) for p in group if p != anchor}
    touching, is_person = meet(scene, position, anchor), scene.names[position] == "person"
    return {
        "left": x < ax,
        "right": x > ax,
        "above": y < ay,
        "below": y > ay,
        "near": gap(scene, position, anchor) < 0.13 * (scene.width + scene.height) / 2,
        "nearest": min(distances, key=distances.get, default=None) == position,
        "behind": touching and bottom(scene, position) < bottom(scene, anchor),
        "in front": touching and bottom(scene, position) > bottom(scene, anchor),
        "with": is_person and touching,
        "on": is_person and touching,
    }[relation]


def test_each_is_true_of_exactly_the_objects_that_are_meant(said):
    numbers = Counter()
    for scene, expression in said:
        meaning, _ = inner(expression)
        true = tuple(position for position in range(len(scene.names)) if holds(scene, meaning, position))
        if isinstance(meaning, Relation) and meaning.relation in ("with", "on", "near"):
            # Margins are wide here: what is meant is true, and what is clearly so is meant.
            strict = tuple(p for p in true if scene_says(scene, meaning, p))
            assert set(strict) <= set(expression.targets) <= set(true), (expression.text, scene)
        else:
            assert true == expression.targets, (expression.text, scene)
        number = len(expression.targets)
        assert (number > 1) == (expression.kind == "several") and (number == 0) == (expression.kind == "none")
        numbers[min(number, 2)] += 1
    assert min(numbers.values()) > 250, numbers


def scene_says(scene, meaning, position):
    return position in meaning.targets(scene, True)


def test_only_eligible_objects_are_meant_and_the_others_count(made):
    for _, _, eligible, expressions in made:
        assert all(set(expression.targets) <= set(eligible) for expression in expressions)
    dogs = a_scene(("dog", [50, 100, 100, 80]), ("dog", [400, 100, 100, 80]))
    texts = {expression.text for expression in make_many(dogs, several_rate=0.4, eligible=[0])}
    assert texts and not texts & {"dog", "the dog", "dogs", "both dogs"}
    assert make_many(dogs, eligible=[]) == [] and make_many(dogs, several_rate=1.0, eligible=[]) == []


def test_of_a_class_with_a_crowd_nothing_is_said(made):
    for scene, crowds, _, expressions in made:
        for expression in expressions:
            meaning, _ = inner(expression)
            spoken_of = [meaning.description, *(anchor.description for anchor in anchors(meaning))]
            assert not any(description.classes & crowds for description in spoken_of), expression.text
            assert not {scene.names[position] for position in expression.targets} & crowds


def anchors(meaning):
    if isinstance(meaning, Relation):
        return [meaning.anchor]
    return getattr(meaning, "anchors", getattr(meaning, "excluded", ()))


def test_every_kind_is_made_and_most_rest_on_more_than_the_class(said):
    kinds = Counter(expression.kind for _, expression in said)
    assert set(kinds) == {*KINDS, "none", "several"} and min(kinds.values()) > 0.02 * len(said), kinds
    assert {expression.difficulty for _, expression in said} == {1, 2, 3}
    relations = {inner(expression)[0].relation for _, expression in said if hasattr(inner(expression)[0], "relation")}
    assert relations == {"left", "right", "above", "below", "near", "nearest", "behind", "in front", "with", "on"}
    assert any(isinstance(inner(expression)[0], Depth) for _, expression in said)
    assert any(isinstance(inner(expression)[0], Between) for _, expression in said)


def test_the_only_dog_is_not_called_the_largest_or_the_nearest(said):
    for scene, expression in said:
        meaning, _ = inner(expression)
        if expression.kind in ("order", "comparison", "exclusion") or getattr(meaning, "relation", "") == "nearest":
            alone = len(meaning.description.group(scene)) < 2
            assert not alone or expression.kind == "none", expression.text


def test_none_is_of_no_class_that_is_there_nor_one_like_it(made):
    asked = Counter()
    for scene, crowds, _, expressions in made:
        there = {*scene.names, *crowds}
        for expression in expressions:
            meaning, _ = inner(expression)
            if expression.kind == "none" and not meaning.description.group(scene):
                (name,) = meaning.description.classes
                like = {each for each in there if name in WORDS.of(each).like or each in WORDS.of(name).like}
                assert name not in there and not like, (expression.text, there)
                assert not {noun.one for noun in meaning.description.words_for_all} & {"bag", "sign", "desk", "plant"}
                asked[name] += 1
    assert set(asked) == set(CLASSES.values())


def test_none_is_asked_for_of_likelier_classes_more_often():
    dog = a_scene(("dog", [50, 100, 100, 80]))
    asked = Counter(
        name
        for expression in make_many(dog, none_rate=1.0, absent={"cat": 9.0, "car": 1.0})
        for name in inner(expression)[0].description.classes
    )
    assert asked["cat"] > 2 * asked["car"] > 0


def test_near_misses_are_of_classes_that_are_there(said):
    near = [
        (scene, *inner(expression))
        for scene, expression in said
        if expression.kind == "none" and inner(expression)[0].description.group(scene)
    ]
    assert {meaning.kind for _, meaning, _ in near} >= {"place", "order", "relation"}
    for scene, meaning, of_several in near:
        # Of two dogs on the right, one is "the left dog".
        if isinstance(meaning, Place) and not of_several:
            assert len(meaning.description.group(scene)) == 1
    assert any(of_several for _, _, of_several in near)


def test_none_sounds_like_the_others(said):
    none = [inner(expression) for _, expression in said if expression.kind == "none"]
    kinds = Counter(meaning.kind for meaning, _ in none)
    assert {"attribute", "place", "order", "comparison", "relation"} <= set(kinds)
    assert 0.05 < sum(of_several for _, of_several in none) / len(none) < 0.3


def test_no_zebra_rides_a_horse():
    rider = a_scene(("person", [110, 50, 60, 130]), ("horse", [80, 120, 140, 150]))
    assert any(getattr(inner(each)[0], "relation", "") == "on" for each in make_many(rider))
    none = [inner(each)[0] for each in make_many(rider, none_rate=1.0, absent={"zebra": 1.0})]
    relations = {meaning.relation for meaning in none if isinstance(meaning, Relation)}
    assert len(relations) > 3 and "on" not in relations


@pytest.mark.parametrize("alike", ["{crate: {like: [bin]}}", "{bin: {like: [crate]}}"])
def test_a_class_that_is_like_one_that_is_there_is_not_asked_for(tmp_path, alike):
    file = tmp_path / "words.yaml"
    file.write_text(f"classes: {alike}", encoding="utf-8")
    there = a_scene(("crate", [50, 100, 100, 80]), ("pump", [400, 100, 120, 90]))
    made = make_many(there, none_rate=1.0, words=read_class_words(file), absent={"bin": 1.0, "hose": 1.0})
    asked = {name for each in made for name in inner(each)[0].description.classes} - {*there.names}
    assert asked == {"hose"}


def test_rates_are_shares():
    scene = a_scene(("dog", [50, 100, 100, 80]), ("dog", [400, 100, 100, 80]), ("cat", [250, 250, 90, 90]))
    made = make_many(scene, none_rate=1.0, absent={"zebra": 1.0})
    assert made and {expression.kind for expression in made} == {"none"}
    assert {expression.kind for expression in make_many(scene, several_rate=1.0)} == {"several"}
    assert not {"none", "several"} & {expression.kind for expression in make_many(scene, absent={"zebra": 1.0})}


# How it is said


def test_texts_of_an_image_differ_and_are_short(made):
    for _, _, _, expressions in made:
        texts = [expression.text for expression in expressions]
        assert len(set(texts)) == len(texts) and max(len(text.split()) for text in texts) <= MAX_WORDS
        assert all(re.fullmatch(r"[a-z0-9'-]+( [a-z0-9'-]+)*[.?]?", text) for text in texts)


def test_about_half_are_terse(said):
    with_articles = sum(bool(re.search(r"\b(the|an?|that|those)\b", expression.text)) for _, expression in said)
    assert 0.3 < with_articles / len(said) < 0.6


def test_articles_stay_where_a_terse_phrase_needs_them(said):
    texts = [expression.text for _, expression in said]
    assert not any(re.search(r"\b(all|both|one|two|three|four|\w+est) of (?!the |all )", text) for text in texts)


def test_boxes_are_not_said_to_cover_one_another(said):
    texts = " ".join(expression.text for _, expression in said)
    assert not re.search(r"covering|covered|hidden|underneath|beneath|somewhere", texts)
    assert "behind" in texts and "in front of" in texts and "above" in texts


def test_a_word_that_two_classes_share_is_not_said_where_both_are():
    bicycle, motorcycle = ("bicycle", [50, 100, 100, 80]), ("motorcycle", [400, 100, 120, 90])
    both = " ".join(each.text for each in make_many(a_scene(bicycle, motorcycle)))
    assert re.search(r"\bbicycle\b", both) and re.search(r"\bmotorbike\b", both)
    assert not re.search(r"\b(bike|cycle)\b", both)
    assert re.search(r"\bbike\b", " ".join(each.text for each in make_many(a_scene(bicycle))))


def test_kinds_are_not_said_of_several(said):
    kinds = {word for name in CLASSES.values() for noun in WORDS.of(name).kinds for word in (noun.one, noun.many)}
    heads = [e.text for _, e in said if inner(e)[1] and not isinstance(inner(e)[0], Relation | Between)]
    assert not [text for text in heads if {*re.findall(r"\w+", text)} & kinds]
    assert any(text.startswith(("each ", "every ")) for text in heads)


def test_a_group_is_said_where_nothing_else_could_be_meant():
    animals = ("dog", [50, 100, 100, 80]), ("cat", [400, 100, 120, 90])
    texts = [each.text for each in make_many(a_scene(*animals), several_rate=0.5)]
    assert {"both animals", "animals"} & {*texts}
    beside_a_bear = a_scene(*animals, ("teddy bear", [250, 300, 60, 60]))
    texts = " ".join(each.text for each in make_many(beside_a_bear, several_rate=0.5))
    assert "teddy" in texts and not re.search(r"(?<!stuffed )animal", texts)


@pytest.fixture
def own_words(tmp_path):
    file = tmp_path / "words.yaml"
    file.write_text(
        """
        classes:
          bolt: {words: [bolt, fastener], kinds: [hex bolt]}
          washer: {words: [washer]}
        groups:
          part: {words: [part], classes: [bolt, washer]}
          small thing: {words: [fastener], classes: [washer, rivet]}
        """,
        encoding="utf-8",
    )
    return read_class_words(file)


def test_classes_of_ones_own_are_said_by_their_words(own_words):
    scene = a_scene(("bolt", [50, 100, 100, 80]), ("washer", [400, 100, 120, 90]), ("Copper_Pipe", [200, 300, 99, 60]))
    texts = " ".join(each.text for each in make_many(scene, several_rate=0.3, words=own_words))
    assert {"bolt", "washer", "copper", "pipe", "parts", "hex"} <= {*texts.split()}
    # A fastener is a bolt, and by its group the washer, too.
    assert "fastener" not in texts and "_" not in texts


def test_a_class_whose_words_are_all_shared_is_not_spoken_of(tmp_path):
    file = tmp_path / "words.yaml"
    file.write_text("classes: {bolt: {words: [gizmo]}, nut: {words: [gizmo, nut]}}", encoding="utf-8")
    scene = a_scene(("bolt", [50, 100, 100, 80]), ("nut", [400, 100, 120, 90]))
    made = make_many(scene, words=read_class_words(file))
    assert made and all(expression.targets == (1,) for expression in made)
    assert not any(re.search("gizmo|bolt", expression.text) for expression in made)


def test_names_too_long_for_an_expression_leave_it_unsaid():
    name = " ".join(["very"] * MAX_WORDS)
    scene = a_scene((name, [50, 100, 100, 80]), ("dog", [400, 100, 120, 90]))
    made = make_many(scene, absent={f"{name} other": 1.0}, none_rate=0.3)
    assert made and not any("very" in expression.text for expression in made)


def test_the_middle_one_is_also_in_the_middle_of_the_others():
    def called_middle(*middles):
        scene = a_scene(*(("dog", [x - 20, HEIGHT / 2 - 20, 40, 40]) for x in middles))
        made = make_many(scene)
        return {each.targets for each in made if isinstance(each.meaning, Place) and each.meaning.place == "middle"}

    center = WIDTH / 2
    assert called_middle(100, center, 600) == {(1,)}
    assert called_middle(center, 500, 600) == set()


def test_the_same_random_numbers_say_the_same():
    scene = a_scene(*random_objects(random.Random(3)))
    first, second, other = (
        [each.text for each in a_maker(scene, seed, absent={"zebra": 1.0}).make(14, 0.2, 0.2)] for seed in (5, 5, 6)
    )
    assert first == second != other


THREE_DOGS = (("dog", [40, 100, 90, 80]), ("dog", [170, 120, 90, 80]), ("dog", [480, 90, 110, 80]))


def test_of_several_the_outermost_is_the_one_on_that_side_and_of_three_the_second_the_middle_one():
    """The first two of the dogs are in the left half: by place alone there is no "left dog"."""
    by_words = Counter((each.text, each.targets) for each in make_many(a_scene(*THREE_DOGS), seeds=150))
    for text, target in (
        ("left dog", 0),
        ("dog on left", 0),
        ("the dog on the right", 2),
        ("middle dog", 1),
        ("dog in middle", 1),
    ):
        found = {targets: count for (said, targets), count in by_words.items() if said == text}
        assert found.keys() == {(target,)}, text
    four = make_many(a_scene(*THREE_DOGS, ("dog", [330, 300, 90, 80])), seeds=80)
    assert not any(re.search("middle|center", each.text) and isinstance(each.meaning, Order) for each in four)


def test_the_outermost_on_the_other_side_is_not_the_one_on_this():
    right = [(name, [x + 330 - 0.6 * x, y, w, h]) for name, (x, y, w, h) in THREE_DOGS]
    said = [each for each in make_many(a_scene(*right), seeds=120) if isinstance(each.meaning, Order)]
    left = [each for each in said if re.search(r"(?<!most )\bleft (dog|puppy|pup|doggy)$|on (the )?left$", each.text)]
    assert not left and any(each.text == "right dog" for each in said)


@pytest.mark.parametrize(
    "middles",
    [[(0.05, 0.3), (0.4, 0.75), (0.6, 0.5)], [(0.1, 0.5), (0.16, 0.1), (0.22, 0.9)]],
    ids=["another is in the middle of the image", "they stand above one another"],
)
def test_who_else_may_be_taken_for_the_middle_one_keeps_it_from_being_said(middles):
    dogs = [("dog", [x * WIDTH - 25, y * HEIGHT - 20, 50, 40]) for x, y in middles]
    made = make_many(a_scene(*dogs), seeds=120)
    middle = {each.targets for each in made if re.search("middle|cent", each.text)}
    assert len(middle) <= 1 and not any(
        isinstance(each.meaning, Order) and re.search("middle|cent", each.text) for each in made
    )


def test_sides_are_said_so_of_left_and_right_alone():
    stacked = a_scene(*((name, [y, x / 2, h, w / 2]) for name, (x, y, w, h) in THREE_DOGS))
    said = [
        each
        for each in make_many(stacked, seeds=80)
        if isinstance(each.meaning, Order) and each.meaning.side in ("top", "bottom")
    ]
    assert said and not any(re.search(r"\bin (the )?middle$|\bon (the )?(top|bottom)$", each.text) for each in said)


def test_among_several_people_hardly_any_are_told_to_be_men_or_women():
    people = [("person", box) for _, box in THREE_DOGS]
    one, several = (
        [each.text for each in make_many(a_scene(*objects), seeds=150)] for objects in (people[:1], people)
    )
    kinds = re.compile("|".join(noun.one for noun in WORDS.of("person").kinds))
    shares = [sum(bool(kinds.search(text)) for text in texts) / len(texts) for texts in (one, several)]
    assert shares[0] > 0.5 and 0.05 < shares[1] < 0.25
    dogs = [each.text for each in make_many(a_scene(*THREE_DOGS), seeds=150)]
    assert sum("pup" in text for text in dogs) > 0.03 * len(dogs)
