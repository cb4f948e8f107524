"""RefShapes' scenes: a handful of coloured shapes on a soft background, described but not yet drawn.

A scene is made from a random generator alone. Shapes do not overlap, so that the outline of each is its
visible outline, and they often share their kind or colour with one another, so that an expression has to say
more than "the star".
"""

import math
import random
from dataclasses import dataclass
from functools import cached_property

SIZES = {"small": (0.088, 0.108), "large": (0.155, 0.185)}  # radius over the picture's short side
TEXTURES = ("plain", "striped", "dotted")
COLOURS = {
    "red": (211, 47, 47),
    "orange": (242, 138, 30),
    "yellow": (248, 211, 62),
    "green": (43, 155, 78),
    "blue": (42, 102, 208),
    "purple": (131, 66, 175),
    "white": (246, 246, 242),
    "black": (42, 42, 47),
}
PICTURE_SIZES = ((320, 240), (320, 240), (320, 214), (320, 256), (240, 320), (256, 320), (288, 288))
BACKGROUNDS = (
    (222, 206, 178),
    (172, 200, 220),
    (170, 190, 166),
    (196, 186, 212),
    (203, 164, 144),
    (120, 132, 148),
    (122, 158, 162),
    (182, 180, 174),
    (220, 190, 192),
    (106, 110, 136),
)
_EDGE = 4  # pixels kept free between shapes, and between a shape and the picture's edge


def _circle(radius, points=48):
    angles = [2 * math.pi * k / points for k in range(points)]
    return [(radius * math.sin(angle), -radius * math.cos(angle)) for angle in angles]


def _star():
    corners = _circle(1.0, 10)
    return [(x, y) if k % 2 == 0 else (0.48 * x, 0.48 * y) for k, (x, y) in enumerate(corners)]


def _cross(arm=0.93, half_width=0.32):
    a, b = arm, half_width
    return [(-b, -a), (b, -a), (b, -b), (a, -b), (a, b), (b, b)] + [
        (b, a), (-b, a), (-b, b), (-a, b), (-a, -b), (-b, -b)
    ]  # fmt: skip


def _heart(x=0.44, y=-0.28, radius=0.46, tip=0.92, points=20):
    """Two arcs around (x, y) and (-x, y), from where they meet to where they run straight to the tip."""
    notch = math.acos(x / radius) - math.pi
    leaving = math.atan2(tip - y, -x) - math.acos(radius / math.hypot(x, tip - y))
    angles = [notch + (leaving - notch) * k / points for k in range(points + 1)]
    right = [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]
    left = [(-x, y) for x, y in right[:0:-1]]
    return [*right, (0.0, tip), *left]


def _half_rings(outer, inner):
    half = len(outer) // 2
    right = outer[: half + 1] + inner[half::-1]
    left = outer[half:] + outer[:1] + inner[:1] + inner[: half - 1 : -1]
    return [right, left]


_RING = (_circle(0.92), _circle(0.5))
# Closed lines inside the unit circle, y downwards. The ring's are its outer and its inner rim.
_CONTOURS = {
    "circle": [_circle(0.88)],
    "square": [[(-0.76, -0.76), (0.76, -0.76), (0.76, 0.76), (-0.76, 0.76)]],
    "triangle": [[(0.0, -0.84), (0.98, 0.84), (-0.98, 0.84)]],
    "star": [_star()],
    "cross": [_cross()],
    "diamond": [[(0.0, -1.0), (0.7, 0.0), (0.0, 1.0), (-0.7, 0.0)]],
    "heart": [_heart()],
    "ring": list(_RING),
}
# A polygon has no hole, so a ring is two halves that meet.
_PARTS = {**_CONTOURS, "ring": _half_rings(*_RING)}
SHAPES = tuple(_CONTOURS)


@dataclass(frozen=True)
class Shape:
    """One object of a scene. `center` and `radius` are pixels, `tilt` degrees, `rgb` 0..255."""

    name: str
    colour: str
    size: str
    texture: str
    center: tuple[float, float]
    radius: float
    tilt: float
    rgb: tuple[int, int, int]

    def _in_picture(self, lines):
        cos, sin = math.cos(math.radians(self.tilt)), math.sin(math.radians(self.tilt))
        (cx, cy), r = self.center, self.radius

        def place(x, y):
            return round(cx + r * (x * cos - y * sin), 2), round(cy + r * (x * sin + y * cos), 2)

        return [[place(x, y) for x, y in line] for line in lines]

    @cached_property
    def polygons(self) -> list[list[tuple[float, float]]]:
        """The parts that together cover the shape, each a list of (x, y) in pixels (0.01 exact)."""
        return self._in_picture(_PARTS[self.name])

    @cached_property
    def contours(self) -> list[list[tuple[float, float]]]:
        """The closed lines that bound the shape, each a list of (x, y) in pixels."""
        return self._in_picture(_CONTOURS[self.name])

    @cached_property
    def box(self) -> tuple[float, float, float, float]:
        """x, y, width, height of the outline in pixels."""
        xs, ys = zip(*(point for polygon in self.polygons for point in polygon), strict=True)
        return min(xs), min(ys), round(max(xs) - min(xs), 2), round(max(ys) - min(ys), 2)

    @property
    def middle(self) -> tuple[float, float]:
        """The centre of the box, which is where an expression says the shape is."""
        x, y, width, height = self.box
        return x + width / 2, y + height / 2


@dataclass(frozen=True)
class Background:
    """A small grid of colours that is drawn stretched over the picture, under fine grain."""

    grid: tuple[tuple[tuple[int, int, int], ...], ...]
    grain_seed: int


@dataclass(frozen=True)
class Scene:
    """What a picture shows: its size in pixels, its background and its shapes, none of which overlap."""

    width: int
    height: int
    background: Background
    shapes: tuple[Shape, ...]


def make_scene(rng: random.Random) -> Scene:
    """A scene of 3 to 6 shapes; the same state of `rng` gives the same scene."""
    width, height = rng.choice(PICTURE_SIZES)
    background = _make_background(rng)
    count = rng.randint(3, 6)
    shapes = []
    while len(shapes) < count:
        shape = _place(_choose_look(shapes, rng), shapes, width, height, rng)
        if shape is None:
            # No room is left: start over rather than settle for fewer shapes.
            shapes = []
        else:
            shapes.append(shape)
    return Scene(width, height, background, tuple(shapes))


def _make_background(rng):
    base = rng.choice(BACKGROUNDS)
    columns, rows = rng.choice(((1, 1), (1, 2), (2, 2), (5, 4)))
    swing = 14 if columns > 2 else 24

    def colour():
        light = rng.randint(-swing, swing)
        return tuple(min(max(channel + light + rng.randint(-5, 5), 0), 236) for channel in base)

    grid = tuple(tuple(colour() for _ in range(columns)) for _ in range(rows))
    return Background(grid, rng.getrandbits(32))


def _choose_look(others, rng):
    """Name, colour, size and texture; two times in three one or two of them are those of another shape."""
    look = {
        "name": rng.choice(SHAPES),
        "colour": rng.choice(tuple(COLOURS)),
        "size": rng.choice(tuple(SIZES)),
        "texture": rng.choice(("plain", *TEXTURES)),
    }
    if others and rng.random() < 0.67:
        twin = rng.choice(others)
        for key in rng.choice((("name",), ("colour",), ("name", "texture"), ("name", "colour"))):
            look[key] = getattr(twin, key)
    return look


def _place(look, others, width, height, rng, tries=50):
    """The shape with this look where there is room for it; None when no such place was found."""
    short = min(width, height)
    shade = rng.randint(-8, 8)
    rgb = tuple(min(max(channel + shade + rng.randint(-3, 3), 0), 255) for channel in COLOURS[look["colour"]])
    for _ in range(tries):
        radius = round(rng.uniform(*SIZES[look["size"]]) * short, 2)
        reach = radius + _EDGE
        center = (round(rng.uniform(reach, width - reach), 2), round(rng.uniform(reach, height - reach), 2))
        if all(math.dist(center, other.center) >= reach + other.radius for other in others):
            return Shape(**look, center=center, radius=radius, tilt=round(rng.uniform(-12, 12), 1), rgb=rgb)
    return None
