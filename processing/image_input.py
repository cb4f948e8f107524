"""What an image is, wherever one is given: a path, a URL, PIL, an array or a tensor; upright, of 8 bits a channel.

The loaders, the processor, the pipeline and `plvl predict` all read through here, so that a file gives one image.
HEIC is read where `pillow-heif` is installed, AVIF where Pillow has it.
"""

import os
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from transformers.image_utils import load_image

from plvl.processing.image_url import MOST_SECONDS, is_url, read_url

if find_spec("pillow_heif"):
    # By name: what a released checkpoint's code imports, Transformers requires to be installed.
    import_module("pillow_heif").register_heif_opener()

_ORIENTATION = 0x0112  # the EXIF tag
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
    if isinstance(image, os.PathLike) or Path(name).is_file():
        return eight_bit(upright(_decoded(name, name)))
    return load_image(name)  # base64, or an error that lists what a string may be


def has_orientation(image: Image.Image) -> bool:
    return image.getexif().get(_ORIENTATION, 1) != 1


def lies_on_its_side(image: Image.Image) -> bool:
    """Whether the EXIF orientation swaps height and width."""
    return image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)


def upright(image: Image.Image) -> Image.Image:
    """Turned by its EXIF orientation, if it has one."""
    return ImageOps.exif_transpose(image) if has_orientation(image) else image


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
