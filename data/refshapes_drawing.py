"""Draws a RefShapes scene. Every shape covers exactly its polygons; only its soft shadow falls outside."""

import math
import random

from PIL import Image, ImageDraw, ImageFilter

from plvl.data.refshapes_scene import Background, Scene, Shape

_FINE = 3  # shapes are drawn this many times larger and averaged down, which smooths their edges
_SHADOW = (3, 4)
# How strongly the light shows at each level of a ramp from the shape's top (0) to its bottom (255), of 255.
_HIGHLIGHT = [max(0, 46 - level // 2) for level in range(256)]
_SHADE = [max(0, (level - 128) // 3) for level in range(256)]


def draw_scene(scene: Scene) -> Image.Image:
    """The scene as an RGB picture of its size; the same scene gives the same pixels."""
    picture = _draw_background(scene.background, scene.width, scene.height)
    picture.paste((20, 20, 30), mask=_shadows(scene))
    for shape in scene.shapes:
        _draw_shape(picture, shape)
    return picture


def _draw_background(background: Background, width, height):
    small = Image.new("RGB", (len(background.grid[0]), len(background.grid)))
    small.putdata([colour for row in background.grid for colour in row])
    picture = small.resize((width, height), Image.Resampling.BICUBIC)
    grain = Image.frombytes("L", (width, height), random.Random(background.grain_seed).randbytes(width * height))
    return Image.blend(picture, Image.merge("RGB", (grain, grain, grain)), 0.03)


def _shadows(scene):
    mask = Image.new("L", (scene.width, scene.height))
    draw = ImageDraw.Draw(mask)
    for shape in scene.shapes:
        for polygon in shape.polygons:
            draw.polygon([(x + _SHADOW[0], y + _SHADOW[1]) for x, y in polygon], fill=110)
    return mask.filter(ImageFilter.GaussianBlur(3))


def _draw_shape(picture, shape: Shape):
    x, y, width, height = shape.box
    left, top = math.floor(x) - 1, math.floor(y) - 1
    size = (math.ceil(x + width) + 1 - left) * _FINE, (math.ceil(y + height) + 1 - top) * _FINE

    def fine(line):
        # PIL counts from the centre of the first pixel, outlines from its corner.
        return [((px - left) * _FINE - 0.5, (py - top) * _FINE - 0.5) for px, py in line]

    mask = Image.new("L", size)
    for polygon in shape.polygons:
        ImageDraw.Draw(mask).polygon(fine(polygon), fill=255)
    paint = Image.new("RGB", size, shape.rgb)
    _draw_texture(paint, shape)
    for contour in shape.contours:
        # Half of the line falls outside, where the mask hides it.
        rim = fine([*contour, *contour[:2]])
        ImageDraw.Draw(paint).line(rim, fill=_mix(shape.rgb, (0, 0, 0), 0.45), width=3 * _FINE, joint="curve")
    paint = paint.reduce(_FINE)
    _light(paint)
    picture.paste(paint, (left, top), mask.reduce(_FINE))


def _draw_texture(paint, shape: Shape):
    draw = ImageDraw.Draw(paint)
    red, green, blue = shape.rgb
    is_dark = 0.3 * red + 0.59 * green + 0.11 * blue < 135
    ink = _mix(shape.rgb, (255, 255, 255), 0.62) if is_dark else _mix(shape.rgb, (0, 0, 0), 0.42)
    width, height = paint.size
    if shape.texture == "striped":
        pitch, band = 9 * _FINE, 3.5 * _FINE
        slant = 0.6 * height
        for k in range(int((width + slant) / pitch) + 1):
            x = k * pitch
            draw.polygon([(x, 0), (x + band, 0), (x + band - slant, height), (x - slant, height)], fill=ink)
    elif shape.texture == "dotted":
        pitch, radius = 9 * _FINE, 2.3 * _FINE
        for row in range(height // pitch + 2):
            for column in range(width // pitch + 2):
                x, y = (column + row % 2 / 2) * pitch, row * pitch * 0.87
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=ink)


def _light(paint):
    """Light from above: the top a little brighter, the bottom a little darker."""
    ramp = Image.linear_gradient("L").resize(paint.size)
    paint.paste((255, 255, 255), mask=ramp.point(_HIGHLIGHT))
    paint.paste((0, 0, 0), mask=ramp.point(_SHADE))


def _mix(colour, other, share):
    return tuple(round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
