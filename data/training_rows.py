"""Rows to train on, with what a run needs to count its epochs and to find its place again."""

from dataclasses import dataclass

from datasets import IterableDataset

from plvl.data.loading import joined, open_sources, set_sizes
from plvl.data.picture_groups import grouped_stream, open_group
from plvl.data.row_rules import MAX_SKIPPED, RowCheck


@dataclass
class TrainingRows:
    """
    A split to train on. Pictures are opened by `open`, so that groups of `stream` can be passed over at little cost.

    Attributes:
        stream: groups of rows about one picture as the labels have them ({"rows": [row, ...]}), shuffled; `set_epoch`
            gives another order.
        check: opens a row's picture and applies every rule of plvl.data.row_rules; gives None for a defective row.
        num_rows: rows of the split, about.
        expressions_per_picture: rows in each group.
    """

    stream: IterableDataset
    check: RowCheck
    num_rows: int
    expressions_per_picture: int = 1

    def __len__(self):
        return self.num_rows

    def open(self, group) -> list[dict] | None:
        """The rows of a group of `stream`, to be trained on; None where all are defective."""
        return open_group(group["rows"], self.check)


def load_training_rows(
    name,
    split="train",
    image_root=None,
    label_root=None,
    split_by=None,
    shuffle_buffer=1000,
    seed=0,
    max_skipped=MAX_SKIPPED,
    expressions_per_picture=1,
) -> TrainingRows:
    """Open one split of a grounding dataset, or of several, to train on.

    Args, errors: as in `plvl.data.loading.load_grounding_dataset`, and
        shuffle_buffer: groups of a stream to draw from at random, 0 for the order of the labels.
        expressions_per_picture: rows about one picture that stay together (`plvl.data.picture_groups`).
    """
    if expressions_per_picture < 1:
        raise ValueError(f"expressions_per_picture must be 1 or more, got {expressions_per_picture}")
    sources = open_sources(name, split, image_root, label_root, split_by)
    parts = [grouped_stream(source, split, expressions_per_picture) for source in sources.values()]
    stream = joined(parts, sources, name, split, seed)
    if shuffle_buffer:
        stream = stream.shuffle(seed=seed, buffer_size=shuffle_buffer)
    check = RowCheck(set_sizes(sources), max_skipped)
    return TrainingRows(stream, check, check.num_rows, expressions_per_picture)
