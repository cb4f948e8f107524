"""The objects of a photograph as detection labels have them, and how they stand to one another."""

import random
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property

from plvl.data.detection.class_words import PERSON, Noun, Words
from plvl.data.scene_language.wording import indefinite, usual

COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "gray", "white")
_CLEARLY_LARGER = 1.4  # times the area
_NOT_SHORTER = 1.1  # times the longer side
_KINDS_OF_PEOPLE, _OTHER_KINDS = 0.6, 0.12  # how often "man" is said for a person, and "puppy" for a dog
_MEETS = 0.15  # share of the smaller box that two have in common
_INSIDE = 0.5  # share of a box that lies in another: what it shows may lie on the other, or be held
# Boxes do not tell that a thing is covered, nor that it is under another.
_RELATIONS = {
    "behind": ("behind",),
    "in front": ("in front of",),
    "above": ("above", "higher than"),
    "below": ("below", "lower than"),
}


@dataclass(frozen=True)
class ObjectColors:
    """The colours that an object shows for certain, and those that one may see in it or not."""

    sure: frozenset[str]
    unclear: frozenset[str]


@dataclass(frozen=True)
class DetectionScene:
    """
    Args:
        boxes: [x, y, w, h] of each object, inside the image, pixels.
        names: the class of each.
        crowds: classes of which the image shows a crowd beside, or a box that says nothing: nothing is said of them.
        colors: of each object, None where they are not known; empty where none are.
    """

    width: int
    height: int
    boxes: Sequence[Sequence[float]]
    names: Sequence[str]
    crowds: frozenset[str] = frozenset()
    colors: Sequence[ObjectColors | None] = ()

    @cached_property
    def middles(self) -> list[tuple[float, float]]:
        return [(x + w / 2, y + h / 2) for x, y, w, h in self.boxes]

    @cached_property
    def areas(self) -> list[float]:
        return [w * h for _, _, w, h in self.boxes]

    @cached_property
    def by_class(self) -> dict[str, list[int]]:
        """The positions of the objects of each class that is there."""
        found: dict[str, list[int]] = {}
        for position, name in enumerate(self.names):
            found.setdefault(name, []).append(position)
        return found

    def positions(self, classes: Iterable[str]) -> list[int]:
        """Of the objects of these classes, in order."""
        return sorted(position for name in classes for position in self.by_class.get(name, ()))

    def sure_colors(self, position: int) -> frozenset[str]:
        """The colours that an object shows for certain."""
        known = self._colors_of(position)
        return frozenset() if known is None else known.sure

    def is_clear(self, color: str, positions: Iterable[int]) -> bool:
        """Whether each of these objects has a colour for certain or does not have it."""
        return all(known is not None and color not in known.unclear for known in map(self._colors_of, positions))

    def is_larger(self, one: int, other: int) -> bool:
        """Whether an object's box is clearly larger than another's."""
        (_, _, aw, ah), (_, _, bw, bh) = self.boxes[one], self.boxes[other]
        return self.areas[one] >= _CLEARLY_LARGER * self.areas[other] and max(aw, ah) >= _NOT_SHORTER * max(bw, bh)

    def stands(self, position: int, relation: str, anchor: int, strict: bool) -> bool:
        """
        "in front", "behind": the boxes meet, and the one in front reaches farther down. A cup on a table is neither
        behind it nor clearly not before it.
        "with": a person within whose box the object mostly is. "on": a person over the object, whose boxes meet.
        """
        common = self.common(position, anchor)
        if relation in ("in front", "behind"):
            front, back = (position, anchor) if relation == "in front" else (anchor, position)
            lower = (self._feet(front) - self._feet(back)) / self.height
            if not strict:
                return common > 0 and (lower > -0.05 or common >= _INSIDE * self.areas[front])
            meets = common >= _MEETS * min(self.areas[front], self.areas[back])
            return meets and common < _INSIDE * self.areas[back] and lower >= 0.04
        if self.names[position] != PERSON:
            return False
        if relation == "with":
            return common >= (0.6 if strict else 0.1) * self.areas[anchor]
        x, y, w, _ = self.boxes[position]
        ax, _, aw, _ = self.boxes[anchor]
        beside = min(x + w, ax + aw) - max(x, ax)
        if not strict:
            return beside > 0 and common > 0
        over = self.middles[position][1] < self.middles[anchor][1]
        return over and beside >= 0.5 * min(w, aw) and common >= 0.1 * min(self.areas[position], self.areas[anchor])

    def common(self, one: int, other: int) -> float:
        """The area that two boxes have in common, square pixels."""
        (ax, ay, aw, ah), (bx, by, bw, bh) = self.boxes[one], self.boxes[other]
        width, height = min(ax + aw, bx + bw) - max(ax, bx), min(ay + ah, by + bh) - max(ay, by)
        return width * height if width > 0 and height > 0 else 0.0

    def _colors_of(self, position):
        return self.colors[position] if self.colors else None

    def _feet(self, position):
        _, y, _, h = self.boxes[position]
        return y + h


@dataclass(frozen=True)
class ClassDescription:
    """
    An object by its class ("dog", "animal"), and by a colour ("black dog", "man in red").

    Args:
        name: of the class or the group; two descriptions of one name and colour say the same.
        classes: that it fits.
        words_for_all: that fit each of its objects.
        words_for_some: that fit some: for one object alone.
        links: as [`plvl.data.scene_language.meanings.Description`].
        color: is said only where it is clear of each object of the classes (`DetectionScene.is_clear`).
    """

    name: str
    classes: frozenset[str] = field(compare=False)
    words_for_all: tuple[Noun, ...] = field(compare=False)
    words_for_some: tuple[Noun, ...] = field(compare=False, default=())
    links: dict[str, tuple[str, ...]] = field(compare=False, default_factory=dict)
    color: str | None = None
    is_empty = False

    @classmethod
    def of(cls, said: Words, others: Set[str], absent: bool = False) -> "ClassDescription | None":
        """Without the words `others`, which are those of other classes that are there, and without loose ones where it
        is to be said of none; None where no word is left."""
        words = tuple(noun for noun in said.words if noun.one not in others and not (absent and noun in said.loose))
        kinds = tuple(noun for noun in said.kinds if noun.one not in others)
        return cls(said.name, said.classes, words, kinds, _RELATIONS | said.links) if words else None

    def group(self, scene: DetectionScene) -> list[int]:
        """The positions of the objects of its classes and its colour."""
        found = self.namesakes(scene)
        return [each for each in found if self.color in scene.sure_colors(each)] if self.color else found

    def namesakes(self, scene: DetectionScene) -> list[int]:
        return scene.positions(self.classes)

    def words(
        self,
        rng: random.Random,
        first: tuple = (),
        plural: bool = False,
        behind: bool = True,
        noun_needed: bool = True,
    ) -> str:
        """As [`plvl.data.scene_language.meanings.Description`]."""
        noun = self._noun(rng, plural)
        if self.color is None:
            return " ".join((*first, noun))
        if self.name != PERSON:
            return " ".join((*first, self.color, noun))
        shirt = f"{self.color} shirt"
        if not noun_needed and rng.random() < 0.15:
            return " ".join((*first, shirt))
        if not behind or rng.random() < 0.12:
            return " ".join((*first, shirt, noun))
        worn = [f"in {self.color}", f"wearing {self.color}"]
        if not plural:
            worn += [f"{link} {indefinite(shirt)}" for link in ("in", "with", "wearing")]
        return " ".join((*first, noun, usual(worn, rng)))

    def predicate(self, rng: random.Random, plural: bool = False) -> str:
        """ "a dog", "an elephant", "dogs" """
        noun = _sooner(self.words_for_all, rng)
        return noun.many if plural else indefinite(noun.one)

    def together_with(self, other: "ClassDescription") -> "ClassDescription":
        return other

    def exclusion(self, head: str, excluded: "ClassDescription", rng: random.Random, plural: bool) -> None:
        return None

    def _noun(self, rng, plural):
        if plural:
            return _sooner(self.words_for_all, rng).many
        share = _KINDS_OF_PEOPLE if self.name == PERSON else _OTHER_KINDS
        some = self.words_for_some and rng.random() < share
        return _sooner(self.words_for_some if some else self.words_for_all, rng).one


def _sooner(nouns, rng):
    """The first most often, each later one less."""
    return rng.choices(nouns, [1 / place for place in range(1, len(nouns) + 1)])[0]
