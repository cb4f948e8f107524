"""Draws the answers to several expressions on one image, those to each in a colour of their own, over a legend."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from plvl.processing.answer_words import answer_in_words
from plvl.processing.drawing import PREDICTED_COLOUR, boxes_of, draw_mask
from plvl.processing.fonts import font_for

# Told apart on light and on dark images; the first is that of a lone answer.
COLOURS = (
    PREDICTED_COLOUR,
    (30, 136, 229),
    (255, 179, 0),
    (0, 168, 107),
    (156, 77, 255),
    (0, 188, 212),
    (255, 112, 32),
    (233, 30, 160),
)
# A narrower image is enlarged so far, or its words could not be read; but not beyond this height, which would cost
# memory without end: there white beside it makes up for the rest.
READABLE_WIDTH = 480
HIGHEST_ENLARGED = 4 * READABLE_WIDTH
MAX_LEGEND_LINES = 2
HALO = (20, 20, 20)
SAID_INK = (90, 90, 90)


def draw_answers(image: Image.Image, answers: list[dict]) -> Image.Image:
    """
    Draws what each expression means on an image, and under it a legend of expressions and confidences. Where there
    are several expressions, their numbers tie boxes and legend together.

    Args:
        image (`PIL.Image.Image`): the image; it is not changed.
        answers (`list[dict]`): each with `"label"` (the expression) and, as far as there are, `"score"` (0..1),
            `"box"` (x1, y1, x2, y2 in pixels) and `"mask"` (array of shape `(height, width)`, true inside). One of
            any number of targets has `"boxes"`, a list of such, in the place of `"box"`, their `"scores"`, and
            `"said"`: what the legend says below the expression.

    Returns:
        `PIL.Image.Image`: at least 480 pixels wide. The image is at its top left, enlarged a whole number of times
        where it is narrower than that.
    """
    enlargement = _enlargement(*image.size)
    image = image.convert("RGB")
    for answer, colour in _coloured(answers):
        if answer.get("mask") is not None:
            image = draw_mask(image, np.asarray(answer["mask"], dtype=bool), colour)
    if enlargement > 1:
        size = (image.width * enlargement, image.height * enlargement)
        image = image.resize(size, Image.Resampling.BICUBIC)
    if image.width < READABLE_WIDTH:
        image = ImageOps.expand(image, (0, 0, READABLE_WIDTH - image.width, 0), "white")
    written = " ".join(answer["label"] + answer.get("said", "") for answer in answers)
    font = font_for(written, max(image.width // 36, 15))
    _draw_boxes(image, answers, enlargement, font)
    legend = _legend(image.width, answers, font)
    drawn = Image.new("RGB", (image.width, image.height + legend.height), "white")
    drawn.paste(image)
    drawn.paste(legend, (0, image.height))
    return drawn


def drawable_answer(answer: dict, presence_threshold: float) -> dict:
    """An answer of the pipeline as [`draw_answers`] takes it."""
    if "present" not in answer:
        return answer | {"box": list(answer["box"].values()) if "box" in answer else None}
    boxes = [list(box.values()) for box in answer.get("boxes", [])]
    return answer | {"boxes": boxes, "said": answer_in_words(answer, presence_threshold)}


def fit_text(text: str, font: ImageFont.FreeTypeFont, width: float, max_lines: int) -> list[str]:
    """
    The text in lines of at most `width` pixels, broken between words where it can be; what `max_lines` cannot hold
    is left out, with "…" in its place.
    """
    lines: list[str] = []
    rest = " ".join(text.split())
    while rest and len(lines) < max_lines:
        line = _longest_start(rest, font, width)
        rest = rest[len(line) :].lstrip()
        if rest and len(lines) == max_lines - 1:
            line = line.rstrip()
            while line and font.getlength(line + "…") > width:
                line = line[:-1].rstrip()
            line += "…"
        lines.append(line.rstrip())
    return lines


def _enlargement(width, height) -> int:
    return max(min(math.ceil(READABLE_WIDTH / width), HIGHEST_ENLARGED // height), 1)


def _percent(score) -> str:
    return f"{score:.0%}"


def _coloured(answers):
    return [(answer, COLOURS[index % len(COLOURS)]) for index, answer in enumerate(answers)]


def _draw_boxes(image, answers, enlargement, font):
    draw = ImageDraw.Draw(image)
    line = max(min(image.size) // 150, 3)
    tagged = []
    for index, (answer, colour) in enumerate(_coloured(answers)):
        boxes = [[side * enlargement for side in box] for box in boxes_of(answer)]
        for box, tag in zip(boxes, _tags(answer, len(boxes), index, len(answers)), strict=True):
            x1, y1, x2, y2 = box
            draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=HALO, width=line + 2)
            draw.rectangle(box, outline=colour, width=line)
            tagged.append((box, tag, colour))
    taken = []
    # Tags after all boxes: none is crossed by another answer's line.
    for box, tag, colour in tagged:
        if tag:
            taken.append(_draw_tag(draw, image.size, box, tag, colour, font, taken))


def _tags(answer, num_boxes, index, count) -> list[str]:
    """What stands at each box: the answer's number, or of a lone one the confidence."""
    if count > 1:
        return num_boxes * [str(index + 1)]
    scores = answer.get("scores", num_boxes * [answer.get("score")])
    return ["" if score is None else _percent(float(score)) for score in scores]


def _draw_tag(draw, size, box, tag, colour, font, taken):
    """Draws the tag at the box's corner that is free, inside the image; gives the place it takes."""
    padding = font.size // 4
    width, height = font.getlength(tag) + 2 * padding, font.size + 2 * padding
    x1, y1, x2, y2 = box
    corners = ((x1, y1 - height), (x1, y1), (x2 - width, y1 - height), (x2 - width, y1), (x1, y2), (x2 - width, y2))
    places = []
    for left, top in corners:
        left = min(max(left, 0), max(size[0] - width, 0))
        top = min(max(top, 0), max(size[1] - height, 0))
        places.append((left, top, left + width, top + height))
    place = next((place for place in places if not any(_overlap(place, other) for other in taken)), places[0])
    draw.rectangle(place, fill=colour)
    middle = (place[0] + place[2]) / 2, (place[1] + place[3]) / 2
    draw.text(middle, tag, fill=_ink_on(colour), font=font, anchor="mm")
    return place


def _overlap(first, second) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def _legend(width, answers, font) -> Image.Image:
    """A white panel: for each answer its colour and number, the expression, what is said of it, the confidence."""
    gap = font.size // 2
    chip = round(1.5 * font.size)
    numbers_width = font.getlength("100%")
    text_left, text_right = gap + chip + gap, width - gap - numbers_width - gap
    texts = [
        [
            (line, ink)
            for text, ink in ((answer["label"], "black"), (answer.get("said", ""), SAID_INK))
            for line in fit_text(text, font, text_right - text_left, MAX_LEGEND_LINES)
        ]
        for answer in answers
    ]
    line_height = round(1.25 * font.size)
    heights = [max(len(lines) * line_height, chip) + gap for lines in texts]
    legend = Image.new("RGB", (width, sum(heights) + gap), "white")
    draw = ImageDraw.Draw(legend)
    top = gap
    for index, ((answer, colour), lines, height) in enumerate(zip(_coloured(answers), texts, heights, strict=True)):
        draw.rectangle((gap, top, gap + chip, top + chip), fill=colour)
        if len(answers) > 1:
            middle = gap + chip / 2, top + chip / 2
            draw.text(middle, str(index + 1), fill=_ink_on(colour), font=font, anchor="mm")
        first_line = top + chip / 2
        for row, (line, ink) in enumerate(lines):
            draw.text((text_left, first_line + row * line_height), line, fill=ink, font=font, anchor="lm")
        if answer.get("score") is not None:
            draw.text((width - gap, first_line), _percent(answer["score"]), fill="black", font=font, anchor="rm")
        top += height
    return legend


def _ink_on(colour) -> str:
    """Black or white, whichever can be read on the colour (its brightness by ITU-R BT.601)."""
    red, green, blue = colour
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"


def _longest_start(text, font, width) -> str:
    """As many whole words as `width` holds, else as many characters, at least one."""
    end = min(len(text), max(int(width), 1))  # a character takes a pixel at least
    while end > 1 and font.getlength(text[:end].rstrip()) > width:
        last_space = text.rfind(" ", 0, end)
        end = last_space if last_space > 0 else end - 1
    return text[:end]
