"""PLVL's training transform: random steps that change image, boxes, mask and expression together.

Each step takes a [`GroundingSample`] and gives a new one. [`PLVLImageProcessor`] follows: it finds the images in
the network's size and normalises them as in evaluation. All draws come from torch's global random generator, which a
DataLoader seeds anew for each worker and epoch, from the run's seed.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvF

from plvl.processing.expression_words import says_position, swap_sides
from plvl.processing.grounding_sample import GroundingSample, Target

# The sizes below are those of the authors' model, whose images have this side; others scale with theirs.
BASE_SIZE = 448
LONG_SIDES = (448, 416, 384, 352, 320, 288, 256)
CROP_SHORT_SIDES = (400, 500, 600)
CROP_SIDES = (384, 600)
BLUR_SIGMAS = (0.1, 2.0)


@dataclass(frozen=True)
class RandomCrop:
    """
    With probability `p` keeps a random part of the image, but every object of every expression whole; unless an
    expression says left, right, top, bottom or middle, which may not be true of the part. Where no expression means
    an object, any part will do.

    The sides of the part are drawn, each for itself, between `min_side` and `max_side` pixels of the image as it
    were with its short side resized to one of `short_sides`. It is cut from the image as it is: one resizing
    follows, and a second one before would only blur. Where the objects reach further than the drawn side, the side is
    theirs. Boxes and masks move with the part; the expressions stay.
    """

    short_sides: tuple[int, ...]
    min_side: int
    max_side: int
    p: float = 0.5

    def __call__(self, sample: GroundingSample) -> GroundingSample:
        if _random() >= self.p or any(says_position(target.text) for target in sample.targets):
            return sample
        height, width = sample.image.shape[-2:]
        # Nothing to keep reaches from the far end to the near one.
        boxes = [box for target in sample.targets for box in target.boxes] or [(width, height, 0, 0)]
        x1, y1, x2, y2 = zip(*boxes, strict=True)
        enlargement = _choice(self.short_sides) / min(height, width)
        left, right = self._part_of_axis(width, min(x1), max(x2), enlargement)
        top, bottom = self._part_of_axis(height, min(y1), max(y2), enlargement)
        shares = left / width, top / height, right / width, bottom / height

        def moved(target: Target) -> Target:
            boxes = tuple((x1 - left, y1 - top, x2 - left, y2 - top) for x1, y1, x2, y2 in target.boxes)
            return replace(target, boxes=boxes, mask=target.mask and target.mask.part(*shares))

        return GroundingSample(sample.image[:, top:bottom, left:right], tuple(map(moved, sample.targets)))

    def _part_of_axis(self, length: int, low: float, high: float, enlargement: float) -> tuple[int, int]:
        """First pixel of the part and the one behind its last, on an axis where objects are from low to high."""
        low, high = max(math.floor(low), 0), min(math.ceil(high), length)
        smallest, largest = (min(side, length * enlargement) for side in (self.min_side, self.max_side))
        drawn = round((smallest + _random() * (largest - smallest)) / enlargement)
        drawn = min(max(drawn, high - low, 1), length)
        start = _random_integer(max(high - drawn, 0), min(low, length - drawn))
        return start, start + drawn


@dataclass(frozen=True)
class RandomLongSide:
    """
    Resizes the long side to one of `long_sides`, keeping the aspect (bilinear, antialiased); the expression stays.

    As every image is stretched to the network's size afterwards, this changes its sharpness only.
    """

    long_sides: tuple[int, ...]

    def __call__(self, sample: GroundingSample) -> GroundingSample:
        height, width = sample.image.shape[-2:]
        scale = _choice(self.long_sides) / max(height, width)
        size = [max(round(side * scale), 1) for side in (height, width)]
        return GroundingSample(tvF.resize(sample.image, size, antialias=True), _resized_referents(sample, *size))


@dataclass(frozen=True)
class RandomColors:
    """
    With probability `p` changes brightness, contrast and saturation, in random order, by factors drawn from
    1 - strength to 1 + strength (torchvision's `ColorJitter`); boxes, mask and expression stay.
    """

    strength: float = 0.4
    p: float = 0.8

    def __call__(self, sample: GroundingSample) -> GroundingSample:
        if _random() >= self.p:
            return sample
        return replace(sample, image=v2.ColorJitter(*[self.strength] * 3)(sample.image))


@dataclass(frozen=True)
class RandomBlur:
    """
    With probability `p` blurs the image with a Gaussian of a sigma, in pixels, drawn between `sigmas`; boxes, mask
    and expression stay.
    """

    sigmas: tuple[float, float]
    p: float = 0.5

    def __call__(self, sample: GroundingSample) -> GroundingSample:
        if _random() >= self.p:
            return sample
        low, high = self.sigmas
        sigma = low + _random() * (high - low)
        kernel_size = 2 * math.ceil(3 * sigma) + 1
        # The blur fills its border by reflection, of which a thin image has too little.
        kernel = [min(kernel_size, 2 * side - 1) for side in sample.image.shape[:0:-1]]
        return replace(sample, image=tvF.gaussian_blur(sample.image, kernel, [sigma, sigma]))


@dataclass(frozen=True)
class RandomMirror:
    """With probability `p` mirrors image, boxes and mask, and swaps left and right in the expression."""

    p: float = 0.5

    def __call__(self, sample: GroundingSample) -> GroundingSample:
        if _random() >= self.p:
            return sample
        width = sample.image.shape[-1]

        def mirrored(target: Target) -> Target:
            boxes = tuple((width - x2, y1, width - x1, y2) for x1, y1, x2, y2 in target.boxes)
            return Target(swap_sides(target.text), boxes, target.mask and target.mask.mirrored())

        return GroundingSample(tvF.horizontal_flip(sample.image), tuple(map(mirrored, sample.targets)))


@dataclass(frozen=True)
class RandomWords:
    """
    Makes each word of an expression, with probability `share`, another of `words`, so that the rest has to do. What an
    expression of one word says, and one that means nothing, stays: it would be true of something else.
    """

    words: tuple[str, ...]
    share: float

    def __call__(self, sample: GroundingSample) -> GroundingSample:
        def changed(target: Target) -> Target:
            said = target.text.split()
            if len(said) < 2 or not target.boxes:
                return target
            return replace(target, text=" ".join(_choice(self.words) if _random() < self.share else w for w in said))

        return replace(sample, targets=tuple(map(changed, sample.targets)))


@dataclass(frozen=True)
class Stretch:
    """
    Stretches image, boxes and mask to the network's size as evaluation does, bilinearly with corners aligned. The
    image stays uint8, so a value may be off by one. The expression stays.
    """

    height: int
    width: int

    def __call__(self, sample: GroundingSample) -> GroundingSample:
        size = [self.height, self.width]
        image = F.interpolate(sample.image[None], size=size, mode="bilinear", align_corners=True)[0]
        return GroundingSample(image, _resized_referents(sample, *size))


def training_augmentation(
    size: dict,
    crop: bool = True,
    scale: bool = True,
    color: bool = True,
    blur: bool = False,
    words: tuple[str, ...] = (),
    word_share: float = 0.0,
) -> v2.Compose:
    """
    The authors' training transform for a network of any image size.

    Args:
        size (`dict`): `"height"` and `"width"` of the network's images, as the image processor's `size`.
        crop (`bool`): whether every other image is cut to a part of it.
        scale (`bool`): whether the long side is drawn from seven sizes, or always the network's.
        color (`bool`): whether brightness, contrast and saturation change.
        blur (`bool`): whether every other image is blurred.
        words (`tuple[str]`), word_share (`float`): what share of the words of an expression becomes others, and which.

    Returns:
        the steps one after the other, from [`GroundingSample`] to [`GroundingSample`]; `.transforms` lists them.
    """
    long_side = max(size["height"], size["width"])
    enlargement = long_side / BASE_SIZE

    def scaled(sides):
        return tuple(max(round(side * enlargement), 1) for side in sides)

    return v2.Compose(
        [
            *([RandomCrop(scaled(CROP_SHORT_SIDES), *scaled(CROP_SIDES))] if crop else []),
            RandomLongSide(scaled(LONG_SIDES) if scale else (long_side,)),
            *([RandomColors()] if color else []),
            *([RandomBlur(tuple(sigma * enlargement for sigma in BLUR_SIGMAS))] if blur else []),
            RandomMirror(),
            *([RandomWords(words, word_share)] if word_share else []),
            Stretch(size["height"], size["width"]),
        ]
    )


def _resized_referents(sample: GroundingSample, height: int, width: int) -> tuple[Target, ...]:
    y_scale, x_scale = height / sample.image.shape[-2], width / sample.image.shape[-1]

    def resized(target: Target) -> Target:
        boxes = ((x1 * x_scale, y1 * y_scale, x2 * x_scale, y2 * y_scale) for x1, y1, x2, y2 in target.boxes)
        return replace(target, boxes=tuple(boxes))

    return tuple(map(resized, sample.targets))


def _random() -> float:
    return torch.rand(()).item()


def _random_integer(low: int, high: int) -> int:
    """From low to high, both included."""
    return int(torch.randint(low, high + 1, ()))


def _choice(values: tuple):
    return values[_random_integer(0, len(values) - 1)]
