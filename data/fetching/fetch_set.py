"""A published set into the layout of docs/data.md, below one root: labels, images, and downloads on their way."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from plvl.data import refer, visual_genome
from plvl.data.fetching.coco_images import fetch_images
from plvl.data.fetching.disk import in_words, require_room
from plvl.data.fetching.download import FetchError, fetch_file
from plvl.data.fetching.sources import (
    COCO_FOLDER,
    COCO_ZIP_BYTES,
    COCO_ZIP_IMAGES,
    DOWNLOADS,
    IMAGES,
    LABELS,
    SETS,
    FetchableSet,
    Source,
)
from plvl.data.fetching.unpacking import IMAGE_SUFFIXES, move_file, unpack_images, unpack_labels
from plvl.data.source_files import check_split

logger = logging.getLogger(__name__)

_NAMED = 3


def fetch_set(
    name: str,
    root: str | Path,
    splits: Sequence[str] = (),
    split_by: str | None = None,
    labels_only: bool = False,
) -> None:
    """Have the labels and images of a set below `root`; what is there already is not fetched again.

    Args:
        name: of plvl.data.fetching.sources.SETS.
        root: the folder of `labels`, `images` and `downloads`.
        splits: those whose images are wanted; all by default. For sets with images of COCO alone.
        split_by: who split a REFER set.
        labels_only: whether the images are left out.

    Raises:
        FetchError: something cannot be fetched; the message says what was tried and how to bring it by hand.
        ArchiveError: what came is no whole zip of this set.
        ValueError: an unknown name or split.
        OSError: the disk has no room, or another process is at work in this root.
    """
    root = Path(root)
    if name not in SETS:
        raise ValueError(f"{name!r} cannot be fetched; what can is {', '.join(SETS)}")
    if (splits or split_by) and name not in refer.IMAGE_FOLDERS:
        raise ValueError(f"splits and split_by are for sets in REFER's layout, {name} is none")
    (root / DOWNLOADS).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(root / DOWNLOADS / ".lock", timeout=0):
            _have_labels(SETS[name], root)
            if not labels_only:
                _have_images(name, SETS[name].images, root, splits, split_by)
    except Timeout:
        raise OSError(f"another process fetches into {root}: wait for it, or name another root") from None
    by_hand = SETS[name].by_hand
    if by_hand and not labels_only:
        logger.warning("not fetched: %s", by_hand.format(root=root))


def _have_labels(wanted: FetchableSet, root: Path) -> None:
    try:
        for source in wanted.labels:
            _have_label_files(source, root)
    except FetchError as error:
        instead = f"\n- or read the Hub's copy where it lies, the dataset {wanted.on_hub}" if wanted.on_hub else ""
        raise FetchError(f"{error}{instead}") from error


def _have_label_files(source: Source, root: Path) -> None:
    folder = root / source.folder
    if not source.holds:
        if not (folder / source.file).is_file():
            fetch_file(source.addresses, root / DOWNLOADS / source.file, folder)
            move_file(root / DOWNLOADS / source.file, folder)
    elif not all((folder / one).exists() for one in source.holds):
        archive = root / DOWNLOADS / source.file
        fetch_file(source.addresses, archive, folder)
        unpack_labels(archive, source.holds, folder)
        archive.unlink()


def _have_images(name, sources, root, splits, split_by):
    missing = {}
    if name in refer.IMAGE_FOLDERS:
        missing = _missing_of_refer(name, root, splits, split_by)
        if not missing:
            logger.info("all images that %s names are there", name)
            return
        # One by one each image costs a request: for more than half of the zip's, the zip is the shorter way.
        if sources[0].folder == COCO_FOLDER and _comes_one_by_one(len(missing), root):
            fetch_images(missing, root / COCO_FOLDER)
            return
    for source in sources:
        folder, archive = root / source.folder, root / DOWNLOADS / source.file
        # A zip that lies there may be another one, with what the first did not have.
        if _is_there(source, name, root) and not (missing and archive.is_file()):
            logger.info("the images of %s are there", source.file)
            continue
        fetch_file(source.addresses, archive, folder)
        names = unpack_images(archive, folder)
        _note_of_unpacked(source, root).write_text(json.dumps(names), encoding="utf-8")
        archive.unlink()
    if lacking := [image for image in missing if not (root / sources[0].folder / image).is_file()]:
        some = ", ".join(lacking[:_NAMED])
        logger.warning("%d images of %s are not in %s, such as %s", len(lacking), name, sources[0].file, some)


def _missing_of_refer(
    name: str, root: Path, splits: Sequence[str], split_by: str | None
) -> dict[str, tuple[int, int]]:
    """{file name: (height, width)} of the images that references of the splits name and that are not there."""
    index = refer.read_set(name, root / LABELS, split_by)
    for split in splits:
        check_split(split, index.references, name)
    folder = root / IMAGES / refer.IMAGE_FOLDERS[name]
    wanted = {
        references[0]["image_id"] for split in splits or index.references for references in index.references[split]
    }
    images = [index.images[number] for number in sorted(wanted) if number in index.images]
    return {
        image["file_name"]: (image["height"], image["width"])
        for image in images
        if not (folder / image["file_name"]).is_file()
    }


def _comes_one_by_one(number: int, root: Path) -> bool:
    if (root / DOWNLOADS / "train2014.zip").is_file() or number > COCO_ZIP_IMAGES / 2:
        return False
    size = number * COCO_ZIP_BYTES / COCO_ZIP_IMAGES
    logger.info(
        "%d images one by one, about %s; the zip of all %d has %s",
        number,
        in_words(size),
        COCO_ZIP_IMAGES,
        in_words(COCO_ZIP_BYTES),
    )
    require_room(root / COCO_FOLDER, size, f"{number} images of COCO")
    return True


def _note_of_unpacked(source: Source, root: Path) -> Path:
    """The file that has, as JSON, the names of the images that were in a zip, once it has been unpacked."""
    return root / DOWNLOADS / f"{source.file}.unpacked.json"


def _is_there(source: Source, name: str, root: Path) -> bool:
    """Whether all that a zip of images has is there, as far as that can be known without the zip."""
    folder, note = root / source.folder, _note_of_unpacked(source, root)
    if note.is_file():
        names = json.loads(note.read_text(encoding="utf-8"))
        if all((folder / image).is_file() for image in names):
            return True
    images = [file for file in folder.glob("*") if file.suffix.lower() in IMAGE_SUFFIXES]
    if name == "visual_genome":
        # Images that were brought by hand may all be in one folder, or as they come from their zips.
        by_hand = images and not note.is_file() and not (root / DOWNLOADS / source.file).is_file()
        return bool(by_hand) or _has_all_of_genome(root)
    return source.folder == COCO_FOLDER and len(images) >= COCO_ZIP_IMAGES


def _has_all_of_genome(root: Path) -> bool:
    folder = root / IMAGES / "visual-genome"
    numbers = visual_genome.read_images(root / LABELS / "visual-genome/image_data.json")
    return all((folder / visual_genome.image_name(folder, f"{number}.jpg")).is_file() for number in numbers)
