"""The colours of objects, measured in their boxes once and kept in the label file: "the red car", "man in blue".

Each annotation gets two lists of the names of `COLORS`: `colors`, which it shows for certain, and `unclear_colors`,
which one may see in it or not. Of a person the part is looked at where a shirt is.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from plvl.data.detection.class_words import PERSON
from plvl.data.detection.instances import read_instances
from plvl.data.detection.scene import COLORS
from plvl.data.image_files import ImageFileError, open_image
from plvl.data.source_files import existing_folder, read_json

# Of an object that is the one for certain nobody denies the other.
_LIKE = {
    "red": ("orange", "pink", "brown", "purple"),
    "orange": ("red", "yellow", "brown", "pink"),
    "yellow": ("orange", "green", "brown"),
    "green": ("yellow", "blue", "gray", "brown"),
    "blue": ("purple", "green", "gray", "black"),
    "purple": ("blue", "pink", "red"),
    "pink": ("red", "purple", "orange"),
    "brown": ("red", "orange", "yellow", "black", "gray"),
    "black": ("gray", "brown", "blue"),
    "gray": ("black", "white", "blue", "brown"),
    "white": ("gray",),
}
_SURE, _UNCLEAR = 0.5, 0.1  # shares of the pixels looked at
# x and y of what is looked at, as shares of the box: an object's middle; the shirt of a person who stands, of one seen
# from the waist up.
_MIDDLE = (0.2, 0.2, 0.8, 0.8)
_STANDING, _BUST = (0.3, 0.2, 0.7, 0.48), (0.25, 0.5, 0.75, 0.95)
_STANDS = 1.5  # height over width
# Upper ends of the hues, degrees, and their names; what lies between 12 and 42 is brown where it is dark.
_HUES = ((12, "red"), (42, "orange"), (68, "yellow"), (165, "green"), (255, "blue"), (290, "purple"), (345, "pink"),
         (361, "red"))  # fmt: skip
_NAMELESS = -1  # bright and pale orange: skin and wood


def write_colors(file: str | Path, image_folder: str | Path, output: str | Path) -> tuple[int, int, list[str]]:
    """
    Writes a label file again (`plvl.data.detection.instances`) with `colors` and `unclear_colors` of each annotation.

    Returns:
        The numbers of objects and of those that have a colour for certain, and what is wrong with images that cannot
        be used: of their objects every colour is unclear.

    Raises:
        FileNotFoundError, ValueError: as `read_instances`, or there is no such folder.
    """
    file, image_folder, output = Path(file), existing_folder(image_folder, "detection"), Path(output)
    boxes = {one["id"]: one["bbox"] for found in read_instances(file).annotations.values() for one in found}
    content = read_json(file)
    people = {category["id"] for category in content["categories"] if category["name"] == PERSON}
    of_image: dict[int, list[dict]] = {}
    for annotation in content["annotations"]:
        of_image.setdefault(annotation["image_id"], []).append(annotation)
    unusable = []
    for image in content["images"]:
        try:
            source = {"path": str(image_folder / image["file_name"])}
            names = color_names(open_image(source, image["height"], image["width"]))
        except ImageFileError as error:
            unusable.append(f"{error.defect}: {error}")
            names = None
        for annotation in of_image.get(image["id"], ()):
            annotation |= object_colors(names, boxes[annotation["id"]], annotation["category_id"] in people)
    partial = output.with_name(f"{output.name}.partial")
    partial.write_text(json.dumps(content), encoding="utf-8")
    partial.replace(output)
    colored = sum(bool(annotation["colors"]) for annotation in content["annotations"])
    return len(content["annotations"]), colored, unusable


def color_names(image: Image.Image) -> np.ndarray:
    """The number in `COLORS` of what each pixel of an image is called, (height, width); -1 where it has no name."""
    hue, saturation, value = np.moveaxis(np.asarray(image.convert("HSV"), dtype=np.float32), -1, 0)
    hue, saturation, value = hue * (360 / 255), saturation / 255, value / 255
    ends, names = zip(*_HUES, strict=True)
    named = np.array([COLORS.index(name) for name in names])[np.searchsorted(ends, hue, side="right")]
    warm = (hue >= 12) & (hue < 42)
    named[warm & (value < 0.6)] = COLORS.index("brown")
    named[warm & (value >= 0.6) & (saturation < 0.55)] = _NAMELESS
    named[((hue < 12) | (hue >= 345)) & (saturation < 0.55) & (value > 0.7)] = COLORS.index("pink")
    is_gray = (saturation < 0.16) | (value < 0.25)
    shades = np.select(
        [value < 0.28, value < 0.75], [COLORS.index("black"), COLORS.index("gray")], COLORS.index("white")
    )
    return np.where(is_gray, shades, named)


def object_colors(names: np.ndarray | None, box: Sequence[float] | None, is_person: bool) -> dict[str, list[str]]:
    """`colors` and `unclear_colors` of an object by its box [x, y, w, h] in the image whose `color_names` are given;
    all are unclear where the image or the box is of no use."""
    if names is None or box is None:
        return {"colors": [], "unclear_colors": list(COLORS)}
    x, y, w, h = box
    left, top, right, bottom = (_STANDING if h > _STANDS * w else _BUST) if is_person else _MIDDLE
    rows = slice(int(y + top * h), int(y + bottom * h) + 1)
    columns = slice(int(x + left * w), int(x + right * w) + 1)
    seen = names[rows, columns].ravel()
    shares = np.bincount(seen[seen != _NAMELESS], minlength=len(COLORS)) / len(seen)
    sure = [name for name, share in zip(COLORS, shares, strict=True) if share >= _SURE]
    unclear = {name for name, share in zip(COLORS, shares, strict=True) if share >= _UNCLEAR}
    unclear.update(like for name in sure for like in _LIKE[name])
    return {"colors": sure, "unclear_colors": [name for name in COLORS if name in unclear and name not in sure]}
