"""What lies behind RefShapes' shapes: patterns made by code, and photographs from a folder of one's own.

Two sets of patterns: KNOWN stand in every split but testB, NEW in testB alone.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

# Muted, so that no shape's colour is lost in one.
COLOURS = (
    (222, 206, 178),
    (172, 200, 220),
    (170, 190, 166),
    (196, 186, 212),
    (203, 170, 152),
    (120, 132, 148),
    (122, 158, 162),
    (182, 180, 174),
    (220, 190, 192),
    (106, 110, 136),
    (150, 140, 118),
    (206, 214, 206),
    (134, 112, 122),
    (98, 118, 112),
)
PHOTOGRAPH = "photograph"
_PHOTOGRAPH_SHARE = 0.5  # of the images, when there are photographs
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Background:
    """A pattern's name, its two colours and the seed of all else in it; or which photograph."""

    pattern: str
    colours: tuple[tuple[int, int, int], tuple[int, int, int]]
    seed: int
    photograph: int | None = None


def choose_background(rng: random.Random, new: bool, photographs: int = 0) -> Background:
    """A background for an image of testB (`new`) or of another split.

    Of `photographs` that there are, every fifth is for testB alone.
    """
    base, other = rng.sample(COLOURS, 2)
    swing = rng.uniform(0.2, 0.9)  # how far the second colour is from the first
    red, green, blue = (round(a + swing * (b - a) + rng.uniform(-12, 12)) for a, b in zip(base, other, strict=True))
    second = red, green, blue
    pattern = rng.choice(tuple(NEW if new else KNOWN))
    seed = rng.getrandbits(32)
    numbers = [number for number in range(photographs) if (number % 5 == 4) == new]
    if numbers and rng.random() < _PHOTOGRAPH_SHARE:
        return Background(PHOTOGRAPH, (base, second), seed, rng.choice(numbers))
    return Background(pattern, (base, second), seed)


def find_photographs(folder: str | Path) -> list[Path]:
    """The images in `folder`, in the order of their names.

    Raises FileNotFoundError when there is no such folder or no image in it, and ValueError, which names the
    file, when one cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder: photographs for backgrounds are expected there")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and path.is_file())
    if not files:
        raise FileNotFoundError(f"{folder} has no image ({', '.join(_SUFFIXES)})")
    for path in files:
        _require_readable(path)
    return files


def _require_readable(path):
    """Reads a photograph to its end, small: a broken one is not to end a long run in its middle."""
    try:
        with Image.open(path) as opened:
            opened.draft("RGB", (64, 64))
            opened.load()
    # Pillow's readers raise these for files that are cut short or broken inside, the first for one too large.
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as a photograph: {error}") from error


def draw_background(background: Background, width: int, height: int, photographs: Sequence[Path] = ()) -> np.ndarray:
    """The background as float32 (3, height, width), 0..255."""
    rng = random.Random(background.seed)
    if background.photograph is not None:
        return _photograph(photographs[background.photograph], width, height, rng)
    share = np.asarray((KNOWN | NEW)[background.pattern](width, height, rng), dtype=np.float32)
    first, second = (np.asarray(colour, dtype=np.float32)[:, None, None] for colour in background.colours)
    return first + np.clip(share, 0, 1) * (second - first)


def _photograph(path, width, height, rng):
    """A random part of it, of the aspect asked for and not less than half of what fits."""
    # Not at the top: `plvl --help` waits for neither PyTorch nor Transformers.
    from plvl.processing.image_input import upright

    with Image.open(path) as opened:
        opened.draft("RGB", (2 * width, 2 * height))
        image = upright(opened).convert("RGB")
    scale = min(image.width / width, image.height / height) * rng.uniform(0.5, 1.0)
    x, y = rng.uniform(0, image.width - scale * width), rng.uniform(0, image.height - scale * height)
    part = (x, y, x + scale * width, y + scale * height)
    part = image.resize((width, height), Image.Resampling.BILINEAR, box=part)
    return np.array(part, dtype=np.float32).transpose(2, 0, 1).copy()


# Patterns: for each pixel how much of the second colour is there, float32 (height, width), about 0..1.


def _flat(width, height, rng):
    return np.full((height, width), 0.0, dtype=np.float32)


def _gradient(width, height, rng):
    x, y = _turned(width, height, rng.uniform(0, 2 * math.pi))
    along = x + y
    return (along - along.min()) / (along.max() - along.min())


def _noise_of(width, height, columns, rng):
    """Smooth random values 0..1 with about `columns` bumps across the image."""
    rows = max(round(columns * height / width), 2)
    small = Image.frombytes("L", (columns, rows), rng.randbytes(columns * rows))
    smooth = small.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(smooth, dtype=np.float32) / 255


def _clouds(width, height, rng):
    columns = rng.choice((3, 4, 6))
    share = 0.6 * _noise_of(width, height, columns, rng) + 0.3 * _noise_of(width, height, 3 * columns, rng)
    return share + 0.15 * _noise_of(width, height, 9 * columns, rng)


def _sand(width, height, rng):
    return 0.5 * _noise_of(width, height, 5, rng) + 0.5 * _noise_of(width, height, rng.choice((70, 110)), rng)


def _blotches(width, height, rng):
    columns, rows = rng.randint(2, 4), rng.randint(2, 3)
    small = Image.frombytes("L", (columns, rows), rng.randbytes(columns * rows))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32) / 255


def _bands(width, height, rng):
    x, y = _turned(width, height, rng.uniform(0, 2 * math.pi))
    wave = np.sin((x + y) * np.float32(2 * math.pi / rng.uniform(45, 120)))
    return 0.5 + 0.5 * np.clip(wave * rng.choice((1, 6)), -1, 1)


def _wood(width, height, rng):
    warp = _noise_of(width, height, 3, rng)
    x, y = np.arange(width, dtype=np.float32)[None], np.arange(height, dtype=np.float32)[:, None]
    across = y if rng.random() < 0.5 else x
    grain = np.sin((across / rng.uniform(5, 11)) + 14 * warp)
    return 0.35 + 0.25 * grain + 0.5 * (warp - 0.5)


def _terrazzo(width, height, rng):
    columns = rng.randint(18, 34)
    spots = _noise_of(width, height, columns, rng)
    return 0.25 * _noise_of(width, height, 4, rng) + 0.75 * (spots > rng.uniform(0.62, 0.75))


def _glow(width, height, rng):
    x, y = _turned(width, height, 0.0, rng)
    distance = np.sqrt(x * x + y * y)
    return 1 - distance / distance.max()


def _bricks(width, height, rng):
    long, tall = rng.uniform(34, 60), rng.uniform(16, 26)
    x, y = np.arange(width, dtype=np.float32)[None], np.arange(height, dtype=np.float32)[:, None]
    row = np.floor(y / tall)
    along = (x / long + 0.5 * (row % 2)) % 1.0
    joint = (along * long < 2.5) | (y % tall < 2.5)
    tone = 0.5 + 0.5 * np.sin(37.7 * row + 11.3 * np.floor(x / long + 0.5 * (row % 2)))
    return np.where(joint, 1.0, 0.35 * tone).astype(np.float32)


def _ripples(width, height, rng):
    x, y = _turned(width, height, 0.0, rng)
    return 0.5 + 0.5 * np.sin(np.sqrt(x * x + y * y) * np.float32(2 * math.pi / rng.uniform(24, 50)))


def _tiles(width, height, rng):
    x, y = _turned(width, height, rng.uniform(0, 2 * math.pi))
    side = rng.uniform(36, 64)
    return ((np.floor(x / side) + np.floor(y / side)) % 2).astype(np.float32)


def _weave(width, height, rng):
    pitch = 2 * math.pi / rng.uniform(14, 24)
    x, y = np.arange(width, dtype=np.float32)[None], np.arange(height, dtype=np.float32)[:, None]
    return 0.5 + 0.3 * np.sin(x * np.float32(pitch)) * np.sin(y * np.float32(pitch)) + 0.2 * np.sin((x + y) / 3)


def _turned(width, height, angle, rng=None):
    """Coordinates turned by `angle`, from the middle or from a random point of the picture."""
    cx, cy = (rng.uniform(0, width), rng.uniform(0, height)) if rng else (width / 2, height / 2)
    x = np.arange(width, dtype=np.float32)[None] - np.float32(cx)
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32(cy)
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return x * cos - y * sin, x * sin + y * cos


KNOWN = {
    "flat": _flat,
    "gradient": _gradient,
    "clouds": _clouds,
    "sand": _sand,
    "blotches": _blotches,
    "bands": _bands,
    "wood": _wood,
    "terrazzo": _terrazzo,
}
NEW = {"glow": _glow, "bricks": _bricks, "ripples": _ripples, "tiles": _tiles, "weave": _weave}
