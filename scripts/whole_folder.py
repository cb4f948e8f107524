"""A folder that appears whole or not at all."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def require_new_folder(output):
    """Raises FileExistsError where `output` is a file, or a folder that holds something."""
    output = Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FileExistsError(f"{output} is not an empty folder")


@contextmanager
def whole_folder(output) -> Iterator[Path]:
    """
    Gives a new folder, made beside `output`, that takes its name when the block ends, and is gone if the block fails.

    Raises:
        FileExistsError: `output` is a file, or a folder that holds something.
    """
    output = Path(output)
    require_new_folder(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as beside:
        folder = Path(beside) / output.name
        folder.mkdir()
        yield folder
        if output.exists():
            output.rmdir()
        folder.rename(output)
