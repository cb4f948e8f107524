"""Finds unambiguous expressions about a shape of a RefShapes scene, about several of its shapes or about none:
proposes meanings, keeps those that hold."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from plvl.data.refshapes.description import Description
from plvl.data.refshapes.language import is_about_none
from plvl.data.refshapes.scene import Scene, has_held_out_pair
from plvl.data.refshapes.shapes import COLOURS, SHAPES, SIZES, TEXTURES
from plvl.data.refshapes.wording import word
from plvl.data.scene_language.meanings import (
    KINDS,
    MAX_RANK,
    PLACES,
    SIDES,
    Absent,
    Attribute,
    Between,
    Comparison,
    Exclusion,
    Meaning,
    Order,
    Place,
    Relation,
    Several,
    difficulty_of,
    gap,
    is_about_several,
    is_unambiguous,
    leaves_one,
)

_KIND_WEIGHTS = {
    "attribute": 0.23,
    "place": 0.18,
    "order": 0.13,
    "comparison": 0.17,
    "relation": 0.22,
    "exclusion": 0.09,
}
# An order or a comparison leaves one; "larger than the ring" is proposed as a comparison.
_SEVERAL_WEIGHTS = {"attribute": 0.45, "place": 0.2, "relation": 0.15, "exclusion": 0.13, "comparison": 0.07}
_TRIES = 20  # meanings drawn before a kind is given up for a target
_KEYS = ("name", "colour", "size", "texture")
_VALUES = {"name": SHAPES, "colour": tuple(COLOURS), "size": tuple(SIZES), "texture": TEXTURES}
_OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above", "larger": "smaller"}
_OPPOSITE |= {"smaller": "larger", "behind": "in front", "in front": "behind"}
_OTHER_NOUNS = 1 / 6  # of the expressions about none
_DRAWS = 3  # for each expression about several or none that is wanted: some mean what another does


@dataclass(frozen=True)
class Expression:
    """What is said (lower case), what it means, and how hard it is: 1, 2 or 3 (see `difficulty_of`)."""

    text: str
    meaning: Meaning
    difficulty: int

    @property
    def kind(self) -> str:
        return self.meaning.kind


def make_expressions(
    scene: Scene, target: int, count: int, rng: random.Random, typo_rate: float = 0.0
) -> list[Expression]:
    """Up to `count` unambiguous expressions of different meaning about shape number `target` of a scene.

    Fewer, down to none, when not so many were found: a shape may have a twin beside it.
    """
    meanings: dict = {}
    for _ in range(count):
        meaning = _find_meaning(scene, target, rng)
        if meaning is not None:
            meanings[meaning] = None
    return _worded(meanings, scene, rng, typo_rate)


def make_expressions_about_several(
    scene: Scene, among: Sequence[int], count: int, rng: random.Random, typo_rate: float = 0.0
) -> list[Expression]:
    """Up to `count` expressions of different meaning, each about two or more shapes of a scene.

    Args:
        among: positions of shapes of which each expression means at least one.
    """
    meanings: dict = {}
    for _ in range(_DRAWS * count):
        meaning = _find_several(scene, among, rng)
        if meaning is not None:
            meanings[Several(meaning)] = None
        if len(meanings) == count:
            break
    return _worded(meanings, scene, rng, typo_rate)


def make_expressions_about_none(
    scene: Scene,
    count: int,
    rng: random.Random,
    typo_rate: float = 0.0,
    plural: float = 0.0,
    held_out: bool = False,
    other_nouns: Sequence[str] = (),
) -> list[Expression]:
    """Up to `count` expressions of different meaning that fit no shape of a scene: near misses, in which one attribute
    of a shape that is there, a place or a relation is another, and some about a thing that is no shape at all.

    Args:
        plural: share of them that ask for several, 0 to 1.
        held_out: whether they name a pair of attributes that belongs to testA; if not, they never do.
        other_nouns: of things that are no shapes ("zebra"), for about one in six; without any, all are near misses.
    """
    meanings: dict = {}
    for _ in range(_DRAWS * count):
        several = rng.random() < plural
        other_noun = rng.choice(other_nouns) if other_nouns and rng.random() < _OTHER_NOUNS else None
        meaning = _find_none(scene, several, held_out, other_noun, rng)
        if meaning is not None:
            meanings[Absent(Several(meaning) if several else meaning)] = None
        if len(meanings) == count:
            break
    return _worded(meanings, scene, rng, typo_rate)


def _worded(meanings, scene, rng, typo_rate):
    return [
        Expression(word(meaning, scene, rng, typo_rate), meaning, difficulty_of(meaning, scene))
        for meaning in meanings
    ]


def _find_meaning(scene, target, rng):
    wanted = rng.choices(KINDS, [_KIND_WEIGHTS[kind] for kind in KINDS])[0]
    for kind in (wanted, *rng.sample(KINDS, len(KINDS))):
        for _ in range(_TRIES):
            meaning = _PROPOSE[kind](scene, target, rng)
            if meaning is not None and is_unambiguous(meaning, target, scene):
                return meaning
    return None


def _find_several(scene, among, rng):
    for kind in _kinds(_SEVERAL_WEIGHTS, rng):
        for _ in range(_TRIES):
            target = rng.choice(among)
            meaning = (_propose_exclusion_of_some if kind == "exclusion" else _PROPOSE[kind])(scene, target, rng)
            if meaning is not None and is_about_several(meaning, scene) and target in meaning.targets(scene, True):
                return meaning
    return None


def _find_none(scene, several, held_out, other_noun, rng):
    for kind in _kinds(_SEVERAL_WEIGHTS if several else _KIND_WEIGHTS, rng):
        for _ in range(_TRIES):
            meaning = _PROPOSE[kind](scene, rng.randrange(len(scene.shapes)), rng)
            if meaning is not None and other_noun is not None:
                meaning = replace(meaning, description=replace(meaning.description, name=other_noun))
            elif meaning is not None:
                meaning = _near_miss(meaning, scene, rng)
            if (
                meaning is not None
                and _names_held_out_pair(meaning.description) == held_out
                and is_about_none(meaning, scene)
                and not (several and leaves_one(meaning))
            ):
                return meaning
    return None


def _kinds(weights, rng):
    """All kinds, beginning with one drawn by weight: the others are for where it finds nothing."""
    wanted = rng.choices(tuple(weights), tuple(weights.values()))[0]
    return wanted, *rng.sample(tuple(weights), len(weights))


def _near_miss(meaning, scene, rng):
    """`meaning`, true of a shape, with another place or relation or another attribute of what it asks for.

    None when every other attribute is that of a shape, too, and mostly when the other value is one that no shape has:
    the nearest miss is of attributes that are all there, and not together.
    """
    if isinstance(meaning, Place | Order | Exclusion) and rng.random() < 0.4:
        return meaning  # where the place, the rank or what is excluded was not drawn for the shape
    if isinstance(meaning, Relation) and meaning.relation in _OPPOSITE and rng.random() < 0.4:
        return replace(meaning, relation=_OPPOSITE[meaning.relation])
    near, far = [], []
    for key in _KEYS:
        if getattr(meaning.description, key) is None:
            continue
        there = {getattr(shape, key) for shape in scene.shapes}
        for value in dict.fromkeys((*_VALUES[key], *sorted(there))):
            miss = replace(meaning.description, **{key: value})
            if not miss.group(scene):
                (near if value in there else far).append(miss)
    misses = near if near and rng.random() < 0.9 else far
    if not misses or (not near and rng.random() < 0.75):
        return None
    return replace(meaning, description=rng.choice(misses))


def _names_held_out_pair(description):
    return has_held_out_pair(description.name, description.colour, description.texture)


def _describe(shape, rng, name=0.75, colour=0.45, size=0.12, texture=0.15):
    """A description true of `shape` in which each attribute is mentioned with the given probability."""
    shares = {"name": name, "colour": colour, "size": size, "texture": texture}
    return Description(**{key: getattr(shape, key) for key, share in shares.items() if rng.random() < share})


def _describe_group(scene, target, rng, smallest=2):
    """A description true of the target and of others; None when it is true of fewer than `smallest` shapes."""
    description = _describe(scene.shapes[target], rng, name=0.65, colour=0.35, size=0.06, texture=0.1)
    return description if len(description.group(scene)) >= smallest else None


def _propose_attribute(scene, target, rng):
    description = _describe(scene.shapes[target], rng, name=0.85, colour=0.65, size=0.25, texture=0.3)
    return Attribute(description) if description != Description() else None


def _propose_place(scene, target, rng):
    # People name a place also where they need not.
    description = _describe_group(scene, target, rng, smallest=1 if rng.random() < 0.3 else 2)
    return description and Place(description, rng.choice(tuple(PLACES)))


def _propose_order(scene, target, rng):
    description = _describe_group(scene, target, rng)
    rank = rng.choices(range(MAX_RANK), (5, 3, 2, 1))[0]
    return description and Order(description, rank, rng.choice(tuple(SIDES)))


def _propose_comparison(scene, target, rng):
    description = _describe_group(scene, target, rng)
    if description is None or description.size is not None:
        return None
    if rng.random() < 0.2:
        anchor = rng.choice([position for position in range(len(scene.shapes)) if position != target])
        described = _describe(scene.shapes[anchor], rng, name=0.9, size=0)
        return Relation(description, rng.choice(("larger", "smaller")), Attribute(described))
    return Comparison(description, largest=rng.random() < 0.5)


def _propose_relation(scene, target, rng):
    description = _describe_group(scene, target, rng, smallest=1 if rng.random() < 0.3 else 2)
    if description is None:
        return None
    others = [position for position in range(len(scene.shapes)) if position != target]
    if len(others) > 1 and rng.random() < 0.1:
        ends = rng.sample(others, 2)
        return Between(description, tuple(Attribute(_describe(scene.shapes[end], rng, name=0.9)) for end in ends))
    by_distance = sorted(others, key=lambda other: gap(scene, target, other))
    anchor = rng.choice(by_distance[: 3 if rng.random() < 0.7 else None])
    return Relation(
        description, _choose_relation(scene, target, anchor, rng), _propose_anchor(scene, anchor, target, rng)
    )


def _choose_relation(scene, target, anchor, rng):
    if scene.covered(target, anchor) and rng.random() < 0.5:
        return "behind"
    if scene.covered(anchor, target) and rng.random() < 0.5:
        return "in front"
    if rng.random() < 0.4:
        return rng.choice(("near", "nearest"))
    across, down = (theirs - own for theirs, own in zip(scene.middles[anchor], scene.middles[target], strict=True))
    if abs(across) > abs(down):
        return "left" if across > 0 else "right"
    return "above" if down > 0 else "below"


def _propose_anchor(scene, anchor, target, rng):
    """A meaning for the shape number `anchor`; where its description alone would do, it is that."""
    description = _describe(scene.shapes[anchor], rng, name=0.85, colour=0.55, size=0.12, texture=0.15)
    if len(description.group(scene)) == 1:
        return Attribute(description)
    way = rng.random()
    if way < 0.2:
        return Order(description, 0, rng.choice(tuple(SIDES)))
    if way < 0.4:
        without_size = Description(description.name, description.colour, None, description.texture)
        return Comparison(without_size, largest=rng.random() < 0.6)
    third = rng.choice([position for position in range(len(scene.shapes)) if position not in (anchor, target)])
    relation = _choose_relation(scene, anchor, third, rng)
    return Relation(description, relation, Attribute(_describe(scene.shapes[third], rng, name=0.9, colour=0.6)))


def _propose_exclusion(scene, target, rng):
    description = _describe_group(scene, target, rng)
    if description is None:
        return None
    group = description.group(scene)
    if rng.random() < 0.15:
        place = rng.choice(("left", "right", "top", "bottom"))
        return Exclusion(description, (Place(description, place),))
    open_keys = [key for key in _KEYS if getattr(description, key) is None]
    if not open_keys:
        return None
    key = rng.choice(open_keys)
    values = sorted({getattr(scene.shapes[position], key) for position in group if position != target})
    if len(values) > 2 or key == "size":
        values = values[:1]  # nobody says "neither large nor small"
    return Exclusion(description, tuple(Attribute(Description(**{key: value})) for value in values))


def _propose_exclusion_of_some(scene, target, rng):
    """An exclusion of what one other shape of the group has and the target has not; others may be left beside it."""
    description = _describe_group(scene, target, rng, smallest=3)
    if description is None:
        return None
    own = scene.shapes[target]
    excluded = [
        (key, getattr(scene.shapes[position], key))
        for key in _KEYS
        for position in description.group(scene)
        if getattr(description, key) is None and getattr(scene.shapes[position], key) != getattr(own, key)
    ]
    if not excluded:
        return None
    key, value = rng.choice(excluded)
    return Exclusion(description, (Attribute(Description(**{key: value})),))


_PROPOSE = {
    "attribute": _propose_attribute,
    "place": _propose_place,
    "order": _propose_order,
    "comparison": _propose_comparison,
    "relation": _propose_relation,
    "exclusion": _propose_exclusion,
}
