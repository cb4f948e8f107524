"""What happens to a row that is not as it should be: it is sanitized, skipped and counted, or stops the run.

Every loader's rows pass through `SampleValidator` before anyone sees them, so each rule stands here once. What
labels as a whole can get wrong (a pickle that would run code, a file cut in half, an unknown split) stops
the run in the readers, which know the file.
"""

import logging
import math
import os
from collections.abc import Sequence
from numbers import Real

import torch
from PIL import Image

from plvl.configuration.earlier_names import DEFECTS
from plvl.data.box_form import BoxForm
from plvl.data.image_files import ImageFileError, open_image
from plvl.data.schema import Row, row_name
from plvl.processing.expression_words import is_text

logger = logging.getLogger(__name__)

MAX_SKIPPED = 0.01

# The defects that make a row be skipped; docs/data.md lists these and those that are sanitized or stop.
SKIPPED = (
    "annotation without an image",
    "image missing",
    "image unreadable",
    "image too large",
    "image of another size",
    "expression empty",
    "expression unreadable",
    "box missing or not finite",
    "box empty",
    "box outside the image",
)
_COUNTED = ("seen", *SKIPPED)
NUM_READERS = 256  # slots for the main process and its DataLoader workers


class TooManySkippedError(RuntimeError):
    """More rows of a split were skipped than the run allows."""


class SampleDefect(Exception):
    """One of SKIPPED, with what was found."""

    def __init__(self, defect: str, detail: str):
        super().__init__(f"{defect}: {detail}")
        self.defect = defect


class SampleValidator:
    """Sanitizes or skips rows, counts what it skips, and stops the run at more than `max_skipped` of a set.

    The counts lie in shared memory with a slot for each DataLoader worker and set, so that the
    workers of one process are judged together, and a small set is not lost in a large one. With several
    processes (WORLD_SIZE) each is judged on its share.

    Args:
        sizes: rows of each set of the split, about: {set: rows}.
        max_skipped: share of a set's rows that may be skipped, 0 to 1.

    Attributes:
        box_forms: what the boxes of each set look like, as far as this process or worker has read them.
    """

    def __init__(self, sizes: dict[str, int], max_skipped: float = MAX_SKIPPED):
        self.sizes = {name: max(num_rows, 1) for name, num_rows in sizes.items()}
        self.max_skipped = max_skipped
        self.warned_of_shares = False
        self.box_forms = {name: BoxForm() for name in sizes}
        self.warned_of_corners: set[str] = set()
        self.counts = torch.zeros(NUM_READERS, len(sizes), len(_COUNTED), dtype=torch.int64).share_memory_()

    def __call__(self, row: Row, image: Image.Image | None = None) -> Row | None:
        """The row with its image opened (PIL, RGB, upright) and its boxes inside, or None to skip it.

        Args:
            row: as the labels have it.
            image: the row's image where it is open already.
        """
        # Parquet's rows keep the name of the set they were written from.
        name = row["dataset"] if row["dataset"] in self.sizes else "parquet"
        slot = self.counts[reader_number(), list(self.sizes).index(name)]
        slot[0] += 1
        try:
            checked = sanitize_sample(row, image)
            self._warn_of_shares(name, row)
            self._warn_of_corners(name, row, checked)
            return checked
        except SampleDefect as error:
            slot[_COUNTED.index(error.defect)] += 1
            self._warn_or_stop(name, row, error)
            return None

    def _warn_of_shares(self, name, row):
        """Boxes within the first pixel are hardly meant so."""
        sides = [side for box in row["boxes"] for side in box]
        if not self.warned_of_shares and sides and max(sides) <= 1:
            self.warned_of_shares = True
            logger.warning(
                "%s, expression %s (%s): the box %s lies within one pixel. Are boxes given as shares of the image? "
                "They are x, y, w, h in pixels",
                name,
                row["sent_id"],
                row["file_name"],
                list(row["boxes"][0]),
            )

    def _warn_of_corners(self, name, row, checked):
        form = self.box_forms[name]
        form.count(row["boxes"], checked["width"], checked["height"])
        if form.looks_like_corners and name not in self.warned_of_corners:
            self.warned_of_corners.add(name)
            logger.warning("%s %s: %s", name, row["split"], form.warning())

    @property
    def num_rows(self) -> int:
        """Rows of all sets, about."""
        return sum(self.sizes.values())

    @property
    def seen(self) -> int:
        """Rows seen so far, those skipped among them."""
        return int(self.counts[..., 0].sum())

    @property
    def skipped(self) -> dict[str, int]:
        """Rows skipped so far, by defect (those that occurred)."""
        return _by_defect(self.counts.sum(dim=(0, 1)))

    def state_dict(self) -> dict[str, dict[str, int]]:
        """What was counted, as plain values: {set: {"seen": rows, defect of SKIPPED: rows, ...}}."""
        totals = self.counts.sum(dim=0).tolist()
        return {name: dict(zip(_COUNTED, row, strict=True)) for name, row in zip(self.sizes, totals, strict=True)}

    def load_state_dict(self, state: dict[str, dict[str, int]]) -> None:
        """Count on from a `state_dict`."""
        self.counts.zero_()
        for number, name in enumerate(self.sizes):
            counted = [state[name].get(column, state[name].get(DEFECTS.get(column, column), 0)) for column in _COUNTED]
            self.counts[0, number] = torch.tensor(counted)

    def _warn_or_stop(self, name, row, error):
        counts = self.counts[:, list(self.sizes).index(name)].sum(dim=0)
        seen, by_defect = int(counts[0]), _by_defect(counts)
        skipped = sum(by_defect.values())
        where = row_name(row)
        if skipped > self._allowed(seen, self.sizes[name]):
            raise TooManySkippedError(
                f"{skipped} of {seen} rows read of {name} were skipped, more than {self.max_skipped:.1%} of the "
                f"{self.sizes[name]} rows there are. By defect: {by_defect}. The last was {where}: {error}. "
                "Mend the data, or raise max_skipped."
            ) from error
        count = by_defect[error.defect]
        if count <= 5 or count % 100 == 0:
            logger.warning("skipped %s: %s (%d with this defect so far)", where, error, count)

    def _allowed(self, seen, num_rows):
        """A second pass over the rows skips the same ones again, so each pass adds its allowance."""
        processes = int(os.environ.get("WORLD_SIZE", 1))
        passes = math.ceil(seen * processes / num_rows)
        return math.ceil(math.floor(self.max_skipped * num_rows) / processes) * passes


def _by_defect(counts):
    return {defect: count for defect, count in zip(SKIPPED, counts[1:].tolist(), strict=True) if count}


def reader_number() -> int:
    """The slot of this process or data worker, of NUM_READERS."""
    worker = torch.utils.data.get_worker_info()
    return 0 if worker is None else 1 + worker.id % (NUM_READERS - 1)


def sanitize_sample(row: Row, image: Image.Image | None = None) -> Row:
    """The row with its image open, its size filled in and its boxes cut to the image; none of them is left out.

    Raises:
        SampleDefect: the row must be skipped.
    """
    text = (row["text"] or "").strip()
    if not text:
        raise SampleDefect("expression empty", repr(row["text"]))
    if not is_text(text):
        raise SampleDefect("expression unreadable", f"{text!a} has half of a character")
    boxes = row["boxes"]
    if not isinstance(boxes, Sequence):
        raise SampleDefect("box missing or not finite", f"the boxes are {boxes}")
    for box in boxes:
        if not _is_box(box):
            raise SampleDefect("box missing or not finite", f"[x, y, w, h] = {box}")
        if box[2] <= 0 or box[3] <= 0:
            raise SampleDefect("box empty", f"[x, y, w, h] = {box}")
    if row["image"] is None:
        raise SampleDefect("annotation without an image", f"image {row['image_id']} is not in the labels")
    try:
        image = open_image(row["image"], *labelled_size(row)) if image is None else image
    except ImageFileError as error:
        raise SampleDefect(error.defect, str(error)) from error
    boxes = [_inside([float(number) for number in box], image.width, image.height) for box in boxes]
    return row | {"image": image, "text": text, "boxes": boxes, "height": image.height, "width": image.width}


def _is_box(box):
    return isinstance(box, Sequence) and len(box) == 4 and all(isinstance(n, Real) and math.isfinite(n) for n in box)


def labelled_size(row: Row) -> tuple[int | None, int | None]:
    """(height, width) the labels speak of: their own, else that of an RLE, else None."""
    if row["height"] is None and row["segmentation"] and row["segmentation"]["size"]:
        return tuple(row["segmentation"]["size"])
    return row["height"], row["width"]


def _inside(box, width, height):
    left, top = max(box[0], 0.0), max(box[1], 0.0)
    right, bottom = min(box[0] + box[2], width), min(box[1] + box[3], height)
    if right <= left or bottom <= top:
        raise SampleDefect("box outside the image", f"[x, y, w, h] = {box}, the image has {width} x {height}")
    if [left, top] == box[:2] and right - left >= box[2] and bottom - top >= box[3]:
        return box
    return [left, top, right - left, bottom - top]
