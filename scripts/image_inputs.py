"""The images that a person names on the command line, and where their drawings go. Imports nothing that takes time."""

import glob
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

# Read with a package of its own; of MPO Pillow reads the first image, as JPEG.
_PACKAGES = {".heic": "pillow_heif", ".heif": "pillow_heif"}
_AS_JPEG = {".mpo"}


def split_words(words: list[str]) -> tuple[list[str], list[str]]:
    """
    Which words of a command line are images, and which the expressions after them: an image is a file or a folder that
    is there, a URL, a pattern (`*.jpg`), or has an image's suffix. The first word is one, the last an expression.

    Raises:
        ValueError: a word is empty, no expression is left, or an image comes after an expression; the message says
            what was taken for what.
    """
    for word in words:
        # Undecodable bytes of an argument are kept as half characters, which no text has.
        if not _is_image(word) and not word.isprintable() and any("\ud800" <= c <= "\udfff" for c in word):
            raise ValueError(f"an expression must be text in this terminal's encoding, got {word!a}")
    if not words[0].strip():
        raise ValueError("the image's name is empty")  # as a path it would be the current folder
    count = 1
    while count < len(words) and _is_image(words[count]) and (count < len(words) - 1 or _is_surely_image(words[-1])):
        count += 1
    images, expressions = words[:count], words[count:]
    if not expressions:
        raise ValueError(f"no expression after the images {', '.join(map(ascii, images))}: give one, as 'the red cup'")
    late = next((word for word in expressions if _is_surely_image(word)), None)
    if late is not None:
        raise ValueError(f"{late!a} is an image that comes after the expression {expressions[0]!a}: name images first")
    for number, expression in enumerate(expressions, 1):
        if not any(character.isprintable() and not character.isspace() for character in expression):
            raise ValueError(f"expression {number} is empty")
    return images, expressions


def find_all_images(names: list[str]) -> tuple[bool, list[str | Path], list[str]]:
    """
    Whether several images are meant; the images of all names, each once; and what of folders is left out, and why.

    Raises:
        ValueError: see `find_images`.
    """
    several = len(names) > 1
    images: list[str | Path] = []
    left_out: list[str] = []
    for name in names:
        is_several, found = find_images(name)
        several |= is_several
        images += found
        if not is_url(name) and Path(name).is_dir():
            left_out += _left_out(Path(name))
    return several, list(dict.fromkeys(images)), left_out


def find_images(name: str) -> tuple[bool, Sequence[str | Path]]:
    """
    Whether `name` stands for several images, and these: a file, a URL, those that a pattern matches, or a folder's
    image files, sorted.

    Raises:
        ValueError: there is nothing of the name, or the folder holds no image files (by their suffixes).
    """
    if is_url(name):
        return False, [name]
    path = Path(name)
    if path.is_dir():
        try:
            files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        except OSError as error:
            raise ValueError(f"the folder {name} cannot be read: {error.strerror}") from error
        images = [file for file in files if can_open(file.suffix)]
        if not images:
            raise ValueError(f"no images in the folder {name} (an image is known by its suffix, as .jpg or .png)")
        return True, images
    if path.exists():
        if not path.is_file():
            raise ValueError(f"{name} is no file that can be read as an image")
        return False, [path]
    matches = (
        [Path(match) for match in sorted(glob.glob(name)) if Path(match).is_file()] if glob.has_magic(name) else []
    )
    if not matches:
        raise ValueError(f"no image matches {name}" if glob.has_magic(name) else f"image missing: {name}")
    return True, matches


def read_named_image(image: str | Path) -> Image.Image:
    """
    The image, RGB and upright.

    Raises:
        ValueError: it cannot be read; the message names it.
    """
    from plvl.processing.image_input import read_image

    return read_image(image).convert("RGB")


def drawing_paths(images: list, output: str, is_folder: bool) -> list[Path]:
    """
    The file of each image's drawing: `output`, or for several images a PNG of the image's name in that folder.

    Raises:
        ValueError: `output` cannot be it, or a drawing would take the place of one of the images.
    """
    place = Path(output)
    if not is_folder:
        if place.is_dir():
            raise ValueError(f"--output {output} is a folder; for one image name a file, as {place / 'out.png'}")
        if place.suffix.lower() not in _suffixes(Image.SAVE):
            raise ValueError(f"--output {output}: drawings cannot be written in this format; name a .png or .jpg")
        drawings = [place]
    else:
        if place.exists() and not place.is_dir():
            raise ValueError(f"--output {output} is a file; for several images name a folder")
        drawings = [place / f"{name}.png" for name in image_names(images, f"--output {output}")]
    there = next(folder for folder in (drawings[0].parent, *drawings[0].absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ValueError(f"--output {output}: nothing can be written in {there}")
    keep_originals(drawings, images, f"--output {output}")
    return drawings


def image_names(images: list, option: str) -> list[str]:
    """
    What files about each image are called: its name without the suffix, or with it where two images would share one.

    Raises:
        ValueError: two images have one name; the message begins with `option`.
    """
    paths = [Path(image) for image in images]
    stems = {path.stem for path in paths}
    names = [path.stem if len(stems) == len(paths) else path.name for path in paths]
    if len(set(names)) < len(names):
        raise ValueError(f"{option}: two images are called {max(names, key=names.count)}")
    return names


def keep_originals(files: list[Path], images: list, option: str):
    """Raises ValueError where a file to be written is one of the images; the message begins with `option`."""
    originals = {Path(image).resolve() for image in images if not is_url(str(image))}
    for file in files:
        if file.resolve() in originals:
            raise ValueError(f"{option}: what is written would take the place of the image {file}")


def is_url(name: str) -> bool:
    return name.startswith(("http://", "https://"))


def can_open(suffix: str) -> bool:
    """Whether files of a suffix, as ".jpg", are images that can be read here."""
    suffix = suffix.lower()
    if suffix in _PACKAGES:
        return find_spec(_PACKAGES[suffix]) is not None
    return suffix in _AS_JPEG or suffix in _suffixes(Image.OPEN)


def _left_out(folder: Path) -> list[str]:
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    reasons = []
    for file in files:
        if not can_open(file.suffix):
            package = _PACKAGES.get(file.suffix.lower())
            why = f"needs {package.replace('_', '-')}, pip install it" if package else "no image by its suffix"
            reasons.append(f"{file.name} ({why})")
    return reasons


def _is_image(word: str) -> bool:
    return _is_surely_image(word) or os.path.exists(word) or bool(glob.has_magic(word) and glob.glob(word))


def _is_surely_image(word: str) -> bool:
    """By its form, or because it is a file; a folder may have an expression's name."""
    suffix = os.path.splitext(word)[1].lower()
    return is_url(word) or suffix in _PACKAGES or can_open(suffix) or os.path.isfile(word)


def _suffixes(formats: dict) -> set[str]:
    """The suffixes of the formats in `formats`, which is Pillow's table of those that it can open, or can write."""
    return {suffix for suffix, format in Image.registered_extensions().items() if format in formats}
