"""The place that a script writes to: looked at before the work begins, and named where writing fails."""

import os
from contextlib import contextmanager
from pathlib import Path


def require_writable_folder(folder):
    """Raises NotADirectoryError or PermissionError where `folder` is none that can be made or written into."""
    folder = Path(folder).absolute()
    place = next(each for each in (folder, *folder.parents) if each.exists())
    if not place.is_dir():
        raise NotADirectoryError(f"{place} is a file, and a folder is to be written")
    if not os.access(place, os.W_OK):
        raise PermissionError(f"{place} cannot be written into")


@contextmanager
def output_named(output):
    """Has an error of writing that names no file, such as that of a full disk, name the output."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(output)) from error
