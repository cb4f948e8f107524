"""The set made from a seed, written in the REFER layout.

    <output>/labels/refshapes/refs(unc).p      references with their sentences (pickle)
    <output>/labels/refshapes/instances.json   images and objects in COCO form, masks as compressed RLE
    <output>/images/mscoco/images/train2014/   the images
    <output>/refshapes.json                    what the folder was made from

so that whatever reads RefCOCO reads it, with `<output>/labels` and `<output>/images` as its roots. Beside the
REFER keys, a sentence has its `kind` (one of ALL_KINDS) and `difficulty` (1 to 3), and an annotation its
`attributes` (colour, size, texture) and `visible` (the share of the object that nothing covers).

Where a set has expressions about several objects or about none, their references are as in gRefCOCO: `ann_id` and
`category_id` are lists, of one number for each object, and for none both are [-1] and `no_target` is True.

Image i is made from (seed, i) alone: sets of different sizes with one seed share their first images. So
does its split: of every 50 images 40 are train, 4 val, 3 testA and 3 testB. val is drawn like train; testA
asks for pairs of attributes, and testB shows numbers of objects, sizes of images and backgrounds, that are
in no other split (plvl.data.refshapes.scene).
"""

import json
import pickle
import random
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tqdm.auto import tqdm

from plvl.data.masks import encode_mask
from plvl.data.refshapes.backgrounds import find_photographs
from plvl.data.refshapes.drawing import draw_scene
from plvl.data.refshapes.expressions import (
    Expression,
    make_expressions,
    make_expressions_about_none,
    make_expressions_about_several,
)
from plvl.data.refshapes.other_nouns import HELD_OUT_NOUNS, NOUNS
from plvl.data.refshapes.scene import Scene, has_held_out_pair, make_scene, rules_of
from plvl.data.refshapes.shapes import NEW_SHAPES, SHAPES
from plvl.data.safe_pickle import load_label_pickle
from plvl.data.source_files import content_digest

VERSION = 2
SPLITS = ("train", "val", "testA", "testB")
TYPO_RATE = 0.02
JPEG: dict[str, Any] = {"format": "JPEG", "quality": 90, "subsampling": 0}  # how images are written
# By the number of the image, modulo 50; all others are train.
_OTHER_SPLITS = (
    dict.fromkeys((3, 16, 31, 46), "val") | dict.fromkeys((7, 21, 36), "testA") | dict.fromkeys((11, 26, 41), "testB")
)
# In a set with a new shape these are testC.
_NEW_SHAPE_TEST = (9, 19, 34, 44)
_MAX_TARGETS = 5
_SENTENCES = (2, 4)  # proposed for a target, at least and at most
_CATEGORIES = {name: number for number, name in enumerate((*SHAPES, *NEW_SHAPES), 1)}
_CHUNK = 16  # images that a worker makes at a time


@dataclass(frozen=True)
class ReferredScene:
    """A scene and what is said about it: pairs of a shape's index in it and the expressions that mean it."""

    scene: Scene
    references: tuple[tuple[int, tuple[Expression, ...]], ...]


class SentenceKind(NamedTuple):
    """What an expression tells its object by, and how hard it is."""

    kind: str
    difficulty: int


def sentence_kinds(label_root: str | Path) -> dict[int, SentenceKind]:
    """Kind and difficulty of each expression of a RefShapes set, by the `sent_id` that its row has.

    Args:
        label_root: the set's folder of labels, as for `load_grounding_dataset`.
    """
    references = load_label_pickle(Path(label_root) / "refshapes" / "refs(unc).p")
    return {
        sentence["sent_id"]: SentenceKind(sentence["kind"], sentence["difficulty"])
        for reference in references
        for sentence in reference["sentences"]
    }


def split_of(index: int, new_shape: str | None = None) -> str:
    """The split that image `index` (from 0) belongs to, in a set with or without a new shape."""
    if new_shape and index % 50 in _NEW_SHAPE_TEST:
        return "testC"
    return _OTHER_SPLITS.get(index % 50, "train")


def make_referred_scene(
    seed: int, index: int, typo_rate: float = TYPO_RATE, photographs: int = 0, new_shape: str | None = None
) -> ReferredScene:
    """Image `index` (from 0) of the set made from `seed`, not yet drawn.

    Args:
        typo_rate: share of the expressions that have a typing error.
        photographs: how many photographs may stand behind the shapes.
        new_shape: one of NEW_SHAPES that images of train and testC show; all others are as without it.
    """
    rng = random.Random(f"refshapes {VERSION} {seed} {index}")
    split = split_of(index, new_shape)
    rules = rules_of(split, new_shape)
    scene = make_scene(rng, rules, photographs)
    targets = _allowed_targets(scene, split, new_shape)
    references = []
    for position in sorted(rng.sample(targets, min(_MAX_TARGETS, len(targets)))):
        expressions = make_expressions(scene, position, rng.randint(*_SENTENCES), rng, typo_rate)
        if expressions:
            references.append((position, tuple(expressions)))
    return ReferredScene(scene, tuple(references))


def make_none_and_several(
    referred: ReferredScene,
    seed: int,
    index: int,
    none_rate: float,
    several_rate: float,
    typo_rate: float = TYPO_RATE,
    new_shape: str | None = None,
) -> list[tuple[tuple[int, ...], tuple[Expression, ...]]]:
    """What else is said about image `index` (from 0) of the set made from `seed`: pairs of the indices of the shapes
    that are meant, two or more or none, and the expressions that mean them.

    Args:
        referred: the image, as `make_referred_scene` gives it with the same arguments.
        none_rate, several_rate: shares of all expressions about the image, those of `referred` among them. They are
            smaller where not so many were found; testC has none.

    In testA an expression about several means at least one object with a held-out pair of attributes, and one about
    none names such a pair; the other splits never name one.
    """
    split = split_of(index, new_shape)
    if split == "testC":
        return []
    rng = random.Random(f"refshapes {VERSION} none and several {seed} {index}")
    single = sum(len(expressions) for _, expressions in referred.references)
    total = single / (1 - none_rate - several_rate)
    # What is left of a whole number is a matter of chance.
    num_none, num_several = (int(rate * total + rng.random()) for rate in (none_rate, several_rate))
    among = _allowed_targets(referred.scene, split, new_shape)
    several = make_expressions_about_several(referred.scene, among, num_several, rng, typo_rate)
    # As many of those about none as of the others ask for several: grammar alone does not tell that there is nothing.
    plural = len(several) / (single + len(several)) if several else 0.0
    held_out = rules_of(split).new_pairs
    # testA's name a pair of attributes that belongs to it: nothing has that pair, whatever else the noun may be.
    other_nouns = () if held_out else NOUNS if split == "train" else HELD_OUT_NOUNS
    none = make_expressions_about_none(referred.scene, num_none, rng, typo_rate, plural, held_out, other_nouns)
    meant: dict[tuple[int, ...], list[Expression]] = {}
    for expression in (*several, *none):
        meant.setdefault(tuple(expression.meaning.targets(referred.scene, True)), []).append(expression)
    return [
        (positions, tuple(expressions)) for positions, expressions in sorted(meant.items(), key=lambda item: item[0])
    ]


def _allowed_targets(scene, split, new_shape):
    """The shapes that expressions of a split ask for."""
    return [
        position
        for position, shape in enumerate(scene.shapes)
        if (split != "testA" or has_held_out_pair(shape.name, shape.colour, shape.texture))
        and (split != "testC" or shape.name == new_shape)
    ]


def write_refshapes(
    output: str | Path,
    num_images: int,
    seed: int,
    typo_rate: float = TYPO_RATE,
    backgrounds: str | Path | None = None,
    new_shape: str | None = None,
    none_rate: float = 0.0,
    several_rate: float = 0.0,
    num_workers: int = 1,
    show_progress: bool = False,
) -> dict:
    """Writes `num_images` images made from `seed` into the folder `output`; same arguments, same bytes.

    Args:
        typo_rate: share of the expressions that have a typing error, 0 to 1.
        backgrounds: a folder of photographs, which then stand behind the shapes of half of the images.
        new_shape: one of NEW_SHAPES, which images of train show among the others, and about which every expression
            of a further split is, testC; val, testA and testB are as without it.
        none_rate, several_rate: shares of the expressions of an image that are about none of its objects, and about
            several; together less than 1. All other expressions, and the images, are as without.
        num_workers: processes that make images; the bytes are the same for any number.

    Returns a summary: `images`, `objects`, `words` (size of the vocabulary), `expressions` ({split: {kind:
    number}}) and an example for each kind, `examples` ((file name, kind, expression)).

    Raises ValueError when a number is out of its range or a photograph cannot be read, FileNotFoundError when
    there are no photographs, and FileExistsError when `output` holds anything that this function did not write
    from the same arguments; then nothing in it is changed.
    """
    if num_images < 1:
        raise ValueError(f"num_images must be at least 1, got {num_images}")
    if not 0 <= typo_rate <= 1:
        raise ValueError(f"typo_rate must be from 0 to 1, got {typo_rate}")
    if not (none_rate >= 0 and several_rate >= 0 and none_rate + several_rate < 1):
        raise ValueError(
            "none_rate and several_rate must be at least 0 and together less than 1, "
            f"got {none_rate} and {several_rate}"
        )
    if num_workers < 1:
        raise ValueError(f"num_workers must be at least 1, got {num_workers}")
    if new_shape not in (None, *NEW_SHAPES):
        raise ValueError(f"new_shape must be one of {', '.join(NEW_SHAPES)}, got {new_shape!r}")
    photographs = find_photographs(backgrounds) if backgrounds is not None else []
    made_from = {"dataset": "refshapes", "version": VERSION, "num_images": num_images, "seed": seed}
    made_from["typo_rate"] = typo_rate
    made_from["backgrounds"] = content_digest(photographs) if photographs else None
    if new_shape:
        made_from["new_shape"] = new_shape
    if none_rate or several_rate:
        made_from |= {"none_rate": none_rate, "several_rate": several_rate}
    output = Path(output)
    _claim_folder(output, made_from)
    images = output / "images" / "mscoco" / "images" / "train2014"
    labels = output / "labels" / "refshapes"
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)

    records = _Records(seed, new_shape)
    rates = none_rate, several_rate
    make = partial(_make_image, seed, typo_rate, photographs, new_shape, rates, images)
    made = tqdm(
        _each(make, num_images, num_workers),
        total=num_images,
        desc="RefShapes",
        unit="image",
        disable=not show_progress,
    )
    for index, parts in enumerate(made):
        records.add(index, *parts)

    (labels / "instances.json").write_text(json.dumps(records.instances), encoding="utf-8")
    # Protocol 2 is what the original RefCOCO files are in.
    (labels / "refs(unc).p").write_bytes(pickle.dumps(records.refs, protocol=2))
    return _summary(records)


def _each(make, num_images, num_workers):
    """What `make` returns for each number of an image, in order."""
    if num_workers == 1:
        yield from map(make, range(num_images))
    else:
        with ProcessPoolExecutor(num_workers) as workers:
            yield from workers.map(make, range(num_images), chunksize=_CHUNK)


def _claim_folder(output, made_from):
    """Marks `output` as made from these arguments, before anything else is written into it."""
    if output.exists() and not output.is_dir():
        raise FileExistsError(f"{output} is a file, and RefShapes needs a folder")
    marker = output / "refshapes.json"
    text = json.dumps(made_from) + "\n"
    if marker.is_file():
        found = marker.read_text(encoding="utf-8")
        if found != text:
            raise FileExistsError(f"{output} holds another RefShapes set, {found.strip()}: name another folder")
    elif output.exists() and any(output.iterdir()):
        raise FileExistsError(f"{output} is not empty and not written by RefShapes: name another folder")
    output.mkdir(parents=True, exist_ok=True)
    marker.write_text(text, encoding="utf-8")


def _make_image(seed, typo_rate, photographs, new_shape, rates, folder, index):
    """Draws and writes image `index`; returns its size, its annotations and its references, without numbers."""
    referred = make_referred_scene(seed, index, typo_rate, len(photographs), new_shape)
    scene = referred.scene
    draw_scene(scene, photographs).save(folder / file_name_of(index), **JPEG)
    annotations = [annotation_of(scene, position) for position in range(len(scene.shapes))]
    others = make_none_and_several(referred, seed, index, *rates, typo_rate, new_shape)
    references = [
        (position, [(each.text, each.kind, each.difficulty) for each in expressions])
        for position, expressions in (*referred.references, *others)
    ]
    return (scene.width, scene.height), annotations, references


def file_name_of(index: int) -> str:
    """The file of image `index` (from 0)."""
    return f"refshapes_{index + 1:06d}.jpg"


def annotation_of(scene: Scene, position: int) -> dict:
    """What instances.json says of a shape, but for its numbers."""
    shape = scene.shapes[position]
    return {
        "category_id": _CATEGORIES[shape.name],
        "segmentation": encode_mask(scene.mask(position)),
        "bbox": list(scene.boxes[position]),
        "area": float(scene.visible_areas[position]),
        "iscrowd": 0,
        "attributes": {"colour": shape.colour, "size": shape.size, "texture": shape.texture},
        "visible": round(scene.visible_areas[position] / shape.area, 3),
    }


class _Records:
    """The contents of instances.json and refs(unc).p, growing image by image."""

    def __init__(self, seed, new_shape):
        self.new_shape = new_shape
        shown = (*SHAPES, new_shape) if new_shape else SHAPES
        self.refs = []
        self.num_sentences = 0
        self.instances = {
            "info": {"description": "RefShapes, made up from a seed", "version": VERSION, "seed": seed},
            "images": [],
            "annotations": [],
            "categories": [{"id": _CATEGORIES[name], "name": name} for name in shown],
        }

    def add(self, index, size, annotations, references):
        """Adds image `index`, as `_make_image` returned it."""
        image_id, (width, height) = index + 1, size
        self.instances["images"].append(
            {"id": image_id, "file_name": file_name_of(index), "height": height, "width": width}
        )
        first_ann_id = len(self.instances["annotations"]) + 1
        for ann_id, annotation in enumerate(annotations, first_ann_id):
            self.instances["annotations"].append({"id": ann_id, "image_id": image_id, **annotation})
        for meant, expressions in references:
            positions = [meant] if isinstance(meant, int) else meant
            ann_ids = [first_ann_id + position for position in positions] or [-1]
            category_ids = [annotations[position]["category_id"] for position in positions] or [-1]
            sentences = self._sentences(expressions)
            ref = {
                "ref_id": len(self.refs),
                "ann_id": ann_ids,
                "image_id": image_id,
                "category_id": category_ids,
                "split": split_of(index, self.new_shape),
                # As in RefCOCO, where the name here carries the annotation.
                "file_name": "_".join([Path(file_name_of(index)).stem, *map(str, ann_ids)]) + ".jpg",
                "sent_ids": [sentence["sent_id"] for sentence in sentences],
                "sentences": sentences,
            }
            if isinstance(meant, int):
                ref |= {"ann_id": ann_ids[0], "category_id": category_ids[0]}
            elif not meant:
                ref["no_target"] = True
            self.refs.append(ref)

    def _sentences(self, expressions):
        first = self.num_sentences
        self.num_sentences += len(expressions)
        return [
            {
                "sent_id": sent_id,
                "sent": text,
                "raw": text,
                "tokens": text.split(),
                "kind": sys.intern(kind),  # one string, as pickle tells, whatever process it comes from
                "difficulty": difficulty,
            }
            for sent_id, (text, kind, difficulty) in enumerate(expressions, first)
        ]


def _summary(records: _Records) -> dict[str, Any]:
    splits = (*SPLITS, "testC") if records.new_shape else SPLITS
    expressions: dict[str, Counter] = {split: Counter() for split in splits}
    words: set[str] = set()
    examples: dict = {}
    for ref in records.refs:
        for sentence in ref["sentences"]:
            expressions[ref["split"]][sentence["kind"]] += 1
            words.update(sentence["tokens"])
            name = records.instances["images"][ref["image_id"] - 1]["file_name"]
            examples.setdefault(sentence["kind"], (name, sentence["kind"], sentence["sent"]))
    return {
        "images": len(records.instances["images"]),
        "objects": len(records.instances["annotations"]),
        "words": len(words),
        "expressions": {split: dict(counts) for split, counts in expressions.items()},
        "examples": list(examples.values()),
    }
