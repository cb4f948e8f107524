"""How the objects of RefShapes are described: by shape, colour, size and fill, and in which words."""

import random
from dataclasses import dataclass

from plvl.data.refshapes.scene import Scene
from plvl.data.refshapes.shapes import NEW_SHAPES, Shape
from plvl.data.scene_language.wording import usual

# The first is the usual word: it is said as often as all others together.
_NOUNS = {
    "circle": ("circle", "disc", "disk", "round shape", "ball"),
    "square": ("square", "box"),
    "triangle": ("triangle",),
    "rectangle": ("rectangle", "bar"),
    "star": ("star",),
    "cross": ("cross", "plus", "plus sign"),
    "diamond": ("diamond", "rhombus"),
    "heart": ("heart",),
    "ring": ("ring", "donut", "hoop"),
    "moon": ("moon", "crescent", "crescent moon"),
    "arrow": ("arrow",),
    "flower": ("flower",),
    **{name: (name,) for name in NEW_SHAPES},
}
_ANY_NOUNS = ("one", "shape", "thing", "object")
_ANY_WEIGHTS = (5, 2, 2, 2)
_COLOURS = {"purple": ("purple", "violet")}
_SIZES = {
    "small": ("small", "little", "tiny"),
    "medium": ("medium", "medium sized", "middle sized", "mid sized"),
    "large": ("large", "big", "huge"),
}
_TEXTURES = {
    "plain": ("plain", "solid", "unpatterned"),
    "striped": ("striped", "stripy", "stripey"),
    "dotted": ("dotted", "spotted", "polka dot"),
    "checkered": ("checkered", "checked", "chequered", "checkerboard"),
}
_WITH = {
    "plain": ("without a pattern", "with no pattern"),
    "striped": ("with stripes", "that has stripes"),
    "dotted": ("with dots", "with spots", "that has dots"),
    "checkered": ("with checks", "with a checkered pattern"),
}
# Nouns by which a person may mean another shape than the one in _NOUNS, too.
_LOOSE_NOUNS = {"round shape": "ring", "box": "rectangle", "rectangle": "square"}


@dataclass(frozen=True)
class Description:
    """Some attributes of a shape; those that are None are not mentioned."""

    name: str | None = None
    colour: str | None = None
    size: str | None = None
    texture: str | None = None

    @property
    def links(self) -> dict[str, tuple[str, ...]]:
        return {}

    @property
    def is_empty(self) -> bool:
        return self == Description()

    def fits(self, shape: Shape) -> bool:
        return (
            self.name in (None, shape.name)
            and self.colour in (None, shape.colour)
            and self.size in (None, shape.size)
            and self.texture in (None, shape.texture)
        )

    def group(self, scene: Scene) -> list[int]:
        """The positions of the shapes that it fits."""
        return [position for position, shape in enumerate(scene.shapes) if self.fits(shape)]

    def namesakes(self, scene: Scene) -> list[int]:
        """The positions of the shapes that have its name; of all where it names none."""
        return Description(name=self.name).group(scene)

    def words(
        self,
        rng: random.Random,
        first: tuple = (),
        plural: bool = False,
        behind: bool = True,
        noun_needed: bool = True,
    ) -> str:
        """As [`plvl.data.scene_language.meanings.Description`]; `first` stands before its adjectives."""
        adjectives, after = [], []
        if self.size:
            adjectives.append(usual(_SIZES[self.size], rng))
        if self.texture:
            if behind and rng.random() < 0.25:
                after.append(usual(_WITH[self.texture], rng))
            else:
                adjectives.append(usual(_TEXTURES[self.texture], rng))
        if self.colour:
            colour = usual(_COLOURS.get(self.colour, (self.colour,)), rng)
            draw = rng.random()
            if behind and not after and draw < 0.06:
                after.append(
                    rng.choice((f"that is {colour}", f"which is {colour}", f"that's {colour}", f"in {colour}"))
                )
            else:
                adjectives.append(f"{colour} colored" if draw > 0.98 else colour)
        if len(adjectives) > 1 and rng.random() < 0.15:
            rng.shuffle(adjectives)
        noun = _noun(self.name, rng, plural)
        if adjectives and not after and self.name is None and not noun_needed and rng.random() < 0.1:
            noun = ""  # "small red"
        return " ".join(word for word in (*first, *adjectives, noun, *after) if word)

    def predicate(self, rng: random.Random, plural: bool = False) -> str:
        """What is behind "is not": "red", "a star", or behind "are not": "stars" """
        if self.name and plural:
            return _noun(self.name, rng, plural)
        if self.name:
            noun = usual(_NOUNS[self.name], rng)
            return f"{'an' if noun in ('arrow', 'hourglass') else 'a'} {noun}"
        if self.size:
            return usual(_SIZES[self.size], rng)
        if self.texture:
            return usual(_TEXTURES[self.texture], rng)
        colour = self.colour or ""
        return usual(_COLOURS.get(colour, (colour,)), rng)

    def together_with(self, other: "Description") -> "Description":
        """The attributes of both."""
        return Description(
            name=other.name or self.name,
            colour=other.colour or self.colour,
            size=other.size or self.size,
            texture=other.texture or self.texture,
        )

    def exclusion(self, head: str, excluded: "Description", rng: random.Random, plural: bool) -> str | None:
        """ "the heart without dots", "not the red ones", "the non red heart" """
        if excluded.texture in ("striped", "dotted") and rng.random() < 0.35:
            thing = {"striped": "stripes", "dotted": "dots"}[excluded.texture]
            return f"{head} {rng.choice(('without', 'with no', 'that has no'))} {thing}"
        if self.is_empty and not excluded.name and rng.random() < 0.3:
            return f"not the {excluded.predicate(rng)} ones"
        if excluded.colour and rng.random() < 0.08:
            return self.words(rng, (f"non {excluded.predicate(rng)}",), plural, behind=False)
        return None


def is_loose(phrase: str, scene: Scene) -> bool:
    """Whether by a noun of `phrase` one may think of another shape that is there ("box": a rectangle)."""
    there = {shape.name for shape in scene.shapes}
    return any(noun in phrase and other in there for noun, other in _LOOSE_NOUNS.items())


def _noun(name, rng, plural=False):
    noun = rng.choices(_ANY_NOUNS, _ANY_WEIGHTS)[0] if name is None else usual(_NOUNS.get(name, (name,)), rng)
    if not plural:
        return noun
    odd = {"cross": "crosses", "box": "boxes", "plus": "plus signs", "rhombus": "diamonds", "hourglass": "hourglasses"}
    return odd.get(noun, f"{noun}s")
