import random

import pytest

from detection_labels import a_scene
from plvl.data.detection.class_words import read_class_words
from plvl.data.detection.scene import ClassDescription
from plvl.data.scene_language.meanings import Absent, Attribute, Depth, Place, Relation, Several
from plvl.data.scene_language.wording import MAX_WORDS, dressed, indefinite, phrase_of, terse
from plvl.processing.expression_words import swap_sides

WORDS = read_class_words()
DOG, UMBRELLA, GIRAFFE = (ClassDescription.of(WORDS.of(name), frozenset()) for name in ("dog", "umbrella", "giraffe"))
SCENE = a_scene(("giraffe", [100, 200, 200, 180]), ("giraffe", [400, 150, 100, 90]), ("umbrella", [300, 20, 60, 60]))


def phrases(meaning, count=1500, scene=SCENE):
    rng = random.Random(0)
    return {phrase_of(meaning, scene, rng) for _ in range(count)}


@pytest.mark.parametrize(
    ("phrase", "in_a_hurry"),
    [
        ("cup left of the laptop", "cup left of laptop"),
        ("bike on the far right", "bike on far right"),
        ("man behind an umbrella", "man behind umbrella"),
        ("dog by a cat and the horse", "dog by cat and horse"),
        ("all of the cups", "all cups"),
        ("both of the dogs below the table", "both dogs below table"),
        ("all four of the people", "all four people"),
        ("all the cups", "all cups"),
        ("largest of the horses", "largest of the horses"),
        ("bigger one of the two cats", "bigger one of the two cats"),
        ("smaller of the two cats left of the dog", "smaller of the two cats left of dog"),
        ("banana in the theatre", "banana in theatre"),
    ],
)
def test_in_a_hurry_people_leave_articles_out(phrase, in_a_hurry):
    assert terse(phrase) == in_a_hurry


@pytest.mark.parametrize(
    ("noun", "with_article"),
    [("dog", "a dog"), ("umbrella", "an umbrella"), ("orange", "an orange"), ("one on the left", "a one on the left"),
     ("unicycle", "a unicycle"), ("hydrant", "a hydrant")],
)  # fmt: skip
def test_the_article_goes_by_the_sound(noun, with_article):
    assert indefinite(noun) == with_article


def test_depth_is_said_as_people_say_it():
    near, far = phrases(Depth(GIRAFFE, nearest=True)), phrases(Depth(GIRAFFE, nearest=False))
    assert {"closest giraffe", "giraffe closest to us", "front giraffe", "giraffe in the foreground"} <= near
    assert {"giraffe in the back", "farthest giraffe", "giraffe in the background"} <= far
    assert not near & far


def test_relations_are_said_in_the_words_of_what_they_start_from():
    on = ClassDescription.of(WORDS.of("horse"), frozenset())
    scene = a_scene(("horse", [100, 100, 100, 100]), ("dog", [0, 0, 50, 50]))
    person = ClassDescription.of(WORDS.of("person"), frozenset())
    said = " ".join(phrases(Relation(person, "on", Attribute(on)), scene=scene))
    assert "riding the" in said and "on the" in said
    said = phrases(Relation(GIRAFFE, "behind", Attribute(UMBRELLA)))
    assert {"giraffe behind the umbrella", "giraffe behind a umbrella"} & said == {"giraffe behind the umbrella"}
    assert any("behind an umbrella" in phrase for phrase in said) and not any("hidden" in phrase for phrase in said)


def test_several_are_numbered_rightly():
    said = phrases(Several(Attribute(GIRAFFE)))
    assert {
        "giraffes",
        "both giraffes",
        "two giraffes",
        "all giraffes",
        "each giraffe",
        "both of the giraffes",
    } <= said
    assert not any("three" in phrase or "four" in phrase for phrase in said)
    three = phrases(Several(Attribute(GIRAFFE)), scene=a_scene(*[("giraffe", [9, 9, 9, 9])] * 3))
    assert {"three giraffes", "all three giraffes"} <= three and not any("both" in phrase for phrase in three)


def test_verbs_and_articles_agree_with_several():
    rng = random.Random(0)
    meaning = Several(Place(GIRAFFE, "bottom"))
    said = {dressed(phrase_of(meaning, SCENE, rng), meaning, rng) for _ in range(6000)}
    assert any("giraffes that are " in text for text in said) and not any("giraffes that is" in text for text in said)
    assert not any(text.startswith(("that giraffes", "the both", "the all", "the each")) for text in said)
    none = Absent(Several(Attribute(DOG)))
    assert {dressed(phrase_of(none, SCENE, rng), none, rng) for _ in range(900)} >= {"the dogs", "both dogs"}


def test_what_is_dressed_stays_short_and_its_sides_can_be_swapped():
    rng = random.Random(1)
    for place in ("left", "top right", "middle"):
        meaning = Relation(GIRAFFE, "left", Attribute(UMBRELLA)) if place == "middle" else Place(DOG, place)
        for _ in range(400):
            text = dressed(phrase_of(meaning, SCENE, rng), meaning, rng)
            assert len(text.split()) <= MAX_WORDS
            assert swap_sides(swap_sides(text)) == text
