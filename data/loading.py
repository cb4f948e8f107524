"""One call for every source: names, a split and two folders give a dataset of grounding rows."""

from pathlib import Path
from typing import Any

from datasets import Dataset, IterableDataset

from plvl.data import authors_pth, detection, flickr30k, hub_sets, own_data, parquet, refer, visual_genome
from plvl.data.mixtures import (
    MIXTURES,
    OWN_DATA,
    Names,
    chain,
    held_out_images,
    is_benchmark,
    members,
    mix,
    report_held_back,
    set_options,
    weights,
)
from plvl.data.row_streams import RowSource, cached_rows, checked_stream, unopened_stream
from plvl.data.sample_validation import MAX_SKIPPED, SampleValidator

# name of a set: the module with its `open_split` and `split_names`.
READERS: dict[str, Any] = {
    **dict.fromkeys(refer.IMAGE_FOLDERS, refer),
    "flickr30k": flickr30k,
    "visual_genome": visual_genome,
    "jsonl": own_data,
    "detection": detection,
    "parquet": parquet,
    **dict.fromkeys(authors_pth.PTH_SETS, authors_pth),
}


def load_grounding_dataset(
    name: Names,
    split: str,
    image_root: str | Path | None = None,
    label_root: str | Path | None = None,
    streaming: bool = True,
    split_by: str | None = None,
    shuffle_buffer: int = 0,
    seed: int = 0,
    max_skipped: float = MAX_SKIPPED,
) -> IterableDataset | Dataset:
    """Load one split of a grounding dataset or of several at once. docs/data.md has the layout of each.

    In training, unless a benchmark is trained on alone, images of any RefCOCO, RefCOCO+, RefCOCOg or gRefCOCO
    validation or test split under `label_root` are held back, and a log line says how many rows that left out.

    Args:
        name: refcoco, refcoco+, refcocog, grefcoco, refclef, refshapes, flickr30k, visual_genome, jsonl (one's
            own data), detection (boxes and classes, of which expressions are made), parquet (written by
            prepare_data.py), the authors' .pth labels (unc, unc+, gref, gref_umd,
            referit, flickr), a set of the Hub in the form of jxu124/refcoco or lmms-lab/RefCOCO (`user/set`), a
            mixture (mixed_coco, mixed_pretrain), a list of names, or {name: weight} to draw from each set as often
            as it says. In place of a weight may stand {"weight": ...,
            "image_root": ..., "label_root": ..., "split_by": ...}, each as far as it is another for this set; for
            detection "expressions", too (`plvl.data.detection.DetectionExpressions`).
        split: the split's name in the labels, such as train, val, testA, testB or test.
        image_root: folder of the images; parquet has them inside and needs none, as do some sets of the Hub.
        label_root: folder of the labels; for parquet its folder, a URL or a Hub repository `user/set`. Sets of the Hub
            need none.
        streaming: True reads rows as they are asked for; False checks them all and writes them to the Arrow
            cache first.
        split_by: who split a REFER set: unc by default, umd for refcocog (which also has google).
        shuffle_buffer: rows of a stream to draw from at random, 0 for the order of the labels. Shuffled here,
            the buffer holds rows whose images are not opened yet. `set_epoch` gives another order.
        seed: of shuffling and mixing.
        max_skipped: share of the rows of each set that may be skipped for their defects before the run stops.

    Returns:
        `datasets.IterableDataset` or `datasets.Dataset` with `plvl.data.schema.ROW_FEATURES`.

    Raises:
        ValueError: an unknown name or split; the message lists those there are. Or a shuffle_buffer without
            a stream, or a weight that is none.
        FileNotFoundError: a label file or the folder of images is missing; the message names it.
    """
    if shuffle_buffer and not streaming:
        raise ValueError(f"shuffle_buffer={shuffle_buffer} is for streams; with streaming=False use .shuffle(seed)")
    if streaming:
        stream, sources = unopened_rows(name, split, image_root, label_root, split_by, seed)
        if shuffle_buffer:
            stream = stream.shuffle(seed=seed, buffer_size=shuffle_buffer)
        return checked_stream(stream, SampleValidator(set_sizes(sources), max_skipped))
    sources = open_sources(name, split, image_root, label_root, split_by)
    parts = [cached_rows(one, source, split, max_skipped) for one, source in sources.items()]
    return joined(parts, list(set_sizes(sources).values()), name, split, seed)


def reader_of(name: str) -> Any:
    """The module that reads a set, with its `open_split` and `split_names`.

    Raises:
        ValueError: there is no such set; the message lists those there are.
    """
    if hub_sets.is_hub_name(name):
        return hub_sets
    if name not in READERS:
        known = ", ".join(sorted({*READERS, *MIXTURES}))
        raise ValueError(f"unknown dataset {name!r}; known are {known}, and user/set of the Hub")
    return READERS[name]


def require_roots(name: str, image_root: Any, label_root: Any) -> None:
    """Raise ValueError where a set needs a folder that is not given; sets of the Hub look for themselves."""
    needs_roots = reader_of(name) is not hub_sets
    if needs_roots and (label_root is None or (image_root is None and name != "parquet")):
        raise ValueError(f"{name!r} needs image_root and label_root, got {image_root!r} and {label_root!r}")


def set_sizes(sources: dict[str, RowSource]) -> dict[str, int]:
    """{set: its number of rows, about} of {set: RowSource}."""
    return {name: source.num_rows for name, source in sources.items()}


def unopened_rows(
    name: Names,
    split: str,
    image_root: str | Path | None = None,
    label_root: str | Path | None = None,
    split_by: str | None = None,
    seed: int = 0,
) -> tuple[IterableDataset, dict[str, RowSource]]:
    """The rows as the labels have them: no rule applied, images as {"path", "bytes"}.

    Args, errors: as in `load_grounding_dataset`.

    Returns:
        (IterableDataset, {set: its `plvl.data.row_streams.RowSource`}).
    """
    sources = open_sources(name, split, image_root, label_root, split_by)
    parts = [unopened_stream(source, split) for source in sources.values()]
    return joined(parts, list(set_sizes(sources).values()), name, split, seed), sources


def joined(parts: list, sizes: list[int], name: Names, split: str, seed: int) -> IterableDataset | Dataset:
    """The datasets that `name` stands for, of `sizes`, as one: mixed for training, else one after the other."""
    if split != "train":
        return chain(parts)
    return mix(parts, sizes, weights(set_options(name)), seed)


def open_sources(
    name: Names, split: str, image_root: str | Path | None, label_root: str | Path | None, split_by: str | None
) -> dict[str, RowSource]:
    """{set: its `plvl.data.row_streams.RowSource`} of every set that `name` stands for.

    Args, errors: as in `load_grounding_dataset`.
    """
    options = set_options(name)
    names = _set_names(name, split, label_root, options)
    if split_by is not None and not set(names) & set(refer.IMAGE_FOLDERS):
        raise ValueError(f"split_by={split_by!r} is for REFER sets, {name!r} is none")
    images: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    choices: dict[str, dict] = {}
    for one in names:
        own = options.get(one, {})
        images[one], labels[one] = own.get("image_root", image_root), own.get("label_root", label_root)
        require_roots(one, images[one], labels[one])
        if "split_by" in own and one not in refer.IMAGE_FOLDERS:
            raise ValueError(f"split_by={own['split_by']!r} is for REFER sets, {one!r} is none")
        if "expressions" in own and one != "detection":
            raise ValueError(f"expressions are made for detection, and {one!r} has its own")
        split_one_by = own.get("split_by", split_by)
        choices[one] = {"split_by": split_one_by} if split_one_by and one in refer.IMAGE_FOLDERS else {}
        if "expressions" in own:
            choices[one] = {"expressions": own["expressions"]}
    guarded = split == "train" and not is_benchmark(names)
    hold_back: frozenset[int] = frozenset()
    if guarded:
        roots = [root for root in dict.fromkeys(labels.values()) if root is not None]
        from_hub = [one for one in names if hub_sets.is_hub_name(one)]
        hold_back = held_out_images(*roots, from_hub=from_hub, may_be_none=set(names) <= OWN_DATA)
    sources = {}
    for one in names:
        open_split = reader_of(one).open_split
        sources[one] = open_split(one, split, images[one], labels[one], hold_back=hold_back, **choices[one])
        source = sources[one]
        if not source.num_rows and source.held_back:
            remedy = f"Train on {one} alone, or leave it out" if is_benchmark([one]) else "Leave it out"
            raise ValueError(
                f"{one} {split} has no rows left: the images of all {source.held_back} are in a validation or test "
                f"split of the RefCOCO family. {remedy}"
            )
        if not source.shards:
            raise ValueError(f"{one} {split} has no rows")
    if guarded:
        report_held_back(sources)
    return sources


def _set_names(name, split, label_root, options):
    """The names of single sets that a name, a list of names or {name: weight} stands for."""
    given = [name] if isinstance(name, str) else list(name)
    names = []
    for one in given:
        own_label_root = options.get(one, {}).get("label_root", label_root)
        names += members(one, split, own_label_root) if one in MIXTURES else [one]
    if isinstance(name, dict) and len(names) > len(given):
        raise ValueError(f"weights are for single sets, {name} has a mixture of several")
    if len(set(names)) < len(names):
        raise ValueError(f"a dataset is named twice in {name!r}: {', '.join(names)}")
    for one in names:
        reader_of(one)
    return names
