"""How RefShapes says what it means."""

import random

from plvl.data.refshapes.description import is_loose
from plvl.data.refshapes.scene import Scene
from plvl.data.scene_language.meanings import Absent, Meaning, Several
from plvl.data.scene_language.wording import MAX_WORDS, dressed, phrase_of


def word(meaning: Meaning, scene: Scene, rng: random.Random, typo_rate: float = 0.0) -> str:
    """One of the ways to say `meaning` about `scene`: lower case, at most MAX_WORDS words, hardly any punctuation.

    Args:
        typo_rate: the probability of a typing error somewhere in it, 0 to 1.
    """
    phrase = phrase_of(meaning, scene, rng)
    while len(phrase.split()) >= MAX_WORDS or (isinstance(meaning, Several | Absent) and is_loose(phrase, scene)):
        phrase = phrase_of(meaning, scene, rng)
    return dressed(phrase, meaning, rng, typo_rate)
