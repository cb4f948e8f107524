"""RefShapes' shapes: their outlines, colours, sizes and fills, and the pixels that each covers."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image, ImageDraw

# Radius in pixels of an image with as many pixels as 320 x 240; other images scale it.
SIZES = {"small": (19.0, 22.0), "medium": (28.0, 32.0), "large": (41.0, 48.0)}
TEXTURES = ("plain", "striped", "dotted", "checkered")
COLOURS = {
    "red": (212, 36, 38),
    "orange": (245, 138, 22),
    "yellow": (248, 214, 54),
    "green": (40, 155, 70),
    "blue": (38, 92, 212),
    "purple": (132, 58, 182),
    "pink": (243, 138, 186),
    "brown": (118, 68, 34),
    "white": (246, 246, 242),
    "black": (36, 36, 40),
}
_FINE = 3  # outlines are filled this many times larger and averaged down, which smooths their edges


def _arc(radius, start, end, points, x=0.0, y=0.0):
    """Points on a circle around (x, y); angles in turns, clockwise from the top."""
    angles = [2 * math.pi * (start + (end - start) * k / (points - 1)) for k in range(points)]
    return [(x + radius * math.sin(angle), y - radius * math.cos(angle)) for angle in angles]


def _circle(radius, points=48):
    return _arc(radius, 0.0, 1.0, points + 1)[:-1]


def _star():
    return [(x, y) if k % 2 == 0 else (0.46 * x, 0.46 * y) for k, (x, y) in enumerate(_circle(1.0, 10))]


def _cross(arm=0.93, half_width=0.3):
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


def _moon(radius=0.94, bite=0.74, aside=0.44):
    """A disc without a smaller disc, whose middle is `aside` to the right."""
    x = (aside**2 + radius**2 - bite**2) / (2 * aside)
    outer_end = math.acos(-math.sqrt(radius**2 - x**2) / radius) / (2 * math.pi)
    inner_end = math.acos(-math.sqrt(bite**2 - (x - aside) ** 2) / bite) / (2 * math.pi)
    if x < aside:
        inner_end = 1 - inner_end
    outer = _arc(radius, outer_end, 1.5 - outer_end, 36)
    inner = _arc(bite, 1.5 - inner_end, inner_end, 28, x=aside)
    return [(px + 0.2, py) for px, py in outer + inner[1:-1]]


def _flower(points=72):
    circle = _circle(1.0, points)
    radii = [0.6 + 0.38 * abs(math.cos(math.pi * 6 * k / points)) for k in range(points)]
    return [(radius * x, radius * y) for radius, (x, y) in zip(radii, circle, strict=True)]


# Closed lines around the shape's middle, y downwards; inside a second line is a hole.
_OUTLINES = {
    "circle": [_circle(0.88)],
    "square": [[(-0.78, -0.78), (0.78, -0.78), (0.78, 0.78), (-0.78, 0.78)]],
    "triangle": [[(0.0, -0.96), (1.0, 0.78), (-1.0, 0.78)]],
    "rectangle": [[(-1.08, -0.47), (1.08, -0.47), (1.08, 0.47), (-1.08, 0.47)]],
    "star": [[(1.1 * x, 1.1 * y) for x, y in _star()]],
    "cross": [_cross()],
    "diamond": [[(0.0, -1.12), (0.76, 0.0), (0.0, 1.12), (-0.76, 0.0)]],
    "heart": [_heart()],
    "ring": [_circle(0.94), _circle(0.5)],
    "moon": [_moon()],
    "arrow": [[(0.0, -1.1), (0.8, -0.1), (0.3, -0.1), (0.3, 1.0), (-0.3, 1.0), (-0.3, -0.1), (-0.8, -0.1)]],
    "flower": [_flower()],
}
SHAPES = tuple(_OUTLINES)
# Shapes of no set but one that is asked for one of them.
_NEW_OUTLINES = {
    "crown": [[(-0.95, 0.75), (-1.1, -0.6), (-0.5, 0.05), (0.0, -0.95), (0.5, 0.05), (1.1, -0.6), (0.95, 0.75)]],
    "hourglass": [[(-0.8, -1.0), (0.8, -1.0), (0.14, 0.0), (0.8, 1.0), (-0.8, 1.0), (-0.14, 0.0)]],
}
NEW_SHAPES = tuple(_NEW_OUTLINES)
# A square on its corner would be taken for a diamond: these stand nearly upright, all others at any angle.
MAX_TILT = {"square": 14.0, "diamond": 14.0}


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

    @cached_property
    def outlines(self) -> list[list[tuple[float, float]]]:
        """The closed lines that bound the shape, each a list of (x, y) in pixels; the second is a hole's."""
        cos, sin = math.cos(math.radians(self.tilt)), math.sin(math.radians(self.tilt))
        (cx, cy), r = self.center, self.radius
        return [
            [(cx + r * (x * cos - y * sin), cy + r * (x * sin + y * cos)) for x, y in line]
            for line in (_OUTLINES | _NEW_OUTLINES)[self.name]
        ]

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """x1, y1, x2, y2 of the whole outline in pixels."""
        xs, ys = zip(*self.outlines[0], strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    @cached_property
    def corner(self) -> tuple[int, int]:
        """The image's (x, y) at which `coverage` begins."""
        x1, y1, _, _ = self.bounds
        return math.floor(x1) - 1, math.floor(y1) - 1

    @cached_property
    def coverage(self) -> np.ndarray:
        """How much of each pixel the whole shape covers, uint8 (height, width), 255 all; zero at the borders."""
        left, top = self.corner
        _, _, x2, y2 = self.bounds
        fine = Image.new("L", ((math.ceil(x2) + 1 - left) * _FINE, (math.ceil(y2) + 1 - top) * _FINE))
        draw = ImageDraw.Draw(fine)
        for line, fill in zip(self.outlines, (255, 0), strict=False):
            # PIL counts from the centre of the first pixel, outlines from its corner.
            draw.polygon([((x - left) * _FINE - 0.5, (y - top) * _FINE - 0.5) for x, y in line], fill=fill)
        return np.asarray(fine.reduce(_FINE))

    @cached_property
    def mask(self) -> np.ndarray:
        """The pixels of `coverage` that belong to the whole shape: bool, those at least half covered."""
        return self.coverage >= 128

    @cached_property
    def area(self) -> int:
        """Pixels of the whole shape."""
        return int(np.count_nonzero(self.mask))
