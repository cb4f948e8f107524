"""One call for every source: a name, a split and two folders give a dataset of grounding rows."""

from pathlib import Path

from plvl.data import refer
from plvl.data.row_streams import MAX_SHARDS, make_dataset


def load_grounding_dataset(name, split, image_root, label_root, streaming=True, split_by=None):
    """Load one split of a grounding dataset.

    Args:
        name: refcoco, refcoco+, refcocog, refclef or refshapes.
        split: the split's name in the labels, such as train, val, testA, testB or test.
        image_root: folder of the pictures, with `mscoco/images/train2014` (refclef: `referit/images`) in it.
        label_root: folder of the labels, with a folder `<name>` in it.
        streaming: True reads rows as they are asked for; False writes them to the Arrow cache first.
        split_by: who split the set: unc by default, umd for refcocog (which also has google).

    Returns:
        `datasets.IterableDataset` or `datasets.Dataset` with `plvl.data.schema.ROW_FEATURES`.

    Raises:
        ValueError: an unknown name or split; the message lists those there are.
        FileNotFoundError: a label file or the folder of pictures is missing; the message names it.
    """
    if name not in refer.IMAGE_FOLDERS:
        raise ValueError(f"unknown dataset {name!r}; known are {', '.join(sorted(refer.IMAGE_FOLDERS))}")
    split_by = split_by or refer.DEFAULT_SPLIT_BY[name]
    refs_file, instances_file = refer.label_files(name, label_root, split_by)
    image_folder = Path(image_root) / refer.IMAGE_FOLDERS[name]
    if not image_folder.is_dir():
        raise FileNotFoundError(f"{image_folder} is missing: the pictures of {name} belong there")
    references = refer.read_index(refs_file, instances_file).references
    if split not in references:
        raise ValueError(f"{name} split by {split_by} has no split {split!r}; it has {', '.join(sorted(references))}")
    num_shards = min(MAX_SHARDS, len(references[split]))
    where = {
        "num_shards": num_shards,
        "name": name,
        "split": split,
        "refs_file": str(refs_file),
        "instances_file": str(instances_file),
        "image_folder": str(image_folder),
    }
    return make_dataset(refer.read_rows, list(range(num_shards)), where, split, streaming)
