"""Rows to train on, with what a run needs to count its epochs and to find its place again."""

from dataclasses import dataclass

from datasets import IterableDataset

from plvl.data.loading import rows_and_check
from plvl.data.row_rules import MAX_SKIPPED, RowCheck


@dataclass
class TrainingRows:
    """
    A split to train on. Pictures are opened by `check`, so that rows of `stream` can be passed over at little cost.

    Attributes:
        stream: rows as the labels have them, shuffled; `set_epoch` gives another order.
        check: opens a row's picture and applies every rule of plvl.data.row_rules; gives None for a defective row.
        num_rows: rows of the split, about.
    """

    stream: IterableDataset
    check: RowCheck
    num_rows: int

    def __len__(self):
        return self.num_rows


def load_training_rows(
    name,
    split="train",
    image_root=None,
    label_root=None,
    split_by=None,
    shuffle_buffer=1000,
    seed=0,
    max_skipped=MAX_SKIPPED,
) -> TrainingRows:
    """Open one split of a grounding dataset, or of several, to train on.

    Args, errors: as in `plvl.data.loading.load_grounding_dataset`.
    """
    stream, check = rows_and_check(name, split, image_root, label_root, split_by, shuffle_buffer, seed, max_skipped)
    return TrainingRows(stream, check, check.num_rows)
