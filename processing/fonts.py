"""A font that has the characters of an expression: Pillow's own, or one that the system has."""

import logging
import os
import subprocess
from functools import lru_cache

from PIL import ImageFont

logger = logging.getLogger(__name__)

# Where fontconfig is missing (macOS, Windows) these are there by the system's own names.
_SYSTEM_FONTS = ("Arial Unicode.ttf", "NotoSansCJK-Regular.ttc", "DejaVuSans.ttf", "arial.ttf")
# The box that a font draws in the place of a character that it lacks.
_NO_CHARACTER = "\U0010fffe"


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def font_for(text: str, size: int) -> Font:
    """
    Args:
        text: what is to be written.
        size: in pixels.

    Returns:
        A font with every character of it. Where there is none, Pillow's own, and the log says what it lacks, once.
    """
    own = ImageFont.load_default(size)
    lacking = _lacking(text, own)
    if not lacking:
        return own
    for name in _candidates("".join(sorted(lacking))):
        try:
            font = ImageFont.truetype(name, size)
        except OSError:
            continue
        if not _lacking(text, font):
            return font
    _say_what_is_lacking("".join(sorted(lacking)))
    return own


def _lacking(text: str, font: Font) -> set[str]:
    nothing = _image_of(_NO_CHARACTER, font)
    return {character for character in set(text) if not character.isspace() and _image_of(character, font) == nothing}


def _image_of(character: str, font: Font) -> bytes:
    mask = font.getmask(character)
    return bytes(mask) + bytes(str(mask.size), "ascii")


@lru_cache(maxsize=64)
def _candidates(characters: str) -> tuple[str, ...]:
    """Files of fonts with these characters, by fontconfig where it is, and names that systems know."""
    charset = " ".join(f"{ord(character):x}" for character in characters)
    try:
        found = subprocess.run(
            ["fc-list", f":charset={charset}", "file"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        found = ""
    files = sorted(line.rstrip(": ") for line in found.splitlines() if line)
    # A plain face before bold and slanted ones.
    files.sort(key=lambda file: ("Regular" not in file, len(os.path.basename(file))))
    return (*files[:20], *_SYSTEM_FONTS)


@lru_cache(maxsize=64)
def _say_what_is_lacking(characters: str):
    logger.warning("no font on this system has %r: a box stands for each; install one, as fonts-noto", characters)
