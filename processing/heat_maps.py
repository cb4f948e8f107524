"""Draws a grid of values over an image as heat: dark where low, glowing where high."""

import numpy as np
from PIL import Image, ImageDraw

# From black over violet and orange to pale yellow, evenly rising in brightness, so that it is read in grey too.
HEAT_COLOURS = np.array(
    [(12, 10, 30), (66, 15, 117), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)], dtype=float
)
# How much of the heat's colour covers the image, where there is none and where it is highest.
COVERED = (0.35, 0.85)


def draw_heat_map(image: Image.Image, heat: np.ndarray, highest: float, crosses=()) -> Image.Image:
    """
    Args:
        image (`PIL.Image.Image`): the image; it is drawn in grey under the heat.
        heat (`np.ndarray` of shape `(rows, columns)`): at least 0, a value for each region of the image.
        highest (`float`): the value that glows most; what is higher glows no more.
        crosses (`Iterable[tuple[float, float]]`): where crosses are to be, x and y as shares of the image.

    Returns:
        `PIL.Image.Image` of the image's size.
    """
    shares = np.clip(np.asarray(heat, dtype=np.float32) / max(highest, 1e-12), 0, 1)
    smooth = Image.fromarray(shares).resize(image.size, Image.Resampling.BILINEAR)
    steps = np.linspace(0, 1, len(HEAT_COLOURS))
    glow = np.stack([np.interp(np.asarray(smooth), steps, channel) for channel in HEAT_COLOURS.T], axis=-1)
    grey = np.asarray(image.convert("L"), dtype=float)[..., None]
    covered = np.interp(np.asarray(smooth), (0, 1), COVERED)[..., None]
    drawn = Image.fromarray(((1 - covered) * grey + covered * glow).round().astype(np.uint8))
    for x, y in crosses:
        _mark(drawn, x * drawn.width, y * drawn.height)
    return drawn


def best_region(heat: np.ndarray) -> tuple[float, float]:
    """The middle of the region of the highest value: x and y as shares of the image."""
    rows, columns = np.shape(heat)
    row, column = np.unravel_index(np.argmax(heat), (rows, columns))
    return (column + 0.5) / columns, (row + 0.5) / rows


def _mark(drawn, x, y):
    """A white cross with dark edges."""
    arm = max(min(drawn.size) // 30, 4)
    draw = ImageDraw.Draw(drawn)
    for colour, width in (("black", max(arm // 2, 3) + 2), ("white", max(arm // 2, 3) - 1)):
        for dx, dy in ((arm, 0), (0, arm)):
            draw.line((x - dx, y - dy, x + dx, y + dy), fill=colour, width=width)
