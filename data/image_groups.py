"""Rows about one image, in groups of one size: what the image alone decides is computed once for all of them."""

from collections.abc import Iterable
from itertools import cycle, groupby, islice

from datasets import Features, IterableDataset

from plvl.data.row_streams import UNOPENED_FEATURES, RowSource
from plvl.data.sample_validation import SampleValidator, labelled_size
from plvl.data.schema import Row


def grouped_stream(source: RowSource, split: str, size: int) -> IterableDataset:
    """
    The rows of a `RowSource` as an `IterableDataset` of groups, {"rows": [row, ...]}, with images unopened.

    A group has `size` rows about one image or, where these do not come out even, fewer. Rows are taken for one
    image's where they follow one another in the labels.

    Args:
        source: as for `plvl.data.row_streams.unopened_stream`.
        split: name of the split.
        size: the most rows in a group.
    """
    arguments = source.reading | {"size": size}
    features = Features({"rows": [UNOPENED_FEATURES]})
    return IterableDataset.from_generator(_groups_of_shards, features=features, gen_kwargs=arguments, split=split)


def number_of_groups(source: RowSource, size: int) -> int:
    """How many groups `grouped_stream` has: about, where rows are alone; else counted, in one pass over the labels."""
    if size == 1:
        return source.num_rows
    return sum(1 for _ in _groups_of_shards(**source.reading, size=size))


def groups_of_image(rows: list[Row], size: int) -> list[list[Row]]:
    """Deal the rows about an image into as few groups as there can be, each with rows from the whole list."""
    num_groups = -(-len(rows) // size)
    return [rows[first::num_groups] for first in range(num_groups)]


def open_group(rows: Iterable[Row], size: int, check: SampleValidator) -> list[Row] | None:
    """
    Open the image of a group once, and make its rows `size` in number: some come again in place of rows that are
    defective or were not there.

    Args:
        rows: of one image, unopened.
        size: number of rows wanted.
        check: `plvl.data.sample_validation.SampleValidator`.

    Returns:
        The rows, or None where all are defective.
    """
    opened: list[Row] = []
    for row in rows:
        checked = check(row, opened[0]["image"] if opened else None)
        if checked is not None:
            opened.append(checked)
    return list(islice(cycle(opened), size)) or None


def _groups_of_shards(shards, read_rows, where, size):
    for shard in shards:
        for _, rows in groupby(read_rows(shard, **where), key=_image_of):
            yield from ({"rows": group} for group in groups_of_image(list(rows), size))


def _image_of(row):
    # Of two rows that give an image different sizes one is wrong: each must be held against the image.
    return row["dataset"], row["file_name"], labelled_size(row)
