"""One's own labels for fine-tuning: looked through before anything is trained, and divided by image."""

import json
import logging
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from plvl.data.box_form import BoxForm
from plvl.data.own_data import open_labels
from plvl.data.row_streams import rows_of_shards
from plvl.data.sample_validation import MAX_SKIPPED, SampleDefect, labelled_size, sanitize_sample
from plvl.data.schema import Row, row_name

logger = logging.getLogger(__name__)

VALIDATION_SHARE = 0.2
MOST_VALIDATION_IMAGES = 200
# Beside those of plvl.data.sample_validation.
NOT_ONE_OBJECT = "none or several objects"
_NAMED = 3
_WRITTEN = (
    "file_name",
    "text",
    "boxes",
    "segmentation",
    "height",
    "width",
    "image_id",
    "ref_id",
    "sent_id",
    "category",
)
_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


class UnusableRowsError(ValueError):
    """More rows than may be left out cannot be used; the message lists how many for which reason, and some of them."""


@dataclass(frozen=True)
class OwnRows:
    """
    What a file of labels says about a folder of images.

    Attributes:
        rows: those that can be used, with their images unopened; those about one image follow one another.
        defects: names of those that cannot, by what is wrong.
        num_unlabelled: images of the folder that no row is about.
    """

    rows: list[Row]
    defects: dict[str, list[str]]
    num_unlabelled: int

    @property
    def num_defective(self) -> int:
        return sum(map(len, self.defects.values()))


def read_own_rows(labels: Path, images: Path, one_object: bool, max_skipped: float = MAX_SKIPPED) -> OwnRows:
    """
    Every row of a file of labels, its image opened once.

    Args:
        labels: JSON Lines (.jsonl) or COCO form, see plvl.data.own_data.
        images: the folder that their file names start from.
        one_object: whether a row that means none or several objects cannot be used.
        max_skipped: share of the rows that may be left out for what is wrong with them.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the file cannot be read; the message names the place.
        UnusableRowsError: there is no row, or more than `max_skipped` of them cannot be used, or their boxes are
            corners: half of them and more leave their images as sizes, and none does as corners.
    """
    source = open_labels("jsonl", labels.stem, labels.absolute(), images)
    by_image = defaultdict(list)
    for row in rows_of_shards(**source.reading):
        # Of two rows that give an image different sizes one is wrong.
        by_image[row["file_name"], labelled_size(row)].append(row)
    if not by_image:
        raise UnusableRowsError(f"{labels} has no expressions")
    usable, defects, form = [], defaultdict(list), BoxForm()
    for rows in tqdm(by_image.values(), "looking at images", unit="image", leave=False, disable=None):
        image = None
        for row in rows:
            try:
                if one_object and isinstance(row["boxes"], list) and len(row["boxes"]) != 1:
                    raise SampleDefect(NOT_ONE_OBJECT, f"{len(row['boxes'])} boxes, and the model answers with one")
                image = sanitize_sample(row, image)["image"]
                form.count(row["boxes"], *image.size)
                usable.append(row)
            except SampleDefect as error:
                defects[error.defect].append(f"{row_name(row)}: {str(error).partition(': ')[2]}")
    if form.looks_like_corners:
        if form.leaving >= form.boxes / 2:
            raise UnusableRowsError(f"{labels}: {form.warning()}: write x1, y1, x2 - x1, y2 - y1")
        logger.warning("%s: %s", labels, form.warning())
    there = [file for file in images.rglob("*") if file.suffix.lower() in _IMAGE_SUFFIXES]
    labelled = {str(images / name) for name, _ in by_image if name}
    own = OwnRows(usable, dict(defects), sum(str(file) not in labelled for file in there))
    if not usable or own.num_defective > max_skipped * (len(usable) + own.num_defective):
        raise UnusableRowsError(_complaint(own, labels, images, there, max_skipped))
    return own


def defect_lines(defects: dict[str, list[str]]) -> list[str]:
    """For a message: a line for each kind of defect, with the first rows that have it."""
    return [f"{kind}: {len(names)}, such as {'; '.join(names[:_NAMED])}" for kind, names in defects.items()]


def _complaint(own: OwnRows, labels: Path, images: Path, there: list[Path], max_skipped: float) -> str:
    num_rows = len(own.rows) + own.num_defective
    lines = [
        f"{own.num_defective} of the {num_rows} expressions of {labels} cannot be used, and {max_skipped:.1%} may be "
        "left out (--max_skipped). Mend them, or allow more:",
        *defect_lines(own.defects),
    ]
    if "image missing" in own.defects:
        some = ", ".join(file.relative_to(images).as_posix() for file in sorted(there)[:_NAMED])
        lines.append(f"images are looked for in {images}, which has {len(there)}{f', such as {some}' if some else ''}")
    return "\n- ".join(lines)


def split_by_image(rows: list[Row], seed: int) -> tuple[list[Row], list[Row]]:
    """
    Rows to train on and rows for validation, no image in both: a fifth of the images, at most 200, for validation.

    Raises:
        ValueError: they are about one image alone.
    """
    names = sorted({row["file_name"] for row in rows})
    if len(names) < 2:
        raise ValueError(f"all expressions are about {names[0]}; there must be a second image, for validation")
    random.Random(seed).shuffle(names)
    held_out = set(names[: min(max(round(VALIDATION_SHARE * len(names)), 1), MOST_VALIDATION_IMAGES)])
    train = [row for row in rows if row["file_name"] not in held_out]
    return train, [row for row in rows if row["file_name"] in held_out]


def write_rows(rows: list[Row], file: Path):
    """Writes rows as JSON Lines, as which plvl.data.own_data reads them; expressions keep their numbers."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({name: row[name] for name in _WRITTEN}) + "\n" for row in rows)
    file.write_text("".join(lines), encoding="utf-8")
