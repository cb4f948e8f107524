"""The training transform as one writes it at first: what `benchmark.py data` measures this project's way against.

Pillow does every step, one sample at a time; the image and its mask are drawn, resized and cut at full size, and
default_collate stacks the samples.
"""

import random

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance
from torch.utils.data import default_collate
from torchvision.transforms import functional as tvF
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from plvl.data.masks import decode_segmentation
from plvl.processing.augmentation import BASE_SIZE, CROP_SHORT_SIDES, CROP_SIDES, LONG_SIDES
from plvl.processing.expression_words import says_position, swap_sides


def plain_batch(rows: list[dict], tokenizer, size: int, text_length: int) -> dict:
    """
    Args:
        rows: rows whose images are files, not opened yet, and whose boxes are inside them.
        tokenizer: the expressions' tokenizer.
        size: side of the network's square in pixels.
        text_length: number of tokens that expressions are padded to.
    """
    return default_collate([plain_sample(row, tokenizer, size, text_length) for row in rows])


def plain_sample(row: dict, tokenizer, size: int, text_length: int) -> dict:
    image = Image.open(row["image"]["path"]).convert("RGB")
    mask = decode_segmentation(row["segmentation"], row["height"], row["width"])
    has_mask = mask is not None
    mask = Image.fromarray(mask) if has_mask else Image.new("L", image.size)
    ((x, y, width, height),) = row["boxes"]
    box, text, scale = (x, y, x + width, y + height), row["text"], size / BASE_SIZE
    if random.random() < 0.5 and not says_position(text):
        image, mask, box = _resize(image, mask, box, random.choice(CROP_SHORT_SIDES) * scale / min(image.size))
        image, mask, box = _crop(image, mask, box, CROP_SIDES[0] * scale, CROP_SIDES[1] * scale)
    image, mask, box = _resize(image, mask, box, random.choice(LONG_SIDES) * scale / max(image.size))
    if random.random() < 0.8:
        image = _jitter(image)
    if random.random() < 0.5:
        image, mask = (each.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for each in (image, mask))
        box, text = (image.width - box[2], box[1], image.width - box[0], box[3]), swap_sides(text)
    return {
        "pixel_values": _image_to_network(image, size),
        "labels": {
            "boxes": _box_to_network(box, image.size),
            "masks": F.interpolate(torch.from_numpy(np.array(mask))[None, None].float(), (size, size))[0, 0],
            "has_mask": has_mask,
        },
        **_tokens(text, tokenizer, text_length),
    }


def _resize(image, mask, box, scale):
    size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
    resized = (each.resize(size, Image.Resampling.BILINEAR) for each in (image, mask))
    return *resized, [side * scale for side in box]


def _crop(image, mask, box, min_side, max_side):
    (left, right), (top, bottom) = (
        _part(length, box[axis], box[axis + 2], min_side, max_side) for axis, length in enumerate(image.size)
    )
    parts = (image.crop((left, top, right, bottom)) for image in (image, mask))
    return *parts, (box[0] - left, box[1] - top, box[2] - left, box[3] - top)


def _part(length, low, high, min_side, max_side):
    part = random.randint(round(min(min_side, length)), round(min(max_side, length)))
    low, high = int(low), min(int(high) + 1, length)
    part = max(part, high - low)
    start = random.randint(max(high - part, 0), min(low, length - part))
    return start, start + part


def _jitter(image):
    enhancers = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color]
    random.shuffle(enhancers)
    for enhancer in enhancers:
        image = enhancer(image).enhance(random.uniform(0.6, 1.4))
    return image


def _image_to_network(image, size):
    pixels = F.interpolate(tvF.to_tensor(image)[None], (size, size), mode="bilinear", align_corners=True)[0]
    return tvF.normalize(pixels, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)


def _box_to_network(box, image_size):
    width, height = image_size
    x1, y1, x2, y2 = box
    return torch.tensor([(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height])


def _tokens(text, tokenizer, length):
    encoded = tokenizer(
        text.lower(), padding="max_length", max_length=length, truncation=True, return_token_type_ids=False
    )
    return {name: torch.tensor(ids) for name, ids in encoded.items()}
