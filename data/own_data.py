"""One's own images: JSON Lines, or COCO-style JSON whose annotations have a text.

    <label_root>/<split>.jsonl   one expression a line: file_name, text, bbox [x, y, w, h] of its object, or boxes, a
                                 list of such; optional segmentation, height, width, image_id, ref_id, sent_id,
                                 category
    <label_root>/<split>.json    COCO form: images, annotations (bbox or boxes, segmentation, category_id, and text:
                                 one expression or a list of them), categories
    <image_root>/<file_name>     images

Where an expression means nothing, boxes is an empty list. Of several objects segmentation is one mask of all.
JSON Lines stream at any size; a COCO-style file is held as an index.
"""

import logging
import os
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from types import NoneType
from typing import Any

from plvl.data.image_files import coco_number
from plvl.data.row_streams import MAX_SHARDS, RowSource
from plvl.data.schema import Row, labelled_row
from plvl.data.source_files import (
    check_entries,
    check_entry,
    check_split,
    existing_folder,
    index_by_id,
    index_images,
    parse_json,
    read_json,
)

logger = logging.getLogger(__name__)

# About one image more lines than these may be read by different workers.
MOST_LINES_TOGETHER = 100
_ROW = {"file_name": str | NoneType, "text": str | NoneType}
_BOXES = ("bbox", "boxes")
_MORE = {
    **dict.fromkeys(_BOXES, list | NoneType),
    "image_id": Integral,
    "ref_id": Integral,
    "sent_id": Integral,
    "category": str | NoneType,
}
_COCO = {
    "images": {"id": Integral, "file_name": str},
    "annotations": {"id": Integral, "text": str | list},
    "categories": {"id": Integral, "name": str},
}


def split_names(name: str, label_root: str | Path) -> list[str]:
    """The splits for which there is a file in `label_root`."""
    return sorted({file.stem for file in existing_folder(label_root, name).glob("*.json*")})


def open_split(
    name: str, split: str, image_root: str | Path, label_root: str | Path, hold_back: frozenset[int] = frozenset()
) -> RowSource:
    """One split as a `RowSource`; arguments and errors as in `plvl.data.refer.open_split`."""
    folder = existing_folder(label_root, name)
    check_split(split, split_names(name, label_root), f"{name} in {folder}")
    lines_file = folder / f"{split}.jsonl"
    file = lines_file if lines_file.is_file() else folder / f"{split}.json"
    return open_labels(name, split, file, image_root, hold_back)


def open_labels(
    name: str, split: str, file: Path, image_root: str | Path, hold_back: frozenset[int] = frozenset()
) -> RowSource:
    """As `open_split`, of a file of labels (.jsonl, or else in COCO form) under whatever name."""
    where: dict[str, Any] = {
        "name": name,
        "split": split,
        "image_root": str(existing_folder(image_root, name)),
        "hold_back": hold_back,
    }
    if file.suffix == ".jsonl":
        shards, num_rows, held_back = _split_lines(file, hold_back)
        where |= {"file": str(file)}
        return RowSource(read_lines, shards, where, num_rows, held_back, (file,))
    index = read_coco(file)
    num_rows = held_back = 0
    for annotations in index["annotations_by_image"]:
        texts = sum(len(_texts(annotation)) for annotation in annotations)
        if _coco_number_of(_image_of(annotations, index)) in hold_back:
            held_back += texts
        else:
            num_rows += texts
    silent = sum(not _texts(annotation) for annotations in index["annotations_by_image"] for annotation in annotations)
    if silent:
        logger.warning("%s: %d annotations have an empty list as text, and so no rows", file, silent)
    num_shards = min(MAX_SHARDS, len(index["annotations_by_image"]))
    where |= {"file": str(file), "num_shards": num_shards}
    return RowSource(read_annotations, list(range(num_shards)), where, num_rows, held_back, (file,))


def read_lines(
    shard: tuple[int, int, int],
    name: str,
    split: str,
    file: str | Path,
    image_root: str | Path,
    hold_back: frozenset[int],
) -> Iterator[Row]:
    """Yield the rows of a stretch of lines, (first byte, last byte + 1, number of its first line)."""
    start, end, line_number = shard
    with open(file, "rb") as lines:
        lines.seek(start)
        while lines.tell() < end:
            line = lines.readline()
            if not line:
                raise ValueError(f"{file}: cut short while it was being read, after line {line_number}")
            if line.strip():
                where = f"{file}, line {line_number + 1}"
                entry = _entry_of_line(line, where)
                if coco_number(entry["file_name"]) not in hold_back:
                    yield _row_of(entry, line_number + 1, name, split, where, image_root)
            line_number += 1


def read_annotations(
    shard: int,
    num_shards: int,
    name: str,
    split: str,
    file: str | Path,
    image_root: str | Path,
    hold_back: frozenset[int],
) -> Iterator[Row]:
    """Yield the rows of every `num_shards`-th image of a COCO-style file, starting with number `shard`."""
    index = read_coco(file)
    for annotations in index["annotations_by_image"][shard::num_shards]:
        image = _image_of(annotations, index)
        if _coco_number_of(image) in hold_back:
            continue
        for annotation in annotations:
            category = index["categories"].get(_plain(annotation.get("category_id")))
            for place, text in enumerate(_texts(annotation)):
                entry = annotation | {
                    "text": text,
                    "category": category,
                    "ref_id": annotation.get("id"),
                    "sent_id": annotation["id"] * 100 + place,
                    **{key: image.get(key) for key in ("file_name", "height", "width")},
                }
                yield _row_of(entry, 0, name, split, f"{file}, annotation {annotation['id']}", image_root)


def _coco_number_of(image):
    """By its name, or by the address that COCO's own files give."""
    numbers = (coco_number(image.get(key)) for key in ("file_name", "coco_url") if isinstance(image.get(key), str))
    return next((number for number in numbers if number is not None), None)


def read_coco(file: str | Path) -> dict:
    """The index of a COCO-style file, {"images", "categories", "annotations_by_image"}, read once until it changes."""
    return _read_coco(str(file), os.stat(file).st_mtime_ns)


@lru_cache(maxsize=4)
def _read_coco(file, _time):
    content = read_json(file)
    check_entry(content, {"images": list, "annotations": list}, file)
    content.setdefault("categories", [])
    for part, form in _COCO.items():
        check_entries(content[part], form, f"{file}, {part}")
    categories = index_by_id(content["categories"], f"{file}, categories", "name")
    index_by_id(content["annotations"], f"{file}, annotations", "text")
    by_image = defaultdict(list)
    for annotation in content["annotations"]:
        image_id = annotation.get("image_id")
        if not isinstance(image_id, Integral | NoneType):
            raise ValueError(f"{file}, annotation {annotation['id']}: image_id is {str(image_id)[:100]}, no number")
        by_image[image_id].append(annotation)
    return {
        "images": index_images(content["images"], f"{file}, images"),
        "categories": {number: category["name"] for number, category in categories.items()},
        "annotations_by_image": list(by_image.values()),
    }


def _plain(number):
    """What can be looked up: of anything but a number there is nothing."""
    return number if isinstance(number, Integral) else None


def _image_of(annotations, index):
    return index["images"].get(annotations[0].get("image_id"), {})


def _texts(annotation):
    text = annotation["text"]
    return text if isinstance(text, list) else [text]


def _split_lines(file, hold_back):
    """Cut a file into stretches of whole lines, between images; also how many rows they have and how many are held
    back."""
    size = os.path.getsize(file)
    length = max(size // MAX_SHARDS, 1)
    cuts, num_lines, num_rows, held_back, before = [(0, 0)], 0, 0, 0, b""
    lines_since_due = 0
    with open(file, "rb") as lines:
        for line in lines:
            start = lines.tell() - len(line)
            is_due = before and start - cuts[-1][0] >= length and not line.isspace()
            lines_since_due += bool(is_due)
            is_long = lines_since_due > MOST_LINES_TOGETHER
            if is_due and (is_long or _is_another_image(before, line, file, num_lines)):
                cuts.append((start, num_lines))
                lines_since_due = 0
            num_lines += 1
            if line.isspace():
                continue
            before = line
            if hold_back and coco_number(_entry_of_line(line, f"{file}, line {num_lines}")["file_name"]) in hold_back:
                held_back += 1
            else:
                num_rows += 1
    ends = [start for start, _ in cuts[1:]] + [size]
    shards = [(start, end, number) for (start, number), end in zip(cuts, ends, strict=True)]
    return (shards if num_rows else []), num_rows, held_back


def _is_another_image(before, line, file, num_lines):
    """Rows about one image that follow one another are read together."""
    names = [
        _entry_of_line(each, f"{file}, line {number}")["file_name"]
        for each, number in ((before, num_lines), (line, num_lines + 1))
    ]
    return names[0] != names[1]


def _entry_of_line(line, where):
    entry = parse_json(line, where)
    check_entry(entry, _ROW, where)
    return entry


def _row_of(entry, number, name, split, where, image_root):
    check_entry(entry, _ROW | {key: kind for key, kind in _MORE.items() if key in entry}, where)
    file_name = entry.get("file_name")
    return labelled_row(
        where,
        path=str(Path(image_root) / file_name) if file_name else None,
        text=entry["text"],
        boxes=_boxes_of(entry, where),
        segmentations=[entry.get("segmentation")],
        height=entry.get("height"),
        width=entry.get("width"),
        image_id=entry.get("image_id", number),
        ref_id=entry.get("ref_id", number),
        sent_id=entry.get("sent_id", number),
        category=entry.get("category"),
        dataset=name,
        split=split,
        file_name=file_name,
    )


def _boxes_of(entry, where):
    said = [key for key in _BOXES if entry.get(key) is not None]
    if len(said) > 1:
        raise ValueError(f"{where}: there are 'bbox' and 'boxes', and either is expected")
    if not any(key in entry for key in _BOXES):
        raise ValueError(f"{where}: 'bbox' or 'boxes' is missing")
    return [entry["bbox"]] if said == ["bbox"] else entry.get("boxes")
