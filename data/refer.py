"""RefCOCO, RefCOCO+, RefCOCOg, ReferIt and RefShapes: labels in the layout of the REFER tools.

<label_root>/<name>/refs(<split_by>).p   pickle: list of references with their sentences and split
<label_root>/<name>/instances.json       COCO form: images, annotations (box and mask), categories
<image_root>/mscoco/images/train2014     pictures (refclef: <image_root>/referit/images)
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from plvl.data.masks import encode_segmentation
from plvl.data.safe_pickle import load_label_pickle

IMAGE_FOLDERS = {
    "refcoco": "mscoco/images/train2014",
    "refcoco+": "mscoco/images/train2014",
    "refcocog": "mscoco/images/train2014",
    "refclef": "referit/images",
    "refshapes": "mscoco/images/train2014",
}
DEFAULT_SPLIT_BY = {
    "refcoco": "unc",
    "refcoco+": "unc",
    "refcocog": "umd",
    "refclef": "unc",
    "refshapes": "unc",
}


@dataclass(frozen=True)
class ReferIndex:
    """What the two label files of one REFER folder say.

    `references` holds, by split, one list of references for each picture: {split: [[ref, ...], ...]}.
    """

    images: dict
    annotations: dict
    categories: dict
    references: dict


def label_files(name, label_root, split_by):
    """The two label files of a set; FileNotFoundError says which is missing and what is expected."""
    folder = Path(label_root) / name
    files = [folder / f"refs({split_by}).p", folder / "instances.json"]
    for file in files:
        if not file.is_file():
            there = sorted(path.name for path in folder.glob("*")) if folder.is_dir() else "no such folder"
            raise FileNotFoundError(
                f"{file} is missing: {name} needs 'refs({split_by}).p' and 'instances.json' in {folder} "
                f"(there: {there})"
            )
    return files


def read_index(refs_file, instances_file):
    """The `ReferIndex` of two label files, read once per process until one of them changes."""
    times = Path(refs_file).stat().st_mtime_ns, Path(instances_file).stat().st_mtime_ns
    return _read_index(str(refs_file), str(instances_file), times)


@lru_cache(maxsize=8)
def _read_index(refs_file, instances_file, _times):
    references = load_label_pickle(refs_file)
    wanted = {reference["ann_id"] for reference in references}
    instances = _read_json(instances_file)
    by_split_and_picture = defaultdict(lambda: defaultdict(list))
    for reference in references:
        by_split_and_picture[reference["split"]][reference["image_id"]].append(reference)
    return ReferIndex(
        images={image["id"]: image for image in instances["images"]},
        annotations={ann["id"]: ann for ann in instances["annotations"] if ann["id"] in wanted},
        categories={category["id"]: category["name"] for category in instances["categories"]},
        references={split: list(pictures.values()) for split, pictures in by_split_and_picture.items()},
    )


def _read_json(path):
    with open(path, encoding="utf-8") as file:
        try:
            return json.load(file)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}: cut short or no JSON ({error})") from error


def read_rows(shard, num_shards, name, split, refs_file, instances_file, image_folder):
    """Yield the rows of every `num_shards`-th picture of a split, starting with number `shard`."""
    index = read_index(refs_file, instances_file)
    for picture in index.references[split][shard::num_shards]:
        for reference in picture:
            yield from _rows_of(reference, index, name, split, image_folder, refs_file)


def _rows_of(reference, index, name, split, image_folder, refs_file):
    where = f"{refs_file}, reference {reference['ref_id']}"
    annotation = _named(index.annotations, reference["ann_id"], "annotation", where)
    # A reference's file_name ends with the annotation's number: the picture's own is in instances.json.
    image = _named(index.images, reference["image_id"], "image", where)
    height, width = image["height"], image["width"]
    try:
        segmentation = encode_segmentation(annotation.get("segmentation"), height, width)
    except ValueError as error:
        raise ValueError(f"{where}, annotation {annotation['id']}: {error}") from error
    for sentence in reference["sentences"]:
        yield {
            "image": {"path": str(Path(image_folder) / image["file_name"]), "bytes": None},
            "text": sentence["sent"],
            "bbox": [float(number) for number in annotation["bbox"]],
            "segmentation": segmentation,
            "height": height,
            "width": width,
            "image_id": image["id"],
            "ref_id": reference["ref_id"],
            "sent_id": sentence["sent_id"],
            "category": index.categories.get(reference["category_id"]),
            "dataset": name,
            "split": split,
            "file_name": image["file_name"],
        }


def _named(table, number, what, where):
    if number not in table:
        raise ValueError(f"{where} names {what} {number}, which instances.json does not have")
    return table[number]
