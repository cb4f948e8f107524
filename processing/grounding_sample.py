"""What the training transform works on: a picture with an expression and, moving along with it, box and mask."""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class MaskView:
    """
    The part of a mask that a picture shows, at whatever size the picture is.

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
    def whole(cls, pixels: np.ndarray) -> "MaskView":
        height, width = pixels.shape
        return cls(pixels, 0.0, 0.0, float(width), float(height))

    def part(self, left: float, top: float, right: float, bottom: float) -> "MaskView":
        """The view of a part, whose borders are given in shares of what this one shows, 0 to 1."""
        width, height = self.right - self.left, self.bottom - self.top
        return MaskView(
            self.pixels,
            self.left + left * width,
            self.top + top * height,
            self.left + right * width,
            self.top + bottom * height,
        )

    def mirrored(self) -> "MaskView":
        return MaskView(self.pixels, self.right, self.top, self.left, self.bottom)

    def draw(self, height: int, width: int) -> np.ndarray:
        """
        uint8 array of shape `(height, width)`, each pixel the mask's at its middle.

        An object so thin that it lies between all of these has the pixels that it touches: it is never lost.
        """
        rows = _middles(self.top, self.bottom, height, self.pixels.shape[0])
        columns = _middles(self.left, self.right, width, self.pixels.shape[1])
        drawn = self.pixels[rows][:, columns]
        return drawn if drawn.any() else self._touched(height, width)

    def _touched(self, height: int, width: int) -> np.ndarray:
        first, last = sorted((self.left, self.right))
        part = self.pixels[math.floor(self.top) : math.ceil(self.bottom), math.floor(first) : math.ceil(last)]
        touched = F.adaptive_max_pool2d(torch.from_numpy(part.astype(np.float32))[None], (height, width))[0]
        touched = touched.numpy().astype(np.uint8)
        return touched if self.left < self.right else touched[:, ::-1].copy()


@dataclass(frozen=True)
class GroundingSample:
    """
    A picture with an expression about one object in it.

    Attributes:
        image (`torch.Tensor` of shape `(3, height, width)`): uint8.
        text (`str`): the expression.
        box (`tuple` of 4 floats): x1, y1, x2, y2 of the object in pixels of the picture, inside it.
        mask ([`MaskView`], or None): the object's pixels; None where the sample has no mask, and no step makes one.
    """

    image: torch.Tensor
    text: str
    box: tuple[float, float, float, float]
    mask: MaskView | None = None

    def draw_mask(self) -> np.ndarray | None:
        """uint8 array of the picture's `(height, width)`, 1 on the object and 0 elsewhere, or None without a mask."""
        return None if self.mask is None else self.mask.draw(*self.image.shape[-2:])


def _middles(first: float, last: float, count: int, length: int) -> np.ndarray:
    """On an axis of `length` pixels, those in which the middles of `count` equal parts from first to last lie."""
    middles = first + (np.arange(count) + 0.5) * ((last - first) / count)
    return np.floor(middles).astype(np.intp).clip(0, length - 1)
