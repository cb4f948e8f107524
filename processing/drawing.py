"""Draws what was grounded: the expression above the image, the mask and box on it."""

import textwrap

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from plvl.processing.fonts import font_for

TRUE_COLOUR = (46, 204, 113)
PREDICTED_COLOUR = (255, 64, 96)
MASK_OPACITY = 0.35
CAPTION_MARGIN = 8


def draw_grounding(image: Image.Image, text: str, answers: list[dict]) -> Image.Image:
    """
    Draws answers to one expression on an image.

    Args:
        image (`PIL.Image.Image`): the image; it is not changed.
        text (`str`): the expression, written above the image.
        answers (`list[dict]`): each with `"colour"` (red, green, blue) and, as far as there are, `"box"` (x1, y1, x2,
            y2 in pixels) or `"boxes"`, a list of such, `"mask"` (array of shape `(height, width)`, true inside) and
            `"label"`, written at the box.
    """
    image = image.convert("RGB")
    for answer in answers:
        if answer.get("mask") is not None:
            image = draw_mask(image, np.asarray(answer["mask"], dtype=bool), answer["colour"])
    draw = ImageDraw.Draw(image)
    font_size = max(image.width // 22, 11)
    for answer, box in [(each, box) for each in answers for box in boxes_of(each)]:
        draw.rectangle(box, outline=answer["colour"], width=max(min(image.size) // 150, 2))
        if answer.get("label"):
            draw.text(
                (box[0] + 4, box[1] + 2),
                answer["label"],
                fill=answer["colour"],
                font=font_for(answer["label"], font_size),
                stroke_width=2,
                stroke_fill="white",
            )
    return _with_caption(image, text, font_size)


def boxes_of(answer: dict) -> list[list[float]]:
    """The `"boxes"` of an answer, or its `"box"`, as numbers; an empty list where it has none."""
    boxes = answer.get("boxes", [answer.get("box")])
    return [[float(value) for value in box] for box in boxes if box is not None]


def contact_sheet(tiles: list[Image.Image], columns: int, tile_width: int = 320) -> Image.Image:
    """Tiles of one width side by side, `columns` to a row."""
    tiles = [tile.resize((tile_width, round(tile.height * tile_width / tile.width))) for tile in tiles]
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile in row) for row in rows]
    sheet = Image.new("RGB", (columns * tile_width, sum(heights)), "white")
    for index, row in enumerate(rows):
        for column, tile in enumerate(row):
            sheet.paste(tile, (column * tile_width, sum(heights[:index])))
    return sheet


def draw_mask(image: Image.Image, mask: np.ndarray, colour) -> Image.Image:
    """
    The mask's inside tinted, its border (two pixels, of large images more) in the full colour, so that two masks can
    be told apart.
    """
    if mask.shape != image.size[::-1]:
        raise ValueError(f"a mask of {mask.shape} cannot be drawn on an image of {image.size[::-1]} (height, width)")
    drawn, whole = image.copy(), Image.fromarray(mask.astype(np.uint8) * 255)
    place = whole.getbbox()
    if place is None:
        return drawn
    border = max(min(image.size) // 400, 2)
    # Neighbours of the object's box count, those of the image's edge do not.
    left, top = max(place[0] - border, 0), max(place[1] - border, 0)
    around = left, top, min(place[2] + border, image.width), min(place[3] + border, image.height)
    whole, part = whole.crop(around), drawn.crop(around)
    # The mean of a window is all white where all of it is inside.
    inside = whole.filter(ImageFilter.BoxBlur(border)).point(lambda value: 255 * (value == 255))
    full = Image.new("RGB", part.size, tuple(colour))
    part.paste(full, mask=ImageChops.subtract(whole, inside))
    part.paste(Image.blend(part, full, MASK_OPACITY), mask=inside)
    drawn.paste(part, (left, top))
    return drawn


def _with_caption(image: Image.Image, text: str, font_size: int) -> Image.Image:
    font = font_for(text, font_size)
    line_length = max(int((image.width - 2 * CAPTION_MARGIN) / (0.55 * font_size)), 8)
    lines = textwrap.fill(text, line_length)
    left, top, right, bottom = ImageDraw.Draw(image).multiline_textbbox((0, 0), lines, font=font)
    caption_height = int(bottom - top) + 2 * CAPTION_MARGIN
    captioned = Image.new("RGB", (image.width, image.height + caption_height), "white")
    captioned.paste(image, (0, caption_height))
    ImageDraw.Draw(captioned).multiline_text((CAPTION_MARGIN, CAPTION_MARGIN - top), lines, fill="black", font=font)
    return captioned
