"""RefShapes: a made-up set of pictures and expressions about them, written in the REFER layout.

    <output>/labels/refshapes/refs(unc).p      references with their sentences (pickle)
    <output>/labels/refshapes/instances.json   pictures and objects in COCO form
    <output>/images/mscoco/images/train2014/   the pictures
    <output>/refshapes.json                    what the folder was made from

so that whatever reads RefCOCO reads it, with `<output>/labels` and `<output>/images` as its roots. Beside the
REFER keys, a sentence has its `kind` (attribute, place, order or relation) and an annotation its `attributes`
(colour, size, texture).

Picture i is made from (seed, i) alone: sets of different sizes with one seed share their first pictures. So
does its split: of every 50 pictures 40 are train, 4 val, 3 testA and 3 testB. All four are drawn alike; testA
and testB are there because RefCOCO has them, and ask nothing that val does not.
"""

import json
import pickle
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pycocotools import mask as coco_mask
from tqdm.auto import tqdm

from plvl.data.refshapes_drawing import draw_scene
from plvl.data.refshapes_language import Expression, make_expressions
from plvl.data.refshapes_scene import SHAPES, Scene, Shape, make_scene

SPLITS = ("train", "val", "testA", "testB")
_OTHER_SPLITS = {3: "val", 7: "testA", 11: "testB", 16: "val", 21: "testA", 26: "testB"}
_OTHER_SPLITS |= {31: "val", 36: "testA", 41: "testB", 46: "val"}
_MAX_TARGETS = 3
_MAX_SENTENCES = 3
_CATEGORIES = {name: number for number, name in enumerate(SHAPES, 1)}


@dataclass(frozen=True)
class ReferredScene:
    """A scene and what is said about it: pairs of a shape's index in it and the expressions that mean it."""

    scene: Scene
    references: tuple[tuple[int, tuple[Expression, ...]], ...]


def split_of(index: int) -> str:
    """The split that picture `index` (from 0) belongs to."""
    return _OTHER_SPLITS.get(index % 50, "train")


def make_referred_scene(seed: int, index: int) -> ReferredScene:
    """Picture `index` (from 0) of the set made from `seed`, not yet drawn."""
    rng = random.Random(f"refshapes {seed} {index}")
    scene = make_scene(rng)
    references = []
    for position in sorted(rng.sample(range(len(scene.shapes)), _MAX_TARGETS)):
        count = rng.randint(1, _MAX_SENTENCES)
        expressions = make_expressions(scene, scene.shapes[position], count, rng)
        if expressions:
            references.append((position, tuple(expressions)))
    return ReferredScene(scene, tuple(references))


def write_refshapes(output: str | Path, num_images: int, seed: int, show_progress: bool = False) -> dict:
    """Writes `num_images` pictures made from `seed` into the folder `output`; same arguments, same bytes.

    Returns a summary: `pictures`, `objects`, `words` (size of the vocabulary), `expressions` ({split: {kind:
    number}}) and three `examples` ((file name, kind, expression)).

    Raises ValueError when `num_images` is less than 1, and FileExistsError when `output` holds anything that
    this function did not write from the same arguments; then nothing in it is changed.
    """
    if num_images < 1:
        raise ValueError(f"num_images must be at least 1, got {num_images}")
    output = Path(output)
    _claim_folder(output, {"dataset": "refshapes", "num_images": num_images, "seed": seed})
    pictures = output / "images" / "mscoco" / "images" / "train2014"
    labels = output / "labels" / "refshapes"
    pictures.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)

    records = _Records(seed)
    for index in tqdm(range(num_images), desc="RefShapes", unit="picture", disable=not show_progress):
        referred = make_referred_scene(seed, index)
        file_name = records.add(index, referred)
        draw_scene(referred.scene).save(pictures / file_name, quality=92, subsampling=0)

    (labels / "instances.json").write_text(json.dumps(records.instances), encoding="utf-8")
    # Protocol 2 is what the original RefCOCO files are in.
    (labels / "refs(unc).p").write_bytes(pickle.dumps(records.refs, protocol=2))
    return _summary(records)


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


class _Records:
    """The contents of instances.json and refs(unc).p, growing picture by picture."""

    def __init__(self, seed):
        self.refs = []
        self.num_sentences = 0
        self.instances = {
            "info": {"description": "RefShapes, made up from a seed", "seed": seed},
            "images": [],
            "annotations": [],
            "categories": [{"id": number, "name": name} for name, number in _CATEGORIES.items()],
        }

    def add(self, index, referred: ReferredScene) -> str:
        """Adds picture `index` and returns its file name."""
        scene, image_id = referred.scene, index + 1
        name = f"refshapes_{image_id:06d}"
        image = {"id": image_id, "file_name": f"{name}.jpg", "height": scene.height, "width": scene.width}
        self.instances["images"].append(image)
        first_ann_id = len(self.instances["annotations"]) + 1
        for ann_id, shape in enumerate(scene.shapes, first_ann_id):
            self.instances["annotations"].append(_annotation(ann_id, image, shape))
        for position, expressions in referred.references:
            ann_id = first_ann_id + position
            self.refs.append(
                {
                    "ref_id": len(self.refs),
                    "ann_id": ann_id,
                    "image_id": image_id,
                    "category_id": _CATEGORIES[scene.shapes[position].name],
                    "split": split_of(index),
                    # As in RefCOCO, where the name here carries the annotation.
                    "file_name": f"{name}_{ann_id}.jpg",
                    "sent_ids": [self.num_sentences + k for k in range(len(expressions))],
                    "sentences": self._sentences(expressions),
                }
            )
        return image["file_name"]

    def _sentences(self, expressions):
        first = self.num_sentences
        self.num_sentences += len(expressions)
        return [
            {
                "sent_id": sent_id,
                "sent": expression.text,
                "raw": expression.text,
                "tokens": expression.text.split(),
                "kind": expression.kind,
            }
            for sent_id, expression in enumerate(expressions, first)
        ]


def _annotation(ann_id, image, shape: Shape):
    segmentation = [[number for point in polygon for number in point] for polygon in shape.polygons]
    rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, image["height"], image["width"]))
    return {
        "id": ann_id,
        "image_id": image["id"],
        "category_id": _CATEGORIES[shape.name],
        "segmentation": segmentation,
        "bbox": list(shape.box),
        "area": float(coco_mask.area(rle)),
        "iscrowd": 0,
        "attributes": {"colour": shape.colour, "size": shape.size, "texture": shape.texture},
    }


def _summary(records: _Records):
    expressions = {split: Counter() for split in SPLITS}
    words, examples = set(), []
    for ref in records.refs:
        for sentence in ref["sentences"]:
            expressions[ref["split"]][sentence["kind"]] += 1
            words.update(sentence["tokens"])
            if len(examples) < 3 and sentence["kind"] not in [kind for _, kind, _ in examples]:
                name = records.instances["images"][ref["image_id"] - 1]["file_name"]
                examples.append((name, sentence["kind"], sentence["sent"]))
    return {
        "pictures": len(records.instances["images"]),
        "objects": len(records.instances["annotations"]),
        "words": len(words),
        "expressions": {split: dict(counts) for split, counts in expressions.items()},
        "examples": examples,
    }
