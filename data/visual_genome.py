"""Visual Genome's region descriptions, read from its one large file without holding it.

    <label_root>/visual-genome/region_descriptions.json   [{id, regions: [{region_id, phrase, x, ...}]}]
    <label_root>/visual-genome/image_data.json            [{image_id, width, height, coco_id, ...}]
    <image_root>/visual-genome/{VG_100K,VG_100K_2}/<image_id>.jpg, or without these folders

The set has no splits: all of it is train. It has boxes and no masks.
"""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import NoneType
from typing import Any

from plvl.data.json_arrays import read_array, split_array
from plvl.data.row_streams import MAX_SHARDS, RowSource
from plvl.data.schema import Row, labelled_row
from plvl.data.source_files import (
    check_entries,
    check_entry,
    check_split,
    existing_files,
    existing_folder,
    index_by_id,
    read_json,
)

logger = logging.getLogger(__name__)

_IMAGE_FOLDERS = ("VG_100K", "VG_100K_2", "")
_REGION_OF = re.compile(rb'"image_id"\s*:\s*(\d+)\s*[,}]')
_REGION = {"region_id": int, "phrase": str, **dict.fromkeys(("x", "y", "width", "height"), int | float)}
_BLOCK = 1 << 22


def split_names(name: str, label_root: str | Path) -> list[str]:
    """The one split that the set has."""
    return ["train"]


def open_split(
    name: str, split: str, image_root: str | Path, label_root: str | Path, hold_back: frozenset[int] = frozenset()
) -> RowSource:
    """The regions as a `RowSource`; arguments and errors as in `plvl.data.refer.open_split`."""
    check_split(split, split_names(name, label_root), name)
    folder = Path(label_root) / "visual-genome"
    regions_file, images_file = existing_files(folder, ["region_descriptions.json", "image_data.json"], name)
    image_folder = existing_folder(Path(image_root) / "visual-genome", name)
    held = held_images(label_root, hold_back)
    regions = count_regions(regions_file)
    held_back = sum(regions[number] for number in held)
    where = {
        "name": name,
        "regions_file": str(regions_file),
        "images_file": str(images_file),
        "image_folder": str(image_folder),
        "held": held,
    }
    shards = split_array(regions_file, MAX_SHARDS, is_element=lambda entry: "regions" in entry)
    num_rows = sum(regions.values()) - held_back
    return RowSource(read_rows, shards, where, num_rows, held_back, (regions_file, images_file))


def read_rows(
    shard: Any,
    name: str,
    regions_file: str | Path,
    images_file: str | Path,
    image_folder: str | Path,
    held: frozenset[int],
) -> Iterator[Row]:
    """Yield the rows of the images between two byte offsets of the regions file."""
    images = read_images(images_file)
    for entry in read_array(regions_file, *shard):
        if not isinstance(entry, dict):
            raise ValueError(f"{regions_file}: an image with its regions is expected, got {str(entry)[:100]}")
        check_entry(entry, {"id": int, "regions": list}, f"{regions_file}, image {entry.get('id')}")
        if entry["id"] not in held:
            yield from _rows_of(entry, images, name, regions_file, image_folder)


def held_images(label_root: str | Path, hold_back: frozenset[int]) -> frozenset[int]:
    """Numbers of Visual Genome's images that are COCO's images `hold_back`, by coco_id in image_data.json.

    Args:
        label_root: where visual-genome/image_data.json lies; without it a warning says that nothing is known.
        hold_back: numbers of COCO images.
    """
    images_file = Path(label_root) / "visual-genome/image_data.json"
    if not hold_back:
        return frozenset()
    if not images_file.is_file():
        logger.warning(
            "%s is missing: which images of Visual Genome are in a validation or test split of the RefCOCO "
            "family is not known, and none of them is held back from training",
            images_file,
        )
        return frozenset()
    images = read_images(images_file)
    return frozenset(number for number, (_, _, coco_id) in images.items() if coco_id in hold_back)


def read_images(images_file: str | Path) -> dict[int, tuple]:
    """{image_id: (height, width, coco_id or None)}, read once per process until the file changes."""
    return _read_images(str(images_file), os.stat(images_file).st_mtime_ns)


@lru_cache(maxsize=2)
def _read_images(images_file, _time):
    images = read_json(images_file)
    check_entries(images, {"height": int, "width": int}, images_file)
    for place, image in enumerate(images):
        number = image.setdefault("image_id", image.get("id"))
        if not isinstance(number, int) or not isinstance(image.get("coco_id"), int | NoneType):
            raise ValueError(f"{images_file}, entry {place}: image_id or coco_id is no number: {str(image)[:200]}")
    index = index_by_id(images, images_file, "url", key="image_id")
    return {number: (image["height"], image["width"], image.get("coco_id")) for number, image in index.items()}


def count_regions(regions_file: str | Path) -> dict[int, int]:
    """How many regions each image has, {image_id: count}, found by a search that decodes nothing."""
    regions: Counter[int] = Counter()
    rest = b""
    with open(regions_file, "rb") as file:
        while block := file.read(_BLOCK):
            block = rest + block
            # A match cut by the block's end is found with the next block: no object starts after `cut`.
            cut = block.rfind(b"{") + 1
            regions.update(_REGION_OF.findall(block, 0, cut))
            rest = block[cut:]
    regions.update(_REGION_OF.findall(rest))
    return Counter({int(number): count for number, count in regions.items()})


def _rows_of(entry, images, name, regions_file, image_folder):
    number = entry["id"]
    height, width, _ = images.get(number, (None, None, None))
    file_name = image_name(image_folder, f"{number}.jpg")
    check_entries(entry["regions"], _REGION, f"{regions_file}, image {number}, regions")
    for region in entry["regions"]:
        yield labelled_row(
            f"{regions_file}, image {number}, region {region['region_id']}",
            path=os.path.join(image_folder, file_name),
            text=region["phrase"],
            boxes=[[region["x"], region["y"], region["width"], region["height"]]],
            segmentations=[None],
            height=height,
            width=width,
            image_id=number,
            ref_id=region["region_id"],
            sent_id=region["region_id"],
            category=None,
            dataset=name,
            split="train",
            file_name=file_name,
        )


def image_name(image_folder: str | Path, file_name: str) -> str:
    """The name with the folder it is in, such as VG_100K/1.jpg; as it is where it is in none of them."""
    names = [os.path.join(folder, file_name) for folder in _IMAGE_FOLDERS]
    return next((name for name in names if os.path.isfile(os.path.join(image_folder, name))), names[-1])
