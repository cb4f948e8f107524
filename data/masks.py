"""Masks as annotations write them: polygons, several parts, RLE compressed and not, through pycocotools.

In a row a mask is {"polygons": [[x, y, x, y, ...], ...], "size": None, "counts": None} or
{"polygons": None, "size": [height, width], "counts": compressed RLE string}; None says that it is not known. Where
nothing is meant, nothing is the mask: no polygon, `NO_OBJECT`.
"""

import logging
from array import array
from numbers import Real
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

logger = logging.getLogger(__name__)

# pycocotools counts pixels in 32 bits.
_MOST_PIXELS = 2**31 - 1
_FARTHEST = 1e6

# {"polygons", "size", "counts"}, as the features of a row have it.
Segmentation = dict[str, Any]
# Known to be empty, which is another thing than unknown.
NO_OBJECT: Segmentation = {"polygons": [], "size": None, "counts": None}


def encode_segmentation(segmentation: Any, height: int | None, width: int | None) -> Segmentation | None:
    """Turn an annotation's `segmentation` into the form of a row.

    Args:
        segmentation: None, a list of polygons ([x, y, x, y, ...] or [[x, y], [x, y], ...], pixels), one polygon of
            such pairs, an RLE {"size", "counts"} whose counts are a list of run lengths or a compressed string, a
            list of such RLEs (united), or the form of a row itself.
        height, width: size of the image in pixels, which an RLE must have; None where it is not known.

    Returns:
        The dict described above, or None when there is no mask: None, an empty list or dict, or polygons that have
        fewer than three corners each, which the log says. `NO_OBJECT` stays what it is.

    Raises:
        ValueError: what was given is none of these, or has another size than the image.
    """
    if isinstance(segmentation, dict) and segmentation.get("polygons") is not None:
        segmentation = segmentation["polygons"]
        if segmentation == []:
            return dict(NO_OBJECT)
    if segmentation is None or len(segmentation) == 0:
        return None
    if isinstance(segmentation, dict):
        return _rle_struct(_compressed(segmentation, height, width))
    if not isinstance(segmentation, list):
        raise ValueError(f"segmentation must be polygons or RLE, got {type(segmentation).__name__}")
    kinds = {isinstance(part, dict) for part in segmentation}
    if len(kinds) > 1:
        raise ValueError("a segmentation must be polygons or RLE, this list has both")
    if kinds == {True}:
        parts = [_compressed(part, height, width) for part in segmentation]
        return _rle_struct(coco_mask.merge(parts))
    if len(segmentation) > 2 and all(_is_point(part) for part in segmentation):
        segmentation = [segmentation]
    polygons = [_polygon(part) for part in segmentation]
    polygons = [polygon for polygon in polygons if len(polygon) >= 6]
    if not polygons:
        logger.warning("no mask: %.100s has no polygon of three corners", segmentation)
        return None
    return {"polygons": polygons, "size": None, "counts": None}


def unite_segmentations(segmentations: list, height: int | None, width: int | None) -> Segmentation | None:
    """One mask of several objects, in the form of a row.

    Args:
        segmentations: of each object, in any form that `encode_segmentation` takes.
        height, width: as there.

    Returns:
        All polygons in one list where there are only such, else an RLE of what any of them covers. None where the
        mask of one of them is unknown, and `NO_OBJECT` of no objects.

    Raises:
        ValueError: see `encode_segmentation`; or RLEs have different sizes.
    """
    masks = []
    for segmentation in segmentations:
        mask = encode_segmentation(segmentation, height, width)
        if mask is None:
            return None
        masks.append(mask)
    if all(mask["polygons"] is not None for mask in masks):
        return NO_OBJECT | {"polygons": [polygon for mask in masks for polygon in mask["polygons"]]}
    if len(masks) == 1:
        return masks[0]
    size = next(mask["size"] for mask in masks if mask["size"] is not None)
    return _rle_struct(coco_mask.merge([_rle(encode_segmentation(mask, *size), *size) for mask in masks]))


def compact_polygons(segmentation: Any) -> Any:
    """An annotation's segmentation with arrays for its polygons' lists, which take four times as much; what is none is
    given back as it is."""
    if not isinstance(segmentation, list):
        return segmentation
    return [_compact_polygon(part) for part in segmentation]


def is_without_pixels(segmentation: Segmentation) -> bool:
    """Whether a mask in the form of a row is `NO_OBJECT` or an RLE of zeros. Polygons are not drawn to find out."""
    if segmentation["polygons"] is not None:
        return not segmentation["polygons"]
    return not coco_mask.area(_rle(segmentation, *segmentation["size"]))


def decode_segmentation(segmentation: Segmentation | None, height: int, width: int) -> np.ndarray | None:
    """Draw a mask.

    Args:
        segmentation: as for `encode_segmentation`.
        height, width: size of the image in pixels.

    Returns:
        uint8 array (height, width), 1 on the object and 0 elsewhere, of `NO_OBJECT` all 0; or None when there is no
        mask or when it has no pixel in the image (an RLE of zeros, a polygon on a line, outside or too small).

    Raises:
        ValueError: see `encode_segmentation`; or the RLE string cannot be read.
    """
    struct = encode_segmentation(segmentation, height, width)
    if struct is None:
        return None
    if struct == NO_OBJECT:
        return np.zeros((height, width), dtype=np.uint8)
    mask = coco_mask.decode(_rle(struct, height, width))
    return mask if mask.any() else None


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """A mask of pixels as the compressed RLE that JSON takes.

    Args:
        mask: array (height, width), true on the object.

    Returns:
        {"size": [height, width], "counts": compressed RLE string}, as pycocotools reads it.
    """
    struct = _rle_struct(coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8)))
    return {"size": struct["size"], "counts": struct["counts"]}


def _rle(struct, height, width):
    """A mask in the form of a row, drawn, as pycocotools takes it."""
    if struct["polygons"] is None:
        return {"size": struct["size"], "counts": struct["counts"].encode("ascii")}
    if height * width > _MOST_PIXELS:
        raise ValueError(f"a mask of {height} x {width} pixels is more than pycocotools counts")
    return coco_mask.merge(coco_mask.frPyObjects(struct["polygons"], height, width))


def _compact_polygon(part):
    try:
        return array("d", part) if isinstance(part, list) else part
    except TypeError:  # points, each a list of its own
        return part


def _is_point(part):
    return isinstance(part, list | tuple | array) and len(part) == 2 and all(isinstance(side, Real) for side in part)


def _polygon(numbers):
    try:
        numbers = np.asarray(numbers, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"a polygon must be x, y pairs of numbers, got {str(numbers)[:100]}") from None
    if numbers.ndim == 2 and numbers.shape[1] == 2:
        numbers = numbers.reshape(-1)
    if numbers.ndim != 1 or len(numbers) % 2 or not np.isfinite(numbers).all():
        raise ValueError(f"a polygon must be x, y pairs of finite numbers, got {str(numbers)[:100]}")
    if len(numbers) and np.abs(numbers).max() > _FARTHEST:
        # pycocotools walks along each edge in steps of a fifth of a pixel, and keeps them all.
        raise ValueError(f"a polygon reaches to {np.abs(numbers).max():g}, where no image has a pixel")
    return numbers.tolist()


def _compressed(rle, height, width):
    size, counts = rle.get("size"), rle.get("counts")
    if size is None or counts is None:
        raise ValueError(f"an RLE must have 'size' and 'counts', got the keys {sorted(rle)}")
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(_is_whole(side) for side in size):
        raise ValueError(f"the size of an RLE must be [height, width], got {str(size)[:100]}")
    if height is None:
        height, width = map(int, size)
    if height < 1 or width < 1 or height * width > _MOST_PIXELS:
        raise ValueError(f"an RLE of {height} x {width} pixels is of no image")
    if list(size) != [height, width]:
        raise ValueError(f"the RLE has size {list(size)}, the image {[height, width]} (height, width)")
    if isinstance(counts, (str, bytes)):
        counts = counts.encode("ascii") if isinstance(counts, str) else counts
        _check_compressed_counts(counts, height * width)
        return {"size": [height, width], "counts": counts}
    if not isinstance(counts, list | tuple) or not all(_is_whole(count) for count in counts):
        raise ValueError(f"the run lengths of an RLE must be whole numbers, got {str(counts)[:100]}")
    counts = list(map(int, counts))
    if sum(counts) != height * width or min(counts) < 0:
        raise ValueError(f"the run lengths of the RLE sum to {sum(counts)}, the image has {height * width} pixels")
    return coco_mask.frPyObjects({"size": [height, width], "counts": list(counts)}, height, width)


def _is_whole(number):
    """Whether run lengths and sides may be it; some writers say 12.0."""
    return isinstance(number, Real) and not isinstance(number, bool) and float(number).is_integer()


def _check_compressed_counts(counts, pixels):
    """A string that stops short makes pycocotools return uninitialised memory: sum the runs first."""
    digits = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - 48
    last = (digits & 0x20) == 0  # six bits a character, the highest says that the number goes on
    if len(digits) == 0 or not last[-1] or digits.min() < 0:
        raise ValueError(f"the RLE string {counts[:20]!r}... is cut short or no RLE")
    first = np.flatnonzero(np.concatenate([[True], last[:-1]]))
    place = np.arange(len(digits)) - np.repeat(first, np.diff([*first, len(digits)]))
    numbers = np.add.reduceat((digits & 0x1F) << (5 * place), first)
    negative = (digits[last] & 0x10) != 0
    numbers -= np.where(negative, 1 << (5 * (place[last] + 1)), 0)
    # From the fourth number on, each is the difference to the last but one.
    runs = numbers.copy()
    runs[1::2] = np.cumsum(numbers[1::2])
    runs[2::2] = np.cumsum(numbers[2::2])
    if runs.min() < 0 or runs.sum() != pixels:
        raise ValueError(f"the RLE string covers {runs.sum()} pixels, the image has {pixels}")


def _rle_struct(rle):
    counts = rle["counts"]
    counts = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"polygons": None, "size": [int(side) for side in rle["size"]], "counts": counts}
