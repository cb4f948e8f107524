"""Opening a row's picture: RGB, upright, of the size its labels speak of, or an error that says why not."""

import os
import re
from io import BytesIO

from PIL import Image

from plvl.processing.image_input import eight_bit, has_orientation, is_wide, lies_on_its_side, upright

# COCO_train2014_000000581857.jpg, with REFER's _16 behind it, too; since 2017 000000581857.jpg.
_COCO_NAME = re.compile(r"COCO_(?:train|val|test)20\d\d_(\d{12})|(?:^|[/\\])(\d{12})\.\w+$")


class PictureError(Exception):
    """A picture that cannot be used; `defect` is one of plvl.data.row_rules.SKIPPED."""

    def __init__(self, defect, detail):
        super().__init__(detail)
        self.defect = defect


def open_picture(source, height=None, width=None):
    """Read a picture.

    A picture with an EXIF rotation is turned upright, unless it is the picture as stored that has the size
    the labels speak of. Greyscale, palette and CMYK become RGB; of 16 bits and of floats plvl.processing.image_input
    makes 8 bits.

    Args:
        source: {"path", "bytes"} as in the Image feature of datasets; the bytes go first.
        height, width: size according to the labels in pixels, or None where they do not say.

    Returns:
        PIL image, mode RGB.

    Raises:
        PictureError: missing, unreadable (truncated or no picture), too large (a decompression bomb by
            Pillow's limit), or of another size than the labels say.
    """
    path = source.get("path")
    if source.get("bytes") is None and not os.path.isfile(path):
        raise PictureError("picture missing", str(path))
    try:
        with Image.open(path if source.get("bytes") is None else BytesIO(source["bytes"])) as image:
            _refuse_bomb(image, path)
            image.load()
            picture = _upright(image, height, width)
            picture = eight_bit(picture)
            picture = picture if picture.mode == "RGB" else picture.convert("RGB")  # which would copy it
    except Image.DecompressionBombError as error:
        raise PictureError("picture too large", f"{path}: {error}") from error
    # Pillow's readers raise these for files that are cut short or broken inside.
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise PictureError("picture unreadable", f"{path}: {error}") from error
    if height is not None and picture.size != (width, height):
        raise PictureError(
            "picture of another size",
            f"{path} has {picture.width} x {picture.height}, its labels say {width} x {height}",
        )
    return picture


def needs_righting(source, picture):
    """Whether a plain reader (the Image feature of datasets) would give something else than `picture`.

    Args:
        source, picture: argument and result of `open_picture`.
    """
    with Image.open(source["path"] if source.get("bytes") is None else BytesIO(source["bytes"])) as image:
        turned_size = image.size[::-1] if lies_on_its_side(image) else image.size
        return is_wide(image) or turned_size != picture.size


def coco_number(file_name):
    """The number of a COCO picture, the same in every year, from its name, path or URL; None for other pictures."""
    match = _COCO_NAME.search(file_name or "")
    return int(match[1] or match[2]) if match else None


def _refuse_bomb(image, path):
    """Pillow warns at its limit and refuses at twice that; here the limit is the limit."""
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise PictureError(
            "picture too large",
            f"{path}: {image.width} x {image.height} pixels, the limit is {Image.MAX_IMAGE_PIXELS}",
        )


def _upright(image, height, width):
    if not has_orientation(image):
        return image
    turned = upright(image)
    labels_speak_of_stored = (width, height) == image.size != turned.size
    return image if labels_speak_of_stored else turned
