"""Files of answers: of each image and expression the mask, or what it cuts out. Imports nothing that takes time."""

import re
from pathlib import Path

from PIL import Image

from plvl.scripts.image_inputs import image_names, keep_originals
from plvl.scripts.output_place import require_writable_folder

LONGEST = 40  # characters of an expression in a file's name


def answer_paths(images: list, expressions: list[str], folder: str, option: str) -> list[list[Path]]:
    """
    For each image, a file in `folder` for each expression: "scene_1_the_blue_moon_mask.png".

    Args:
        option: what asks for them, `--masks` or `--cutout`.

    Raises:
        ValueError: two of them would have one name, or one would take the place of one of the images.
        OSError: nothing can be written in `folder`.
    """
    require_writable_folder(folder)
    names = image_names(images, f"{option} {folder}")
    kind = option.removeprefix("--").removesuffix("s")
    paths = [
        [Path(folder, f"{name}_{number}{_in_a_name(text)}_{kind}.png") for number, text in enumerate(expressions, 1)]
        for name in names
    ]
    flat = [path for of_image in paths for path in of_image]
    if len(set(flat)) < len(flat):
        raise ValueError(f"{option} {folder}: two files would be called {max(flat, key=flat.count).name}")
    keep_originals(flat, images, f"{option} {folder}")
    return paths


def cut_out(image: Image.Image, mask: Image.Image) -> Image.Image:
    """
    The part of an image that a mask (mode L, 255 inside) shows, RGBA and cut to its pixels; what is outside is
    transparent, and black beneath that.
    """
    cut = Image.new("RGBA", image.size)
    cut.paste(image, mask=mask)
    return cut.crop(mask.getbbox())


def _in_a_name(expression: str) -> str:
    return "".join(f"_{word}" for word in re.findall(r"\w+", expression.lower()))[: LONGEST + 1].rstrip("_")
