"""Rows to train on, with what a run needs to count its epochs and to find its place again."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

from datasets import IterableDataset

from plvl.data.image_groups import grouped_stream, number_of_groups, open_group
from plvl.data.loading import joined, open_sources, set_sizes
from plvl.data.mixtures import Names
from plvl.data.row_streams import RowSource
from plvl.data.sample_validation import MAX_SKIPPED, SampleValidator

logger = logging.getLogger(__name__)


@dataclass
class TrainingRows:
    """
    A split to train on. Images are opened by `open`, so that groups of `stream` can be passed over at little cost.

    Attributes:
        stream: groups of rows about one image as the labels have them ({"rows": [row, ...]}), shuffled; `set_epoch`
            gives another order.
        check: opens a row's image and applies every rule of plvl.data.sample_validation; gives None for a defective
            row.
        num_rows: that a pass over the stream gives, about; rows that come again to fill their group are counted again.
        expressions_per_image: rows in each group, when it is open.
        shuffle_buffer, seed: that the order of the stream follows from, and
        shards (`dict[str, str]`): how each set is divided, as "150 shards, 5f0c9a3e".
    """

    stream: IterableDataset
    check: SampleValidator
    num_rows: int
    expressions_per_image: int = 1
    shuffle_buffer: int = 0
    seed: int = 0
    shards: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.num_rows

    def open(self, group: dict) -> list[dict] | None:
        """The rows of a group of `stream`, to be trained on; None where all are defective."""
        return open_group(group["rows"], self.expressions_per_image, self.check)


def load_training_rows(
    name: Names,
    split: str = "train",
    image_root: str | Path | None = None,
    label_root: str | Path | None = None,
    split_by: str | None = None,
    shuffle_buffer: int = 1000,
    seed: int = 0,
    max_skipped: float = MAX_SKIPPED,
    expressions_per_image: int = 1,
) -> TrainingRows:
    """Open one split of a grounding dataset, or of several, to train on.

    Args, errors: as in `plvl.data.loading.load_grounding_dataset`, and
        expressions_per_image: rows about one image that stay together (`plvl.data.image_groups`). More than 1
            takes a pass over the labels, to count the groups.

    Raises:
        ValueError: expressions_per_image is less than 1.
    """
    size = expressions_per_image
    if size < 1:
        raise ValueError(f"expressions_per_image must be 1 or more, got {size}")
    sources = open_sources(name, split, image_root, label_root, split_by)
    num_groups = {one: number_of_groups(source, size) for one, source in sources.items()}
    if size > 1:
        report_repeated(sources, num_groups, size)
    parts = [grouped_stream(source, split, size) for source in sources.values()]
    stream = joined(parts, list(num_groups.values()), name, split, seed)
    if shuffle_buffer:
        stream = stream.shuffle(seed=seed, buffer_size=max(shuffle_buffer // size, 1))
    check = SampleValidator(set_sizes(sources), max_skipped)
    shards = {one: _division_of(source) for one, source in sources.items()}
    return TrainingRows(stream, check, size * sum(num_groups.values()), size, shuffle_buffer, seed, shards)


def _division_of(source: RowSource) -> str:
    return f"{len(source.shards)} shards, {crc32(repr(source.shards).encode()):08x}"


def report_repeated(sources: dict[str, RowSource], num_groups: dict[str, int], size: int) -> None:
    """Say how many rows of each set come again to fill their group; arguments by the set's name."""
    for name, source in sources.items():
        repeated = num_groups[name] * size - source.num_rows
        logger.info(
            "%s: %d groups of %d rows about one image; %d rows in 100 come again to fill their group",
            name,
            num_groups[name],
            size,
            round(100 * repeated / max(source.num_rows, 1)),
        )
