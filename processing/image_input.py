"""What an image is, wherever one is given: a path, a URL, PIL, an array or a tensor; upright, of 8 bits a channel.

The loaders, the processor, the pipeline and `plvl predict` all read through here, so that a file gives one image.
HEIC is read where `pillow-heif` is installed, AVIF where Pillow has it.
"""

import base64
import os
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from transformers.image_utils import load_image

from plvl.processing.image_url import MOST_SECONDS, is_url, read_url

if find_spec("pillow_heif"):
    # By name: what a released checkpoint's code imports, Transformers requires to be installed.
    import_module("pillow_heif").register_heif_opener()

_ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Where Pillow looks for the orientation.
_NOTES = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")
_WIDE_INTEGERS = ("I;16", "I;16L", "I;16B", "I;16N", "I")


class ImageTooLargeError(ValueError):
    """An image has more pixels than Pillow's limit for decompression bombs, `PIL.Image.MAX_IMAGE_PIXELS`."""


def read_image(image, timeout: float | None = None):
    """
    An image as the processor takes it.

    Args:
        image: a path, a URL, base64 text or a `PIL.Image`, which become a `PIL.Image`, upright and of 8 bits a
            channel; or an array or a tensor, which stay what they are, but 16 bits become 8.
        timeout (`float`, *optional*): seconds that a URL may take altogether; 30 by default.

    Raises:
        ValueError: it is none of these, or cannot be read; the message names the file or the URL.
    """
    if isinstance(image, Image.Image):
        return eight_bit(upright(image))
    if isinstance(image, (np.ndarray, torch.Tensor)):
        wide = image.dtype in (np.uint16, np.int32) if isinstance(image, np.ndarray) else image.dtype == torch.uint16
        return _upper_half(image) if wide else image
    if not isinstance(image, (str, os.PathLike)):
        raise ValueError(
            f"an image must be a path, a URL, a PIL image, an array or a tensor, got {type(image).__name__}"
        )
    name = os.fspath(image)
    if is_url(name):
        content, kind = read_url(name, MOST_SECONDS if timeout is None else timeout)
        return eight_bit(upright(_decoded(BytesIO(content), f"{name} ({kind}, {len(content)} bytes)")))
    if isinstance(image, os.PathLike) or os.path.isfile(name):
        return eight_bit(upright(_decoded(name, name)))
    file = _in_base64(name)
    if file is None:
        return load_image(name)  # for its error, which lists what a string may be
    return eight_bit(upright(_decoded(file, "the image in base64")))


def upright(image: Image.Image) -> Image.Image:
    """Turned by its EXIF orientation, if it has one that can be read. What was turned has no EXIF any more."""
    turn = _turn(image)
    # Not by ImageOps.exif_transpose: it writes the other tags anew, and fails where one of them is damaged.
    return image if turn is None else _without_notes(image.transpose(turn))


def as_stored(image: Image.Image) -> Image.Image:
    """Not turned, and by nobody who is given it: a copy without EXIF where that has an orientation."""
    return image if _turn(image) is None else _without_notes(image.copy())


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION))
    # Each kind of damaged EXIF fails with an exception of its own, and the pixels may be whole.
    except Exception:
        return None


def _without_notes(image: Image.Image) -> Image.Image:
    for name in _NOTES:
        image.info.pop(name, None)
    return image


def is_wide(image: Image.Image) -> bool:
    """Whether it has more than 8 bits a channel."""
    return image.mode in _WIDE_INTEGERS or image.mode == "F"


def eight_bit(image: Image.Image) -> Image.Image:
    """
    16 bits become 8 by their upper half. Of floats the range tells what they are: up to 1 shares of white, up to 255
    8 bits, else 16 bits. Other images stay as they are.
    """
    if not is_wide(image):
        return image
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    if image.mode == "F" and values.max(initial=0) <= 1:
        values = values * 255
    elif image.mode != "F" or values.max(initial=0) > 255:
        values = np.floor(values.clip(0, 65535) / 256)
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))


def _upper_half(image):
    if isinstance(image, torch.Tensor):
        image = image.to(torch.int32)
        return (image.clamp(0, 65535) >> 8).to(torch.uint8)
    return (image.astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)


def _in_base64(text: str) -> BytesIO | None:
    """The file that a text stands for, if it is one of an image."""
    try:
        file = BytesIO(base64.decodebytes(text.rpartition(",")[2].encode()))
        Image.open(file)
    except (ValueError, OSError, Image.DecompressionBombError):
        return None
    file.seek(0)
    return file


def _decoded(file, name: str) -> Image.Image:
    try:
        image = Image.open(file)
        _refuse_bomb(image, name)
        image.load()
    except UnidentifiedImageError:
        raise ValueError(f"{name} is no image that can be read{_hint(name)}") from None
    except ImageTooLargeError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} cannot be read: {error}") from error
    return image


def _refuse_bomb(image: Image.Image, name: str):
    """Pillow warns at its limit and refuses at twice that; here the limit is the limit."""
    pixels, most = image.width * image.height, Image.MAX_IMAGE_PIXELS
    if most is not None and pixels > most:
        raise ImageTooLargeError(f"{name}: {image.width} x {image.height} pixels, the limit is {most}")


def _hint(name: str) -> str:
    heic = name.lower().endswith((".heic", ".heif"))
    return ": `pip install pillow-heif` reads this format" if heic and not find_spec("pillow_heif") else ""
