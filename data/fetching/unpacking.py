"""A zip into the layout: looked through first, unpacked beside its place, and moved when all of it is there.

Folders of the layout may be links to other disks: what is to be moved is written on the disk of its place.
"""

import errno
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from tqdm.auto import tqdm

from plvl.data.fetching.disk import nearest_folder, require_room, room_running_out

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_BLOCK = 1 << 20
_CLUTTER = ("__MACOSX", ".DS_Store")  # what one system's archiver adds


class ArchiveError(ValueError):
    """A zip that is not unpacked; the message names it."""


def unpack_labels(archive: Path, holds: tuple[str, ...], folder: Path) -> None:
    """The part of a zip that has all of `holds` (files or folders) becomes `folder`; what is there already stays.

    Raises:
        ArchiveError: they are not in one folder of it, it is damaged, or a part of it would lie elsewhere.
        OSError: the disk has no room.
    """
    members = {member.filename: member for member in members_of(archive)}
    with _unpacked(archive, folder, members) as unpacked:
        folders = [Path(place) for place, _, _ in os.walk(unpacked)]
        places = [place for place in folders if all((place / one).exists() for one in holds)]
        if len(places) != 1:
            there = ", ".join(sorted(path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*"))[:20])
            raise ArchiveError(f"{archive}: {' and '.join(holds)} are expected in one folder of it; there: {there}")
        folder.mkdir(parents=True, exist_ok=True)
        # What the set is known by goes last.
        for path in sorted(places[0].iterdir(), key=lambda path: path.name in holds):
            if not (folder / path.name).exists():
                os.replace(path, folder / path.name)


def unpack_images(archive: Path, folder: Path) -> list[str]:
    """All images of a zip go to `folder`, whatever folders of the zip they are in; gives their names.

    Raises:
        ArchiveError: two images have one name, there is none, it is damaged, or a part of it would lie elsewhere.
        OSError: the disk has no room.
    """
    images: dict[str, zipfile.ZipInfo] = {}
    for member in members_of(archive):
        name = PurePosixPath(member.filename).name
        if name.lower().endswith(IMAGE_SUFFIXES):
            other = images.setdefault(name, member)
            if other is not member:
                raise ArchiveError(
                    f"{archive}: two images are called {name}: {other.filename} and {member.filename}. "
                    "Nothing was unpacked"
                )
    if not images:
        raise ArchiveError(f"{archive}: there are no images in it")
    with _unpacked(archive, folder, images) as unpacked:
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            unpacked.rename(folder)  # at once, so that a folder of images is one of a whole zip
        else:
            for name in images:
                os.replace(unpacked / name, folder / name)
    return list(images)


def move_file(file: Path, folder: Path) -> None:
    """Brings a file into a folder, where it appears when it is whole, on this disk or another."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(file, folder / file.name)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        part = folder / f".{file.name}.part"
        try:
            with room_running_out(folder, f"copying {file.name}"):
                shutil.copyfile(file, part)
            os.replace(part, folder / file.name)
        finally:
            part.unlink(missing_ok=True)
        file.unlink()


def members_of(archive: Path) -> list[zipfile.ZipInfo]:
    """The files of a zip, none of which would lie outside the folder that it is unpacked to.

    Raises:
        ArchiveError: one would, or is a link or encrypted; or it is no zip.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
    except zipfile.BadZipFile as error:
        raise ArchiveError(f"{archive} is no zip, or cut short ({error})") from error
    for member in members:
        # As the zip spells it: zipfile makes harmless names of harmful ones, without a word.
        path = PurePosixPath(member.orig_filename.replace("\\", "/"))
        mode = member.external_attr >> 16
        leads_out = path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1])
        if leads_out or stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            why = "leads out of the folder" if leads_out else "is a link or a device"
            raise ArchiveError(f"{archive}: {member.orig_filename!r} {why}. Nothing was unpacked")
        if member.flag_bits & 1:
            raise ArchiveError(f"{archive}: {member.filename!r} is encrypted. Nothing was unpacked")
    inside = (member for member in members if not member.is_dir())
    return [member for member in inside if not set(PurePosixPath(member.filename).parts) & set(_CLUTTER)]


@contextmanager
def _unpacked(archive: Path, folder: Path, members: dict[str, zipfile.ZipInfo]) -> Iterator[Path]:
    """A folder on the disk of `folder` with {path in it: member}; what is left of it is gone when the block ends."""
    size = sum(member.file_size for member in members.values())
    # In `folder` itself where it is there: it may be where a disk is mounted, and what is beside it on another.
    place = nearest_folder(folder)
    require_room(place, size, f"{archive.name}, to be unpacked,")
    with tempfile.TemporaryDirectory(dir=place, prefix=f".{archive.name}-") as beside:
        unpacked = Path(beside) / "unpacked"
        unpacked.mkdir()
        try:
            with (
                room_running_out(place, f"unpacking {archive.name}"),
                zipfile.ZipFile(archive) as opened,
                tqdm(total=size, unit="B", unit_scale=True, desc=f"unpacking {archive.name}") as progress,
            ):
                for path, member in members.items():
                    (unpacked / path).parent.mkdir(parents=True, exist_ok=True)
                    # Each is checked against its sum as it is read to its end.
                    with opened.open(member) as packed, open(unpacked / path, "wb") as file:
                        shutil.copyfileobj(packed, file, _BLOCK)
                    progress.update(member.file_size)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise ArchiveError(
                f"{archive} is damaged ({error}). Nothing was unpacked: remove it, and run the command again"
            ) from error
        yield unpacked
