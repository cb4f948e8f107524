"""Flickr30k Entities: phrases of captions and the boxes they speak of.

    <label_root>/flickr30k/{train,val,test}.txt       numbers of the images, one a line
    <label_root>/flickr30k/Sentences/<id>.txt         captions: [/EN#283585/people A young boy] on ...
    <label_root>/flickr30k/Annotations/<id>.xml       boxes of the entities
    <image_root>/flickr30k/<id>.jpg

A row is a phrase whose entity has a box; several boxes of one entity become the box around them.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plvl.data.row_streams import MAX_SHARDS, RowSource
from plvl.data.schema import Row, labelled_row
from plvl.data.source_files import check_split, existing_folder

_SAMPLE = 100
_PHRASE = re.compile(r"\[/EN#(\d+)/(\S+) ([^\]]+)\]")


@dataclass(frozen=True)
class ImageAnnotation:
    """What one Annotations file says: the image's size and {entity: [x1, y1, x2, y2] around its boxes}."""

    height: int
    width: int
    boxes: dict


def split_names(name: str, label_root: str | Path) -> list[str]:
    """The splits for which there is a list of images, below `label_root`."""
    return [file.stem for file in existing_folder(Path(label_root) / "flickr30k", name).glob("*.txt")]


def open_split(
    name: str, split: str, image_root: str | Path, label_root: str | Path, hold_back: frozenset[int] = frozenset()
) -> RowSource:
    """One split as a `RowSource`; arguments and errors as in `plvl.data.refer.open_split`.

    Flickr's images are none of COCO's, so `hold_back` holds none of them back.
    """
    folder = existing_folder(Path(label_root) / "flickr30k", name)
    for part in ("Sentences", "Annotations"):
        existing_folder(folder / part, name)
    check_split(split, split_names(name, label_root), name)
    image_folder = existing_folder(Path(image_root) / "flickr30k", name)
    images = " ".join(_lines(folder / f"{split}.txt")).split()
    wrong = next((number for number in images if not number.isdecimal()), None)
    if wrong is not None:
        raise ValueError(f"{folder / f'{split}.txt'}: a number of an image is expected, got {wrong[:100]!a}")
    num_shards = min(MAX_SHARDS, len(images))
    shards = [" ".join(images[shard::num_shards]) for shard in range(num_shards)]
    where = {"name": name, "split": split, "folder": str(folder), "image_folder": str(image_folder)}
    num_rows = _about_how_many_rows(images, where)
    label_files = (folder / f"{split}.txt", folder / "Sentences", folder / "Annotations")
    return RowSource(read_rows, shards, where, num_rows, label_files=label_files)


def read_rows(shard: Any, name: str, split: str, folder: str | Path, image_folder: str | Path) -> Iterator[Row]:
    """Yield the rows of the images whose numbers `shard` lists, parted by blanks."""
    for number in shard.split():
        annotation = read_annotation(Path(folder) / "Annotations" / f"{number}.xml")
        sentences = _lines(Path(folder) / "Sentences" / f"{number}.txt")
        for place, sentence in enumerate(sentences):
            for phrase_place, (entity, kinds, phrase) in enumerate(_PHRASE.findall(sentence)):
                if entity not in annotation.boxes:
                    continue
                left, top, right, bottom = annotation.boxes[entity]
                yield labelled_row(
                    f"{Path(folder) / 'Sentences' / f'{number}.txt'}, line {place + 1}",
                    path=str(Path(image_folder) / f"{number}.jpg"),
                    text=phrase,
                    boxes=[[left, top, right - left, bottom - top]],
                    segmentations=[None],
                    height=annotation.height,
                    width=annotation.width,
                    image_id=int(number),
                    ref_id=int(entity),
                    # Unlike the entity, unique: the same phrase may come back in another caption.
                    sent_id=int(number) * 10_000 + place * 100 + phrase_place,
                    category=kinds.split("/")[0],
                    dataset=name,
                    split=split,
                    file_name=f"{number}.jpg",
                )


def _about_how_many_rows(images, where):
    """Exact for few images, else from a sample spread over them: the labels are two files an image."""
    sample = images[:: max(1, len(images) // _SAMPLE)]
    if not sample:
        return 0
    return round(sum(1 for _ in read_rows(" ".join(sample), **where)) * len(images) / len(sample))


def read_annotation(path: str | Path) -> ImageAnnotation:
    """The `ImageAnnotation` of an XML file; ValueError names a file that is cut short or incomplete."""
    try:
        root = ElementTree.parse(path).getroot()
        boxes = defaultdict(list)
        for thing in root.iter("object"):
            box = thing.find("bndbox")
            if box is None:  # <nobndbox> or <scene>: the entity is not to be seen in one place
                continue
            corners = [float(box.findtext(corner)) for corner in ("xmin", "ymin", "xmax", "ymax")]  # type: ignore
            for entity in thing.iter("name"):
                boxes[entity.text].append(corners)
        size = root.find("size")
        height, width = int(size.findtext("height")), int(size.findtext("width"))  # type: ignore
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: the split lists image {Path(path).stem}") from None
    # An unknown encoding in the XML's first line is a LookupError.
    except (ElementTree.ParseError, AttributeError, TypeError, ValueError, LookupError, OverflowError) as error:
        raise ValueError(f"{path}: cut short or no annotation of Flickr30k Entities ({error})") from error
    return ImageAnnotation(height, width, {entity: _union(corners) for entity, corners in boxes.items()})


def _union(boxes):
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return [min(lefts), min(tops), max(rights), max(bottoms)]


def _lines(path):
    """The lines of a text: UTF-8, as the set is published; Latin-1 where it is not, which some copies are."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: the split lists image {path.stem}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.splitlines()
