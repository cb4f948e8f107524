# Copyright 2026 The maintainers of PLVL.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""PLVL's evaluation transform: image, boxes and mask to the network's square size.

The long side is resized to the target (antialiased), the aspect kept; then the image is stretched to the square
with corners aligned, which is how the authors' weights were trained.
"""

from itertools import chain
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.transforms.v2 import functional as tvF
from transformers.image_processing_backends import PilBackend, TorchvisionBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, PILImageResampling, SizeDict

from plvl.processing.image_input import read_image


class _GroundingTransform:
    """What both backends share; each brings its own way to read (`process_image`) and to `resize` an image."""

    resample = PILImageResampling.BILINEAR
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
    size = {"height": 448, "width": 448}
    do_resize = True
    do_rescale = True
    do_normalize = True
    do_convert_rgb = True
    model_input_names = ["pixel_values"]

    def preprocess(self, images, boxes=None, masks=None, max_targets: int | None = None, **kwargs) -> BatchFeature:
        """
        Args:
            images: an image (PIL, array or tensor, path or URL), as [`read_image`] reads it, or a list of them.
                An EXIF orientation is followed: boxes and masks are those of the upright image.
            boxes (list of 4 numbers each, *optional*): the object in each image, x1, y1, x2, y2 in its pixels. Or
                those of several expressions: each image then has as many as the others, which follow one another.
                With `max_targets` a list of such boxes for each expression, which is empty where it means nothing.
            masks (list of arrays of shape `(height, width)` or `None`, *optional*): the pixels of what each expression
                means in its image, > 0 inside; `None` where there is no mask. Where the expression means nothing, a
                mask without a pixel is a known one; elsewhere it is none.
            max_targets (`int`, *optional*): the most objects that an expression of the batch has.
            kwargs: any attribute of the processor, for this call (`size`, `do_normalize`, `return_tensors`, ...).

        Returns:
            [`BatchFeature`] with `pixel_values`, `(batch_size, 3, height, width)`, and, where boxes are given,
            `labels`: `boxes` `(number of boxes, 4)`, cx, cy, w, h in 0..1, or with `max_targets` `(number of
            expressions, max_targets, 4)`, filled up with zeros, and `num_boxes` `(number of expressions,)`, int64;
            where masks are given also `masks` `(number of masks, height, width)`, 0 or 1, and `has_mask` `(number of
            masks,)`. With `do_resize=False` images and masks keep their size.

        Raises:
            ValueError: an image has no area, images, boxes and masks differ in number or size, an expression has
                more than `max_targets` boxes, or `size` is given by an edge.
        """
        return super().preprocess(images, boxes, masks, max_targets, **kwargs)

    def fetch_images(self, image_url_or_urls):
        """Images as `read_image` gives them, in the lists that they stand in."""
        if isinstance(image_url_or_urls, (list, tuple)):
            return [self.fetch_images(image) for image in image_url_or_urls]
        return read_image(image_url_or_urls)

    def process_image(self, image, do_convert_rgb: bool | None = None, **kwargs):
        # As the loaders do it: colours of a palette looked up, transparency left out.
        # The base class would lay what is transparent over white.
        if do_convert_rgb and isinstance(image, Image.Image) and image.has_transparency_data:
            image = image.convert("RGB")
            image.info.pop("transparency", None)
        return super().process_image(image, do_convert_rgb=do_convert_rgb, **kwargs)

    def _prepare_images_structure(self, images, expected_ndims: int = 3):
        if isinstance(images, (list, tuple)) and not images:
            raise ValueError("the list of images is empty")
        images = super()._prepare_images_structure(images, expected_ndims=expected_ndims)
        for index, image in enumerate(images):
            size = image.size if hasattr(image, "getbands") else image.shape
            if 0 in tuple(size):
                raise ValueError(f"image {index} has no area: its size is {tuple(size)}")
        return images

    def _preprocess_image_like_inputs(
        self, images, boxes=None, masks=None, max_targets=None, return_tensors=None, **kwargs
    ):
        if kwargs["do_resize"] and not (kwargs["size"].height and kwargs["size"].width):
            given = {name: value for name, value in dict(kwargs["size"]).items() if value}
            raise ValueError(f"size must be a height and a width, to which every image is stretched, got {given}")
        images = self._prepare_image_like_inputs(
            images,
            do_convert_rgb=kwargs["do_convert_rgb"],
            input_data_format=kwargs["input_data_format"],
            device=kwargs.get("device"),
        )
        pixel_values = (self._to_network(image, **kwargs) for image in images)
        of_one_size = kwargs["do_resize"] and return_tensors == "pt"
        data = {"pixel_values": _batch(pixel_values, len(images)) if of_one_size else list(pixel_values)}
        if boxes is not None or masks is not None:
            size = kwargs["size"] if kwargs["do_resize"] else None
            data["labels"] = self._labels(images, boxes, masks, max_targets, size, kwargs["resample"])
        return BatchFeature(data=data, tensor_type=return_tensors, skip_tensor_conversion=["labels"])

    def _to_network(
        self, image, size, resample, do_resize, do_rescale, rescale_factor, do_normalize, image_mean, image_std, **_
    ):
        if do_rescale and _holds_shares_of_white(image):
            image = image * 255
        if do_resize:
            image = self._resize_long_side(image, size, resample)
        image = torch.as_tensor(np.ascontiguousarray(image) if isinstance(image, np.ndarray) else image).float()
        if do_rescale:
            image = image * rescale_factor
        shape = (size.height, size.width)
        if do_resize and image.shape[-2:] != shape:
            image = F.interpolate(image[None], size=shape, mode="bilinear", align_corners=True)[0]
        if do_normalize:
            image = tvF.normalize(image, list(image_mean), list(image_std))
        return image

    def _resize_long_side(self, image, size: SizeDict, resample):
        height, width = _resized_size(image.shape[-2:], size)[0]
        return self.resize(image, SizeDict(height=height, width=width), resample=resample)

    def _labels(self, images, boxes, masks, max_targets, size: SizeDict | None, resample) -> dict[str, torch.Tensor]:
        """Boxes and masks for images that are resized to `size`, or, with None, stay as they are."""
        for name, given in (("boxes", boxes), ("masks", masks)):
            if given is not None and (len(given) == 0 or len(given) % len(images)):
                raise ValueError(f"got {len(images)} images and {len(given)} {name}")
        if boxes is not None and masks is not None and len(boxes) != len(masks):
            raise ValueError(f"got {len(boxes)} boxes and {len(masks)} masks")
        per_image = len(masks if boxes is None else boxes) // len(images)
        images = [image for image in images for _ in range(per_image)]
        labels: dict[str, torch.Tensor] = {}
        if boxes is not None and max_targets is not None:
            labels |= _several_boxes(boxes, max_targets, images, size)
        elif boxes is not None:
            labels["boxes"] = torch.stack(
                [_normalised_box(box, image.shape[-2:], size) for box, image in zip(boxes, images, strict=True)]
            )
        if masks is not None:
            shapes = {tuple(image.shape[-2:]) for image in images}
            if size is None and len(shapes) > 1:
                raise ValueError(f"with do_resize=False images must have one size, got {sorted(shapes)}")
            labels["masks"] = torch.stack(
                [
                    self._mask_to_network(mask, image.shape[-2:], size, resample)
                    for mask, image in zip(masks, images, strict=True)
                ]
            )
            labels["has_mask"] = labels["masks"].flatten(1).any(dim=1)
            if "num_boxes" in labels:
                is_known = torch.tensor([mask is not None for mask in masks])
                labels["has_mask"] |= is_known & (labels["num_boxes"] == 0)
        return labels

    def _mask_to_network(self, mask, image_size, size: SizeDict | None, resample) -> torch.Tensor:
        if mask is None:
            return torch.zeros(tuple(image_size) if size is None else (size.height, size.width))
        # Resized as an 8-bit image of 0 and 1, a pixel at least half covered by the object rounds to 1.
        mask = (np.asarray(mask) > 0).astype(np.uint8)
        if mask.shape != tuple(image_size):
            raise ValueError(f"a mask of {mask.shape} was given for an image of {tuple(image_size)} (height, width)")
        if size is None or mask.shape == (size.height, size.width):
            return torch.from_numpy(mask).float()
        mask = self._resize_long_side(self.process_image(mask), size, resample)
        mask = (torch.as_tensor(np.asarray(mask)) > 0).float()
        return F.interpolate(mask[None], size=(size.height, size.width), mode="nearest")[0, 0]


def _holds_shares_of_white(image) -> bool:
    """Whether an array or a tensor of floats is 0 to 1, as `rescale` would make it."""
    floats = image.is_floating_point() if isinstance(image, torch.Tensor) else image.dtype.kind == "f"
    return floats and image.max() <= 1


def _batch(images, count: int) -> torch.Tensor:
    """Each image goes to its place as it comes, which takes half the memory of keeping all to stack them then."""
    first = next(images)
    batch = first.new_empty(count, *first.shape)
    for place, image in zip(batch, chain([first], images), strict=True):
        place.copy_(image)
    return batch


def _resized_size(image_size: tuple[int, int], size: SizeDict) -> tuple[tuple[int, int], float]:
    """Height and width with the long side at the target's, rounded to whole pixels, and the scale before rounding."""
    scale = max(size.height, size.width) / max(image_size)
    height, width = (max(round(side * scale), 1) for side in image_size)
    return (height, width), scale


def _several_boxes(boxes, max_targets: int, images, size: SizeDict | None) -> dict[str, torch.Tensor]:
    """`boxes` of each expression, filled up with zeros, and how many there are."""
    padded = torch.zeros(len(boxes), max_targets, 4)
    for index, (of_one, image) in enumerate(zip(boxes, images, strict=True)):
        if len(of_one) > max_targets:
            raise ValueError(f"expression {index} has {len(of_one)} boxes, more than max_targets={max_targets}")
        for place, box in enumerate(of_one):
            padded[index, place] = _normalised_box(box, image.shape[-2:], size)
    return {"boxes": padded, "num_boxes": torch.tensor([len(of_one) for of_one in boxes])}


def _normalised_box(box: Any, image_size: tuple[int, int], size: SizeDict | None) -> torch.Tensor:
    x1, y1, x2, y2 = (float(value) for value in box)
    # The box is scaled exactly, the image to whole pixels: the share is of the latter, as the authors had it.
    (height, width), scale = (image_size, 1.0) if size is None else _resized_size(image_size, size)
    center = (x1 + x2) / 2 * scale / width, (y1 + y2) / 2 * scale / height
    return torch.tensor([*center, (x2 - x1) * scale / width, (y2 - y1) * scale / height], dtype=torch.float32)


class PLVLImageProcessor(_GroundingTransform, TorchvisionBackend):
    """
    PLVL's evaluation transform with torchvision, on the CPU or a GPU (`device=`).

    Its resampling differs from Pillow's, which the authors used, by rounding: by 0.02 normalised units at most in
    the mean over an image's pixels (by 1e-5 in the images measured). See [`PLVLImageProcessorPil`] for the exact
    values.
    """


class PLVLImageProcessorPil(_GroundingTransform, PilBackend):
    """PLVL's evaluation transform with Pillow: the values that the authors' weights were trained on."""


__all__ = ["PLVLImageProcessor", "PLVLImageProcessorPil"]
