"""Room on the disk: asked for before something is written, and said in words where there is none."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def nearest_folder(folder: Path) -> Path:
    """`folder`, or what is there of the folders above it, without links: `folder` is to lie on its disk.

    Raises:
        FileNotFoundError: one of them is a link to what is not there, as to a disk that is not mounted.
    """
    while not folder.exists():
        if folder.is_symlink():
            raise FileNotFoundError(
                f"{folder} is a link to {folder.readlink()}, which is not there: mount its disk or make that folder, "
                "or remove the link"
            )
        folder = folder.parent
    return folder.resolve()


def on_one_disk(folder: Path, other: Path) -> bool:
    """Whether two folders, which need not be there yet, are or will be on the same disk."""
    return nearest_folder(folder).stat().st_dev == nearest_folder(other).stat().st_dev


def require_room(folder: Path, size: float, what: str) -> None:
    """Raise OSError (ENOSPC) unless `size` bytes fit on the disk of `folder`, for `what`; it need not be there yet."""
    folder = nearest_folder(folder)
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OSError(
            errno.ENOSPC,
            f"{what} needs {in_words(size)}, and the disk of {folder} has {in_words(free)} free: make room, or name "
            "another --root. What is there stays, and the next run goes on from it",
        )


@contextmanager
def room_running_out(folder: Path, what: str) -> Iterator[None]:
    """A disk that is full all the same is told with what was being written."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            error.errno,
            f"the disk of {folder} is full ({what}): make room. What is there stays, and the next run goes on from it",
        ) from error


def in_words(size: float) -> str:
    """Bytes as a person reads them: 13.5 GB."""
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= least:
            return f"{size / least:.1f} {unit}"
    return f"{size:.0f} bytes"
