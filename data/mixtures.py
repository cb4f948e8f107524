"""Several sets as one: which sets a mixture has, which images are kept from training, how rows mix."""

import logging
import math
from collections.abc import Sequence
from itertools import product
from numbers import Real
from pathlib import Path
from typing import Any

from datasets import concatenate_datasets, interleave_datasets

from plvl.data import authors_pth, hub_sets
from plvl.data.image_files import coco_number
from plvl.data.refer import read_references, references_files
from plvl.data.row_streams import RowSource
from plvl.data.source_files import check_split

logger = logging.getLogger(__name__)

# A set, several, or {set: its weight, or its options}.
Names = str | Sequence[str] | dict[str, Any]

REFCOCO_FAMILY = ("refcoco", "refcoco+", "refcocog")
GUARDED_SETS = (*REFCOCO_FAMILY, "grefcoco")
MIXTURES: dict[str, dict[str, tuple[str, ...]]] = {
    "mixed_coco": {"train": REFCOCO_FAMILY, "val": REFCOCO_FAMILY},
    "mixed_pretrain": {
        "train": (*REFCOCO_FAMILY, "flickr30k", "visual_genome"),
        "val": (*REFCOCO_FAMILY, "flickr30k"),
    },
}
# What a set of a mixture may have of its own.
SET_OPTIONS = ("weight", "image_root", "label_root", "split_by", "expressions")
OWN_DATA = {"jsonl", "parquet", "detection"}
_NO_BENCHMARK = {*OWN_DATA, "visual_genome"}
_REFCOCO_PTH_SETS = ("unc", "unc+", "gref", "gref_umd")


def members(name: str, split: str, label_root: str | Path) -> tuple[str, ...]:
    """The sets behind a mixture: the authors' .pth labels of the split where there is one, else the official."""
    if authors_pth.pth_file(name, split, label_root).is_file():
        return (name,)
    check_split(split, MIXTURES[name], f"{name} (whose sets can be evaluated one by one)")
    return MIXTURES[name][split]


def set_options(name: Names) -> dict[str, dict]:
    """What {name: weight or options} says of each set: {name: {option of SET_OPTIONS: value}}.

    Each as far as it is given; empty where sets have no options.

    Raises:
        ValueError: an option that there is not, a weight that is no number above 0, or weights for some sets alone.
    """
    if not isinstance(name, dict):
        return {}
    options = {one: said if isinstance(said, dict) else {"weight": said} for one, said in name.items()}
    for one, said in options.items():
        unknown = [option for option in said if option not in SET_OPTIONS]
        if unknown:
            raise ValueError(f"{one} has options {', '.join(SET_OPTIONS)}, not {', '.join(map(str, unknown))}")
        weight: Any = said.get("weight", 1)
        if isinstance(weight, bool) or not isinstance(weight, Real) or not 0 < float(weight) < math.inf:
            raise ValueError(f"the weight of {one} must be a number above 0, got {weight!r}")
    if 0 < len(_weighted(options)) < len(options):
        raise ValueError(f"{', '.join(_weighted(options))} has a weight, so give each of {', '.join(options)} one")
    return options


def weights(options: dict[str, dict]) -> list[float] | None:
    """How often each set is drawn from, of `set_options`; None where none says."""
    return [said["weight"] for said in options.values()] if _weighted(options) else None


def _weighted(options):
    return [one for one, said in options.items() if "weight" in said]


def is_benchmark(names: Sequence[str]) -> bool:
    """Whether they are one set with a protocol of its own: its training split is used as it is."""
    return len(names) == 1 and names[0] not in (*MIXTURES, *_NO_BENCHMARK)


def held_out_images(
    *label_roots: str | Path, from_hub: Sequence[str] = (), may_be_none: bool = False
) -> frozenset[int]:
    """Numbers of the COCO images in any validation or test split of RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO.

    Args:
        label_roots: folders whose REFER labels (every refs(*).p and grefs(*)) and .pth labels of these sets are looked
            at.
        from_hub: sets of the Hub, of which every split but train is held out, too.
        may_be_none: whether such labels need not be there, as for data of one's own; otherwise a warning says so.

    Returns:
        frozenset of COCO image numbers; empty when none of the labels are there.
    """
    images: set[int | None] = set()
    files: list[Path] = []
    for label_root, name in product(label_roots, GUARDED_SETS):
        for file in references_files(name, label_root):
            files.append(file)
            held_out = (reference for reference in read_references(file) if reference["split"] != "train")
            images.update(coco_number(reference["file_name"]) for reference in held_out)
    for label_root, name in product(label_roots, _REFCOCO_PTH_SETS):
        for split in authors_pth.split_names(name, label_root):
            if split != "train":
                files.append(authors_pth.pth_file(name, split, label_root))
                images.update(coco_number(entry[0]) for entry in authors_pth.read_pth(files[-1]))
    for name in from_hub:
        images.update(hub_sets.held_out_images(name))
    if not files and not from_hub and not may_be_none:
        logger.warning(
            "no labels of RefCOCO, RefCOCO+, RefCOCOg or gRefCOCO in %s: no image of their validation and test "
            "splits can be held back from training",
            ", ".join(map(str, label_roots)),
        )
    return frozenset(number for number in images if number is not None)


def report_held_back(sources: dict[str, RowSource]) -> None:
    """Say how many rows the guard left out; `sources` is {name: RowSource}."""
    total = sum(source.held_back for source in sources.values())
    if not total and set(sources) <= OWN_DATA:
        return
    parts = ", ".join(f"{name} {source.held_back}" for name, source in sources.items())
    logger.info(
        "held back %d rows whose images are in a validation or test split of the RefCOCO family (%s)",
        total,
        parts,
    )


def mix(parts: list, sizes: list[int], weights: list[float] | None, seed: int) -> Any:
    """Datasets (all streams or all cached) as one for training.

    Args:
        parts: the datasets.
        sizes: rows of each, about.
        weights: None: a pass has each row once, the sets spread evenly over it. Else how often each set is
            drawn from, relative to the others; a pass ends when each set has been seen whole, and those that
            end sooner begin again.
        seed: of the drawing.
    """
    if len(parts) == 1:
        return parts[0]
    shares = sizes if weights is None else weights
    strategy = "all_exhausted_without_replacement" if weights is None else "all_exhausted"
    return interleave_datasets(
        parts,
        probabilities=[share / sum(shares) for share in shares],
        seed=seed,
        stopping_strategy=strategy,
    )


def chain(parts: list) -> Any:
    """Datasets as one for evaluation, one after the other."""
    return parts[0] if len(parts) == 1 else concatenate_datasets(parts)
