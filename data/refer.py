"""RefCOCO, RefCOCO+, RefCOCOg, gRefCOCO, ReferIt and RefShapes: labels in the layout of the REFER tools.

<label_root>/<name>/refs(<split_by>).p   pickle: list of references with their sentences and split
                                         (grefcoco: grefs(<split_by>).json, or the same as a pickle, .p)
<label_root>/<name>/instances.json       COCO form: images, annotations (box and mask), categories
<image_root>/mscoco/images/train2014     images (refclef: <image_root>/referit/images)

A reference names the annotation of its object by `ann_id`, or those of several in a list; -1, alone or in a list, says
that nothing is meant, as does `no_target`.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from numbers import Integral
from pathlib import Path
from typing import Any

from plvl.data.image_files import coco_number
from plvl.data.masks import compact_polygons
from plvl.data.row_streams import MAX_SHARDS, RowSource
from plvl.data.safe_pickle import load_label_pickle
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

IMAGE_FOLDERS = {
    "refcoco": "mscoco/images/train2014",
    "refcoco+": "mscoco/images/train2014",
    "refcocog": "mscoco/images/train2014",
    "grefcoco": "mscoco/images/train2014",
    "refclef": "referit/images",
    "refshapes": "mscoco/images/train2014",
}
DEFAULT_SPLIT_BY = {
    "refcoco": "unc",
    "refcoco+": "unc",
    "refcocog": "umd",
    "grefcoco": "unc",
    "refclef": "unc",
    "refshapes": "unc",
}
NO_ANNOTATION = -1

logger = logging.getLogger(__name__)

_REFERENCES_FILES = {"grefcoco": ("grefs({}).json", "grefs({}).p")}  # the first that is there
_CROWDS_ARE_PASSED_OVER = ("grefcoco",)  # as its authors do
_WARNED_OF = 5
_contradictions = count()  # in this process
_REFERENCE = {
    "ref_id": Integral,
    "ann_id": Integral | str | list,
    "image_id": Integral,
    "category_id": Integral | list,
    "split": str,
    "file_name": str,
    "sentences": list,
}
_SENTENCE = {"sent_id": Integral, "sent": str}
_INSTANCES = {
    "images": {"id": Integral, "file_name": str, "height": Integral, "width": Integral},
    "categories": {"id": Integral, "name": str},
}


@dataclass(frozen=True)
class ReferIndex:
    """What the two label files of one REFER folder say.

    `references` holds, by split, one list of references for each image: {split: [[ref, ...], ...]}.
    """

    images: dict
    annotations: dict
    categories: dict
    references: dict


def label_files(name: str, label_root: str | Path, split_by: str | None) -> list[Path]:
    """The two label files of a set; FileNotFoundError says which is missing and what is expected."""
    folder = Path(label_root) / name
    names = [form.format(split_by) for form in _references_forms(name)]
    there = next((each for each in names if (folder / each).is_file()), names[0])
    return existing_files(folder, [there, "instances.json"], name)


def references_files(name: str, label_root: str | Path) -> list[Path]:
    """Every file of references that a set has, whoever split it; one in two forms is two files."""
    folder = Path(label_root) / name
    return sorted(file for form in _references_forms(name) for file in folder.glob(form.format("*")))


def _references_forms(name):
    return _REFERENCES_FILES.get(name, ("refs({}).p",))


def read_index(refs_file: str | Path, instances_file: str | Path) -> ReferIndex:
    """The `ReferIndex` of two label files, read once per process until one of them changes."""
    times = Path(refs_file).stat().st_mtime_ns, Path(instances_file).stat().st_mtime_ns
    return _read_index(str(refs_file), str(instances_file), times)


@lru_cache(maxsize=8)
def _read_index(refs_file, instances_file, _times):
    references = read_references(refs_file)
    wanted = {number for reference in references for number in annotation_ids(reference)}
    instances = read_json(instances_file, object_hook=lambda entry: _compact(entry, wanted))
    check_entry(instances, {"images": list, "annotations": list, "categories": list}, instances_file)
    for part, form in _INSTANCES.items():
        check_entries(instances[part], form, f"{instances_file}, {part}")
    categories = index_by_id(instances["categories"], f"{instances_file}, categories", "name")
    by_split_and_image = defaultdict(lambda: defaultdict(list))
    for reference in references:
        by_split_and_image[reference["split"]][reference["image_id"]].append(reference)
    return ReferIndex(
        images=index_by_id(instances["images"], f"{instances_file}, images", "file_name"),
        annotations=index_by_id(filter(None, instances["annotations"]), f"{instances_file}, annotations", "bbox"),
        categories={number: category["name"] for number, category in categories.items()},
        references={split: list(images.values()) for split, images in by_split_and_image.items()},
    )


def read_references(refs_file: str | Path) -> list[dict]:
    """The list of references in refs(*).p or grefs(*).json; ValueError names file and reference where one is of
    another form."""
    is_json = Path(refs_file).suffix == ".json"
    references = read_json(refs_file) if is_json else load_label_pickle(refs_file)
    check_entries(references, _REFERENCE, refs_file)
    for reference in references:
        where = f"{refs_file}, reference {reference['ref_id']}"
        for key, kind in (("ann_id", Integral | str), ("category_id", Integral)):
            for number in _in_list(reference[key]):
                if not isinstance(number, kind):
                    raise ValueError(f"{where}: {key!r} has {str(number)[:100]!a}, which is no number")
        check_entries(reference["sentences"], _SENTENCE, f"{where}, sentences")
    index_by_id(references, str(refs_file), "sentences", key="ref_id")
    sentences = (sentence for reference in references for sentence in reference["sentences"])
    index_by_id(sentences, f"{refs_file}, sentences", "sent", key="sent_id")
    return references


def annotation_ids(reference: dict) -> list:
    """The numbers of the annotations that a reference names; of one about nothing there are none."""
    numbers = _in_list(reference["ann_id"])
    return [] if numbers == [NO_ANNOTATION] else numbers


def _in_list(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def _compact(entry, wanted):
    """Called for each object of instances.json as it is read, so that most of the file is never held.

    COCO has four annotations for one that RefCOCO refers to, and a list of numbers is four times an array.
    """
    if "image_id" not in entry:
        return entry
    if entry.get("id") not in wanted:
        return None
    if not isinstance(entry.get("bbox"), list):
        raise ValueError(f"annotation {entry['id']}: 'bbox' is {entry.get('bbox')!r}")
    segmentation = compact_polygons(entry.get("segmentation"))
    return {"id": entry["id"], "bbox": entry["bbox"], "segmentation": segmentation, "iscrowd": entry.get("iscrowd")}


def read_set(name: str, label_root: str | Path, split_by: str | None = None) -> ReferIndex:
    """The `ReferIndex` of a set below `label_root`; arguments and errors as in `open_split`."""
    return read_index(*label_files(name, label_root, split_by or DEFAULT_SPLIT_BY[name]))


def split_names(name: str, label_root: str | Path, split_by: str | None = None) -> list[str]:
    """The splits that the references of a set speak of; arguments and errors as in `open_split`."""
    return list(read_set(name, label_root, split_by).references)


def open_split(
    name: str,
    split: str,
    image_root: str | Path,
    label_root: str | Path,
    split_by: str | None = None,
    hold_back: frozenset[int] = frozenset(),
) -> RowSource:
    """One split of a REFER set as a `RowSource`.

    Args:
        name, split, image_root, label_root: see `load_grounding_dataset`.
        split_by: who split the set; by default the one in DEFAULT_SPLIT_BY.
        hold_back: numbers of COCO images whose rows are left out.

    Raises:
        FileNotFoundError: a label file or the folder of images is missing.
        ValueError: an unknown split, or a label file that cannot be read.
    """
    split_by = split_by or DEFAULT_SPLIT_BY[name]
    refs_file, instances_file = label_files(name, label_root, split_by)
    image_folder = existing_folder(Path(image_root) / IMAGE_FOLDERS[name], name)
    index = read_index(refs_file, instances_file)
    check_split(split, index.references, f"{name} split by {split_by}")
    images = index.references[split]
    rows = held_back = 0
    for references in images:
        sentences = sum(len(reference["sentences"]) for reference in references)
        if _is_held_back(references, index, hold_back):
            held_back += sentences
        else:
            rows += sentences
    num_shards = min(MAX_SHARDS, len(images))
    where = {
        "num_shards": num_shards,
        "name": name,
        "split": split,
        "refs_file": str(refs_file),
        "instances_file": str(instances_file),
        "image_folder": str(image_folder),
        "hold_back": hold_back,
    }
    return RowSource(read_rows, list(range(num_shards)), where, rows, held_back, (refs_file, instances_file))


def read_rows(
    shard: int,
    num_shards: int,
    name: str,
    split: str,
    refs_file: str | Path,
    instances_file: str | Path,
    image_folder: str | Path,
    hold_back: frozenset[int],
) -> Iterator[Row]:
    """Yield the rows of every `num_shards`-th image of a split, starting with number `shard`."""
    index = read_index(refs_file, instances_file)
    for references in index.references[split][shard::num_shards]:
        if not _is_held_back(references, index, hold_back):
            for reference in references:
                yield from _rows_of(reference, index, name, split, image_folder, refs_file)


def _is_held_back(references, index, hold_back):
    image = index.images.get(references[0]["image_id"])
    return image is not None and coco_number(image["file_name"]) in hold_back


def _rows_of(reference, index, name, split, image_folder, refs_file):
    where = f"{refs_file}, reference {reference['ref_id']}, annotation {reference['ann_id']}"
    annotations = _annotations_of(reference, index, name, where)
    # A reference's file_name ends with the annotation's number: the image's own is in instances.json.
    image = index.images.get(reference["image_id"])
    file_name, height, width = (image[key] if image else None for key in ("file_name", "height", "width"))
    row = None
    for sentence in reference["sentences"]:
        # What is the object's is looked at once.
        row = row or labelled_row(
            where,
            path=str(Path(image_folder) / file_name) if image else None,
            text=sentence["sent"],
            boxes=None if annotations is None else [annotation["bbox"] for annotation in annotations],
            segmentations=[annotation.get("segmentation") for annotation in annotations or ()],
            height=height,
            width=width,
            image_id=reference["image_id"],
            ref_id=reference["ref_id"],
            sent_id=sentence["sent_id"],
            category=_category_of(reference, index),
            dataset=name,
            split=split,
            file_name=file_name,
        )
        yield row | {"text": sentence["sent"], "sent_id": sentence["sent_id"]}


def _annotations_of(reference, index, name, where):
    """Those of the objects that are meant, none where nothing is; or None where the labels do not say which."""
    numbers = annotation_ids(reference)
    if reference.get("no_target") or reference["ann_id"] in (NO_ANNOTATION, [NO_ANNOTATION]):
        if numbers and next(_contradictions) < _WARNED_OF:
            logger.warning("%s: no_target says that nothing is meant, and there are annotations", where)
        return None if numbers else []
    annotations = [index.annotations.get(number) for number in numbers]
    if None in annotations:
        return None
    if name in _CROWDS_ARE_PASSED_OVER:
        annotations = [annotation for annotation in annotations if not annotation.get("iscrowd")]
    return annotations or None


def _category_of(reference, index):
    """The name that all objects have in common."""
    names = {index.categories.get(number) for number in _in_list(reference["category_id"])}
    return names.pop() if len(names) == 1 else None
