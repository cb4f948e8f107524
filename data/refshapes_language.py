"""What RefShapes says about a shape, and what it means.

An expression is first a meaning (an `Attribute`, `Place`, `Order` or `Relation`) and then one of the ways to
say it. A meaning is evaluated against every shape of its scene, once with borderline cases out (`strict`) and
once with them in: only when both times the target alone is left, it is said at all. Places in the
picture are always told by the words "left", "right", "top", "bottom" and "middle" ("leftmost" never), which
training knows: it swaps left and right when it flips a picture, and does not crop when it reads one of them.
"""

import random
from dataclasses import dataclass

from plvl.data.refshapes_scene import Scene, Shape

KINDS = ("attribute", "place", "order", "relation")
_KIND_WEIGHTS = (0.5, 0.17, 0.15, 0.18)
_TRIES = 40  # meanings drawn before a kind is given up for a target

_ORDINALS = ("first", "second", "third")
# The picture's width and height as 0..1: a shape's middle is clearly inside, or not clearly outside, a span.
_SPANS = {True: {"low": (0.0, 0.40), "mid": (0.40, 0.60), "high": (0.60, 1.0)},
          False: {"low": (0.0, 0.50), "mid": (0.30, 0.70), "high": (0.50, 1.0)}}  # fmt: skip
_ANY = (0.0, 1.0)
_PLACES = {
    "left": ("low", None, ("on the left", "on the left side")),
    "right": ("high", None, ("on the right", "on the right side")),
    "top": (None, "low", ("at the top",)),
    "bottom": (None, "high", ("at the bottom",)),
    "middle": ("mid", "mid", ("in the middle",)),
    "top left": ("low", "low", ("at the top left", "in the top left corner")),
    "top right": ("high", "low", ("at the top right", "in the top right corner")),
    "bottom left": ("low", "high", ("at the bottom left", "in the bottom left corner")),
    "bottom right": ("high", "high", ("at the bottom right", "in the bottom right corner")),
}
_SIDES = {"left": (0, 1), "right": (0, -1), "top": (1, 1), "bottom": (1, -1)}  # axis, direction of counting
_RELATIONS = {
    "left": (0, 1, ("left of", "to the left of")),
    "right": (0, -1, ("right of", "to the right of")),
    "above": (1, 1, ("above",)),
    "below": (1, -1, ("below",)),
}


@dataclass(frozen=True)
class Description:
    """Some attributes of a shape; those that are None are not mentioned. Said as "small red circle"."""

    name: str | None = None
    colour: str | None = None
    size: str | None = None
    texture: str | None = None

    def fits(self, shape: Shape) -> bool:
        return (
            self.name in (None, shape.name)
            and self.colour in (None, shape.colour)
            and self.size in (None, shape.size)
            and self.texture in (None, shape.texture)
        )

    def __str__(self):
        return " ".join(word for word in (self.size, self.texture, self.colour, self.name or "shape") if word)


@dataclass(frozen=True)
class Attribute:
    """ "the small red circle" """

    description: Description
    kind = "attribute"

    def holds(self, shape: Shape, scene: Scene, strict: bool) -> bool:
        return self.description.fits(shape)

    def phrases(self) -> tuple[str, ...]:
        return (str(self.description),)


@dataclass(frozen=True)
class Place:
    """ "the blue square at the top left": where in the picture, whatever else there is"""

    description: Description
    place: str
    kind = "place"

    def holds(self, shape: Shape, scene: Scene, strict: bool) -> bool:
        across, down, _ = _PLACES[self.place]
        spans = _SPANS[strict]
        left, right = spans.get(across, _ANY)
        top, bottom = spans.get(down, _ANY)
        x, y = shape.middle
        inside = left <= x / scene.width <= right and top <= y / scene.height <= bottom
        return inside and self.description.fits(shape)

    def phrases(self) -> tuple[str, ...]:
        return tuple(f"{self.description} {where}" for where in _PLACES[self.place][2])


@dataclass(frozen=True)
class Order:
    """ "the second star from the left": the rank (0 is the first) among the shapes described"""

    description: Description
    rank: int
    side: str
    kind = "order"

    def holds(self, shape: Shape, scene: Scene, strict: bool) -> bool:
        if not self.description.fits(shape):
            return False
        axis, direction = _SIDES[self.side]
        # Closer than this along the axis, two shapes count as level: either may come first.
        level = 0.05 * (scene.width, scene.height)[axis]
        others = [other for other in scene.shapes if other is not shape and self.description.fits(other)]
        ahead = [direction * (shape.middle[axis] - other.middle[axis]) for other in others]
        clearly_before = sum(distance > level for distance in ahead)
        maybe_before = sum(distance > -level for distance in ahead)
        if strict:
            return clearly_before == maybe_before == self.rank
        return clearly_before <= self.rank <= maybe_before

    def phrases(self) -> tuple[str, ...]:
        return (f"{_ORDINALS[self.rank]} {self.description} from the {self.side}",)


@dataclass(frozen=True)
class Relation:
    """ "the star left of the green triangle"; the anchor must be one shape only"""

    description: Description
    relation: str
    anchor: Description
    kind = "relation"

    def holds(self, shape: Shape, scene: Scene, strict: bool) -> bool:
        anchors = [other for other in scene.shapes if self.anchor.fits(other)]
        if len(anchors) != 1 or anchors[0] is shape or not self.description.fits(shape):
            return False
        axis, direction, _ = _RELATIONS[self.relation]
        anchor = anchors[0]
        along = direction * (anchor.middle[axis] - shape.middle[axis])
        if not strict:
            return along > 0
        aside = abs(anchor.middle[1 - axis] - shape.middle[1 - axis])
        apart = (anchor.box[2 + axis] + shape.box[2 + axis]) / 2
        return along >= max(aside, apart)

    def phrases(self) -> tuple[str, ...]:
        return tuple(f"{self.description} {words} the {self.anchor}" for words in _RELATIONS[self.relation][2])


Meaning = Attribute | Place | Order | Relation


@dataclass(frozen=True)
class Expression:
    """What is said (lower case, no punctuation) and what it means."""

    text: str
    meaning: Meaning

    @property
    def kind(self) -> str:
        return self.meaning.kind


def referents(meaning: Meaning, scene: Scene, strict: bool) -> list[Shape]:
    """The shapes of the scene that `meaning` holds for; borderline cases count unless `strict`."""
    return [shape for shape in scene.shapes if meaning.holds(shape, scene, strict)]


def is_unambiguous(meaning: Meaning, target: Shape, scene: Scene) -> bool:
    """Whether `meaning` picks out `target` and nothing else, with and without borderline cases."""
    return all(referents(meaning, scene, strict) == [target] for strict in (True, False))


def make_expressions(scene: Scene, target: Shape, count: int, rng: random.Random) -> list[Expression]:
    """Up to `count` unambiguous expressions of different meaning about `target`, a shape of `scene`.

    Fewer, down to none, when not so many were found: a shape may have a twin beside it.
    """
    expressions = {}
    for _ in range(count):
        expression = _make_expression(scene, target, rng)
        if expression is not None:
            expressions.setdefault(expression.meaning, expression)
    return list(expressions.values())


def _make_expression(scene, target, rng):
    wanted = rng.choices(KINDS, _KIND_WEIGHTS)[0]
    for kind in (wanted, *(kind for kind in KINDS if kind != wanted)):
        for _ in range(_TRIES):
            meaning = _PROPOSE[kind](scene, target, rng)
            if meaning is not None and is_unambiguous(meaning, target, scene):
                article = "the " if rng.random() < 0.8 else ""
                return Expression(article + rng.choice(meaning.phrases()), meaning)
    return None


def _describe(shape, rng, name, colour, size, texture):
    """A description true of `shape` in which each attribute is mentioned with the given probability."""
    shares = {"name": name, "colour": colour, "size": size, "texture": texture}
    return Description(**{key: getattr(shape, key) for key, share in shares.items() if rng.random() < share})


def _propose_attribute(scene, target, rng):
    return Attribute(_describe(target, rng, name=0.85, colour=0.7, size=0.35, texture=0.3))


def _describe_vaguely(scene, target, rng):
    """A description that fits other shapes too, so that what follows it is needed; None when it fits one."""
    description = _describe(target, rng, name=0.6, colour=0.4, size=0.12, texture=0.12)
    return description if sum(map(description.fits, scene.shapes)) > 1 else None


def _propose_place(scene, target, rng):
    description = _describe_vaguely(scene, target, rng)
    return description and Place(description, rng.choice(tuple(_PLACES)))


def _propose_order(scene, target, rng):
    description = _describe_vaguely(scene, target, rng)
    return description and Order(description, rng.randrange(len(_ORDINALS)), rng.choice(tuple(_SIDES)))


def _propose_relation(scene, target, rng):
    description = _describe_vaguely(scene, target, rng)
    anchor = rng.choice([shape for shape in scene.shapes if shape is not target])
    across, down = (theirs - own for theirs, own in zip(anchor.middle, target.middle, strict=True))
    if abs(across) > abs(down):
        relation = "left" if across > 0 else "right"
    else:
        relation = "above" if down > 0 else "below"
    anchor = _describe(anchor, rng, name=0.9, colour=0.7, size=0.2, texture=0.15)
    return description and Relation(description, relation, anchor)


_PROPOSE = {
    "attribute": _propose_attribute,
    "place": _propose_place,
    "order": _propose_order,
    "relation": _propose_relation,
}
