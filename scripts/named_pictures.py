"""The pictures that a person names on the command line, and where their drawings go."""

from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from PIL import Image

from plvl.data.pictures import PictureError, open_picture

URL_TIMEOUT = 30


def find_pictures(name: str) -> tuple[bool, list[str | Path]]:
    """
    Whether `name` is a folder, and the pictures it stands for: a file, a URL, or the folder's picture files, sorted.

    Raises:
        ValueError: the name is empty, there is nothing of the name, or the folder holds no picture files (by their
            suffixes).
    """
    if _is_url(name):
        return False, [name]
    if not name.strip():
        raise ValueError("the picture's name is empty")  # as a path it would be the current folder
    path = Path(name)
    if not path.is_dir():
        if not path.exists():
            raise ValueError(f"picture missing: {name}")
        return False, [path]
    suffixes = _suffixes(Image.OPEN)
    pictures = sorted(
        file
        for file in path.iterdir()
        if file.suffix.lower() in suffixes and file.is_file() and not file.name.startswith(".")
    )
    if not pictures:
        raise ValueError(f"no pictures in the folder {name} (a picture is known by its suffix, as .jpg or .png)")
    return True, pictures


def read_picture(picture: str | Path) -> Image.Image:
    """
    The picture, RGB and upright.

    Raises:
        PictureError: it is missing, unreadable or too large.
    """
    if not _is_url(str(picture)):
        return open_picture({"path": str(picture)})
    try:
        with urlopen(picture, timeout=URL_TIMEOUT) as response:
            content = response.read()
    except (OSError, ValueError, HTTPException) as error:
        raise PictureError("picture missing", f"{picture}: {error}") from error
    return open_picture({"path": picture, "bytes": content})


def drawing_paths(pictures: list, output: str, is_folder: bool) -> list[Path]:
    """
    The file of each picture's drawing: `output`, or for a folder of pictures a PNG of the picture's name in it.

    Raises:
        ValueError: `output` cannot be it, or a drawing would take the place of one of the pictures.
    """
    output = Path(output)
    if not is_folder:
        if output.is_dir():
            raise ValueError(f"--output {output} is a folder; for one picture name a file, as {output / 'out.png'}")
        if output.suffix.lower() not in _suffixes(Image.SAVE):
            raise ValueError(f"--output {output}: drawings cannot be written in this format; name a .png or .jpg")
        drawings = [output]
    else:
        if output.exists() and not output.is_dir():
            raise ValueError(f"--output {output} is a file; for a folder of pictures name a folder")
        stems = {picture.stem for picture in pictures}
        names = [picture.stem if len(stems) == len(pictures) else picture.name for picture in pictures]
        drawings = [output / f"{name}.png" for name in names]
    originals = {Path(picture).resolve() for picture in pictures if not _is_url(str(picture))}
    for drawing in drawings:
        if drawing.resolve() in originals:
            raise ValueError(f"--output {output}: the drawing would take the place of the picture {drawing}")
    return drawings


def _is_url(name: str) -> bool:
    return name.startswith(("http://", "https://"))


def _suffixes(formats: dict) -> set[str]:
    """The suffixes of the formats in `formats`, which is Pillow's table of those that it can open, or can write."""
    return {suffix for suffix, format in Image.registered_extensions().items() if format in formats}
