import pickle
import random
import re
from collections import Counter

import pytest

from plvl.data.refshapes import make_referred_scene, write_refshapes
from plvl.data.refshapes.description import Description
from plvl.data.refshapes.shapes import COLOURS, SHAPES, TEXTURES
from plvl.data.refshapes.wording import word
from plvl.data.scene_language.meanings import Attribute, Comparison, Exclusion, Order, Place, Relation
from plvl.data.scene_language.wording import MAX_WORDS
from plvl.processing.expression_words import swap_sides
from refshapes_reader import objects_of, understood
from refshapes_scenes import a_scene, a_shape

STAR, RING = Description(name="star"), Description(name="ring")


@pytest.fixture(scope="module")
def said():
    """(scene, expression) of 300 images, without typing errors."""
    referred = [make_referred_scene(seed=11, index=index, typo_rate=0.0) for index in range(300)]
    return [(each.scene, e) for each in referred for _, expressions in each.references for e in expressions]


@pytest.fixture(scope="module")
def texts(said):
    return [expression.text for _, expression in said]


@pytest.fixture
def scene():
    shapes = [a_shape("star", colour, (x, 60.0)) for colour, x in (("red", 40.0), ("blue", 280.0))]
    return a_scene(*shapes, a_shape("ring", "blue", (160.0, 180.0), "large", "striped"))


def ways(meaning, scene, count=400):
    rng = random.Random(0)
    return {word(meaning, scene, rng) for _ in range(count)}


def test_what_people_type_is_among_the_ways_to_say_it(scene):
    striped = Attribute(Description(texture="striped"))
    for meaning, texts in (
        (striped, {"the striped one", "the stripy one", "the thing with stripes", "striped one"}),
        (Place(Description("star", "red"), "left"), {"red star on the left", "the left red star"}),
        (Place(STAR, "top right"), {"the upper right star", "star at the top right", "the top right star"}),
        (Place(Description(), "top left"), {"top left", "the one in the top left corner"}),
        (Order(STAR, 0, "left"), {"the leftmost star", "leftmost star", "the left one of the two stars"}),
        (Order(STAR, 1, "left"), {"the second star from the left"}),
        (Comparison(Description(), True), {"biggest one", "the largest one"}),
        (Comparison(STAR, True), {"the larger of the two stars", "the bigger star"}),
        (Relation(STAR, "nearest", Attribute(RING)), {"star closest to the ring"}),
        (Relation(STAR, "left", Attribute(RING)), {"the star left of the ring", "the star to the left of the ring"}),
        (Exclusion(STAR, (Attribute(Description(colour="red")),)), {"the star that is not red", "not the red star"}),
    ):
        assert texts <= ways(meaning, scene, 3000), texts - ways(meaning, scene, 3000)


def test_two_hops_are_one_phrase(scene):
    inner = Relation(RING, "below", Attribute(Description("square", "blue")))
    said = ways(Relation(STAR, "left", inner), scene, 2000)
    assert "the star left of the ring below the blue square" in said


def test_a_corner_is_said_of_what_is_in_it():
    in_corner, near_it = a_shape("star", "red", (40.0, 40.0)), a_shape("star", "red", (110.0, 85.0))
    place = Place(STAR, "top left")
    assert any("corner" in text for text in ways(place, a_scene(in_corner)))
    assert not any("corner" in text for text in ways(place, a_scene(near_it)))


def test_expressions_are_short_and_in_lower_case(texts):
    lengths = [len(text.split()) for text in texts]
    assert max(lengths) <= MAX_WORDS
    assert 2.5 < sum(lengths) / len(lengths) < 7
    for text in texts:
        assert re.fullmatch(r"[a-z0-9'-]+( [a-z0-9'-]+)*[.?]?", text), text


def test_the_vocabulary_is_a_few_hundred_words(texts):
    words = {token.strip("?.") for text in texts for token in text.split()}
    assert words >= {*SHAPES, *COLOURS, *TEXTURES, "small", "large", "thing", "one", "please", "not"}
    assert len(words) < 260


def test_most_expressions_are_bare_and_some_are_polite(texts):
    polite = sum(bool(re.search(r"\b(please|can you|could you|show|find|where|thanks|click)\b", t)) for t in texts)
    assert 0.05 < polite / len(texts) < 0.25
    assert 0.5 < sum(text.startswith("the ") for text in texts) / len(texts) < 0.8


def test_sides_are_said_by_words_that_mirroring_swaps(texts):
    for text in texts:
        assert swap_sides(text).count("left") == text.replace("right next to", "next to").count("right"), text
        assert swap_sides(swap_sides(text)) == text
    assert any("left" in text for text in texts)


def test_typing_errors_come_at_their_rate_and_spare_the_sides(scene):
    def with_errors(rate):
        rng, count = random.Random(1), 0
        meaning = Place(Description("star", "red"), "left")
        known = {token.strip("?.") for text in ways(meaning, scene, 4000) for token in text.split()}
        for _ in range(500):
            tokens = [token.strip("?.") for token in word(meaning, scene, rng, rate).split()]
            wrong = [token for token in tokens if token not in known]
            assert len(wrong) <= 1
            assert "left" in " ".join(tokens)
            count += bool(wrong)
        return count / 500

    assert with_errors(0.0) == 0.0
    assert 0.05 < with_errors(0.1) < 0.15
    assert with_errors(1.0) > 0.9


def test_a_typing_error_never_makes_another_word_of_the_vocabulary(said, texts):
    vocabulary = {token.strip("?.") for text in texts for token in text.split()}
    became = set()
    for seed, (scene, expression) in enumerate(said):
        right, wrong = (word(expression.meaning, scene, random.Random(seed), rate).split() for rate in (0.0, 1.0))
        became |= {pair for pair in zip(right, wrong, strict=True) if pair[0] != pair[1]}
    assert len(became) > 1000
    known = {(before, after) for before, after in became if after in vocabulary}
    assert known <= {("center", "centre"), ("centre", "center"), ("stripey", "stripy")}  # other spellings


def test_a_reader_of_the_written_files_finds_the_one_object_meant(tmp_path):
    write_refshapes(tmp_path, 100, seed=3, typo_rate=0.0)
    objects, sizes = objects_of(tmp_path)
    refs = pickle.loads((tmp_path / "labels/refshapes/refs(unc).p").read_bytes())
    read = Counter()
    for ref in refs:
        for sentence in ref["sentences"]:
            found = understood(sentence["sent"], objects[ref["image_id"]], *sizes[ref["image_id"]])
            if found is not None:
                assert [thing["id"] for thing in found] == [ref["ann_id"]], (ref["file_name"], sentence["sent"])
                read[sentence["kind"]] += 1
    assert read.total() > 300
    assert min(read[kind] for kind in ("attribute", "place", "order", "comparison", "relation", "exclusion")) >= 10
