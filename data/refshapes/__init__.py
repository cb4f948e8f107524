"""RefShapes: a made-up set of images and expressions about them.

shapes, backgrounds              what there is to draw
scene                            what stands where in an image
drawing                          a scene as pixels
language, wording, expressions   what can be said of a shape, in which words, and what of it is said
refer_set                        the whole set from a seed, written in the REFER layout
rows                             its rows without writing it
"""

from plvl.data.refshapes.refer_set import (
    SPLITS,
    TYPO_RATE,
    VERSION,
    make_referred_scene,
    sentence_kinds,
    split_of,
    write_refshapes,
)
from plvl.data.refshapes.shapes import NEW_SHAPES
from plvl.data.scene_language.meanings import ALL_KINDS, KINDS

__all__ = [
    "ALL_KINDS",
    "KINDS",
    "NEW_SHAPES",
    "SPLITS",
    "TYPO_RATE",
    "VERSION",
    "make_referred_scene",
    "sentence_kinds",
    "split_of",
    "write_refshapes",
]
