"""Draws a RefShapes scene. A shape is drawn where its mask says; only its soft shadow falls outside."""

import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from plvl.data.refshapes.backgrounds import draw_background
from plvl.data.refshapes.scene import Light, Scene
from plvl.data.refshapes.shapes import Shape

_SHADOW_REACH = 5  # pixels from a shape to where its shadow ends
_DARK_INK = 0.6  # how far a fill's pattern is from the shape's colour towards black
_BRIGHT_INK = 0.8  # or towards white, on dark colours


def draw_scene(scene: Scene, photographs: Sequence[Path] = ()) -> Image.Image:
    """The scene as an RGB image of its size; the same scene gives the same pixels.

    Args:
        photographs: the files that backgrounds count.
    """
    canvas = draw_background(scene.background, scene.width, scene.height, photographs)
    for shape in scene.shapes:
        _draw_shadow(canvas, shape, scene.light)
        _draw_shape(canvas, shape, scene.light)
    _light(canvas, scene.light)
    if scene.light.grain:
        drawn = random.Random(scene.background.seed).randbytes(scene.height * scene.width)
        noise = np.frombuffer(drawn, dtype=np.int8).reshape(scene.height, scene.width)
        canvas += noise * np.float32(scene.light.grain / 74)  # 74 is the noise's standard deviation
    canvas += 0.5
    np.clip(canvas, 0, 255, out=canvas)
    image = Image.fromarray(np.ascontiguousarray(canvas.astype(np.uint8).transpose(1, 2, 0)))
    return image.filter(ImageFilter.GaussianBlur(scene.light.blur)) if scene.light.blur else image


def _light(canvas: np.ndarray, light: Light) -> None:
    """Brightness, a warm or cold tint, and a side of the picture that is darker than the other."""
    _, height, width = canvas.shape
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None] * np.float32(light.direction[0])
    y = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None] * np.float32(light.direction[1])
    tint = np.asarray([1 + light.warmth, 1, 1 - light.warmth], dtype=np.float32) * np.float32(light.brightness)
    canvas *= tint[:, None, None]
    if light.falloff:
        canvas *= 1 + np.float32(light.falloff) * (x + y)


def _draw_shadow(canvas: np.ndarray, shape: Shape, light: Light) -> None:
    reach = 2 * _SHADOW_REACH
    soft = Image.fromarray(np.pad(shape.coverage, reach)).filter(ImageFilter.GaussianBlur(3))
    left = shape.corner[0] - reach - round(light.direction[0] * _SHADOW_REACH)
    top = shape.corner[1] - reach - round(light.direction[1] * _SHADOW_REACH)
    part, (rows, columns) = _part(canvas, left, top, soft.height, soft.width)
    part *= 1 - np.float32(light.shadow / 255) * np.asarray(soft, dtype=np.float32)[rows, columns]


def _part(canvas, left, top, height, width):
    """The canvas under a window, and the rows and columns of the window that are inside the canvas."""
    first_row, first_column = max(-top, 0), max(-left, 0)
    last_row, last_column = min(height, canvas.shape[1] - top), min(width, canvas.shape[2] - left)
    part = canvas[:, top + first_row : top + last_row, left + first_column : left + last_column]
    return part, (slice(first_row, last_row), slice(first_column, last_column))


def _draw_shape(canvas: np.ndarray, shape: Shape, light: Light) -> None:
    coverage = shape.coverage.astype(np.float32) / 255
    height, width = coverage.shape
    left, top = shape.corner
    colour = np.asarray(shape.rgb, dtype=np.float32)[:, None, None]
    x = np.arange(left, left + width, dtype=np.float32)[None] + np.float32(0.5 - shape.center[0])
    y = np.arange(top, top + height, dtype=np.float32)[:, None] + np.float32(0.5 - shape.center[1])
    paint = np.empty((3, height, width), dtype=np.float32)
    paint[:] = colour
    if shape.texture != "plain":
        paint += _ink_share(shape, x, y) * (_ink(colour) - colour)
    # The side towards the light is brighter than the other, and the rim dark.
    towards = (x * np.float32(light.direction[0]) + y * np.float32(light.direction[1])) / np.float32(shape.radius)
    paint += np.float32(26) * np.clip(towards, -1, 1)
    inside = Image.fromarray(np.pad(shape.coverage, 2)).filter(ImageFilter.GaussianBlur(1.2))
    depth = np.asarray(inside, dtype=np.float32)[2:-2, 2:-2] / 255
    rim = np.clip((0.92 - depth) * 2.2, 0, 0.6)
    paint *= 1 - rim
    part = canvas[:, top : top + height, left : left + width]
    part += coverage * (np.clip(paint, 0, 255, out=paint) - part)


def _ink(colour):
    is_dark = colour[:, 0, 0] @ np.asarray([0.3, 0.59, 0.11], dtype=np.float32) < 125
    return colour + np.float32(_BRIGHT_INK) * (255 - colour) if is_dark else colour * np.float32(1 - _DARK_INK)


def _ink_share(shape: Shape, x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """Where the fill's pattern is: float32 0..1. The pattern turns with the shape and grows with it."""
    slant = math.radians(shape.tilt + 35)
    cos, sin = np.float32(math.cos(slant)), np.float32(math.sin(slant))
    u, v = x * cos + y * sin, y * cos - x * sin
    pitch = np.float32(max(8.5, 4 + 0.33 * shape.radius))
    if shape.texture == "striped":
        return np.clip(0.22 * pitch - _to_next(u, pitch) + 0.5, 0, 1) + 0 * v
    if shape.texture == "dotted":
        # Two square lattices, the second between the points of the first.
        first = np.hypot(_to_next(u, pitch), _to_next(v, pitch))
        second = np.hypot(_to_next(u + pitch / 2, pitch), _to_next(v + pitch / 2, pitch))
        return np.clip(0.235 * pitch - np.minimum(first, second) + 0.5, 0, 1)
    side = np.float32(0.62) * pitch
    wave_u, wave_v = (side / 2 - _to_next(t, 2 * side) for t in (u, v))  # pixels to the next edge, signed
    sign = np.sign(wave_u * wave_v)
    return np.clip(0.5 + sign * np.minimum(np.abs(wave_u), np.abs(wave_v)), 0, 1)


def _to_next(t, pitch):
    """Distance to the next multiple of `pitch`."""
    return np.abs(t - pitch * np.round(t / pitch))
