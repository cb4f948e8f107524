"""The colours of objects, measured in their boxes once and kept in the label file: "the red car", "man in blue".

Each annotation gets two lists of the names of `COLORS`: `colors`, which it shows for certain, and `unclear_colors`,
which one may see in it or not. Of a person the part is looked at where a shirt is, and what else they wear is unclear.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

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
_SURE, _MUCH, _UNCLEAR = 0.5, 0.25, 0.1  # shares of the pixels looked at; of what is much the like are unclear, too
_WORN = 0.2  # share of a person from head to feet
# x and y of what is looked at, as shares of the box: an object's middle; the shirt of a person who stands, of one seen
# from the waist up; and all that a person wears.
_MIDDLE = (0.2, 0.2, 0.8, 0.8)
_STANDING, _BUST, _PERSON = (0.3, 0.2, 0.7, 0.48), (0.25, 0.5, 0.75, 0.95), (0.2, 0.05, 0.8, 1.0)
_STANDS = 1.5  # height over width
_LONGER_SIDE = 640  # pixels; more of an image tells no more
# Upper ends of the hues, degrees, and their names.
_HUES = ((12, "red"), (42, "orange"), (68, "yellow"), (165, "green"), (255, "blue"), (290, "purple"), (345, "pink"),
         (361, "red"))  # fmt: skip
_NAMELESS = -1  # bright and pale orange: skin, wood, fur, which may be called any of
_PALE = ("orange", "yellow", "pink", "brown", "white")
_LAMPS = ("traffic light",)  # "red" is said of what they show


def write_colors(file: str | Path, image_folder: str | Path, output: str | Path) -> tuple[int, int, list[str]]:
    """
    Writes a label file again (`plvl.data.detection.instances`) with `colors` and `unclear_colors` of each annotation.

    Returns:
        The numbers of objects and of those that have a colour for certain, and what is wrong with images that cannot
        be used: of their objects every colour is unclear.

    Raises:
        FileNotFoundError, ValueError: as `read_instances`; there is no such folder, or none of the images can be used.
    """
    file, image_folder, output = Path(file), existing_folder(image_folder, "detection"), Path(output)
    index = read_instances(file)
    boxes = {one["id"]: one["bbox"] for found in index.annotations.values() for one in found}
    content = read_json(file)  # with all that the index leaves out
    of_image: dict[int, list[dict]] = {}
    for annotation in content["annotations"]:
        of_image.setdefault(annotation["image_id"], []).append(annotation)
    unusable = []
    for image in tqdm(content["images"], unit="image", desc="colours"):
        names, scale = None, 1.0
        try:
            opened = open_image({"path": str(image_folder / image["file_name"])}, image["height"], image["width"])
            opened.thumbnail((_LONGER_SIDE, _LONGER_SIDE))
            names, scale = color_names(opened), opened.width / image["width"]
        except ImageFileError as error:
            unusable.append(f"{error.defect}: {error}")
        for annotation in of_image.get(image["id"], ()):
            box = boxes[annotation["id"]]
            scaled = None if box is None else [side * scale for side in box]
            annotation |= object_colors(names, scaled, index.categories[annotation["category_id"]])
    if content["images"] and len(unusable) == len(content["images"]):
        raise ValueError(f"{file}: none of its {len(unusable)} images can be used (the first: {unusable[0]})")
    partial = output.with_name(f"{output.name}.partial")
    with partial.open("w", encoding="utf-8") as stream:
        json.dump(content, stream)
    partial.replace(output)
    colored = sum(bool(annotation["colors"]) for annotation in content["annotations"])
    return len(content["annotations"]), colored, unusable


def color_names(image: Image.Image) -> np.ndarray:
    """The number in `COLORS` of what each pixel of an image is called, (height, width); -1 where it has no name."""
    hue, saturation, value = np.moveaxis(np.asarray(image.convert("HSV"), dtype=np.float32), -1, 0)
    hue, saturation, value = hue * (360 / 255), saturation / 255, value / 255
    ends, names = zip(*_HUES, strict=True)
    named = np.array([COLORS.index(name) for name in names])[np.searchsorted(ends, hue, side="right")]
    reds, oranges = named == COLORS.index("red"), named == COLORS.index("orange")
    named[oranges & (value < 0.6)] = COLORS.index("brown")
    named[oranges & (value >= 0.6) & (saturation < 0.55)] = _NAMELESS
    named[reds & (saturation < 0.55) & (value > 0.7)] = COLORS.index("pink")
    is_gray = (saturation < 0.16) | (value < 0.25)
    shades = np.select(
        [value < 0.28, value < 0.75], [COLORS.index("black"), COLORS.index("gray")], COLORS.index("white")
    )
    return np.where(is_gray, shades, named)


def object_colors(names: np.ndarray | None, box: Sequence[float] | None, class_name: str) -> dict[str, list[str]]:
    """`colors` and `unclear_colors` of an object by its box [x, y, w, h] in the image whose `color_names` are given;
    all are unclear where the image or the box is of no use."""
    if names is None or box is None or class_name in _LAMPS:
        return {"colors": [], "unclear_colors": list(COLORS)}
    if class_name == PERSON:
        shares, nameless = _shares(names, box, _STANDING if box[3] > _STANDS * box[2] else _BUST)
    else:
        shares, nameless = _shares(names, box, _MIDDLE)
    sure = {name for name, share in shares.items() if share >= _SURE}
    unclear = {name for name, share in shares.items() if share >= _UNCLEAR}
    unclear.update(like for name, share in shares.items() if share >= _MUCH for like in _LIKE[name])
    unclear.update(_PALE if nameless >= _UNCLEAR else ())
    if class_name == PERSON:
        worn, _ = _shares(names, box, _PERSON)
        unclear.update(name for name, share in worn.items() if share >= _WORN)
    return {
        "colors": [name for name in COLORS if name in sure],
        "unclear_colors": [name for name in COLORS if name in unclear - sure],
    }


def _shares(names, box, part):
    """How much of a part of a box each colour has, and what has no name; the part has a pixel at least."""
    (x, y, w, h), (left, top, right, bottom) = box, part
    first_row, first_column = (
        min(int(start), size - 1) for start, size in zip((y + top * h, x + left * w), names.shape, strict=True)
    )
    seen = names[first_row : int(y + bottom * h) + 1, first_column : int(x + right * w) + 1].ravel()
    counts = np.bincount(seen[seen != _NAMELESS], minlength=len(COLORS)) / len(seen)
    return dict(zip(COLORS, counts, strict=True)), 1 - counts.sum()
