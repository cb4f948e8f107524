"""Images without labels, a folder or Parquet files of any number, divided into parts that are worked on one by one."""

import hashlib
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
from pyarrow import parquet

# Rows of Parquet held at once, with their images' bytes.
_ROWS_AT_ONCE = 16
_READ_BUFFER = 1 << 20


class UnlabelledRow(NamedTuple):
    """A row of the input: `number` is its place in all of it, `image` is {"path", "bytes"} as `open_image` takes it,
    and `expressions` is None where the input has no column of them."""

    number: int
    image: dict[str, Any]
    file_name: str | None
    expressions: list[str | None] | None


class Part(NamedTuple):
    """Rows that follow one another; `where` is for the source alone."""

    first_row: int
    num_rows: int
    where: Any


class ImageFolder:
    """The image files of a folder and of the folders in it, in the order of their names; hidden ones are left out.

    Args:
        folder: where they are.
        rows_per_part: images of a part.
        is_image: says of a suffix, as ".jpg", whether such files are images.

    Raises:
        ValueError: there is no such folder, none of its files is an image, or a folder cannot be read.
    """

    def __init__(self, folder: str | Path, rows_per_part: int, is_image: Callable[[str], bool]):
        self.folder = Path(folder)
        names = sorted(_image_names(self.folder, cache(is_image)))
        if not names:
            raise ValueError(f"no images in the folder {folder} (an image is known by its suffix, as .jpg or .png)")
        # In Arrow a name takes a third of what it takes as a string; it may be no Unicode.
        self._names = pyarrow.array(map(os.fsencode, names), pyarrow.large_binary())
        self.identity = {"images": len(names), "sha256": _digest(names)}
        self.parts = [
            Part(first, min(rows_per_part, len(names) - first), None) for first in range(0, len(names), rows_per_part)
        ]

    def rows(self, part: Part) -> Iterator[UnlabelledRow]:
        for number, name in enumerate(self._names[part.first_row : part.first_row + part.num_rows], part.first_row):
            file_name = os.fsdecode(name.as_py())
            yield UnlabelledRow(number, {"path": str(self.folder / file_name), "bytes": None}, file_name, None)


class ParquetImages:
    """The rows of a Parquet file, or of all `*.parquet` of a folder in the order of their names.

    An image is a struct of bytes and path (as `datasets` and this project write it), bytes, or a path, which is taken
    from the file's own folder. A part is as many whole row groups of one file as have `rows_per_part` rows or more, so
    that no group is read twice.

    Args:
        source: the file or folder.
        rows_per_part: rows of a part, at least.
        image_column: the column of the image.
        text_column: the column of an expression or a list of them; None where it is not read.

    Raises:
        ValueError: there are no such files, one is no Parquet, or it lacks a column; the message names it.
    """

    def __init__(
        self, source: str | Path, rows_per_part: int, image_column: str = "image", text_column: str | None = "text"
    ):
        path = Path(source)
        files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        self._image_column, self._text_column = image_column, text_column
        self.parts: list[Part] = []
        described = []
        first_row = 0
        for file in files:
            groups = self._group_sizes(file)
            described.append(f"{file.name} {file.stat().st_size} {sum(groups)}")
            for taken in _runs(groups, rows_per_part):
                num_rows = sum(groups[group] for group in taken)
                self.parts.append(Part(first_row, num_rows, (file, taken)))
                first_row += num_rows
        if not first_row:
            raise ValueError(f"{source} has no rows in *.parquet")
        self.identity = {"files": len(files), "rows": first_row, "sha256": _digest(described)}

    def _group_sizes(self, file):
        try:
            with parquet.ParquetFile(file) as opened:
                metadata, names = opened.metadata, opened.schema_arrow.names
        except (OSError, pyarrow.ArrowException) as error:
            raise ValueError(f"{file}: missing, cut short or no Parquet ({error})") from error
        for column in (self._image_column, self._text_column):
            if column is not None and column not in names:
                raise ValueError(f"{file} has no column {column!r}; it has {', '.join(names)}")
        return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    def rows(self, part: Part) -> Iterator[UnlabelledRow]:
        file, groups = part.where
        number = part.first_row
        try:
            with parquet.ParquetFile(file, buffer_size=_READ_BUFFER, pre_buffer=False) as opened:
                wanted = (self._image_column, self._text_column, "file_name")
                columns = [name for name in dict.fromkeys(wanted) if name in opened.schema_arrow.names]
                for batch in opened.iter_batches(_ROWS_AT_ONCE, row_groups=groups, columns=columns):
                    for row in batch.to_pylist():
                        yield self._row(row, number, file.parent)
                        number += 1
        except (OSError, pyarrow.ArrowException) as error:
            raise ValueError(f"{file}: row {number} of the input cannot be read ({error})") from error

    def _row(self, row: dict, number: int, folder: Path) -> UnlabelledRow:
        image = row[self._image_column]
        if not isinstance(image, dict):
            image = {"bytes": image} if isinstance(image, bytes) else {"path": image}
        image = {"path": image.get("path"), "bytes": image.get("bytes")}
        file_name = row.get("file_name") or image["path"]
        if image["bytes"] is None and image["path"]:
            image["path"] = str(folder / image["path"])
        expressions = None
        if self._text_column is not None:
            text = row[self._text_column]
            expressions = list(text) if isinstance(text, list) and text else [text if isinstance(text, str) else None]
        return UnlabelledRow(number, image, file_name, expressions)


def _runs(sizes: list[int], least: int) -> Iterator[list[int]]:
    """Places of `sizes` that follow one another and together have `least`, or are the last."""
    taken: list[int] = []
    total = 0
    for place, size in enumerate(sizes):
        taken.append(place)
        total += size
        if total >= least:
            yield taken
            taken, total = [], 0
    if taken:
        yield taken


def _image_names(folder: Path, is_image: Callable[[str], bool]) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise ValueError(f"the folder {error.filename} cannot be read: {error.strerror}") from error

    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and is_image(os.path.splitext(name)[1]):
                yield Path(place, name).relative_to(folder).as_posix()


def _digest(lines: list[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        # File names may be no Unicode.
        digest.update(os.fsencode(line) + b"\n")
    return digest.hexdigest()
