"""What can be said about an object of a scene, and what it means: by place, order, size, relation or exclusion.

A meaning is evaluated on a whole scene, once with borderline cases out (`strict`) and once with them in: only
when both times the target alone is left, it may be said. How it is said is another matter
(plvl.data.scene_language.wording). Positions are those of the middle of an object's box.

What a scene is and how its objects are described is left to those who have one: drawn shapes with colours and fills
(plvl.data.refshapes), or boxes with classes (plvl.data.detection).
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

KINDS = ("attribute", "place", "order", "comparison", "relation", "exclusion")  # what tells the one object meant
ALL_KINDS = (*KINDS, "none", "several")

# The image's width and height as 0..1: an object's middle is clearly inside, or not clearly outside, a span.
_SPANS = {True: {"low": (0.0, 0.40), "mid": (0.40, 0.60), "high": (0.60, 1.0)},
          False: {"low": (0.0, 0.50), "mid": (0.30, 0.70), "high": (0.50, 1.0)}}  # fmt: skip
_ANY = (0.0, 1.0)
# Not clearly on the other side: where none is "on the left", all are clearly on the right.
_HARDLY = {"low": (0.0, 0.60), "mid": (0.30, 0.70), "high": (0.40, 1.0)}
PLACES = {
    "left": ("low", None),
    "right": ("high", None),
    "top": (None, "low"),
    "bottom": (None, "high"),
    "middle": ("mid", "mid"),
    "top left": ("low", "low"),
    "top right": ("high", "low"),
    "bottom left": ("low", "high"),
    "bottom right": ("high", "high"),
}
SIDES = {"left": (0, 1), "right": (0, -1), "top": (1, 1), "bottom": (1, -1)}  # axis, direction of counting
MAX_RANK = 4
_DIRECTIONS = {"left": (0, 1), "right": (0, -1), "above": (1, 1), "below": (1, -1)}
_NEAR = {True: 0.075, False: 0.2}  # gap over the image's mean side


class Scene(Protocol):
    """Objects of an image, numbered from 0: their boxes [x, y, w, h] and the middles of these, in pixels."""

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    @property
    def boxes(self) -> Sequence: ...

    @property
    def middles(self) -> Sequence: ...

    def is_larger(self, one: int, other: int) -> bool:
        """Whether an object is clearly larger than another."""

    def stands(self, position: int, relation: str, anchor: int, strict: bool) -> bool:
        """Whether an object stands so to another, for the relations that boxes alone do not tell."""


class Description(Protocol):
    """What may be said of an object by itself: some attributes, a class, or nothing ("the one", "the thing")."""

    @property
    def is_empty(self) -> bool:
        """Whether it fits every object."""

    @property
    def name(self) -> str | None:
        """What its noun stands for; None where it names nothing ("the red one")."""

    @property
    def links(self) -> dict[str, tuple[str, ...]]:
        """By relation, what is said between something and an object that it describes, where that is not what wording
        says of anything."""

    def group(self, scene: Any) -> list[int]:
        """The positions of the objects that it fits."""

    def namesakes(self, scene: Any) -> list[int]:
        """The positions of the objects that its noun alone fits."""

    def words(
        self,
        rng: random.Random,
        first: tuple = (),
        plural: bool = False,
        behind: bool = True,
        noun_needed: bool = True,
    ) -> str:
        """A noun phrase without article, with the words `first` before; `behind` allows words behind the noun."""

    def predicate(self, rng: random.Random, plural: bool = False) -> str:
        """What stands behind "is not", or behind "are not"."""

    def together_with(self, other: Any) -> Any:
        """A description that says both."""

    def exclusion(self, head: str, excluded: Any, rng: random.Random, plural: bool) -> str | None:
        """A way of its own to say that of the objects described (in the words `head`) those of another description
        are not meant; None where there is none, or chance is against it."""


@dataclass(frozen=True)
class Attribute:
    """ "the small red circle" """

    description: Description
    kind = "attribute"
    hops = 0

    def targets(self, scene: Scene, strict: bool) -> list[int]:
        return self.description.group(scene)


@dataclass(frozen=True)
class Place:
    """ "the blue square at the top left": where in the picture, whatever else there is"""

    description: Description
    place: str
    kind = "place"
    hops = 0

    def targets(self, scene: Scene, strict: bool) -> list[int]:
        return self._inside(scene, _SPANS[strict])

    def hardly(self, scene: Scene) -> list[int]:
        """The objects described that are not clearly elsewhere: more than the borderline cases."""
        return self._inside(scene, _HARDLY)

    def _inside(self, scene, spans):
        across, down = PLACES[self.place]
        left, right = spans.get(across or "", _ANY)
        top, bottom = spans.get(down or "", _ANY)
        found = []
        for position in self.description.group(scene):
            x, y = scene.middles[position]
            if left <= x / scene.width <= right and top <= y / scene.height <= bottom:
                found.append(position)
        return found


@dataclass(frozen=True)
class Order:
    """ "the second star from the left", "the lowest star": the rank (0 is the first) among those described"""

    description: Description
    rank: int
    side: str
    kind = "order"
    hops = 1

    def targets(self, scene: Scene, strict: bool) -> list[int]:
        axis, direction = SIDES[self.side]
        # Closer than this along the axis, two objects count as level: either may come first.
        level = 0.05 * (scene.width, scene.height)[axis]
        group = self.description.group(scene)
        places = {position: direction * scene.middles[position][axis] for position in group}
        found = []
        for position in group:
            ahead = [places[position] - places[other] for other in group if other != position]
            surely = sum(distance > level for distance in ahead)
            maybe = sum(distance > -level for distance in ahead)
            if surely == maybe == self.rank or (not strict and surely <= self.rank <= maybe):
                found.append(position)
        return found


@dataclass(frozen=True)
class Comparison:
    """ "the largest star", "the smaller of the two red ones": the one larger (or smaller) than all described"""

    description: Description
    largest: bool
    kind = "comparison"
    hops = 1

    def targets(self, scene: Scene, strict: bool) -> list[int]:
        group = self.description.group(scene)
        found = []
        for position in group:
            others = [other for other in group if other != position]
            if strict:
                holds = all(self._beats(scene, position, other) for other in others)
            else:
                holds = not any(self._beats(scene, other, position) for other in others)
            if holds:
                found.append(position)
        return found

    def _beats(self, scene, one, other):
        larger, smaller = (one, other) if self.largest else (other, one)
        return scene.is_larger(larger, smaller)


@dataclass(frozen=True)
class Relation:
    """ "the star left of the green triangle"; the anchor must be one object only.

    The anchor is a meaning itself: in "the star left of the ring under the blue square" it is a relation.
    `relation` is left, right, above, below, near, nearest, larger or smaller, or one that the scene itself tells
    (`Scene.stands`), as behind and in front.
    """

    description: Description
    relation: str
    anchor: "Single"

    @property
    def kind(self) -> str:
        return "comparison" if self.relation in ("larger", "smaller") else "relation"

    @property
    def hops(self) -> int:
        return 1 + self.anchor.hops

    def targets(self, scene: Scene, strict: bool) -> list[int]:
        anchors = self.anchor.targets(scene, strict)
        if len(anchors) != 1:
            return []
        return self.related(scene, anchors[0], strict)

    def related(self, scene: Scene, anchor: int, strict: bool) -> list[int]:
        """The objects described that stand so to the object `anchor`."""
        group = [position for position in self.description.group(scene) if position != anchor]
        if self.relation == "nearest":
            return _nearest(scene, group, anchor, strict)
        return [position for position in group if _stands(scene, position, self.relation, anchor, strict)]


@dataclass(frozen=True)
class Between:
    """ "the star between the ring and the square" """

    description: Description
    anchors: tuple[Attribute, Attribute]
    kind = "relation"
    hops = 2

    def targets(self, scene: Scene, strict: bool) -> list[int]:
        ends = [anchor.targets(scene, strict) for anchor in self.anchors]
        if any(len(end) != 1 for end in ends) or ends[0] == ends[1]:
            return []
        (ax, ay), (bx, by) = (scene.middles[end[0]] for end in ends)
        length = math.hypot(bx - ax, by - ay)
        low, aside = (0.25, 0.22) if strict else (0.05, 0.6)
        found = []
        for position in self.description.group(scene):
            x, y = scene.middles[position][0] - ax, scene.middles[position][1] - ay
            along = (x * (bx - ax) + y * (by - ay)) / length**2
            across = abs(x * (by - ay) - y * (bx - ax)) / length**2
            if [position] not in ends and low <= along <= 1 - low and across <= aside:
                found.append(position)
        return found


@dataclass(frozen=True)
class Exclusion:
    """ "the star that is not red", "the star that is not on the left", "the one that is neither red nor blue" """

    description: Description
    excluded: tuple["Attribute | Place", ...]
    kind = "exclusion"
    hops = 1

    def targets(self, scene: Scene, strict: bool) -> list[int]:
        out = {position for meaning in self.excluded for position in meaning.targets(scene, not strict)}
        return [position for position in self.description.group(scene) if position not in out]


@dataclass(frozen=True)
class Depth:
    """ "the chair closest to us", "the dog in the back": the one clearly nearer (or farther) than all described

    What stands lower in the image and is larger is nearer.
    """

    description: Description
    nearest: bool
    kind = "comparison"
    hops = 1

    def targets(self, scene: Scene, strict: bool) -> list[int]:
        group = self.description.group(scene)
        found = []
        for position in group:
            others = [other for other in group if other != position]
            if all(self._beats(scene, position, other, strict) for other in others):
                found.append(position)
        return found

    def _beats(self, scene, one, other, strict):
        near, far = (one, other) if self.nearest else (other, one)
        feet, others = (y + h for _, y, _, h in (scene.boxes[near], scene.boxes[far]))
        if strict:
            return feet - others >= 0.06 * scene.height and scene.is_larger(near, far)
        return feet >= others or not scene.is_larger(far, near)


Single = Attribute | Place | Order | Comparison | Depth | Relation | Between | Exclusion


@dataclass(frozen=True)
class _OfAnyNumber:
    """What another meaning fits, be it one object or not."""

    said: "Single | Several"

    @property
    def description(self) -> Description:
        return self.said.description

    @property
    def hops(self) -> int:
        return self.said.hops

    def targets(self, scene: Scene, strict: bool) -> list[int]:
        return self.said.targets(scene, strict)


@dataclass(frozen=True)
class Several(_OfAnyNumber):
    """ "both moons", "the circles left of the ring": all that `said` fits, two or more"""

    said: Single
    kind = "several"


@dataclass(frozen=True)
class Absent(_OfAnyNumber):
    """ "the green star", "both moons" where `said` fits nothing"""

    kind = "none"


Meaning = Single | Several | Absent


def is_unambiguous(meaning: Meaning, target: int, scene: Scene) -> bool:
    """Whether `meaning` picks out object number `target` and nothing else, with and without borderline cases."""
    if any(meaning.targets(scene, strict) != [target] for strict in (True, False)):
        return False
    if isinstance(meaning, Relation) and isinstance(meaning.anchor, Relation):
        return read_otherwise(meaning, scene) <= {target}
    return True


def is_about_several(meaning: Single, scene: Scene) -> bool:
    """Whether `meaning` fits two or more objects, the same ones with and without borderline cases.

    Never so where it needs a second step: "the stars left of the ring under the square" has too many readings.
    """
    targets = meaning.targets(scene, True)
    return len(targets) > 1 and targets == meaning.targets(scene, False) and meaning.hops < 2


def leaves_one(meaning: Single) -> bool:
    """Whether nobody says so of several: what no expression about several is, none about none shall be."""
    nearest = isinstance(meaning, Relation) and meaning.relation == "nearest"
    return nearest or isinstance(meaning, Order | Comparison | Depth) or meaning.hops > 1


def is_about_none(meaning: Single, scene: Scene) -> bool:
    """Whether `meaning` fits no object, not even a borderline case.

    That is more than having no targets: each object that a relation starts from must be one that is there ("left of
    the ring", where there are two rings, is not clear), and in a place is what is not clearly elsewhere.
    """
    if any(meaning.targets(scene, strict) for strict in (True, False)):
        return False
    if isinstance(meaning, Place) and meaning.hardly(scene):
        return False
    anchors = (meaning.anchor,) if isinstance(meaning, Relation) else getattr(meaning, "anchors", ())
    for anchor in anchors:
        found = anchor.targets(scene, True)
        if len(found) != 1 or not is_unambiguous(anchor, found[0], scene):
            return False
    if isinstance(meaning, Relation) and isinstance(meaning.anchor, Relation):
        return not read_otherwise(meaning, scene)
    return True


def difficulty_of(meaning: Meaning, scene: Scene) -> int:
    """1, 2 or 3: one to start with, one more when other objects must be found first (order, comparison, relation,
    exclusion), one more when that takes two steps or when three or more objects that are not meant share the noun:
    its class, or every object for "the thing", "the red one"."""
    namesakes = len(meaning.description.namesakes(scene)) - len(meaning.targets(scene, True))
    return 1 + (meaning.hops >= 1) + (meaning.hops >= 2 or namesakes >= 3)


def read_otherwise(meaning, scene):
    """ "the star left of the ring under the square", read as the star that is left of a ring and under the square"""
    inner = meaning.anchor
    second = Relation(meaning.description, inner.relation, inner.anchor).targets(scene, False)
    first = {
        position for anchor in inner.description.group(scene) for position in meaning.related(scene, anchor, False)
    }
    return first & set(second)


def gap(scene: Scene, one: int, other: int) -> float:
    """Pixels between the boxes of two objects; 0 when they meet."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = scene.boxes[one], scene.boxes[other]
    return math.hypot(max(ax - bx - bw, bx - ax - aw, 0), max(ay - by - bh, by - ay - ah, 0))


def _stands(scene, position, relation, anchor, strict):
    if relation == "near":
        return gap(scene, position, anchor) <= _NEAR[strict] * (scene.width + scene.height) / 2
    if relation in ("larger", "smaller"):
        larger, smaller = (position, anchor) if relation == "larger" else (anchor, position)
        return scene.is_larger(larger, smaller) if strict else not scene.is_larger(smaller, larger)
    if relation not in _DIRECTIONS:
        return scene.stands(position, relation, anchor, strict)
    axis, direction = _DIRECTIONS[relation]
    mine, theirs = scene.middles[position], scene.middles[anchor]
    along = direction * (theirs[axis] - mine[axis])
    if not strict:
        return along > 0
    aside = abs(theirs[1 - axis] - mine[1 - axis])
    apart = 0.8 * (scene.boxes[anchor][2 + axis] + scene.boxes[position][2 + axis]) / 2
    return along >= max(aside, apart)


def _nearest(scene, group, anchor, strict):
    """Both from middle to middle and from box to box; what is not clearly farther may be the nearest, too."""
    far = {
        position: (math.dist(scene.middles[position], scene.middles[anchor]), gap(scene, position, anchor))
        for position in group
    }

    def clearly_nearer(one, other):
        return far[one][0] * 1.2 + 4 <= far[other][0] and far[one][1] + 6 <= far[other][1]

    if strict:
        return [p for p in group if all(clearly_nearer(p, other) for other in group if other != p)]
    return [p for p in group if not any(clearly_nearer(other, p) for other in group if other != p)]
