"""A folder that appears whole or not at all."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plvl.scripts.output_place import output_named, require_writable_folder

# In a folder that may be written anew: its files, each with the sum over its bytes.
RECORD = ".plvl-written.json"


def require_new_folder(output):
    """
    Raises:
        FileExistsError: `output` is a folder that holds something.
        NotADirectoryError, PermissionError: it is a file, or cannot be made where it is to be.
    """
    output = Path(output)
    require_writable_folder(output)
    require_writable_folder(output.absolute().parent)
    if output.exists() and any(output.iterdir()):
        raise FileExistsError(f"{output} is not an empty folder")


def require_own_folder(output):
    """
    Raises FileExistsError where `output` holds something beside what [`record_files`] has recorded there, or a file
    that was changed since; the message names the files.
    """
    output = Path(output)
    if not output.exists() or not (output / RECORD).is_file():
        require_new_folder(output)
        return
    try:
        recorded = dict(json.loads((output / RECORD).read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        recorded = {}
    foreign = [name for name, digest in _digests(output).items() if recorded.get(name) != digest]
    if foreign:
        raise FileExistsError(f"{output} holds what was not written there, or was changed: {', '.join(foreign)}")


def record_files(folder: Path):
    """Records what a folder holds, for [`require_own_folder`]."""
    content = json.dumps(_digests(folder), indent=2) + "\n"
    (folder / RECORD).write_text(content, encoding="utf-8")


@contextmanager
def atomic_directory(output, replace: bool = False) -> Iterator[Path]:
    """
    Gives a new folder, made beside `output`, that takes its name when the block ends, and is gone if the block fails.

    Args:
        output: the folder's name.
        replace (`bool`): whether a folder of that name gives way, once the new one is written.

    Raises:
        FileExistsError: `output` is a file, or, unless it is replaced, a folder that holds something.
    """
    output = Path(output)
    if not replace or not output.is_dir():
        require_new_folder(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    with output_named(output), tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as beside:
        folder, old = Path(beside) / "new", Path(beside) / "old"
        folder.mkdir()
        yield folder
        if replace and output.exists():
            output.rename(old)
        elif output.exists():
            output.rmdir()
        try:
            folder.rename(output)
        except OSError:
            if old.exists():
                old.rename(output)
            raise


def _digests(folder: Path) -> dict[str, str]:
    """By its name from the folder, the SHA-256 of each file but the record."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file != folder / RECORD)
    return {file.relative_to(folder).as_posix(): _sha256(file) for file in files}


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as content:
        while part := content.read(2**20):
            digest.update(part)
    return digest.hexdigest()
