"""Turning a reader of rows into a `datasets` object: streamed, or cached as Arrow.

A reader is a function `read_rows(shard, **where)` that yields rows (plvl.data.schema) of one shard, with
images not yet opened. The shards are what `split_dataset_by_node` and DataLoader workers deal out, so they
have no rows in common, and where the labels allow it no image either.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from datasets import Dataset, Features, Image, IterableDataset
from datasets.exceptions import DatasetGenerationError

from plvl.data.image_files import needs_conversion
from plvl.data.sample_validation import SampleValidator
from plvl.data.schema import ROW_FEATURES, Row
from plvl.data.source_files import content_digest

# 240 is divided by 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 16, ... processes: each gets whole shards.
MAX_SHARDS = 240

UNOPENED_FEATURES = Features({**ROW_FEATURES, "image": Image(decode=False)})


@dataclass(frozen=True)
class RowSource:
    """One split of one set, ready to be read.

    Attributes:
        read_rows: top-level function, called as `read_rows(shard, **where)`.
        shards: small values that say what to read; each is read by one process only.
        where: the reader's other arguments; they travel to every worker, so nothing larger
            here than the numbers of the images that are held back.
        num_rows: how many rows there are; about, where counting them would mean reading them all.
        held_back: rows left out because their image is in a held-out split.
        label_files: files and folders that say what the rows are: a cache of them is good until one changes.
        has_images_inside: whether rows have their images' bytes, and not paths of files.
    """

    read_rows: Callable
    shards: list
    where: dict
    num_rows: int
    held_back: int = 0
    label_files: tuple = ()
    has_images_inside: bool = False

    @property
    def reading(self) -> dict[str, Any]:
        """What a generator over shards is called with."""
        return {"shards": self.shards, "read_rows": self.read_rows, "where": self.where}


def unopened_stream(source: RowSource, split: str) -> IterableDataset:
    """The rows of a `RowSource` as an `IterableDataset` whose images are {"path", "bytes"} dicts."""
    return IterableDataset.from_generator(
        rows_of_shards, features=UNOPENED_FEATURES, gen_kwargs=source.reading, split=split
    )


def checked_stream(stream: IterableDataset, check: SampleValidator) -> IterableDataset:
    """A stream of unopened rows with images opened and every rule of plvl.data.sample_validation applied."""
    # Not a function of batches, which could leave rows out itself: of these `datasets` keeps the position before the
    # last batch, and a shuffle buffer that is filled again would give other rows from there.
    checked = stream.map(_checked_row, features=ROW_FEATURES, fn_kwargs={"check": check})
    return checked.filter(_has_image)


def cached_rows(name: str, source: RowSource, split: str, max_skipped: float) -> Dataset:
    """The rows of the set `name` as a `Dataset` in the Arrow cache; every image is opened once to check it.

    The cache holds paths of images, and a PNG of those that a plain reader would get wrong.
    """
    arguments = source.reading | {
        "sizes": {name: source.num_rows},
        "max_skipped": max_skipped,
        # The cache goes by the arguments: with other labels it must be another.
        "labels": content_digest(source.label_files),
    }
    try:
        return Dataset.from_generator(_checked_rows, features=ROW_FEATURES, gen_kwargs=arguments, split=split)
    except DatasetGenerationError as error:
        # What went wrong in the rows says more than that something did.
        raise (error.__cause__ or error) from None


def rows_of_shards(shards: list, read_rows: Callable, where: dict) -> Iterator[Row]:
    """The unopened rows of a `RowSource`, called with its `reading`."""
    for shard in shards:
        yield from read_rows(shard, **where)


def _checked_row(row, check):
    return check(row) or row | {"image": None}


def _has_image(row):
    return row["image"] is not None


def _checked_rows(shards, read_rows, where, sizes, max_skipped, labels):
    check = SampleValidator(sizes, max_skipped)
    for row in rows_of_shards(shards, read_rows, where):
        checked = check(row)
        if checked is not None:
            yield checked | {"image": _as_stored(row["image"], checked["image"])}


def _as_stored(source, image):
    if not needs_conversion(source, image):
        return source
    file = BytesIO()
    image.save(file, "PNG")
    return {"path": None, "bytes": file.getvalue()}
