"""Parquet written by this project: the images are inside, so a set streams from a folder or from the Hub.

    <folder>/<split>-00000.parquet, ...   rows of plvl.data.schema; neighbours share an image's bytes
    <folder>/<split>.manifest.json        what was written, with each shard's rows, bytes and sha256
    <folder>/README.md                    names the splits to `datasets.load_dataset`, which guesses but a few

A shard appears under its name only when it is whole, and the manifest names it after that: an interrupted
run goes on behind the last shard the manifest names, with the counts of skipped rows it had there.
"""

import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pyarrow
from huggingface_hub import metadata_load, metadata_save
from pyarrow import parquet
from tqdm.auto import tqdm

from plvl.data.authors_pth import IMAGE_FOLDERS
from plvl.data.image_files import coco_number
from plvl.data.row_streams import RowSource
from plvl.data.sample_validation import SampleValidator
from plvl.data.schema import ROW_FEATURES, Row
from plvl.data.source_files import HUB_NAME, check_entries, check_entry
from plvl.data.visual_genome import held_images

# Rows read at once. Within a group an image is stored once, however many rows speak of it.
_GROUP_ROWS = 100
_ONE_DICTIONARY = 1 << 30
_IMAGE_COLUMNS = ("dataset", "file_name", "image_id")  # what tells whether an image is held back


def split_names(name: str, label_root: str | Path) -> list[str]:
    """The splits that have a manifest in a folder, a URL or a Hub repository."""
    base, _ = _base_of(label_root)
    files, root = fsspec.core.url_to_fs(base)
    manifests = files.glob(f"{root}/*.manifest.json")
    return sorted(os.path.basename(file).removesuffix(".manifest.json") for file in manifests)


def _base_of(label_root):
    """Where the files lie, as fsspec reads it, and whether that is on the Hub."""
    base = str(label_root)
    on_hub = not os.path.isdir(base) and bool(HUB_NAME.fullmatch(base))
    return (f"hf://datasets/{base}" if on_hub else base), on_hub


def open_split(
    name: str, split: str, image_root: str | Path, label_root: str | Path, hold_back: frozenset[int] = frozenset()
) -> RowSource:
    """One split of a folder, a URL or a Hub repository (`user/set`) as a `RowSource`.

    Raises:
        FileNotFoundError: there is no manifest of the split.
        ValueError: the split was not written to its end.
    """
    base, on_hub = _base_of(label_root)
    manifest_file = f"{base}/{split}.manifest.json"
    try:
        manifest = _read_manifest(manifest_file)
    # Each way of not reaching the Hub has an exception of its own.
    except Exception as error:
        if not on_hub:
            raise
        raise FileNotFoundError(f"{label_root}: no such folder, and as a repository on the Hub: {error}") from error
    if not manifest["complete"]:
        raise ValueError(f"{manifest_file}: not all shards are written; run prepare_data.py again")
    shards = [f"{base}/{shard['file']}" for shard in manifest["shards"]]
    num_rows = sum(shard["rows"] for shard in manifest["shards"])
    held_back = 0
    held_genome: frozenset[int] = frozenset()
    if hold_back:
        names: Counter[Any] = Counter(name for shard in shards for name in _image_names(shard))
        if any(_is_genome(*name) for name in names):
            held_genome = held_images(label_root, hold_back)
        held_back = sum(count for name, count in names.items() if _is_held_back(name, hold_back, held_genome))
    where = {"split": split, "hold_back": hold_back, "held_genome": held_genome}
    # The manifest has the shards' sha256 sums, so it changes with them.
    return RowSource(
        read_rows, shards, where, num_rows - held_back, held_back, (manifest_file,), has_images_inside=True
    )


def read_rows(shard: str, split: str, hold_back: frozenset[int], held_genome: frozenset[int]) -> Iterator[Row]:
    """Yield the rows of one Parquet file."""
    with _naming(shard), fsspec.open(shard, "rb") as file:
        for group in parquet.ParquetFile(file).iter_batches(batch_size=_GROUP_ROWS):
            for row in group.to_pylist():
                image = tuple(row[column] for column in _IMAGE_COLUMNS)
                if not _is_held_back(image, hold_back, held_genome):
                    yield _with_boxes(row) | {"split": split}


def _with_boxes(row):
    """The rows that version 0.1 wrote have one object each, and its box in `bbox`."""
    if "bbox" not in row:
        return row
    box = row.pop("bbox")
    return row | {"boxes": None if box is None else [box]}


@contextmanager
def _naming(shard):
    """Errors of Arrow and of the file system do not always say which file they speak of."""
    try:
        yield
    except (pyarrow.ArrowException, OSError, KeyError) as error:
        raise ValueError(f"{shard}: missing, cut short or not written by prepare_data.py ({error})") from error


def _is_held_back(image: tuple, hold_back: frozenset[int], held_genome: frozenset[int]) -> bool:
    _, file_name, image_id = image
    if _is_genome(*image):
        return image_id in held_genome
    return coco_number(file_name) in hold_back


def _is_genome(dataset, file_name, _image_id):
    """Whether it is Visual Genome's image; a file of several sources has the source's folder in its names."""
    return dataset == "visual_genome" or file_name.startswith(f"{IMAGE_FOLDERS['vg']}/")


def _image_names(shard):
    with _naming(shard), fsspec.open(shard, "rb") as file:
        table = parquet.ParquetFile(file).read(columns=list(_IMAGE_COLUMNS))
    return zip(*(table[column].to_pylist() for column in _IMAGE_COLUMNS), strict=True)


def write_parquet(
    rows: Iterable[Row],
    check: SampleValidator,
    folder: str | Path,
    split: str,
    origin: dict,
    shard_megabytes: float = 256,
) -> dict:
    """Write rows as Parquet shards, going on where an earlier run was interrupted.

    Args:
        rows: iterable of unopened rows, in the same order in every run.
        check: `plvl.data.sample_validation.SampleValidator`, new; rows it skips are not written. At the end it has
            counted all rows of the split, those of earlier runs too.
        folder: where to write; it may hold other splits.
        split: the split's name.
        origin: dict of plain values that says what the rows are; it goes into the manifest, and a folder
            with another origin for this split is refused.
        shard_megabytes: size of a shard, about: the images in it, each counted once.

    Returns:
        The manifest.

    Raises:
        ValueError: the folder has this split of another origin, or a shard of it has been damaged.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    manifest_file = folder / f"{split}.manifest.json"
    manifest: dict[str, Any] = {"split": split, "origin": origin, "complete": False, "checked": {}, "shards": []}
    if manifest_file.is_file():
        manifest = _read_manifest(str(manifest_file))
        if manifest["origin"] != origin:
            raise ValueError(
                f"{manifest_file} was written from {manifest['origin']}, not from {origin}: remove it and the split's "
                "shards to write them anew, or name another folder"
            )
        _check_shards(folder, manifest)
        check.load_state_dict(manifest["checked"])
    if manifest["complete"]:
        return manifest
    with tqdm(total=check.num_rows, initial=check.seen, unit="row", desc=f"{folder.name} {split}") as progress:
        for shard_rows in _shards_of(rows, check, shard_megabytes * 2**20, progress):
            file = folder / f"{split}-{len(manifest['shards']):05d}.parquet"
            manifest["shards"].append(_write_shard(shard_rows, file))
            _write_manifest(manifest | {"checked": check.state_dict()}, manifest_file)
    manifest |= {"checked": check.state_dict(), "complete": True}
    _write_manifest(manifest, manifest_file)
    _name_splits(folder)
    return manifest


def _name_splits(folder):
    """Lists the folder's splits in the head of its README.md, below which a person may write."""
    splits = sorted(file.name.removesuffix(".manifest.json") for file in folder.glob("*.manifest.json"))
    card = folder / "README.md"
    head = (metadata_load(card) or {}) if card.is_file() else {}
    files = [{"split": split, "path": f"{split}-*.parquet"} for split in splits]
    metadata_save(card, head | {"configs": [{"config_name": "default", "data_files": files}]})


def _shards_of(rows, check, shard_bytes, progress):
    """Yield lists of rows, each a shard's, behind the rows that `check` has seen.

    A shard ends where the image changes, so that consecutive rows about one image stay together.
    """
    shard, size, source = [], 0, None
    for row in itertools.islice(rows, check.seen, None):
        if size >= shard_bytes and row["image"] != source:
            yield shard
            shard, size = [], 0
        progress.update()
        checked = check(row)
        if checked is None:
            continue
        if not shard or row["image"] != source:
            source, image = row["image"], _with_bytes(row["image"], row["file_name"])
            size += len(image["bytes"])
        shard.append(checked | {"image": image})
    if shard:
        yield shard


def _with_bytes(image, file_name):
    if image["bytes"] is not None:
        return {"path": file_name, "bytes": image["bytes"]}
    return {"path": file_name, "bytes": Path(image["path"]).read_bytes()}


def _write_shard(rows, file):
    unfinished = file.with_suffix(".unfinished")
    schema = ROW_FEATURES.arrow_schema
    with parquet.ParquetWriter(unfinished, schema, dictionary_pagesize_limit=_ONE_DICTIONARY) as writer:
        # Group by group: a column of Arrow holds at most 2 GiB, and here each row has its image's bytes.
        for start in range(0, len(rows), _GROUP_ROWS):
            writer.write_table(pyarrow.Table.from_pylist(rows[start : start + _GROUP_ROWS], schema=schema))
    entry = {
        "file": file.name,
        "rows": len(rows),
        "bytes": unfinished.stat().st_size,
        "sha256": _sha256(unfinished),
    }
    os.replace(unfinished, file)
    return entry


def _check_shards(folder, manifest):
    for shard in manifest["shards"]:
        file = folder / shard["file"]
        if not file.is_file() or _sha256(file) != shard["sha256"]:
            raise ValueError(
                f"{file} is missing or not as it was written (its sha256 differs from the manifest's); "
                "remove the split's files and manifest to write it again"
            )


def _sha256(file):
    digest = hashlib.sha256()
    with open(file, "rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _read_manifest(path):
    try:
        with fsspec.open(path, "rb") as file:
            manifest = json.load(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: prepare_data.py writes one for each split") from None
    except ValueError as error:
        raise ValueError(f"{path}: cut short or no JSON ({error})") from error
    check_entry(manifest, {"complete": bool, "origin": dict, "checked": dict, "shards": list}, path)
    check_entries(manifest["shards"], {"file": str, "rows": int, "sha256": str}, f"{path}, shards")
    return manifest


def _write_manifest(manifest, file):
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    os.replace(unfinished, file)
