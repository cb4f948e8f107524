"""Makes unambiguous expressions about the objects of a photograph: proposes meanings, keeps those that hold."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from plvl.data.detection.class_words import PERSON, ClassWords
from plvl.data.detection.scene import COLORS, ClassDescription, DetectionScene
from plvl.data.scene_language.meanings import (
    MAX_RANK,
    PLACES,
    SIDES,
    Absent,
    Attribute,
    Between,
    Comparison,
    Depth,
    Exclusion,
    Meaning,
    Order,
    Place,
    Relation,
    Several,
    difficulty_of,
    gap,
    is_about_none,
    is_about_several,
    is_unambiguous,
    leaves_one,
)
from plvl.data.scene_language.wording import MAX_WORDS, dressed, phrase_of, terse

_SINGLE = {"attribute": 0.22, "place": 0.25, "order": 0.2, "comparison": 0.11, "relation": 0.18, "exclusion": 0.04}
_SEVERAL = {"attribute": 0.6, "place": 0.2, "relation": 0.15, "exclusion": 0.05}
_AMONG_OTHERS = ("order", "comparison", "exclusion")
_TRIES = 5  # meanings drawn before a kind is given up for an object, and wordings before a meaning is
_TERSE = 0.55  # share of the expressions without articles
_ABSENT_CLASS = 0.6  # share of those about none whose class is not there; the others are near misses
_OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
_OPPOSITE |= {"behind": "in front", "in front": "behind"}
_COLORED = 0.5  # of the descriptions that a colour of the object would fit
_KIND_AMONG_OTHERS = 0.25  # share of the images with several people where these are called men, women, ...
_BY_SIDE = 0.5  # of the expressions about the leftmost: "left man"; about the second of three: "middle man"
_OTHER_COLOR = 0.3  # of the near misses, where colours are known
_OF_PEOPLE = ("with", "on")  # relations that only a person has to something


@dataclass(frozen=True)
class MadeExpression:
    """What is said, what it means, and the positions of the objects that are meant."""

    text: str
    meaning: Meaning
    targets: tuple[int, ...]
    difficulty: int

    @property
    def kind(self) -> str:
        return self.meaning.kind


class ExpressionMaker:
    """
    Makes expressions about one photograph.

    Args:
        words: what its classes are called.
        eligible: positions of the objects that may be meant; the others count for what is unambiguous.
        absent: classes that may be asked for though they are not there, and how likely each is.
    """

    def __init__(
        self,
        scene: DetectionScene,
        words: ClassWords,
        eligible: Sequence[int],
        absent: dict[str, float],
        rng: random.Random,
    ):
        self.scene, self.words, self.rng = scene, words, rng
        self.descriptions: dict[str, list[ClassDescription]] = {}
        self.eligible = [position for position in eligible if self._descriptions_of(scene.names[position])]
        unclear = {other for name in (*scene.by_class, *scene.crowds) for other in (name, *words.of(name).like)}
        self.absent = {
            name: weight
            for name, weight in absent.items()
            if name not in unclear and not words.of(name).like & (scene.by_class.keys() | scene.crowds)
        }

    def make(self, count: int, none_rate: float, several_rate: float) -> list[MadeExpression]:
        """Up to `count` expressions of different words; the rates are shares of those about none and several."""
        made: dict[str, MadeExpression] = {}
        targets: list[int] = []
        for _ in range(count):
            draw = self.rng.random()
            if draw < none_rate:
                meaning, meant = self._none(), list[int]()
            elif draw < none_rate + several_rate:
                meaning = self._several()
                meant = [] if meaning is None else meaning.targets(self.scene, True)
            else:
                targets = targets or self.rng.sample(self.eligible, len(self.eligible))
                if not targets:
                    continue
                meant = [targets.pop()]
                meaning = self._single(meant[0])
            text = None if meaning is None else self._worded(meaning)
            if text is not None:
                made.setdefault(text, MadeExpression(text, meaning, tuple(meant), difficulty_of(meaning, self.scene)))
        return list(made.values())

    def _worded(self, meaning):
        """None where it takes too many words, as names of classes may."""
        for _ in range(_TRIES):
            phrase = self._by_side(meaning) or phrase_of(meaning, self.scene, self.rng)
            if len(phrase.split()) < MAX_WORDS:
                return terse(phrase) if self.rng.random() < _TERSE else dressed(phrase, meaning, self.rng)
        return None

    def _by_side(self, meaning):
        """
        Of the leftmost of several "left man", of the one between two others "middle man"; None where the meaning, or
        chance, is against it. 136 of 153 such expressions that people made (docs/data.md) mean the outermost of its
        class, be others on that side or not; whoever is alone on it is that, too.
        """
        if not isinstance(meaning, Order) or SIDES[meaning.side][0] or self.rng.random() >= _BY_SIDE:
            return None
        (target,) = meaning.targets(self.scene, True)
        group = meaning.description.group(self.scene)
        x = self.scene.middles[target][0] / self.scene.width
        if meaning.rank == 0 and len(group) > 1 and (x < 0.5) == (meaning.side == "left"):
            side = meaning.side
        elif (meaning.rank, len(group)) == (1, 3) and self._is_the_middle_one(meaning.description, target, group):
            side = "middle"
        else:
            return None
        if self.rng.random() < 0.5:
            return meaning.description.words(self.rng, (side,))
        link = self.rng.choice(("in", "in the")) if side == "middle" else self.rng.choice(("on", "on the", "to the"))
        return f"{meaning.description.words(self.rng)} {link} {side}"

    def _is_the_middle_one(self, description, target, group):
        """Whether of three side by side the second is the middle one, and no other is in the middle of the image."""
        across, down = (
            max(places) - min(places) for places in zip(*(self.scene.middles[each] for each in group), strict=True)
        )
        return across > down and set(Place(description, "middle").targets(self.scene, False)) <= {target}

    def _single(self, target):
        for kind in self._kinds(_SINGLE):
            for _ in range(_TRIES):
                meaning = self._propose(kind, target)
                if meaning is None or not is_unambiguous(meaning, target, self.scene):
                    continue
                # Nobody calls the only dog the largest one, or the one nearest to the car.
                among_others = kind in _AMONG_OTHERS or getattr(meaning, "relation", None) == "nearest"
                if among_others and len(meaning.description.group(self.scene)) < 2:
                    continue
                if not self._is_middle_of_others(meaning, target):
                    return meaning
        return None

    def _is_middle_of_others(self, meaning, target):
        """Whether "the middle dog" is in the middle of the image, and another dog in the middle of the dogs."""
        if getattr(meaning, "place", None) != "middle":
            return False
        middles = self.scene.middles
        others = [position for position in meaning.description.group(self.scene) if position != target]
        before = [sum(middles[other][axis] < middles[target][axis] for other in others) for axis in (0, 1)]
        return len(others) > 1 and not any(2 * count == len(others) for count in before)

    def _several(self):
        for kind in self._kinds(_SEVERAL):
            for _ in range(_TRIES if self.eligible else 0):
                target = self.rng.choice(self.eligible)
                meaning = self._propose(kind, target)
                if meaning is None or not is_about_several(meaning, self.scene):
                    continue
                meant = meaning.targets(self.scene, True)
                if target in meant and set(meant) <= set(self.eligible):
                    return _several_of(meaning)
        return None

    def _none(self):
        """Of a class that is not there, or something untrue of one that is."""
        several = self.rng.random() < 0.15
        if self.absent and self.rng.random() < _ABSENT_CLASS:
            name = self.rng.choices(tuple(self.absent), tuple(self.absent.values()))[0]
            absent = ClassDescription.of(self.words.of(name), self._other_words({name}), absent=True)
            if absent is not None:
                return self._absent(absent, several)
        return self._near_miss(several)

    def _absent(self, description, several):
        if self.rng.random() < 0.6 or not self.eligible:
            meaning = Attribute(description)
        else:
            kind = self.rng.choice(("place", "relation") if several else ("place", "order", "comparison", "relation"))
            meaning = self._propose(kind, self.rng.choice(self.eligible))
            fits = meaning is not None and not (several and leaves_one(meaning)) and not _is_of_people(meaning)
            meaning = replace(meaning, description=description) if fits else Attribute(description)
        if not is_about_none(meaning, self.scene):
            return None
        return Absent(_several_of(meaning) if several else meaning)

    def _near_miss(self, several):
        meaning = self._other_color()
        if meaning is not None:
            return Absent(_several_of(meaning) if several else meaning)
        for _ in range(3 * _TRIES if self.eligible else 0):
            kind = self.rng.choice(("place", "relation") if several else ("place", "place", "order", "relation"))
            target = self.rng.choice(self.eligible)
            meaning = self._propose(kind, target)
            # With two dogs on the right, "the left dog" is one of them.
            if isinstance(meaning, Place) and not several and len(meaning.description.group(self.scene)) > 1:
                continue
            if isinstance(meaning, Relation):
                if meaning.relation not in _OPPOSITE:
                    continue
                meaning = replace(meaning, relation=_OPPOSITE[meaning.relation])
            if meaning is not None and not (several and leaves_one(meaning)) and is_about_none(meaning, self.scene):
                return Absent(_several_of(meaning) if several else meaning)
        return None

    def _other_color(self):
        """An object in a colour that another one has, and nothing that may be called so."""
        colors = sorted(
            {color for position in range(len(self.scene.names)) for color in self.scene.sure_colors(position)}
        )
        if not (colors and self.eligible and self.rng.random() < _OTHER_COLOR):
            return None
        name = self.scene.names[self.rng.choice(self.eligible)]
        description = ClassDescription.of(self._words_of(name), self._other_words({name}), absent=True)
        color = self.rng.choice(colors)
        alike = self.scene.positions({name} | self.words.of(name).like)
        has_it = any(color in self.scene.sure_colors(each) for each in alike)
        if description is None or has_it or not self.scene.is_clear(color, alike):
            return None
        return Attribute(replace(description, color=color))

    def _kinds(self, weights):
        wanted = self.rng.choices(tuple(weights), tuple(weights.values()))[0]
        return wanted, *self.rng.sample(tuple(weights), len(weights))

    def _propose(self, kind, target):
        descriptions = self._descriptions_of(self.scene.names[target])
        by_class = len(descriptions) == 1 or self.rng.random() < 0.9
        description = descriptions[0] if by_class else self.rng.choice(descriptions[1:])
        if kind != "exclusion":
            description = self._colored(description, target)
        return getattr(self, f"_propose_{kind}")(description, target)

    def _colored(self, description, target):
        """Half of the time with a colour of an object, where that is clear of all that are called so."""
        colors = sorted(
            color
            for color in self.scene.sure_colors(target)
            # No orange is called an orange one.
            if not any(color in noun.one.split() for noun in description.words_for_all)
        )
        if colors and self.rng.random() < _COLORED:
            color = self.rng.choice(colors)
            if self.scene.is_clear(color, description.group(self.scene)):
                return replace(description, color=color)
        return description

    def _propose_attribute(self, description, target):
        return Attribute(description)

    def _propose_place(self, description, target):
        return Place(description, self.rng.choice(tuple(PLACES)))

    def _propose_order(self, description, target):
        rank = self.rng.choices(range(MAX_RANK), (8, 3, 2, 1))[0]
        return Order(description, rank, self.rng.choices(tuple(SIDES), (4, 4, 1, 1))[0])

    def _propose_comparison(self, description, target):
        if self.rng.random() < 0.55:
            return Comparison(description, largest=self.rng.random() < 0.7)
        return Depth(description, nearest=self.rng.random() < 0.6)

    def _propose_relation(self, description, target):
        others = [position for position in range(len(self.scene.names)) if position != target]
        if not others:
            return None
        by_distance = sorted(others, key=lambda other: gap(self.scene, target, other))
        anchor = self.rng.choice(by_distance[: 3 if self.rng.random() < 0.7 else None])
        said = self._anchor(anchor)
        if said is None:
            return None
        if len(others) > 1 and self.rng.random() < 0.06:
            ends = said, self._anchor(self.rng.choice([other for other in others if other != anchor]))
            if all(isinstance(end, Attribute) for end in ends):
                return Between(description, ends)
        return Relation(description, self._relation(target, anchor, said.description), said)

    def _anchor(self, position):
        """What names an object that a relation starts from."""
        descriptions = self._descriptions_of(self.scene.names[position])
        if not descriptions:
            return None
        description = self._colored(descriptions[0], position)
        if len(description.group(self.scene)) == 1:
            return Attribute(description)
        if self.rng.random() < 0.5:
            return Comparison(descriptions[0], largest=True)
        return Order(descriptions[0], 0, self.rng.choice(("left", "right")))

    def _relation(self, target, anchor, said):
        """One that may well hold."""
        links = [
            relation
            for relation in _OF_PEOPLE
            if relation in said.links and self.scene.stands(target, relation, anchor, True)
        ]
        if links and self.rng.random() < 0.7:
            return self.rng.choice(links)
        if self.scene.common(target, anchor) and self.rng.random() < 0.4:
            return "in front" if self.scene.stands(target, "in front", anchor, False) else "behind"
        if self.rng.random() < 0.5:
            return self.rng.choice(("near", "near", "nearest"))
        (x, y), (ax, ay) = self.scene.middles[target], self.scene.middles[anchor]
        if abs(ax - x) > abs(ay - y):
            return "left" if ax > x else "right"
        return "above" if ay > y else "below"

    def _propose_exclusion(self, description, target):
        groups = [each for each in self._descriptions_of(self.scene.names[target]) if len(each.classes) > 1]
        if groups and self.rng.random() < 0.5:
            group = self.rng.choice(groups)
            others = (group.classes & self.scene.by_class.keys()) - {self.scene.names[target]}
            if len(others) == 1:
                (excluded,) = (self._descriptions_of(name) for name in others)
                return Exclusion(group, (Attribute(excluded[0]),)) if excluded else None
        return Exclusion(description, (Place(description, self.rng.choice(("left", "right", "top", "bottom"))),))

    def _descriptions_of(self, name):
        """By its class, and by the groups that it belongs to; none of a crowd's."""
        if name not in self.descriptions:
            there = self.scene.by_class.keys() | self.scene.crowds
            groups = [group for group in self.words.groups_of(name) if not group.like & there]
            described = [ClassDescription.of(self._words_of(name), self._other_words({name}))]
            described += [ClassDescription.of(group, self._other_words(group.classes)) for group in groups]
            self.descriptions[name] = [
                each for each in described if each is not None and not each.classes & self.scene.crowds
            ]
        return self.descriptions[name]

    def _words_of(self, name):
        """Boxes do not tell men from women: where there are several, most are people. Where colours are known, a black
        bear is a bear that is black."""
        words = self.words.of(name)
        if self.scene.colors:
            kinds = tuple(kind for kind in words.kinds if set(COLORS).isdisjoint(kind.one.split()))
            words = replace(words, kinds=kinds)
        if name == PERSON and len(self.scene.by_class[name]) > 1 and self.rng.random() >= _KIND_AMONG_OTHERS:
            return replace(words, kinds=())
        return words

    def _other_words(self, classes):
        """Words of the other classes that are there, and of their groups: "bike" is not said where there are bicycles
        and motorcycles."""
        others = (self.scene.by_class.keys() | self.scene.crowds) - classes
        said = [words for other in others for words in (self.words.of(other), *self.words.groups_of(other))]
        return {noun.one for words in said for noun in (*words.words, *words.kinds)}


def _several_of(meaning):
    """Without kinds: "every man" is not every person."""
    return Several(replace(meaning, description=replace(meaning.description, words_for_some=())))


def _is_of_people(meaning):
    return isinstance(meaning, Relation) and meaning.relation in _OF_PEOPLE
