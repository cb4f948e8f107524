"""One call for every source: a name, a split and two folders give a dataset of grounding rows."""

from plvl.data import flickr30k, label_packs, refer, visual_genome
from plvl.data.row_rules import MAX_SKIPPED, RowCheck
from plvl.data.row_streams import cached_rows, checked_stream, unopened_stream

_OPENERS = {
    **dict.fromkeys(refer.IMAGE_FOLDERS, refer.open_split),
    "flickr30k": flickr30k.open_split,
    "visual_genome": visual_genome.open_split,
    **dict.fromkeys(label_packs.PACKS, label_packs.open_split),
}


def load_grounding_dataset(
    name,
    split,
    image_root,
    label_root,
    streaming=True,
    split_by=None,
    shuffle_buffer=0,
    seed=0,
    max_skipped=MAX_SKIPPED,
):
    """Load one split of a grounding dataset.

    Args:
        name: refcoco, refcoco+, refcocog, refclef or refshapes.
        split: the split's name in the labels, such as train, val, testA, testB or test.
        image_root: folder of the pictures, with `mscoco/images/train2014` (refclef: `referit/images`) in it.
        label_root: folder of the labels, with a folder `<name>` in it.
        streaming: True reads rows as they are asked for; False checks them all and writes them to the Arrow
            cache first.
        split_by: who split the set: unc by default, umd for refcocog (which also has google).
        shuffle_buffer: rows of a stream to draw from at random, 0 for the order of the labels. Shuffled here,
            the buffer holds rows whose pictures are not opened yet. `set_epoch` gives another order.
        seed: of the shuffling.
        max_skipped: share of the rows that may be skipped for their defects before the run stops.

    Returns:
        `datasets.IterableDataset` or `datasets.Dataset` with `plvl.data.schema.ROW_FEATURES`.

    Raises:
        ValueError: an unknown name or split; the message lists those there are.
        FileNotFoundError: a label file or the folder of pictures is missing; the message names it.
    """
    if name not in _OPENERS:
        raise ValueError(f"unknown dataset {name!r}; known are {', '.join(sorted(_OPENERS))}")
    choice = {} if split_by is None else {"split_by": split_by}
    source = _OPENERS[name](name, split, image_root, label_root, **choice)
    if not source.shards:
        raise ValueError(f"{name} {split} has no rows")
    if not streaming:
        return cached_rows(source, split, max_skipped)
    stream = unopened_stream(source, split)
    if shuffle_buffer:
        stream = stream.shuffle(seed=seed, buffer_size=shuffle_buffer)
    return checked_stream(stream, RowCheck(source.num_rows, max_skipped))
