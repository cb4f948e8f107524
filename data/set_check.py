"""What of a set is there, and whether it is whole: rows and images of each split, against what is known, and leaks.

Images are looked for and not opened; rows with other defects are counted when they are read
(plvl.data.sample_validation).
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from plvl.data import hub_sets, refer, visual_genome
from plvl.data.image_files import coco_number
from plvl.data.loading import reader_of, require_roots
from plvl.data.mixtures import held_out_images
from plvl.data.row_streams import RowSource
from plvl.data.schema import row_name

# Expressions of each split, as the sets' authors and the papers that use them count them.
_REFCOCO = {"train": 120_624, "val": 10_834, "testA": 5_657, "testB": 5_095}
_REFCOCO_PLUS = {"train": 120_191, "val": 10_758, "testA": 5_726, "testB": 4_889}
_REFCOCOG = {"train": 80_512, "val": 4_896, "test": 9_602}
_FLICKR = {"val": 14_433, "test": 14_481}
KNOWN_EXPRESSIONS: dict[tuple[str, str | None], dict[str, int]] = {
    ("refcoco", "unc"): _REFCOCO,
    ("refcoco+", "unc"): _REFCOCO_PLUS,
    ("refcocog", "umd"): _REFCOCOG,
    ("flickr30k", None): _FLICKR,
    ("unc", None): _REFCOCO,
    ("unc+", None): _REFCOCO_PLUS,
    ("gref_umd", None): _REFCOCOG,
    ("flickr", None): _FLICKR,
    ("referit", None): {"val": 5_842},
    # With the names that splits have there; the sisters are not known to have the same ones.
    ("jxu124/refcoco", None): {
        {"val": "validation", "testA": "test"}.get(split, split): number for split, number in _REFCOCO.items()
    },
}
_NAMED = 3


@dataclass
class SplitCheck:
    """What was found of one split.

    Attributes:
        name, split: of which set.
        expressions: how many rows there are.
        images: {image, COCO's number or else its path: how many rows are about it}.
        held_back: rows that a mixture leaves out, because their image is held out of the RefCOCO family.
        problems: what keeps rows from being used, in words.
        warnings: what is not as it is known to be.
    """

    name: str
    split: str
    expressions: int = 0
    images: Counter[Any] = field(default_factory=Counter)
    held_back: int = 0
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check_set(
    name: str,
    image_root: str | Path | None,
    label_root: str | Path | None,
    splits: Sequence[str] = (),
    split_by: str | None = None,
) -> list[SplitCheck]:
    """Look through the splits of a set, all by default. Arguments and errors as in `load_grounding_dataset`."""
    reader = reader_of(name)
    require_roots(name, image_root, label_root)
    if split_by and reader is not refer:
        raise ValueError(f"split_by={split_by!r} is for REFER sets, {name!r} is none")
    by: dict[str, Any] = {"split_by": split_by} if split_by else {}
    held_out: frozenset[int] = frozenset()
    if label_root is not None:
        held_out = held_out_images(label_root, may_be_none=True)
    checks = []
    for split in splits or reader.split_names(name, label_root, **by):
        source = reader.open_split(name, split, image_root, label_root, **by)
        check = _check_split(name, split, source, label_root)
        if split == "train" and held_out:
            check.held_back = reader.open_split(
                name, split, image_root, label_root, hold_back=held_out, **by
            ).held_back
        checks.append(check)
    known = KNOWN_EXPRESSIONS.get((name, split_by or refer.DEFAULT_SPLIT_BY.get(name)), {})
    _compare(checks, known, may_lack=bool(splits))
    return checks


def _check_split(name: str, split: str, source: RowSource, label_root: str | Path | None) -> SplitCheck:
    check = SplitCheck(name, split)
    sizes: dict[str, int | None] = {}
    absent: dict[str, list] = {"missing": [], "empty": []}
    without: list = []
    numbers: dict[str, int] = {}
    same_name: list[str] = []
    genome = _coco_ids(label_root) if name == "visual_genome" and label_root else {}
    rows = (row for shard in source.shards for row in source.read_rows(shard, **source.where))
    for row in tqdm(rows, total=source.num_rows, unit="row", desc=f"{name} {split}", leave=False):
        check.expressions += 1
        if row["image"] is None:
            without.append(row)
            continue
        path = row["image"]["path"]
        key = coco_number(row["file_name"]) or genome.get(row["image_id"]) or path
        check.images[key] += 1
        if row["image"]["bytes"] is not None:
            continue
        if path not in sizes:
            sizes[path] = os.stat(path).st_size if os.path.isfile(path) else None
        if not sizes[path]:
            absent["missing" if sizes[path] is None else "empty"].append(row)
        if reader_of(name) in (refer, hub_sets) and numbers.setdefault(path, row["image_id"]) != row["image_id"]:
            same_name.append(f"images {numbers[path]} and {row['image_id']} are both called {row['file_name']}")
    for what, rows_without in absent.items():
        if rows_without:
            images = {row["image"]["path"] for row in rows_without}
            check.problems.append(
                f"{len(images)} of {len(sizes)} images are {what}, of which {len(rows_without)} expressions speak: "
                f"{_such_as(rows_without)}"
            )
    if without:
        check.problems.append(f"{len(without)} expressions are about no image of the labels: {_such_as(without)}")
    for one in dict.fromkeys(same_name):
        check.problems.append(f"two images of one name: {one}")
    return check


def _coco_ids(label_root):
    images = visual_genome.read_images(Path(label_root) / "visual-genome/image_data.json")
    return {number: coco_id for number, (_, _, coco_id) in images.items()}


def _such_as(rows):
    """The first row about each image that is named."""
    first: dict[Any, str] = {}
    for row in rows:
        first.setdefault(row["file_name"] or row["image_id"], row_name(row))
    names = list(first.values())
    return "; ".join(names[:_NAMED]) + (f"; and {len(names) - _NAMED} more images" if len(names) > _NAMED else "")


def _compare(checks: list[SplitCheck], known: dict[str, int], may_lack: bool) -> None:
    there = {hub_sets.split_called(check.split, known) for check in checks}
    for check in checks:
        expected = known.get(hub_sets.split_called(check.split, known))
        if expected in (None, check.expressions):
            continue
        like = [split for split, number in known.items() if number == check.expressions]
        also = f": as many as {like[0]} has. Is it the file of another split?" if like else ""
        check.warnings.append(f"{check.expressions} expressions, and {expected} are known{also}")
    lacking = [split for split in known if split not in there]
    if checks and lacking and not may_lack:
        checks[-1].warnings.append(f"there is no split {', '.join(lacking)} of {checks[-1].name}")


def leaks(checks: Sequence[SplitCheck]) -> list[str]:
    """Of each training split and each other split: how many images they share, and how many rows that is, in words."""
    found = []
    for train in checks:
        for other in checks:
            shared = train.images.keys() & other.images.keys() if train.split == "train" != other.split else ()
            if shared:
                found.append(
                    f"{len(shared)} images of {train.name} train ({sum(train.images[each] for each in shared)} "
                    f"expressions) are in {other.name} {other.split}, too "
                    f"({sum(other.images[each] for each in shared)} expressions)"
                )
    return found
