"""Small detection labels in COCO's form, made by code, for tests of several rooms."""

import json
import random
from pathlib import Path

import numpy as np
from PIL import Image

from plvl.data.detection.class_words import read_class_words
from plvl.data.detection.expressions import ExpressionMaker
from plvl.data.detection.scene import DetectionScene, ObjectColors
from plvl.data.scene_language.meanings import Absent, Several

WIDTH, HEIGHT = 640, 424
CLASSES = {
    1: "person",
    2: "dog",
    3: "cat",
    4: "car",
    5: "bicycle",
    6: "motorcycle",
    7: "umbrella",
    8: "horse",
    9: "cup",
    10: "bowl",
    11: "dining table",
}
CATEGORIES = [{"id": number, "name": name} for number, name in CLASSES.items()]
NUMBERS = {name: number for number, name in CLASSES.items()}


def a_scene(*objects, crowds=(), colors=()):
    """Of (class, [x, y, w, h]) each; `colors` as [`plvl.data.detection.scene.DetectionScene`]."""
    boxes = [list(map(float, box)) for _, box in objects]
    return DetectionScene(WIDTH, HEIGHT, boxes, [name for name, _ in objects], frozenset(crowds), colors)


def colored(sure="", unclear=""):
    """The colours that an object has for certain, and perhaps, as words."""
    return ObjectColors(frozenset(sure.split()), frozenset(unclear.split()))


def a_maker(scene, seed=0, words=None, eligible=None, absent=None):
    eligible = range(len(scene.names)) if eligible is None else eligible
    return ExpressionMaker(scene, words or read_class_words(), eligible, absent or {}, random.Random(seed))


def inner(expression):
    """The meaning that an expression says of one, of several or of none, and whether it asks for several."""
    meaning = expression.meaning
    if isinstance(meaning, Absent):
        meaning = meaning.said
    return (meaning.said, True) if isinstance(meaning, Several) else (meaning, False)


def make_many(scene, none_rate=0.0, several_rate=0.0, seeds=40, **how):
    return [
        expression
        for seed in range(seeds)
        for expression in a_maker(scene, seed, **how).make(12, none_rate, several_rate)
    ]


def random_objects(rng):
    """2 to 9 objects of 1 to 4 classes, inside the image."""
    kinds = rng.sample(list(CLASSES.values()), rng.randint(1, 4))
    objects = []
    for _ in range(rng.randint(2, 9)):
        w, h = rng.randint(50, 240), rng.randint(50, 220)
        objects.append((rng.choice(kinds), [rng.randint(0, WIDTH - w), rng.randint(0, HEIGHT - h), w, h]))
    return objects


def an_image(number, file_name=None):
    return {"id": number, "file_name": file_name or f"{number:05d}.jpg", "width": WIDTH, "height": HEIGHT}


def an_annotation(number, image, name, box, **more):
    return {"id": number, "image_id": image, "category_id": NUMBERS[name], "bbox": list(box), "iscrowd": 0} | more


def random_labels(num_images, seed=0, file_name=None):
    """Images numbered from 1, whose objects have polygons: rectangles a pixel inside their boxes."""
    rng, images, annotations = random.Random(seed), [], []
    for number in range(1, num_images + 1):
        images.append(an_image(number, file_name and file_name(number)))
        for name, (x, y, w, h) in random_objects(rng):
            polygon = [x + 1, y + 1, x + w - 1, y + 1, x + w - 1, y + h - 1, x + 1, y + h - 1]
            more = {"segmentation": [polygon]}
            annotations.append(an_annotation(1000 + len(annotations), number, name, [x, y, w, h], **more))
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


def write_labels(labels, roots, split="train", files=False):
    """Writes instances_<split>.json, and with `files` an image for each; `roots` as `load_grounding_dataset` has."""
    for root in roots.values():
        Path(root).mkdir(exist_ok=True)
    (Path(roots["label_root"]) / f"instances_{split}.json").write_text(json.dumps(labels), encoding="utf-8")
    for image in labels["images"] if files else ():
        pixels = np.full((HEIGHT, WIDTH, 3), 37 * image["id"] % 256, np.uint8)
        Image.fromarray(pixels).save(Path(roots["image_root"]) / image["file_name"])
    return roots
