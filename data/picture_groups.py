"""Rows about one picture, in groups of one size: what the picture alone decides is computed once for all of them."""

from itertools import cycle, groupby, islice

from datasets import Features, IterableDataset

from plvl.data.row_streams import UNOPENED_FEATURES


def grouped_stream(source, split, size):
    """
    The rows of a `RowSource` as an `IterableDataset` of groups, {"rows": [row, ...]}, with pictures unopened.

    A group is about one picture. Rows are taken for one picture's where they follow one another in the labels.

    Args:
        source: as for `plvl.data.row_streams.unopened_stream`.
        split: name of the split.
        size: rows in each group.
    """
    arguments = {"shards": source.shards, "read_rows": source.read_rows, "where": source.where, "size": size}
    features = Features({"rows": [UNOPENED_FEATURES]})
    return IterableDataset.from_generator(_groups_of_shards, features=features, gen_kwargs=arguments, split=split)


def groups_of_picture(rows, size):
    """Deal the rows about a picture into groups of `size`, each with rows from the whole list.

    Every row is in a group; the first rows come once more where the last group would be too small.
    """
    num_groups = -(-len(rows) // size)
    dealt = [row for first in range(num_groups) for row in rows[first::num_groups]]
    filled = list(islice(cycle(dealt), num_groups * size))
    return [filled[start : start + size] for start in range(0, len(filled), size)]


def open_group(rows, check):
    """The rows of a group with their picture opened once and in place of defective rows others of the group.

    Args:
        rows: of one picture, unopened.
        check: `plvl.data.row_rules.RowCheck`.

    Returns:
        As many rows, or None where all are defective.
    """
    opened = []
    for row in rows:
        row = check(row, opened[0]["image"] if opened else None)
        if row is not None:
            opened.append(row)
    return list(islice(cycle(opened), len(rows))) or None


def _groups_of_shards(shards, read_rows, where, size):
    for shard in shards:
        for _, rows in groupby(read_rows(shard, **where), key=_picture_of):
            yield from ({"rows": group} for group in groups_of_picture(list(rows), size))


def _picture_of(row):
    return row["image_id"], row["file_name"]
