"""What the training transform works on: an image with expressions and, moving along, boxes and mask of each."""

from dataclasses import dataclass

import numpy as np
import torch

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class LazyMask:
    """
    The part of a mask that an image shows, at whatever size the image is.

    Cutting and mirroring move the borders of the view, which need not lie between pixels, and resizing leaves it
    alone; `draw` takes the pixels once, at the end. So after any number of steps a mask is as exact as its source.

    Attributes:
        pixels (`np.ndarray` of shape `(height, width)`): uint8, 1 on the object and 0 elsewhere.
        left, top, right, bottom (`float`): the borders in pixels of the mask; left is beyond right in a mirrored view.
    """

    pixels: np.ndarray
    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def whole(cls, pixels: np.ndarray) -> "LazyMask":
        height, width = pixels.shape
        return cls(pixels, 0.0, 0.0, float(width), float(height))

    def part(self, left: float, top: float, right: float, bottom: float) -> "LazyMask":
        """The view of a part, whose borders are given in shares of what this one shows, 0 to 1."""
        width, height = self.right - self.left, self.bottom - self.top
        return LazyMask(
            self.pixels,
            self.left + left * width,
            self.top + top * height,
            self.left + right * width,
            self.top + bottom * height,
        )

    def mirrored(self) -> "LazyMask":
        return LazyMask(self.pixels, self.right, self.top, self.left, self.bottom)

    def draw(self, height: int, width: int) -> np.ndarray:
        """
        uint8 array of shape `(height, width)`, each pixel the mask's at its middle.

        An object so thin that it lies between all of these has the pixels that it touches: it is never lost. A mask
        without a pixel stays so.
        """
        rows, columns = _middles(self.top, self.bottom, height), _middles(self.left, self.right, width)
        drawn = self.pixels[rows][:, columns]
        return drawn if drawn.any() else self._touched(height, width)

    def _touched(self, height: int, width: int) -> np.ndarray:
        touched = self.pixels
        for axis, edges in enumerate(
            (np.linspace(self.top, self.bottom, height + 1), np.linspace(self.left, self.right, width + 1))
        ):
            first = np.floor(np.minimum(edges[:-1], edges[1:])).astype(np.intp)
            behind = np.ceil(np.maximum(edges[:-1], edges[1:])).astype(np.intp)
            sums = np.insert(np.cumsum(touched, axis, dtype=np.int64), 0, 0, axis)
            first, behind = (ends.clip(0, sums.shape[axis] - 1) for ends in (first, behind))
            touched = sums.take(behind, axis) > sums.take(first, axis)
        return touched.astype(np.uint8)


@dataclass(frozen=True)
class Target:
    """
    An expression and the objects that it means.

    Attributes:
        text (`str`): the expression.
        boxes (`tuple` of tuples of 4 floats): of each object x1, y1, x2, y2 in pixels of the image, inside it; empty
            where the expression means nothing.
        mask ([`LazyMask`], or None): the pixels of all objects; None where they are unknown, and no step makes a mask.
    """

    text: str
    boxes: tuple[Box, ...]
    mask: LazyMask | None = None


@dataclass(frozen=True)
class GroundingSample:
    """
    An image with one or more expressions about it.

    Attributes:
        image (`torch.Tensor` of shape `(3, height, width)`): uint8.
        targets (`tuple` of [`Target`]): at least one.
    """

    image: torch.Tensor
    targets: tuple[Target, ...]

    def draw_masks(self) -> list[np.ndarray | None]:
        """Of each target a uint8 array of the image's `(height, width)`, 1 on the object, or None."""
        size = self.image.shape[-2:]
        return [None if target.mask is None else target.mask.draw(*size) for target in self.targets]


def _middles(first: float, last: float, count: int) -> np.ndarray:
    """The pixels of an axis in which the middles of `count` equal parts from first to last lie."""
    return np.floor(first + (np.arange(count) + 0.5) * ((last - first) / count)).astype(np.intp)
