"""The one form every grounding row has, whichever source it comes from.

A row is one expression about one image, in which it means none, one or several objects. As it leaves a dataset it is
a plain dict:

    image         PIL image, RGB and upright, opened when the row is read
    text          the expression as the source has it
    boxes         of each object [x, y, w, h], pixels of the image, x and y of the upper left corner
    segmentation  one mask of all objects: {"polygons", "size", "counts"} (see plvl.data.masks), or None where it is
                  not known; of no objects it is known to be empty
    height, width size of the image in pixels
    image_id, ref_id, sent_id   numbers of the image, the object's reference and the expression
    category      the class of all the objects by name, or None
    dataset, split, file_name   where the row comes from; file_name is the image's path below the set's folder of
                  images (in the authors' .pth labels below image_root)
"""

import logging
from itertools import count
from numbers import Integral, Real
from typing import Any

from datasets import Features, Image, List, Value

from plvl.data.masks import NO_OBJECT, is_without_pixels, unite_segmentations
from plvl.processing.expression_words import is_text

logger = logging.getLogger(__name__)

Row = dict[str, Any]

# A missing mask is None for the whole struct. Streamed rows pass through the features without Arrow and
# keep None; in Arrow and Parquet it is a null struct, which datasets 5.0 and 5.2 give back as None too.
# Inside a mask that is there, either "polygons" or the pair "size" and "counts" is filled, the rest None; the mask of
# no objects has a list of no polygons, which is another thing than a null one.
SEGMENTATION = {
    "polygons": List(List(Value("float64"))),
    "size": List(Value("int32")),
    "counts": Value("string"),
}

ROW_FEATURES = Features(
    {
        "image": Image(mode="RGB"),
        "text": Value("string"),
        "boxes": List(List(Value("float64"), length=4)),
        "segmentation": SEGMENTATION,
        "height": Value("int32"),
        "width": Value("int32"),
        "image_id": Value("int64"),
        "ref_id": Value("int64"),
        "sent_id": Value("int64"),
        "category": Value("string"),
        "dataset": Value("string"),
        "split": Value("string"),
        "file_name": Value("string"),
    }
)

_WARNED_OF = 5
_boxes_that_are_none = count()  # in this process

_LARGEST_SIDE = 2**31 - 1
_LARGEST_NUMBER = 2**63 - 1


def labelled_row(
    where: Any,
    *,
    path: Any,
    text: Any,
    boxes: Any,
    segmentations: list,
    height: Any,
    width: Any,
    image_id: Any,
    ref_id: Any,
    sent_id: Any,
    category: Any,
    dataset: str,
    split: str,
    file_name: Any,
) -> Row:
    """A row of what labels say, with its image unopened; every reader's rows are made here.

    Numbers may be written as text. Where a box is not four numbers, `boxes` becomes None, of which the first are
    warned of: such a row is skipped and counted, as one whose expression is missing (plvl.data.sample_validation).

    Args:
        where: the label file and the place in it, for the errors.
        path: of the image, or None where the labels have none.
        boxes: of each object x, y, width, height. An empty list says that nothing is meant, None that none is known.
        segmentations: of each object, or one of all, in any form that `plvl.data.masks.encode_segmentation` takes; the
            mask is unknown where one of them is.
        the others: the columns of a row.

    Raises:
        ValueError: a size that no image has, a number beyond 64 bits, a segmentation that is no mask, or a mask where
            nothing is meant, or a name that is no text; the message begins with `where`.
    """
    height, width = image_side(height, "height", where), image_side(width, "width", where)
    if height is None or width is None:
        height = width = None
    try:
        mask = unite_segmentations(segmentations, height, width)
    except (ValueError, TypeError, OverflowError, AttributeError, KeyError) as error:
        raise ValueError(f"{where}: {error}") from error
    numbers: dict[str, Any] = {"image_id": image_id, "ref_id": ref_id, "sent_id": sent_id}
    for name, number in numbers.items():
        if not isinstance(number, Integral) or abs(int(number)) > _LARGEST_NUMBER:
            raise ValueError(f"{where}: {name} is {str(number)[:100]}, no whole number of 64 bits")
    for name, value in (("file_name", file_name), ("category", category)):
        if value is not None and not is_text(value):
            raise ValueError(f"{where}: {name} is {str(value)[:100]!a}, no text")
    numbered = _numbered_boxes(boxes, where)
    if numbered == []:
        if mask is not None and not is_without_pixels(mask):
            raise ValueError(f"{where}: there is a mask, and boxes say that there is no object")
        mask = dict(NO_OBJECT)
    elif mask == NO_OBJECT:
        mask = None  # of objects that are there nothing is no mask
    return {
        "image": None if path is None else {"path": path, "bytes": None},
        "text": text if isinstance(text, str) else None,
        "boxes": numbered,
        "segmentation": mask,
        "height": height,
        "width": width,
        **numbers,
        "category": category,
        "dataset": dataset,
        "split": split,
        "file_name": file_name,
    }


def row_name(row: Row) -> str:
    """What a message calls a row, as "refcoco train, reference 5, expression 12 (COCO_train2014_000000000009.jpg)"."""
    where = " ".join(str(row[key]) for key in ("dataset", "split") if row.get(key))
    reference = "" if row.get("ref_id") is None else f"reference {row['ref_id']}"
    expression = f"expression {row.get('sent_id')} ({row.get('file_name')})"
    return ", ".join(filter(None, (where, reference, expression)))


def boxes_of(row: Row) -> list:
    """A row's boxes; one that somebody's own code makes as for version 0.1 has its one box as `bbox`."""
    return row["boxes"] if "boxes" in row else [row["bbox"]]


def as_number(value: Any) -> float | None:
    """A number, or one written as text, as `float`; None for anything else, and where `float` does not reach it."""
    if isinstance(value, bool) or not isinstance(value, Real | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def image_side(side: Any, name: str, where: Any) -> int | None:
    """A height or width in pixels, which may be written as text, or None; ValueError names what no image has."""
    if side is None:
        return None
    number = as_number(side)
    if number is None or not number.is_integer() or not 1 <= number <= _LARGEST_SIDE:
        raise ValueError(f"{where}: {name} is {str(side)[:100]!a}, which no image has")
    return int(number)


def _numbered_boxes(boxes, where):
    if not isinstance(boxes, list):
        return None
    numbered = [_four_numbers(box) for box in boxes]
    if None not in numbered:
        return numbered
    wrong = boxes[numbered.index(None)]
    if wrong is not None and next(_boxes_that_are_none) < _WARNED_OF:
        logger.warning("%s: the box is %s, and not four numbers x, y, width, height", where, str(wrong)[:100])
    return None


def _four_numbers(box):
    try:
        numbers = [as_number(side) for side in box]
    except TypeError:
        return None
    return numbers if len(numbers) == 4 and None not in numbers else None
