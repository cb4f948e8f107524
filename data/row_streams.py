"""Turning a reader of rows into a `datasets` object: streamed, or cached as Arrow.

A reader is a function `read_rows(shard, **where)` that yields rows (plvl.data.schema) of one shard. The
shards are what `split_dataset_by_node` and DataLoader workers deal out, so no two of them may read the same
picture file or the same part of a label file.
"""

from datasets import Dataset, IterableDataset

from plvl.data.schema import ROW_FEATURES

# 240 is divided by 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 16, ... processes: each gets whole shards.
MAX_SHARDS = 240


def make_dataset(read_rows, shards, where, split, streaming):
    """A dataset of the rows of all shards.

    Args:
        read_rows: top-level function, called as `read_rows(shard, **where)`.
        shards: list of small values that say what to read; each is read by one process only.
        where: the reader's other arguments; they travel to every worker, so no tables here.
        split: the split's name.
        streaming: True for an `IterableDataset`, False for a `Dataset` in the Arrow cache.
    """
    arguments = {"shards": shards, "read_rows": read_rows, "where": where}
    build = IterableDataset.from_generator if streaming else Dataset.from_generator
    return build(_all_rows, features=ROW_FEATURES, gen_kwargs=arguments, split=split)


def _all_rows(shards, read_rows, where):
    for shard in shards:
        yield from read_rows(shard, **where)
