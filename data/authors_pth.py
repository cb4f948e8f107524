"""The authors' `.pth` labels: one torch-saved list of tuples for each split.

    <label_root>/<name>/<name>_<split>.pth

    flickr              (file, [x1, y1, x2, y2], phrase)
    referit             (file, source, [x1, y1, x2, y2], phrase, attributes)
    all others          (file, source, [x, y, w, h], phrase, attributes)

A source is coco, flickr or vg, the folder of the image. Files as they are in the field have the name of a mask's
file there ("225429.pth"): with that, as with anything else, the image lies in the set's own folder.

In the RefCOCO family the box's four numbers are followed by the polygons, in the same list or as the next
member of the tuple. The images' sizes are not told; they come from the images.
"""

import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from numbers import Real
from pathlib import Path

import torch

from plvl.data.image_files import coco_number
from plvl.data.row_streams import MAX_SHARDS, RowSource
from plvl.data.safe_pickle import UnsafePickleError, read_label_pickle
from plvl.data.schema import Row, labelled_row
from plvl.data.source_files import check_split, existing_folder
from plvl.data.visual_genome import held_images, image_name

PTH_SETS = ("unc", "unc+", "gref", "gref_umd", "referit", "flickr", "mixed_pretrain", "mixed_coco")
IMAGE_FOLDERS = {
    "coco": "mscoco/images/train2014",
    "flickr": "flickr30k",
    "vg": "visual-genome",
    "referit": "referit/images",
}
_SOURCES = ("coco", "flickr", "vg")
_OWN_FOLDERS = {"referit": "referit", "flickr": "flickr"}  # all others are about COCO's images
_CORNER_BOXES = ("referit", "flickr")


def pth_file(name: str, split: str, label_root: str | Path) -> Path:
    """Where the file of a split lies."""
    return Path(label_root) / name / f"{name}_{split}.pth"


def split_names(name: str, label_root: str | Path) -> list[str]:
    """The splits for which there is a file."""
    return [file.stem.removeprefix(f"{name}_") for file in (Path(label_root) / name).glob(f"{name}_*.pth")]


def open_split(
    name: str, split: str, image_root: str | Path, label_root: str | Path, hold_back: frozenset[int] = frozenset()
) -> RowSource:
    """One split as a `RowSource`; arguments and errors as in `plvl.data.refer.open_split`."""
    existing_folder(Path(label_root) / name, name)
    check_split(split, split_names(name, label_root), f"the .pth labels {name}")
    file = pth_file(name, split, label_root)
    entries, image_starts = _entries_and_image_starts(file)
    held_genome: frozenset[int] = frozenset()
    if any(_is_genome(entry) for entry in entries):
        held_genome = held_images(label_root, hold_back)
    held_back = sum(_is_held_back(entry, hold_back, held_genome) for entry in entries)
    num_shards = min(MAX_SHARDS, len(image_starts))
    where = {
        "num_shards": num_shards,
        "name": name,
        "split": split,
        "file": str(file),
        "image_root": str(existing_folder(image_root, name)),
        "hold_back": hold_back,
        "held_genome": held_genome,
    }
    return RowSource(read_rows, list(range(num_shards)), where, len(entries) - held_back, held_back, (file,))


def read_rows(
    shard: int,
    num_shards: int,
    name: str,
    split: str,
    file: str | Path,
    image_root: str | Path,
    hold_back: frozenset[int],
    held_genome: frozenset[int],
) -> Iterator[Row]:
    """Yield the rows of the `shard`-th of `num_shards` stretches of a file."""
    entries, starts = _entries_and_image_starts(file)
    first, last = (len(starts) * number // num_shards for number in (shard, shard + 1))
    for number in range(starts[first], starts[last] if last < len(starts) else len(entries)):
        if not _is_held_back(entries[number], hold_back, held_genome):
            yield _row_of(entries[number], number, name, split, file, image_root)


def _is_genome(entry):
    return isinstance(entry[1], str) and entry[1] == "vg"


def _is_held_back(entry, hold_back, held_genome):
    if _is_genome(entry):
        return _last_number(entry[0]) in held_genome
    return coco_number(entry[0]) in hold_back


def _last_number(file_name):
    """The last number in an image's name, which COCO, Flickr, ReferIt and Visual Genome know it by, or None."""
    numbers = re.findall(r"\d+", Path(file_name).stem)
    return int(numbers[-1]) if numbers else None


def read_pth(file: str | Path) -> list:
    """The list of tuples in a file, read once per process until the file changes.

    Raises:
        UnsafePickleError: the file names a class or function that labels do not need; nothing has been run.
        ValueError: the file is cut short, or holds something else than a list of tuples.
    """
    return _entries_and_image_starts(file)[0]


def _entries_and_image_starts(file):
    """With the list the numbers of its entries with which those about another image begin."""
    return _read_once(str(file), os.stat(file).st_mtime_ns)


@lru_cache(maxsize=2)
def _read_once(file, _time):
    entries = _read_list(file)
    names = [entry[0] for entry in entries]
    return entries, [number for number, name in enumerate(names) if not number or name != names[number - 1]]


def _read_list(file):
    try:
        # Plain values only; 4 times as fast as torch's own careful unpickler, which is written in Python.
        entries = _read_plain(file)
    except UnsafePickleError as refusal:
        try:
            entries = torch.load(file, weights_only=True)  # builds tensors too
        # What makes tensors of a damaged file has an exception of its own for each way to fail.
        except Exception:
            raise refusal from None
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, RuntimeError, zlib.error) as error:
        raise ValueError(f"{file}: cut short or damaged ({type(error).__name__}: {error})") from error
    if not isinstance(entries, list):
        raise ValueError(f"{file}: .pth labels must be a list of tuples, this is {type(entries).__name__}")
    for number, entry in enumerate(entries):
        if not isinstance(entry, tuple | list) or len(entry) < 3 or not isinstance(entry[0], str):
            raise ValueError(f"{file}, entry {number}: a tuple of file, box and phrase is expected, got {entry}")
    return entries


def _read_plain(file):
    """torch saves a zip with the pickle in it; before version 1.6 three short pickles and then the pickle."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            names = [name for name in archive.namelist() if name.endswith("data.pkl")]
            if not names:
                raise ValueError(f"{file}: a zip without data.pkl, so torch did not save it")
            with archive.open(names[0]) as pickled:
                return read_label_pickle(pickled, file)
    with open(file, "rb") as opened:
        first = read_label_pickle(opened, file)
        if isinstance(first, list):
            return first
        for _ in ("protocol", "system"):
            read_label_pickle(opened, file)
        return read_label_pickle(opened, file)


def _row_of(entry, number, name, split, file, image_root):
    where = f"{file}, entry {number}"
    try:
        file_name, source, box, phrase, polygons = _fields(entry, name)
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise ValueError(f"{where}: {error}") from error
    if name in _CORNER_BOXES:
        box = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
    image_id = _last_number(file_name)
    file_name = _below_image_root(image_root, source, file_name)
    return labelled_row(
        where,
        path=os.path.join(image_root, file_name),
        text=phrase,
        boxes=[box],
        segmentations=[polygons],
        height=None,
        width=None,
        image_id=number if image_id is None else image_id,
        ref_id=number,
        sent_id=number,
        category=None,
        dataset=name,
        split=split,
        file_name=file_name,
    )


def _fields(entry, name):
    if name == "flickr":
        file_name, box, phrase = entry
        source = "flickr"
    else:
        file_name, source, box, *rest = entry
        if name == "referit" or source not in _SOURCES:
            source = _OWN_FOLDERS.get(name, "coco")
        phrase = next((member for member in rest if isinstance(member, str)), None)
    box = list(box)
    if phrase is None:
        raise ValueError(f"no phrase in {entry}")
    if len(box) < 4:
        raise ValueError(f"a box must have four numbers, got {box}")
    polygons = box[4:] if name == "flickr" or isinstance(rest[0], str) else rest[0]
    return file_name, source, [float(side) for side in box[:4]], phrase, _list_of_polygons(polygons)


def _list_of_polygons(polygons):
    """One polygon may stand there as plain numbers, several as one list of lists; an RLE stays as it is."""
    if isinstance(polygons, dict):
        return polygons
    if len(polygons) and isinstance(polygons[0], Real):
        return [list(polygons)]
    if len(polygons) == 1 and isinstance(polygons[0], list) and polygons[0] and isinstance(polygons[0][0], list):
        return polygons[0]
    return list(polygons)


def _below_image_root(image_root, source, file_name):
    folder = IMAGE_FOLDERS[source]
    if source == "vg":
        file_name = image_name(os.path.join(image_root, folder), file_name)
    return f"{folder}/{file_name}"
