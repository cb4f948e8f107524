"""How rows reach training: each process its own, in an order that a stopped run finds again.

A batch depends on the seed, the epoch, the process and its number alone. So a run that starts again in mid-epoch
passes over the rows it has seen without opening an image, and goes on with the batch that would have come next.
"""

import json
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain, islice, repeat
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from datasets.distributed import split_dataset_by_node

from plvl.data.schema import row_name
from plvl.data.training_rows import TrainingRows

MOST_DEFECTIVE_GROUPS = 10_000


@dataclass
class BatchesPosition:
    """
    How far the rows of one process have been used.

    Args:
        epoch, batches: the epoch, and how many of its batches are used.
        rows_read (`list[int]`): rows, or groups of rows about one image, that each DataLoader worker has read for
            them, defective ones included.
    """

    epoch: int
    batches: int
    rows_read: list[int]

    @staticmethod
    def file(checkpoint, process: int) -> Path:
        return Path(checkpoint) / f"data_position_{process}.json"

    def save(self, checkpoint, process: int):
        self.file(checkpoint, process).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, checkpoint, process: int) -> "BatchesPosition":
        """
        Raises:
            ValueError: the checkpoint has no position of this process.
        """
        file = cls.file(checkpoint, process)
        if not file.is_file():
            raise ValueError(f"{checkpoint} has no {file.name}: begin its epoch again, with ignore_data_skip")
        stored = json.loads(file.read_text(encoding="utf-8"))
        return cls(stored["epoch"], stored["batches"], stored["rows_read"])


@dataclass(frozen=True)
class BatchOrigin:
    """Where a batch is from: `worker` has read `rows_read` rows or groups of the epoch up to its end."""

    worker: int
    rows_read: int
    row_names: list[str]


class ResumableBatches(torch.utils.data.IterableDataset):
    """
    The batches of one process, as its model takes them: the same number in every process, all of the full size. Each
    also has `origin`, a [`BatchOrigin`].

    An epoch has as many as it takes to use the rows of the split once. A process whose share is a little smaller
    begins it again, and one whose share is larger leaves the rest for another epoch's order.

    Args:
        rows ([`TrainingRows`], or a sequence or dataset of rows): what to train on. Sequences are shuffled.
        collator (`Callable`): makes a batch, a dict, of a list of rows. What it draws at random follows from the
            batch's seed.
        batch_size (`int`): rows of one process, as many about each image as `rows` has in its groups.
        num_batches (`int`): in an epoch, of one process.
        process, num_processes (`int`): which share of the rows this is.
        num_workers (`int`): of the DataLoader that reads the batches.
        seed (`int`): of the order and of what is drawn at random in a batch.
        start ([`BatchesPosition`], *optional*): the batches up to it are passed over: `None` comes in their places.
    """

    def __init__(self, rows, collator, batch_size, num_batches, process, num_processes, num_workers, seed, start=None):
        self.rows, self.collator = rows, collator
        self.expressions_per_image = expressions_per_image(rows)
        if batch_size % self.expressions_per_image:
            raise ValueError(
                f"a batch of {batch_size} expressions in each process cannot be about whole images with "
                f"{self.expressions_per_image} expressions each: change the batch size or expressions_per_image"
            )
        self.batch_size, self.num_batches = batch_size, num_batches
        self.process, self.num_processes = process, num_processes
        self.num_workers = num_workers
        self.seed, self.start = seed, start
        self.epoch = 0
        if start is not None and len(start.rows_read) != max(num_workers, 1):
            raise ValueError(
                f"the checkpoint was written with {len(start.rows_read)} readers of data in each process and cannot "
                f"be continued with {max(num_workers, 1)}: set dataloader_num_workers as it was"
            )

    def __len__(self):
        return self.num_batches

    def set_epoch(self, epoch: int):
        self.epoch = epoch

    def position_after(self, origin: BatchOrigin, before: BatchesPosition | None) -> BatchesPosition:
        """Where the run is when it has used the batch of `origin`, having been at `before`."""
        goes_on = before is not None and before.epoch == self.epoch
        rows_read = list(before.rows_read) if goes_on else [0] * max(self.num_workers, 1)
        rows_read[origin.worker] = origin.rows_read
        used = before.batches if goes_on else 0
        return BatchesPosition(self.epoch, used + 1, rows_read)

    def __iter__(self) -> Iterator[dict | None]:
        info = torch.utils.data.get_worker_info()
        worker, num_workers = (0, 1) if info is None else (info.id, info.num_workers)
        goes_on = self.start is not None and self.start.epoch == self.epoch
        used, rows_read = (self.start.batches, self.start.rows_read[worker]) if goes_on else (0, 0)
        groups = self._endless_groups(worker, num_workers, rows_read)
        for batch in range(worker, self.num_batches, num_workers):
            if batch < used:
                yield None
                continue
            numbers, of_groups = zip(*islice(groups, self.batch_size // self.expressions_per_image), strict=True)
            rows = list(chain.from_iterable(of_groups))
            with seeded(crc32(f"{self.seed} {self.epoch} {self.process} {batch}".encode())):
                inputs = self.collator(rows)
            yield inputs | {"origin": BatchOrigin(worker, numbers[-1], list(map(row_name, rows)))}

    def _endless_groups(self, worker: int, num_workers: int, rows_read: int):
        """(groups read so far, rows) of the epoch, over and over; the first `rows_read` are not looked at."""
        unopened, open_group = self._unopened_groups(worker, num_workers)
        passes = chain.from_iterable(_not_empty(unopened) for _ in repeat(None))
        defective = 0
        for number, group in enumerate(islice(passes, rows_read, None), rows_read + 1):
            rows = open_group(group)
            defective = defective + 1 if rows is None else 0
            if rows is not None:
                yield number, rows
            elif defective == MOST_DEFECTIVE_GROUPS:
                raise ValueError(
                    f"no row to train on in {defective} groups of rows one after the other, all are defective"
                )

    def _unopened_groups(self, worker: int, num_workers: int) -> tuple[Callable, Callable]:
        """A function that begins a pass over this worker's groups, and one that opens a group's rows."""
        if isinstance(self.rows, (TrainingRows, torch.utils.data.IterableDataset)):
            checked = isinstance(self.rows, TrainingRows)
            stream = self.rows.stream if checked else self.rows
            stream = split_dataset_by_node(stream, self.process, self.num_processes)
            stream.set_epoch(self.epoch)
            # The stream deals its shards out to the workers itself.
            return lambda: stream, self.rows.open if checked else _alone
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.rows))
        order = order[self.process :: self.num_processes][worker::num_workers].tolist()
        return lambda: order, lambda number: [self.rows[number]]


def expressions_per_image(rows) -> int:
    """Rows about one image that come together."""
    return rows.expressions_per_image if isinstance(rows, TrainingRows) else 1


def number_of_rows(rows) -> int | None:
    """Rows of a split to train on, about; None where nobody knows."""
    return len(rows) if hasattr(rows, "__len__") else None


def batches_in_epoch(num_rows: int, batch_size: int, num_processes: int, accumulation_steps: int) -> int:
    """Batches of each process that use all rows, a whole number of optimizer steps."""
    return math.ceil(num_rows / (batch_size * num_processes * accumulation_steps)) * accumulation_steps


def most_workers(rows, num_processes: int, num_workers: int) -> int:
    """As many DataLoader workers as each process has shards for, `num_workers` at most."""
    if isinstance(rows, (TrainingRows, torch.utils.data.IterableDataset)):
        stream = rows.stream if isinstance(rows, TrainingRows) else rows
        return min(num_workers, split_dataset_by_node(stream, 0, num_processes).num_shards)
    return min(num_workers, max(len(rows) // num_processes, 1))


@contextmanager
def seeded(seed: int):
    """What is drawn at random within, by whichever generator, follows from the seed; what comes after does not."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def collated_already(batch: dict | None) -> dict | None:
    """For the DataLoader, whose dataset gives whole batches."""
    return batch


def _alone(row):
    return [row]


def _not_empty(begin: Callable):
    empty = True
    for row in begin():
        empty = False
        yield row
    if empty:
        raise ValueError("there are no rows to train on in this process's share: use fewer processes or workers")
