"""Detection labels in COCO's form, as rows whose expressions are made when they are read.

    <label_root>/instances_<split>.json   images, annotations (bbox, category_id; segmentation and iscrowd where there
                                          are any, colors and unclear_colors as plvl.data.detection.colors writes
                                          them), categories; or instances_<split>2014.json and the like, as COCO's
    <image_root>/<file_name>              images

What is said about an image depends on its labels, its number, the seed, and which classes the file's images show
together, by which classes that are not there are chosen (plvl.data.detection.expressions).
"""

import logging
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import combinations, product
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NamedTuple

from plvl.data.detection.class_words import COCO_WORDS, ClassWords, read_class_words
from plvl.data.detection.expressions import ExpressionMaker, MadeExpression
from plvl.data.detection.scene import DetectionScene, ObjectColors
from plvl.data.image_files import coco_number
from plvl.data.masks import compact_polygons
from plvl.data.row_streams import MAX_SHARDS, RowSource
from plvl.data.schema import Row, as_number, image_side, labelled_row
from plvl.data.source_files import check_entries, check_entry, existing_folder, index_by_id, index_images, read_json
from plvl.processing.expression_words import is_blank, is_text, swap_sides

logger = logging.getLogger(__name__)

MOST_EXPRESSIONS = 100  # about one image
_NAMED = 5  # boxes outside their image that a warning names
_OPTIONS = {
    "per_image": Integral,
    "none_rate": Real,
    "several_rate": Real,
    "smallest": Real,
    "cut_off": bool,
    "classes": str | None,
    "seed": Integral,
}
_INSTANCES = {
    "images": {"id": Integral, "file_name": str, "height": Integral, "width": Integral},
    "annotations": {"id": Integral, "image_id": Integral, "category_id": Integral, "bbox": list},
    "categories": {"id": Integral, "name": str},
}
_COLORS = {"colors": list, "unclear_colors": list}  # of annotations that have them (plvl.data.detection.colors)
_PREFIX = "instances_"


@dataclass(frozen=True)
class DetectionExpressions:
    """
    How expressions are made of detection labels.

    Args:
        per_image: expressions about an image, at most; those of the same words count once.
        none_rate, several_rate: shares of those about none and about several.
        smallest: area of the smallest object that may be meant, as a share of the image's.
        cut_off: whether an object may be meant that the image's edge cuts off.
        classes: YAML file of words (plvl.data.detection.class_words), by default that of COCO's classes.
        seed: another one, other expressions.

    Raises:
        ValueError: a value out of its range.
    """

    per_image: int = 8
    none_rate: float = 0.15
    several_rate: float = 0.15
    smallest: float = 0.02
    cut_off: bool = True
    classes: str | None = None
    seed: int = 0

    def __post_init__(self):
        if not 1 <= self.per_image <= MOST_EXPRESSIONS:
            raise ValueError(f"per_image must be from 1 to {MOST_EXPRESSIONS}, got {self.per_image}")
        if not (self.none_rate >= 0 and self.several_rate >= 0 and self.none_rate + self.several_rate <= 1):
            raise ValueError(
                "none_rate and several_rate must be at least 0 and together at most 1, "
                f"got {self.none_rate} and {self.several_rate}"
            )
        if not 0 <= self.smallest < 1:
            raise ValueError(f"smallest must be at least 0 and less than 1, got {self.smallest}")

    @classmethod
    def of(cls, given: dict | None) -> "DetectionExpressions":
        """Of a recipe's `expressions`; ValueError names an option that there is not, or whose value is of no use."""
        given = {} if given is None else given
        check_entry({"expressions": given}, {"expressions": dict}, "detection")
        unknown = [name for name in given if name not in _OPTIONS]
        if unknown:
            known = ", ".join(_OPTIONS)
            raise ValueError(f"expressions have the options {known}, not {', '.join(map(str, unknown))}")
        check_entry(given, {name: _OPTIONS[name] for name in given}, "detection, expressions")
        return cls(**given)


class ExpressionKind(NamedTuple):
    """What an expression tells its object by, and how hard it is: 1, 2 or 3."""

    kind: str
    difficulty: int


@dataclass(frozen=True)
class InstancesIndex:
    """What a label file says; `together` counts, for two classes, the images that show both."""

    images: list[dict]
    annotations: dict[int, list[dict]]
    categories: dict[int, str]
    together: dict[str, Counter]


def open_split(
    name: str,
    split: str,
    image_root: str | Path,
    label_root: str | Path,
    expressions: dict | None = None,
    hold_back: frozenset[int] = frozenset(),
) -> RowSource:
    """One split of detection labels as a `RowSource`; the number of its rows is the most that there can be.

    Args:
        expressions: of [`DetectionExpressions`].
        the others: as in `plvl.data.refer.open_split`.

    Raises:
        FileNotFoundError: a label file or the folder of images is missing.
        ValueError: an unknown split, a label file that cannot be read or has no categories, an unknown option.
    """
    made = DetectionExpressions.of(expressions)
    file = label_file(split, label_root)
    image_folder = existing_folder(image_root, name)
    index = read_instances(file)
    read_class_words(made.classes or COCO_WORDS)
    held_back = sum(coco_number(image["file_name"]) in hold_back for image in index.images)
    num_images = len(index.images) - held_back
    num_shards = min(MAX_SHARDS, len(index.images))
    where = {
        "num_shards": num_shards,
        "name": name,
        "split": split,
        "file": str(file),
        "image_folder": str(image_folder),
        "expressions": asdict(made),
        "hold_back": hold_back,
    }
    files = (file, made.classes or COCO_WORDS)
    shards = list(range(num_shards)) if num_images else []
    return RowSource(
        read_rows, shards, where, num_images * made.per_image, held_back * made.per_image, tuple(map(Path, files))
    )


def label_file(split: str, label_root: str | Path) -> Path:
    """Of a split; FileNotFoundError or ValueError lists what there is."""
    folder = existing_folder(label_root, "detection")
    exact = folder / f"{_PREFIX}{split}.json"
    found = [exact] if exact.is_file() else sorted(folder.glob(f"{_PREFIX}{split}20[0-9][0-9].json"))
    if len(found) == 1:
        return found[0]
    if found:
        names = " or ".join(file.stem.removeprefix(_PREFIX) for file in found)
        raise ValueError(f"detection: split {split!r} in {folder} may be {names}: name one of them")
    there = split_names("detection", label_root)
    if not there:
        raise FileNotFoundError(f"detection: {exact} is not there, nor any other {_PREFIX}<split>.json beside it")
    raise ValueError(f"detection has no split {split!r} in {folder}; it has {', '.join(there)}")


def split_names(name: str, label_root: str | Path) -> list[str]:
    """The splits for which there is a file in `label_root`, as the files are named."""
    folder = existing_folder(label_root, name)
    return sorted(file.stem.removeprefix(_PREFIX) for file in folder.glob(f"{_PREFIX}*.json"))


def read_rows(
    shard: int,
    num_shards: int,
    name: str,
    split: str,
    file: str | Path,
    image_folder: str | Path,
    expressions: dict,
    hold_back: frozenset[int],
) -> Iterator[Row]:
    """Yield the rows of every `num_shards`-th image, starting with number `shard`."""
    index, made = read_instances(file), DetectionExpressions(**expressions)
    silent = 0
    for image, kept, said in _said(index, made, shard, num_shards, hold_back):
        silent += not said
        names = [index.categories[annotation["category_id"]] for annotation in kept]
        for place, expression in enumerate(said):
            meant = [kept[position] for position in expression.targets]
            classes = {names[position] for position in expression.targets}
            yield labelled_row(
                f"{file}, image {image['id']}",
                path=str(Path(image_folder) / image["file_name"]),
                text=expression.text,
                boxes=[annotation["bbox"] for annotation in meant],
                segmentations=[annotation["segmentation"] for annotation in meant],
                height=image["height"],
                width=image["width"],
                image_id=image["id"],
                ref_id=meant[0]["id"] if meant else -1,
                sent_id=_sent_id(image, place),
                category=classes.pop() if len(classes) == 1 else None,
                dataset=name,
                split=split,
                file_name=image["file_name"],
            )
    if silent:
        logger.debug("%s, shard %d of %d: %d images about which nothing is said", file, shard, num_shards, silent)


def expression_kinds(split: str, label_root: str | Path, expressions: dict | None = None) -> dict[int, ExpressionKind]:
    """Kind and difficulty of each expression of a split, by the `sent_id` that its row has. They are made again."""
    made = DetectionExpressions.of(expressions)
    return {
        _sent_id(image, place): ExpressionKind(expression.kind, expression.difficulty)
        for image, _, said in _said(read_instances(label_file(split, label_root)), made)
        for place, expression in enumerate(said)
    }


def count_kinds(
    split: str, label_root: str | Path, expressions: dict | None = None, hold_back: frozenset[int] = frozenset()
) -> dict[str, int]:
    """How many expressions of each kind there are, `images`, and `silent_images`, about which nothing is said. They
    are made again."""
    made = DetectionExpressions.of(expressions)
    counts: Counter[str] = Counter()
    for _, _, said in _said(read_instances(label_file(split, label_root)), made, hold_back=hold_back):
        counts.update(expression.kind for expression in said)
        counts.update(images=1, silent_images=not said)
    return dict(counts)


def _sent_id(image, place):
    return image["id"] * MOST_EXPRESSIONS + place


def _said(index, made, shard=0, num_shards=1, hold_back=frozenset()):
    """(image, annotations, expressions about them) of every `num_shards`-th image."""
    words = read_class_words(made.classes or COCO_WORDS)
    for image in index.images[shard::num_shards]:
        if coco_number(image["file_name"]) not in hold_back:
            scene, kept = _scene_of(image, index)
            yield image, kept, _expressions(image, scene, index, words, made)


def _scene_of(image: dict, index: InstancesIndex) -> tuple[DetectionScene, list[dict]]:
    """The objects that are boxes inside the image, and their annotations, whose boxes are cut to it."""
    kept, crowds = [], set()
    for annotation in index.annotations.get(image["id"], ()):
        if annotation["iscrowd"] or annotation["bbox"] is None:
            crowds.add(index.categories[annotation["category_id"]])
        else:
            kept.append(annotation)
    names = [index.categories[annotation["category_id"]] for annotation in kept]
    boxes = [annotation["bbox"] for annotation in kept]
    colors = [_colors_of(annotation) for annotation in kept]
    known = colors if any(colors) else ()
    return DetectionScene(image["width"], image["height"], boxes, names, frozenset(crowds), known), kept


def _colors_of(annotation):
    if "colors" not in annotation:
        return None
    return ObjectColors(frozenset(annotation["colors"]), frozenset(annotation["unclear_colors"]))


def _expressions(
    image: dict, scene: DetectionScene, index: InstancesIndex, words: ClassWords, made: DetectionExpressions
) -> list[MadeExpression]:
    rng = random.Random(f"detection {made.seed} {image['id']}")
    smallest = made.smallest * scene.width * scene.height
    eligible = [
        position
        for position, area in enumerate(scene.areas)
        if area >= smallest and (made.cut_off or not _is_cut_off(scene, position))
    ]
    absent: dict[str, float] = {}
    for name in index.categories.values():
        if name not in scene.by_class:
            absent[name] = 0.3 + sum(
                index.together[there][name] / max(index.together[there][there], 1) for there in scene.by_class
            )
    return ExpressionMaker(scene, words, eligible, absent, rng).make(made.per_image, made.none_rate, made.several_rate)


def _is_cut_off(scene, position):
    x, y, w, h = scene.boxes[position]
    near = 0.01 * max(scene.width, scene.height)
    return min(x, y, scene.width - x - w, scene.height - y - h) < near


def read_instances(file: str | Path) -> InstancesIndex:
    """The `InstancesIndex` of a label file, read once per process until it changes."""
    return _read_instances(str(file), Path(file).stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _read_instances(file: str, _time: int) -> InstancesIndex:
    content = read_json(file, object_hook=_compact)
    check_entry(content, dict.fromkeys(_INSTANCES, list), file)
    for part, form in _INSTANCES.items():
        check_entries(content[part], form, f"{file}, {part}")
    if not content["categories"]:
        raise ValueError(f"{file}: 'categories' is empty, and expressions need the names of classes")
    images = index_images(content["images"], f"{file}, images")
    for image, side in product(images.values(), ("width", "height")):
        image_side(image[side], side, f"{file}, image {image['id']}")
    categories = {
        number: category["name"]
        for number, category in index_by_id(content["categories"], f"{file}, categories", "name").items()
    }
    blank = [number for number, name in categories.items() if not name.replace("_", " ").strip()]
    if blank:
        raise ValueError(
            f"{file}: category {blank[0]} has the name {categories[blank[0]]!r}, by which nobody calls it"
        )
    index_by_id(content["annotations"], f"{file}, annotations", "bbox")
    annotations: dict[int, list[dict]] = defaultdict(list)
    outside = []
    for annotation in content["annotations"]:
        where = f"{file}, annotation {annotation['id']}"
        if any(key in annotation for key in _COLORS):
            check_entry(annotation, _COLORS, where)
            for color in (color for key in _COLORS for color in annotation[key]):
                if not is_text(color) or is_blank(color) or swap_sides(color) != color:
                    raise ValueError(f"{where}: {color!r:.100} is the name of no colour")
        if annotation["category_id"] not in categories:
            raise ValueError(f"{where}: there is no category {annotation['category_id']}")
        image = images.get(annotation["image_id"])
        if image is None:
            raise ValueError(f"{where}: there is no image {annotation['image_id']}")
        box = _inside(annotation["bbox"], image)
        if box is None:
            image_name = f"image {image['id']} of {image['width']} x {image['height']}"
            outside.append(f"{str(annotation['bbox'])[:100]} of annotation {annotation['id']}, {image_name}")
        annotations[annotation["image_id"]].append(annotation | {"bbox": box})
    if outside:
        logger.warning(
            "%s: %d boxes are none inside their image (the first: %s); nothing is said of their class there",
            file, len(outside), "; ".join(outside[:_NAMED]),
        )  # fmt: skip
    together: dict[str, Counter] = defaultdict(Counter)
    for found in annotations.values():
        names = sorted({categories[annotation["category_id"]] for annotation in found})
        for one in names:
            together[one][one] += 1
        for one, other in combinations(names, 2):
            together[one][other] += 1
            together[other][one] += 1
    return InstancesIndex(list(images.values()), dict(annotations), categories, dict(together))


def _compact(entry: dict[str, Any]) -> dict[str, Any]:
    """Called for each object as it is read: a list of numbers is four times an array."""
    if "bbox" not in entry:
        return entry
    kept = {key: entry[key] for key in ("id", "image_id", "category_id", "bbox", *_COLORS) if key in entry}
    return kept | {"segmentation": compact_polygons(entry.get("segmentation")), "iscrowd": bool(entry.get("iscrowd"))}


def _inside(box, image):
    """The part of a box that the image shows, [x, y, w, h]; None where it shows nothing of it."""
    numbers = [as_number(side) for side in box]
    if len(numbers) == 4 and None not in numbers:
        x, y, w, h = numbers
        left, top = max(x, 0.0), max(y, 0.0)
        right, bottom = min(x + w, image["width"]), min(y + h, image["height"])
        if right > left and bottom > top:
            return [left, top, right - left, bottom - top]
    return None
