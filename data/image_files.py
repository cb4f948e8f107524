"""Opening a row's image: RGB, upright, of the size its labels speak of, or an error that says why not."""

import os
import re
from io import BytesIO

from PIL import ExifTags, Image, ImageOps

from plvl.processing.image_input import as_stored, eight_bit, is_wide, upright

# COCO_train2014_000000581857.jpg, with REFER's _16 behind it, too; since 2017 000000581857.jpg.
_COCO_NAME = re.compile(r"COCO_(?:train|val|test)20\d\d_(\d{12})|(?:^|[/\\])(\d{12})\.\w+$")


class ImageFileError(Exception):
    """An image that cannot be used; `defect` is one of plvl.data.sample_validation.SKIPPED."""

    def __init__(self, defect: str, detail: str):
        super().__init__(detail)
        self.defect = defect


def open_image(source: dict, height: int | None = None, width: int | None = None) -> Image.Image:
    """Read an image.

    An image with an EXIF rotation is turned upright, unless it is the image as stored that has the size
    the labels speak of. Greyscale, palette and CMYK become RGB; of 16 bits and of floats plvl.processing.image_input
    makes 8 bits.

    Args:
        source: {"path", "bytes"} as in the Image feature of datasets; the bytes go first.
        height, width: size according to the labels in pixels, or None where they do not say.

    Returns:
        PIL image, mode RGB.

    Raises:
        ImageFileError: missing, unreadable (truncated or no image), too large (a decompression bomb by
            Pillow's limit), or of another size than the labels say.
    """
    path = source.get("path") or ""
    if source.get("bytes") is None and not os.path.isfile(path):
        raise ImageFileError("image missing", str(path))
    try:
        with Image.open(path if source.get("bytes") is None else BytesIO(source["bytes"])) as stored:
            _refuse_bomb(stored, path)
            stored.load()
            image = _upright(stored, height, width)
            image = eight_bit(image)
            image = image if image.mode == "RGB" else image.convert("RGB")  # which would copy it
    except Image.DecompressionBombError as error:
        raise ImageFileError("image too large", f"{path}: {error}") from error
    # Pillow's readers raise these for files that are cut short or broken inside.
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageFileError("image unreadable", f"{path}: {error}") from error
    if height is not None and image.size != (width, height):
        raise ImageFileError(
            "image of another size",
            f"{path} has {image.width} x {image.height}, its labels say {width} x {height}",
        )
    return image


def needs_conversion(source: dict, image: Image.Image) -> bool:
    """Whether a plain reader (the Image feature of datasets) would give something else than `image`, or fail.

    Args:
        source, image: argument and result of `open_image`.
    """
    with Image.open(source["path"] if source.get("bytes") is None else BytesIO(source["bytes"])) as stored:
        if is_wide(stored):
            return True
        try:
            is_turned = stored.getexif().get(ExifTags.Base.Orientation, 1) != 1
            plain = ImageOps.exif_transpose(stored) if is_turned else stored
        # Of damaged EXIF, of each kind with an exception of its own.
        except Exception:
            return True
        return plain.size != image.size


def coco_number(file_name: str | None) -> int | None:
    """The number of a COCO image, the same in every year, from its name, path or URL; None for other images."""
    match = _COCO_NAME.search(file_name or "")
    return int(match[1] or match[2]) if match else None


def _refuse_bomb(image, path):
    """Pillow warns at its limit and refuses at twice that; here the limit is the limit."""
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise ImageFileError(
            "image too large",
            f"{path}: {image.width} x {image.height} pixels, the limit is {Image.MAX_IMAGE_PIXELS}",
        )


def _upright(image, height, width):
    turned = upright(image)
    labels_speak_of_stored = (width, height) == image.size != turned.size
    return as_stored(image) if labels_speak_of_stored else turned
