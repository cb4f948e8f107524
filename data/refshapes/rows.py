"""Rows of RefShapes made on the spot: what the loader reads from a written set, without the set."""

from collections.abc import Iterable
from io import BytesIO

from PIL import Image

from plvl.data.masks import encode_segmentation
from plvl.data.refshapes.drawing import draw_scene
from plvl.data.refshapes.refer_set import JPEG, annotation_of, file_name_of, make_referred_scene, split_of
from plvl.data.refshapes.scene import Scene


def set_rows(seed: int, indices: Iterable[int]) -> list[dict]:
    """
    The rows about some images of the set made from `seed`, as the loader gives them, but for `ref_id` and `sent_id`,
    which count what comes before and are None.

    Args:
        indices: numbers of images, from 0.
    """
    rows = []
    for index in indices:
        referred = make_referred_scene(seed, index)
        image = set_image(referred.scene)
        for position, expressions in referred.references:
            rows += [object_row(index, referred.scene, image, position, said.text) for said in expressions]
    return rows


def set_image(scene: Scene) -> Image.Image:
    """The scene as a written set has it, pixel by pixel."""
    written = BytesIO()
    draw_scene(scene).save(written, **JPEG)
    return Image.open(written).convert("RGB")


def object_row(index: int, scene: Scene, image: Image.Image, position: int, text: str) -> dict:
    """
    The row of an expression about a shape of an image.

    Args:
        index: the image's number in its set, from 0.
        position: the shape's in the scene, from 0.
    """
    annotation = annotation_of(scene, position)
    return {
        "image": image,
        "text": text,
        "boxes": [[float(number) for number in annotation["bbox"]]],
        "segmentation": encode_segmentation(annotation["segmentation"], scene.height, scene.width),
        "height": scene.height,
        "width": scene.width,
        "image_id": index + 1,
        "ref_id": None,
        "sent_id": None,
        "category": scene.shapes[position].name,
        "dataset": "refshapes",
        "split": split_of(index),
        "file_name": file_name_of(index),
    }
