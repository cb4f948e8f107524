"""RefShapes' scenes: coloured shapes on a background, described but not yet drawn.

A scene is made from a random generator and the rules of its split. Shapes may cover one another, the later
over the earlier, but of each at least MIN_VISIBLE is seen; what is seen of it is its mask and its box. They
often share their kind or colour with one another, so that an expression has to say more than "the star".
"""

import math
import random
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from plvl.data.refshapes.backgrounds import Background, choose_background
from plvl.data.refshapes.shapes import COLOURS, MAX_TILT, SHAPES, SIZES, TEXTURES, Shape

MIN_VISIBLE = 0.65  # of a shape's pixels
_MARGIN = 3  # pixels kept free between a shape and the image's edge
_GAP = 4  # and between two shapes that do not overlap
_CLEARLY_LARGER = 1.18  # times as long, and as wide
_CLEARLY_COVERED = 0.05  # of a shape's pixels

# Pairs that only images of testA show.
HELD_OUT = frozenset(
    {
        ("circle", "purple"),
        ("square", "yellow"),
        ("triangle", "pink"),
        ("rectangle", "red"),
        ("star", "green"),
        ("cross", "orange"),
        ("diamond", "white"),
        ("heart", "blue"),
        ("ring", "brown"),
        ("moon", "black"),
        ("arrow", "yellow"),
        ("flower", "red"),
        ("circle", "checkered"),
        ("square", "dotted"),
        ("triangle", "striped"),
        ("star", "dotted"),
        ("heart", "striped"),
        ("ring", "checkered"),
    }
)


@dataclass(frozen=True)
class SceneRules:
    """What the images of a split may look like."""

    counts: tuple[int, ...]
    image_sizes: tuple[tuple[int, int], ...]
    new_backgrounds: bool = False
    new_pairs: bool = False
    new_shape: str | None = None  # that every image shows among the others


_SHOWN = SceneRules(
    counts=(3, 4, 5, 6, 7, 8),
    image_sizes=((320, 240), (320, 240), (320, 214), (320, 256), (240, 320), (256, 320), (288, 288)),
)
RULES = {
    "train": _SHOWN,
    "val": _SHOWN,
    "testA": SceneRules(_SHOWN.counts, _SHOWN.image_sizes, new_pairs=True),
    "testB": SceneRules(
        counts=(9, 10),
        image_sizes=((352, 220), (226, 344), (352, 292), (292, 352)),
        new_backgrounds=True,
    ),
}


def rules_of(split: str, new_shape: str | None = None) -> SceneRules:
    """The rules of a split; where a set has a new shape, images of train and testC show it and no others do."""
    if split == "testC" or (new_shape and split == "train"):
        return replace(RULES["train"], new_shape=new_shape)
    return RULES[split]


def has_held_out_pair(name: str | None, colour: str | None, texture: str | None) -> bool:
    """Whether a shape of this kind, colour and fill belongs to testA alone; None is one that is not named."""
    return (name, colour) in HELD_OUT or (name, texture) in HELD_OUT


@dataclass(frozen=True)
class Light:
    """Where the light comes from (a unit vector in the picture), how strong it is and how sharp the picture."""

    direction: tuple[float, float]
    brightness: float
    warmth: float
    falloff: float
    shadow: float
    blur: float
    grain: float


@dataclass(frozen=True)
class Scene:
    """What an image shows: its size in pixels, background, light and shapes, the later over the earlier."""

    width: int
    height: int
    background: Background
    light: Light
    shapes: tuple[Shape, ...]

    @cached_property
    def visible(self) -> tuple[np.ndarray, ...]:
        """What is seen of each shape: bool, of the form of its `mask`."""
        parts = [shape.mask.copy() for shape in self.shapes]
        for low, lower in enumerate(self.shapes):
            for upper in self.shapes[low + 1 :]:
                common = _common(lower, upper)
                if common is not None:
                    parts[low][common[0]] &= ~upper.mask[common[1]]
        return tuple(parts)

    @cached_property
    def boxes(self) -> tuple[tuple[int, int, int, int], ...]:
        """x, y, width, height around what is seen of each shape."""
        return tuple(_box_of(part, *shape.corner) for part, shape in zip(self.visible, self.shapes, strict=True))

    @cached_property
    def middles(self) -> tuple[tuple[float, float], ...]:
        """The centre of each box, which is where an expression says the shape is."""
        return tuple((x + width / 2, y + height / 2) for x, y, width, height in self.boxes)

    @cached_property
    def visible_areas(self) -> tuple[int, ...]:
        """Pixels seen of each shape."""
        return tuple(int(np.count_nonzero(part)) for part in self.visible)

    def covered(self, lower: int, upper: int) -> int:
        """How many pixels of shape `lower` lie under shape `upper`; 0 when `upper` is not over it."""
        if upper <= lower:
            return 0
        common = _common(self.shapes[lower], self.shapes[upper])
        if common is None:
            return 0
        return int(np.count_nonzero(self.shapes[lower].mask[common[0]] & self.shapes[upper].mask[common[1]]))

    def is_larger(self, one: int, other: int) -> bool:
        """Whether a shape is clearly larger than another: as a whole across and in area, and in what is seen of it."""
        a, b = self.shapes[one], self.shapes[other]
        return (
            a.radius >= _CLEARLY_LARGER * b.radius
            and a.area >= _CLEARLY_LARGER * b.area
            and self.visible_areas[one] >= _CLEARLY_LARGER * self.visible_areas[other]
        )

    def stands(self, position: int, relation: str, anchor: int, strict: bool) -> bool:
        """Whether a shape is "behind" another or "in front" of it: what is covered tells."""
        lower, upper = (position, anchor) if relation == "behind" else (anchor, position)
        covered = self.covered(lower, upper)
        return covered >= _CLEARLY_COVERED * self.shapes[lower].area if strict else covered > 0

    def mask(self, position: int) -> np.ndarray:
        """What is seen of a shape, as a uint8 array (height, width) of the whole image, 1 on it."""
        mask = np.zeros((self.height, self.width), dtype=np.uint8, order="F")
        part, (left, top) = self.visible[position], self.shapes[position].corner
        mask[top : top + part.shape[0], left : left + part.shape[1]] = part
        return mask


def _common(one: Shape, other: Shape) -> tuple | None:
    """Where two shapes' windows meet, as a pair of slices in each; None when they do not."""
    (x1, y1), (x2, y2) = one.corner, other.corner
    (h1, w1), (h2, w2) = one.coverage.shape, other.coverage.shape
    left, right = max(x1, x2), min(x1 + w1, x2 + w2)
    top, bottom = max(y1, y2), min(y1 + h1, y2 + h2)
    if left >= right or top >= bottom:
        return None
    return (
        (slice(top - y1, bottom - y1), slice(left - x1, right - x1)),
        (slice(top - y2, bottom - y2), slice(left - x2, right - x2)),
    )


def _box_of(part, left, top):
    columns, rows = np.flatnonzero(part.any(axis=0)), np.flatnonzero(part.any(axis=1))
    x, y = int(columns[0]), int(rows[0])
    return left + x, top + y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1


def make_scene(rng: random.Random, rules: SceneRules, photographs: int = 0) -> Scene:
    """A scene that keeps to `rules`; the same state of `rng` gives the same scene.

    Args:
        photographs: how many photographs may stand behind the shapes; 0 for none.
    """
    width, height = rng.choice(rules.image_sizes)
    background = choose_background(rng, rules.new_backgrounds, photographs)
    light = _choose_light(rng)
    count = rng.choice(rules.counts)
    shapes = None
    while shapes is None:
        shapes = _fill(width, height, count, rules, rng)
    return Scene(width, height, background, light, shapes)


def _choose_light(rng):
    turn = rng.uniform(-0.9, 0.9)  # radians from straight above
    return Light(
        direction=(round(math.sin(turn), 3), round(-math.cos(turn), 3)),
        brightness=round(rng.uniform(0.84, 1.06), 3),
        warmth=round(rng.uniform(-0.04, 0.04), 3),
        falloff=round(rng.choice((0.0, rng.uniform(0.0, 0.22))), 3),
        shadow=round(rng.uniform(0.1, 0.5), 3),
        blur=round(rng.choice((0.0, 0.0, rng.uniform(0.3, 1.0))), 2),
        grain=round(rng.choice((0.0, rng.uniform(0.0, 6.0))), 2),
    )


def _fill(width, height, count, rules, rng):
    """`count` shapes with room for each; None when there was none, to start over rather than take fewer."""
    shapes, seen = [], []
    for _ in range(count):
        look = _choose_look(shapes, count, rules, rng)
        shape = _place(look, shapes, seen, width, height, rng)
        if shape is None:
            return None
        shapes.append(shape)
    if rules.new_pairs and not any(has_held_out_pair(s.name, s.colour, s.texture) for s in shapes):
        return None
    return tuple(shapes)


def _choose_look(others, count, rules, rng):
    """Name, colour, size and texture; two times in three one or two of them are those of another shape."""
    size_weights = (0.3, 0.4, 0.3) if count <= 6 else (0.36, 0.42, 0.22)
    wants_new_pair = rules.new_pairs and rng.random() < 0.6
    names, shared = SHAPES, {}
    if rules.new_shape:
        names = (*SHAPES, rules.new_shape)
        shared = {} if others else {"name": rules.new_shape}
    if others and rng.random() < 0.67:
        twin = rng.choice(others)
        keys = rng.choice((("name",), ("name",), ("colour",), ("name", "texture"), ("name", "colour")))
        shared = {key: getattr(twin, key) for key in keys}
    while True:
        look = {
            "name": rng.choice(names),
            "colour": rng.choice(tuple(COLOURS)),
            "texture": rng.choice(("plain", *TEXTURES)),
        } | shared
        held_out = has_held_out_pair(**look)
        if held_out == wants_new_pair or (rules.new_pairs and not wants_new_pair):
            return look | {"size": rng.choices(tuple(SIZES), size_weights)[0]}
        # What is shared may leave no such look.
        if rng.random() < 0.1:
            shared = {}


def _place(look, others, seen, width, height, rng, tries=40):
    """The shape with this look where there is room for it; None when no such place was found.

    One in five overlaps another on purpose; those for which half of the tries found no room of their own may
    do so as well. `seen` is kept: for each of `others`, what is seen of it, and then of the new one.
    """
    shade = rng.randint(-7, 7)
    rgb = tuple(min(max(channel + shade + rng.randint(-4, 4), 0), 255) for channel in COLOURS[look["colour"]])
    radius = round(rng.uniform(*SIZES[look["size"]]) * math.sqrt(width * height / (320 * 240)), 2)
    tilt = round(rng.uniform(-1, 1) * MAX_TILT.get(look["name"], 180.0), 1)
    neighbour = rng.choice(others) if others and rng.random() < 0.2 else None
    for attempt in range(tries):
        if neighbour and attempt < tries // 2:
            way, far = rng.uniform(0, 2 * math.pi), rng.uniform(0.6, 0.95) * (radius + neighbour.radius)
            x, y = neighbour.center[0] + far * math.sin(way), neighbour.center[1] + far * math.cos(way)
        else:
            x, y = rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)
        shape = Shape(**look, center=(round(x, 2), round(y, 2)), radius=radius, tilt=tilt, rgb=rgb)
        x1, y1, x2, y2 = shape.bounds
        if min(x1, y1, width - x2, height - y2) < _MARGIN:
            continue
        close = [k for k, other in enumerate(others) if _are_close(shape, other)]
        if close and not neighbour and attempt < tries // 2:
            continue
        parts = _left_over(shape, others, seen, close)
        if parts is not None:
            for k, part in zip(close, parts, strict=True):
                seen[k] = part
            seen.append(shape.mask)
            return shape
    return None


def _are_close(one, other):
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = one.bounds, other.bounds
    return max(ax1 - bx2, bx1 - ax2, ay1 - by2, by1 - ay2) < _GAP


def _left_over(shape, others, seen, close):
    """What is seen of the shapes `close` under `shape`; None when of one it is too little."""
    parts = []
    for k in close:
        part = seen[k]
        common = _common(others[k], shape)
        if common is not None:
            part = part.copy()
            part[common[0]] &= ~shape.mask[common[1]]
            if np.count_nonzero(part) < MIN_VISIBLE * others[k].area:
                return None
        parts.append(part)
    return parts
