"""Sets of the Hub, read where they lie by their name, `user/set`: Parquet files data/<split>-00000-of-00001.parquet.

Two forms, told apart by their columns:

    jxu124/refcoco and its sisters   a row for each reference: sentences [{sent, sent_id, ...}], raw_anns and
                                     raw_image_info (entries of COCO's labels, as JSON), image_path, image_id, ref_id;
                                     the image is <image_root>/mscoco/images/train2014/<name> or <image_root>/<name>,
                                     where <name> is the last part of image_path
    lmms-lab/RefCOCO and its sisters a row for each object: answer (its expressions), bbox [x, y, w, h], segmentation
                                     (the corners of one polygon), iscrowd, file_name, and the image inside

Nothing is kept: each pass reads the files anew, at the commit that the Hub had when the set was opened.
"""

import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import pyarrow
from huggingface_hub import HfApi
from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled
from pyarrow import compute, parquet

from plvl.data.image_files import coco_number
from plvl.data.row_streams import MAX_SHARDS, RowSource
from plvl.data.schema import Row, as_number, labelled_row
from plvl.data.source_files import HUB_NAME, check_entries, check_entry, check_split, existing_folder, parse_json

_SPLIT_FILE = re.compile(r"(?:data/)?([^/]+)-\d{5}-of-\d{5}[^/]*\.parquet")
# What other sources call a split: what it is called where that is not there.
_OTHER_NAMES = {"val": "validation", "validation": "val", "testA": "test"}
_COCO_FOLDER = "mscoco/images/train2014"
_REFERENCE = {
    "ref_id": Integral,
    "image_id": Integral,
    "sentences": list,
    "raw_anns": str,
    "raw_image_info": str,
    "image_path": str,
}
_SENTENCE = {"sent": str, "sent_id": Integral}
_OBJECT = {"image": dict, "answer": list, "bbox": list, "file_name": str}
_IMAGE = {"bytes": bytes | None}
_ROWS_AT_ONCE = 100
_SECONDS = 10  # that the Hub may take to say what files there are
# A polygon reaches to the sides of its object's box, which is rounded.
_MOST_PIXELS_OFF = 2.0


def is_hub_name(name: str) -> bool:
    """Whether a set's name is one of the Hub, `user/set`."""
    return HUB_NAME.fullmatch(name) is not None


def split_names(name: str, label_root: Any = None) -> list[str]:
    """The splits for which there are files; errors as in `open_split`."""
    return list(_files_of(name))


def held_out_images(name: str) -> set[int | None]:
    """COCO's numbers of the images in all splits but train, for the leak guard of plvl.data.mixtures."""
    files = [file for split, files in _files_of(name).items() if split != "train" for file in files]
    return {coco_number(image) for file in files for image, _ in _index_of(file).images}


def open_split(
    name: str,
    split: str,
    image_root: str | Path | None = None,
    label_root: Any = None,
    hold_back: frozenset[int] = frozenset(),
) -> RowSource:
    """One split as a `RowSource`.

    Args:
        name: `user/set`.
        split: its name there; "val" is also "validation", and "testA" is "test" where there is a testB.
        image_root: folder of the images, where they are not inside.
        label_root: not looked at.
        hold_back: numbers of COCO images whose rows are left out.

    Raises:
        FileNotFoundError: the Hub cannot be reached or has no such set; there is no folder of images.
        ValueError: an unknown split; files of neither form; two images of one name; no image_root where it is needed.
    """
    splits = _files_of(name)
    there = split_called(split, splits)
    check_split(there, splits, f"{name} on the Hub")
    files = [_index_of(url) for url in splits[there]]
    is_inside = files[0].form is _OBJECT
    image_folder = None if is_inside else _image_folder(name, image_root)
    images = [each for file in files for each in file.images]
    if not is_inside:
        _check_names([image for image, _ in images], f"{name} {there}")
    num_rows = sum(expressions for _, expressions in images)
    held_back = sum(expressions for image, expressions in images if coco_number(image) in hold_back)
    return RowSource(
        read_rows,
        _shards_of(files),
        {"name": name, "split": split, "image_folder": image_folder, "hold_back": hold_back},
        num_rows - held_back,
        held_back,
        label_files=tuple(splits[there]),
        has_images_inside=is_inside,
    )


def read_rows(
    shard: tuple[str, int, int, int], name: str, split: str, image_folder: str | None, hold_back: frozenset[int]
) -> Iterator[Row]:
    """Yield the rows of some row groups of a file, (URL, first group, last group + 1, number of its first row)."""
    url, first, last, number = shard
    with _opened(url) as file:
        rows_of = _rows_of_object if _form_of(file, url) is _OBJECT else _rows_of_reference
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, row_groups=range(first, last)):
            for entry in batch.to_pylist():
                where = f"{url}, row {number}"
                for row in rows_of(entry, number, name, split, where, image_folder):
                    if coco_number(row["file_name"]) not in hold_back:
                        yield row
                number += 1


def _files_of(name: str) -> dict[str, list[str]]:
    """{split: URLs of its files, in their order}, as the Hub says it now."""
    try:
        info = HfApi().dataset_info(name, timeout=_SECONDS)
    except (HTTPError, OfflineModeIsEnabled) as error:
        raise FileNotFoundError(
            f"{name}: the Hub does not give it ({str(error).splitlines()[0]}). Where it can be reached, "
            f"prepare_data.py {name} writes a folder that needs no network"
        ) from error
    splits = defaultdict(list)
    for path in sorted(file.rfilename for file in info.siblings or ()):
        if match := _SPLIT_FILE.fullmatch(path):
            splits[match[1]].append(f"hf://datasets/{name}@{info.sha}/{path}")
    if not splits:
        raise ValueError(f"{name} on the Hub has no files data/<split>-00000-of-00001.parquet")
    return dict(splits)


def split_called(split: str, splits: Collection[str]) -> str:
    """The one of `splits` that is meant, which may be called otherwise there; `split` where there is none."""
    other = _OTHER_NAMES.get(split, split)
    if split in splits or other not in splits or (split == "testA" and "testB" not in splits):
        return split
    return other


@contextmanager
def _opened(url, **how):
    """Errors of Arrow do not say which file they speak of. `how` goes to the `open` of the file system."""
    files, path = fsspec.core.url_to_fs(url)
    try:
        with files.open(path, "rb", **how) as file:
            yield parquet.ParquetFile(file)
    except pyarrow.ArrowException as error:
        raise ValueError(f"{url}: cut short or no Parquet ({error})") from error


def _form_of(file, url):
    columns = file.schema_arrow.names
    for form in (_REFERENCE, _OBJECT):
        if form.keys() <= set(columns):
            return form
    raise ValueError(
        f"{url}: columns {', '.join(_REFERENCE)} (as jxu124/refcoco) or {', '.join(_OBJECT)} (as lmms-lab/RefCOCO) "
        f"are expected, there are {', '.join(columns)}"
    )


@dataclass(frozen=True)
class _FileIndex:
    """What is known of a file before its rows are read.

    Attributes:
        form: _REFERENCE or _OBJECT.
        images: of each row the image's path or name, and the number of expressions.
        groups: of each row group the number of its rows.
    """

    url: str
    form: dict
    images: list[tuple[str, int]]
    groups: list[int]


@lru_cache(maxsize=64)  # a URL has the commit, at which a file stays what it is
def _index_of(url: str) -> _FileIndex:
    # Without reading ahead, which would bring the images that lie between the columns.
    with _opened(url, cache_type="none") as file:
        form = _form_of(file, url)
        texts, image = ("answer", "file_name") if form is _OBJECT else ("sentences", "image_path")
        # One leaf of the list says how long it is.
        leaves = [file.schema.column(place).path for place in range(len(file.schema.names))]
        leaf = min(
            (leaf for leaf in leaves if leaf.startswith(f"{texts}.")), key=lambda leaf: not leaf.endswith(".sent_id")
        )
        table = file.read(columns=[image, leaf])
        counts = compute.fill_null(compute.list_value_length(table[texts]), 0)
        images = list(zip(table[image].to_pylist(), counts.to_pylist(), strict=True))
        groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        return _FileIndex(url, form, images, groups)


def _image_folder(name, image_root):
    if image_root is None:
        raise ValueError(f"{name} needs image_root: its images are not inside")
    below = Path(image_root) / _COCO_FOLDER
    return str(below if below.is_dir() else existing_folder(image_root, name))


def _name_of(image_path):
    return PurePosixPath(image_path).name


def _check_names(images, where):
    paths: dict[str, str] = {}
    for image in filter(None, images):
        other = paths.setdefault(_name_of(image), image)
        if other != image:
            raise ValueError(f"{where}: two images are called {_name_of(image)}: {other} and {image}")


def _shards_of(files):
    """Stretches of row groups, about MAX_SHARDS at most: each is read by one process."""
    together = math.ceil(sum(len(file.groups) for file in files) / MAX_SHARDS)
    shards, number = [], 0
    for file in files:
        for first in range(0, len(file.groups), together):
            groups = file.groups[first : first + together]
            shards.append((file.url, first, first + len(groups), number))
            number += sum(groups)
    return shards


def _rows_of_reference(entry, number, name, split, where, image_folder):
    check_entry(entry, _REFERENCE, where)
    check_entries(entry["sentences"], _SENTENCE, f"{where}, sentences")
    annotation, image = (_object_in(entry[key], f"{where}, {key}") for key in ("raw_anns", "raw_image_info"))
    file_name = _name_of(entry["image_path"])
    for sentence in entry["sentences"]:
        yield labelled_row(
            where,
            path=str(Path(image_folder) / file_name) if file_name else None,
            text=sentence["sent"],
            boxes=[annotation.get("bbox")],
            segmentations=[annotation.get("segmentation")],
            height=image.get("height"),
            width=image.get("width"),
            image_id=entry["image_id"],
            ref_id=entry["ref_id"],
            sent_id=sentence["sent_id"],
            category=None,
            dataset=name,
            split=split,
            file_name=file_name or None,
        )


def _object_in(text, where):
    found = parse_json(text, where)
    if not isinstance(found, dict):
        raise ValueError(f"{where}: an object is expected, this is {type(found).__name__}")
    return found


def _rows_of_object(entry, number, name, split, where, _image_folder):
    check_entry(entry, _OBJECT, where)
    check_entry(entry["image"], _IMAGE, f"{where}, image")
    image = coco_number(entry["file_name"])
    for place, text in enumerate(entry["answer"]):
        row = labelled_row(
            where,
            path=entry["file_name"],
            text=text,
            boxes=[entry["bbox"]],
            segmentations=[_polygon_of(entry)],
            height=None,
            width=None,
            image_id=number if image is None else image,
            ref_id=number,
            sent_id=number * 100 + place,
            category=None,
            dataset=name,
            split=split,
            file_name=entry["file_name"],
        )
        yield row | {"image": {"path": entry["file_name"], "bytes": entry["image"]["bytes"]}}


def _polygon_of(entry):
    """There is room for one polygon: where it does not fill the box, the object has others and the mask is unknown."""
    given = entry.get("segmentation")
    corners = [as_number(side) for side in given] if isinstance(given, list) else []
    box = [as_number(side) for side in entry["bbox"]]
    if entry.get("iscrowd") or len(corners) < 6 or len(corners) % 2 or len(box) != 4 or None in corners + box:
        return None
    x, y, width, height = box
    sides = min(corners[::2]), min(corners[1::2]), max(corners[::2]), max(corners[1::2])
    off = [abs(a - b) for a, b in zip(sides, (x, y, x + width, y + height), strict=True)]
    return [corners] if max(off) <= _MOST_PIXELS_OFF else None
