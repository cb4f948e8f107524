"""The training transform: what each step does to image, box, mask and expression, and what no chain breaks."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.ops import box_convert

from plvl.processing import PLVLImageProcessor
from plvl.processing.augmentation import (
    RandomBlur,
    RandomColors,
    RandomCrop,
    RandomLongSide,
    RandomMirror,
    RandomWords,
    Stretch,
    training_augmentation,
)
from plvl.processing.grounding_sample import GroundingSample, LazyMask, Target

SQUARE = {"height": 64, "width": 64}


def make_sample(width, height, *boxes, text="the red board"):
    """A grey image with a brighter rectangle in the whole pixels of each of `boxes`, which is box and mask."""
    image = torch.full((3, height, width), 60, dtype=torch.uint8)
    targets = []
    for x1, y1, x2, y2 in boxes:
        mask = torch.zeros(height, width, dtype=torch.uint8)
        mask[y1:y2, x1:x2] = 1
        image[:, mask.bool()] = 200
        targets.append(Target(text, (tuple(map(float, (x1, y1, x2, y2))),), LazyMask.whole(mask.numpy())))
    return GroundingSample(image, tuple(targets))


def box_and_mask(sample):
    """Of a sample with one object."""
    (target,), (mask,) = sample.targets, sample.draw_masks()
    return target.boxes[0], mask


def with_referents(sample, **changes):
    return replace(sample, targets=tuple(replace(target, **changes) for target in sample.targets))


@st.composite
def samples(draw):
    """One or two objects, which may overlap."""
    width, height = draw(st.integers(5, 150)), draw(st.integers(5, 150))
    boxes = []
    for _ in range(draw(st.integers(1, 2))):
        x1, y1 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        boxes.append((x1, y1, draw(st.integers(x1 + 1, width)), draw(st.integers(y1 + 1, height))))
    text = draw(st.sampled_from(["the red board", "left board", "a bright board"]))
    return make_sample(width, height, *boxes, text=text)


STEPS = st.sampled_from(
    [
        RandomCrop((57, 71, 86), 55, 86, p=1.0),
        RandomCrop((20, 40), 5, 20, p=1.0),
        RandomLongSide((37, 50, 64)),
        RandomColors(p=1.0),
        RandomBlur((0.1, 1.0), p=1.0),
        RandomMirror(p=1.0),
        Stretch(64, 64),
        Stretch(48, 80),
    ]
)
SEEDS = st.integers(0, 2**31)


def bounds(mask):
    """x1, y1, x2, y2 around a mask (an array)."""
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def assert_box_bounds_mask(box, mask, tolerance=2):
    x1, y1, x2, y2 = box
    assert -1e-4 <= x1 < x2 <= mask.shape[1] + 1e-4
    assert -1e-4 <= y1 < y2 <= mask.shape[0] + 1e-4
    assert set(mask.flatten().tolist()) <= {0, 1}
    assert max(abs(a - b) for a, b in zip(box, bounds(mask), strict=True)) <= tolerance


@settings(max_examples=150, deadline=None)
@given(samples(), st.lists(STEPS, max_size=5), SEEDS)
def test_after_any_chain_of_steps_the_box_bounds_the_mask_and_values_are_in_range(sample, steps, seed):
    torch.manual_seed(seed)
    for step in steps:
        sample = step(sample)
        assert sample.image.dtype == torch.uint8
        assert sample.image.shape[0] == 3
        for target, mask in zip(sample.targets, sample.draw_masks(), strict=True):
            assert mask.shape == sample.image.shape[1:]
            assert_box_bounds_mask(*target.boxes, mask)


@settings(max_examples=60, deadline=None)
@given(samples(), SEEDS, st.booleans())
def test_the_training_transform_gives_the_processor_labels_that_fit(sample, seed, blur):
    torch.manual_seed(seed)
    augmented = training_augmentation(SQUARE, blur=blur)(sample)
    assert augmented.image.shape == (3, 64, 64)
    processor = PLVLImageProcessor(size=SQUARE)
    boxes = [target.boxes[0] for target in augmented.targets]
    batch = processor([augmented.image], boxes=boxes, masks=augmented.draw_masks(), return_tensors="pt")
    assert batch["pixel_values"].shape == (1, 3, 64, 64)
    assert torch.isfinite(batch["pixel_values"]).all()
    assert batch["labels"]["has_mask"].tolist() == [True] * len(boxes)
    for box, mask in zip(batch["labels"]["boxes"], batch["labels"]["masks"], strict=True):
        assert_box_bounds_mask((box_convert(box, "cxcywh", "xyxy") * 64).tolist(), mask.numpy())


@settings(max_examples=60, deadline=None)
@given(samples(), st.lists(STEPS, max_size=5), SEEDS)
def test_no_chain_of_steps_makes_a_mask_where_there_is_none(sample, steps, seed):
    torch.manual_seed(seed)
    sample = with_referents(sample, mask=None)
    for step in steps:
        sample = step(sample)
        assert not any(mask is not None for mask in sample.draw_masks())


@settings(max_examples=150, deadline=None)
@given(samples(), SEEDS)
def test_a_crop_never_loses_a_part_of_an_object(sample, seed):
    torch.manual_seed(seed)
    cropped = RandomCrop((20, 40), 5, 20, p=1.0)(with_referents(sample, text="the board"))
    masks = cropped.draw_masks()
    assert [mask.sum() for mask in masks] == [mask.sum() for mask in sample.draw_masks()]
    assert ((cropped.image[0] == 200).numpy() == np.logical_or.reduce(masks)).all()
    assert [target.boxes[0] for target in cropped.targets] == [bounds(mask) for mask in masks]


def test_a_crop_is_as_large_as_its_sides_say():
    torch.manual_seed(0)
    sample = make_sample(640, 480, (300, 200, 310, 210))
    sides = [RandomCrop((400, 500, 600), 384, 600, p=1.0)(sample).image.shape[-2:] for _ in range(300)]
    heights, widths = ([side[axis] for side in sides] for axis in (0, 1))
    # The smallest is 384 pixels of an image with a short side of 600; the largest, 600 of one of 400, is all.
    assert min(heights) == pytest.approx(384 * 480 / 600, abs=5)
    assert min(widths) == pytest.approx(384 * 480 / 600, abs=5)
    assert max(heights) == 480
    assert max(widths) == 640


def test_a_crop_may_lie_on_any_side_of_the_object():
    torch.manual_seed(0)
    sample = make_sample(640, 480, (300, 200, 310, 210))
    # The part is 307 pixels wide and high, so it begins 3 to 300 pixels from the left, 0 to 173 from the top.
    crop = RandomCrop((600,), 384, 384, p=1.0)
    lefts, tops = torch.tensor([box_and_mask(crop(sample))[0][:2] for _ in range(300)]).unbind(1)
    assert 0 <= lefts.min() < 10 < 290 < lefts.max() <= 297
    assert 27 <= tops.min() < 35 < 190 < tops.max() <= 200


@pytest.mark.parametrize("text", ["the left board", "Top one", "leftmost", "the bottom-most", "middle board"])
def test_an_expression_that_says_where_is_never_cropped(text):
    sample = make_sample(640, 480, (300, 200, 310, 210), (10, 20, 30, 40))
    sample = replace(sample, targets=(sample.targets[0], replace(sample.targets[1], text=text)))
    assert all(RandomCrop((600,), 384, 400, p=1.0)(sample) is sample for _ in range(5))


def test_a_mirrored_sample_mirrored_again_is_the_same():
    text = "the LEFT board right of the bright one"
    sample = make_sample(40, 30, (3, 5, 12, 9), text=text)
    mirrored = RandomMirror(p=1.0)(sample)
    assert mirrored.targets[0].text == "the RIGHT board left of the bright one"
    box, mask = box_and_mask(mirrored)
    assert box == (28, 5, 37, 9) == bounds(mask)
    assert ((mirrored.image[0] == 200).numpy() == mask).all()
    again = RandomMirror(p=1.0)(mirrored)
    assert torch.equal(again.image, sample.image)
    box, mask = box_and_mask(again)
    assert (again.targets[0].text, box) == (text, (3, 5, 12, 9))
    assert (mask == box_and_mask(sample)[1]).all()


@pytest.mark.parametrize(("width", "height"), [(90, 60), (60, 90)])
def test_the_long_side_is_one_of_those_given_and_the_aspect_stays(width, height):
    torch.manual_seed(0)
    sample = make_sample(width, height, (30, 20, 60, 40))
    resized = [RandomLongSide((45, 30))(sample) for _ in range(30)]
    sizes = {tuple(each.image.shape[-2:]) for each in resized}
    assert sizes == {(height // 2, width // 2), (height // 3, width // 3)}
    boxes = {1 / 2: (15, 10, 30, 20), 1 / 3: (10, 20 / 3, 20, 40 / 3)}
    assert all(box_and_mask(each)[0] == pytest.approx(boxes[each.image.shape[-1] / width]) for each in resized)


def test_the_image_is_made_smaller_bilinearly_with_antialiasing_as_pillow_does():
    image = torch.randint(0, 256, (3, 60, 90), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    resized = RandomLongSide((31,))(GroundingSample(image, make_sample(90, 60, (1, 1, 9, 9)).targets)).image
    pillow = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((31, 21), Image.Resampling.BILINEAR)
    assert (resized.permute(1, 2, 0).int() - torch.from_numpy(np.array(pillow)).int()).abs().max() <= 1


def test_stretching_aligns_the_corners_and_scales_each_axis_by_its_own_share():
    sample = make_sample(3, 4, (1, 1, 3, 2))
    image = torch.tensor([0, 100, 200], dtype=torch.uint8).expand(3, 4, 3)
    stretched = Stretch(8, 5)(replace(sample, image=image))
    assert stretched.image[1].tolist() == [[0, 50, 100, 150, 200]] * 8
    assert stretched.targets[0].boxes[0] == pytest.approx((5 / 3, 2, 5, 4))


@pytest.mark.parametrize(("mirrored", "column"), [(False, 5), (True, 4)])
def test_an_object_thinner_than_a_pixel_keeps_a_mask(mirrored, column):
    sample = make_sample(100, 100, (52, 10, 53, 90))
    sample = RandomMirror(p=float(mirrored))(RandomLongSide((10,))(sample))
    assert bounds(box_and_mask(sample)[1]) == (column, 1, column + 1, 9)


def test_a_blur_changes_only_the_image():
    torch.manual_seed(0)
    sample = make_sample(40, 30, (10, 5, 20, 9))
    blurred = RandomBlur((1.0, 1.0), p=1.0)(sample)
    edge = blurred.image[0, 7, 6:14].int()
    assert (edge.diff() >= 0).all()
    assert len(edge.unique()) > 4
    assert blurred.targets == sample.targets


def test_a_blur_is_a_gaussian_of_a_sigma_from_its_range():
    torch.manual_seed(0)
    sample = make_sample(41, 31, (20, 0, 21, 31))
    values = RandomBlur((1.5, 1.5), p=1.0)(sample).image[0, 15].float()
    gaussian = torch.exp(-((torch.arange(41) - 20.0) ** 2) / (2 * 1.5**2))
    assert (values - 60 - 140 * gaussian / gaussian.sum()).abs().max() < 1
    peaks = [RandomBlur((0.5, 2.0), p=1.0)(sample).image[0, 15, 20].item() for _ in range(100)]
    assert min(peaks) == pytest.approx(60 + 140 * 0.2, abs=3) and max(peaks) > 60 + 140 * 0.7


def test_colours_change_by_up_to_their_strength():
    torch.manual_seed(0)
    image = torch.full((3, 4, 6), 100, dtype=torch.uint8)
    # On one grey only the brightness shows.
    seen = [RandomColors(p=1.0)(GroundingSample(image, ())).image.unique().item() for _ in range(300)]
    assert 57 <= min(seen) < 63 and 137 < max(seen) <= 143


def test_contrast_and_saturation_change_each_by_their_own_factor():
    torch.manual_seed(0)
    two_tones = torch.tensor([80, 120], dtype=torch.uint8).expand(3, 4, 2)
    coloured = torch.tensor([120, 100, 80], dtype=torch.uint8)[:, None, None].expand(3, 4, 2)

    def share(image, low, high):
        """How far two of its values lie apart, of what it was; brightness changes both alike."""
        changed = RandomColors(p=1.0)(GroundingSample(image, ())).image.float()
        return ((high(changed) - low(changed)) / changed.mean() / 0.4).item()

    contrasts = [share(two_tones, lambda i: i[0, 0, 0], lambda i: i[0, 0, 1]) for _ in range(200)]
    saturations = [share(coloured, lambda i: i[2, 0, 0], lambda i: i[0, 0, 0]) for _ in range(200)]
    assert 0.54 < min(contrasts) < 0.68 and 1.32 < max(contrasts) < 1.46
    # Contrast brings colours nearer to grey, too.
    assert 0.3 < min(saturations) < 0.54 and 1.5 < max(saturations) < 2.1


@pytest.mark.parametrize(
    ("step", "share"),
    [(RandomCrop((600,), 384, 400), 0.5), (RandomColors(), 0.8), (RandomBlur((1, 2)), 0.5), (RandomMirror(), 0.5)],
)
def test_each_step_is_taken_as_often_as_the_recipe_says(step, share):
    torch.manual_seed(0)
    sample = make_sample(64, 48, (30, 20, 36, 28))
    taken = sum(step(sample) is not sample for _ in range(1000))
    assert taken / 1000 == pytest.approx(share, abs=0.05)


def test_sizes_scale_with_the_network():
    base = training_augmentation({"height": 448, "width": 448}).transforms
    assert base[0] == RandomCrop((400, 500, 600), 384, 600)
    assert base[1] == RandomLongSide((448, 416, 384, 352, 320, 288, 256))
    small = training_augmentation({"height": 112, "width": 112}).transforms
    assert small[0] == RandomCrop((100, 125, 150), 96, 150)
    assert small[1] == RandomLongSide((112, 104, 96, 88, 80, 72, 64))
    assert small[-1] == Stretch(112, 112)
    for size in ({"height": 112, "width": 56}, {"height": 56, "width": 112}):
        flat = training_augmentation(size, blur=True).transforms
        assert flat[1] == small[1]
        assert flat[3] == RandomBlur((0.025, 0.5), p=0.5)
        assert flat[-1] == Stretch(**size)


def test_steps_can_be_left_out_and_taken_in():
    names = [type(step).__name__ for step in training_augmentation(SQUARE, crop=False, scale=False).transforms]
    assert names == ["RandomLongSide", "RandomColors", "RandomMirror", "Stretch"]
    assert training_augmentation(SQUARE, crop=False, scale=False).transforms[0] == RandomLongSide((64,))
    assert "RandomBlur" in [type(step).__name__ for step in training_augmentation(SQUARE, blur=True).transforms]


def test_the_same_seed_gives_the_same_samples_and_another_seed_others():
    sample, augmentation = make_sample(90, 60, (30, 20, 60, 40)), training_augmentation(SQUARE)

    def images(seed):
        torch.manual_seed(seed)
        return torch.stack([augmentation(sample).image for _ in range(4)])

    assert torch.equal(images(1), images(1))
    assert not torch.equal(images(1), images(2))


NOTHING = Target("the dog", (), LazyMask.whole(np.zeros((48, 64), np.uint8)))


def several_and_nothing():
    """Of a grey image two bright objects, which one expression means together, and another that means nothing."""
    sample = make_sample(64, 48, (3, 5, 12, 9), (40, 20, 51, 44))
    first, second = sample.targets
    mask = LazyMask.whole(first.mask.pixels | second.mask.pixels)
    both = Target("both boards", first.boxes + second.boxes, mask)
    return GroundingSample(sample.image, (both, NOTHING))


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=5), SEEDS)
def test_every_object_of_an_expression_moves_along_and_nothing_stays_nothing(steps, seed):
    torch.manual_seed(seed)
    sample = several_and_nothing()
    for step in steps:
        sample = step(sample)
    (both, nothing), (mask, empty) = sample.targets, sample.draw_masks()
    assert nothing.boxes == () and empty.shape == sample.image.shape[1:] and not empty.any()
    assert len(both.boxes) == 2
    lefts, tops, rights, bottoms = zip(*both.boxes, strict=True)
    assert_box_bounds_mask((min(lefts), min(tops), max(rights), max(bottoms)), mask)
    parts = np.zeros_like(mask)
    for x1, y1, x2, y2 in both.boxes:
        inside = mask[max(math.floor(y1) - 1, 0) : math.ceil(y2) + 1, max(math.floor(x1) - 1, 0) : math.ceil(x2) + 1]
        assert inside.any()
        parts[max(math.floor(y1) - 1, 0) : math.ceil(y2) + 1, max(math.floor(x1) - 1, 0) : math.ceil(x2) + 1] = 1
    assert not (mask & ~parts.astype(bool)).any()


def test_mirroring_and_stretching_work_out_each_box_for_itself():
    mirrored = RandomMirror(p=1.0)(several_and_nothing())
    assert mirrored.targets[0].boxes == ((52, 5, 61, 9), (13, 20, 24, 44))
    stretched = Stretch(24, 128)(mirrored)
    assert stretched.targets[0].boxes == ((104, 2.5, 122, 4.5), (26, 10, 48, 22))


def test_a_crop_keeps_all_objects_of_all_expressions_whole():
    torch.manual_seed(0)
    crop = RandomCrop((48,), 5, 20, p=1.0)
    sample = several_and_nothing()
    for _ in range(50):
        both, _ = crop(sample).targets
        (x1, y1, x2, y2), (far_x1, far_y1, far_x2, far_y2) = both.boxes
        height, width = crop(sample).image.shape[-2:]
        assert min(x1, y1) >= 0 and (far_x2 - x1, far_y2 - y1) == (48, 39)
        assert (x2 - x1, y2 - y1, far_x2 - far_x1, far_y2 - far_y1) == (9, 4, 11, 24)
        assert width >= 48 and height >= 39


def test_where_no_object_is_meant_any_part_will_do():
    torch.manual_seed(0)
    nothing = replace(NOTHING, mask=None)
    column, line = torch.arange(120).expand(48, 120), torch.arange(48)[:, None].expand(48, 120)
    sample = GroundingSample(torch.stack([column, line, line]).to(torch.uint8), (nothing,))
    crop = RandomCrop((48,), 10, 20, p=1.0)
    parts = [crop(sample).image for _ in range(500)]
    assert {part.shape[-1] for part in parts} == {part.shape[-2] for part in parts} == set(range(10, 21))
    for channel, length in ((0, 120), (1, 48)):
        firsts, lasts = ({int(part[channel].flatten()[end]) for part in parts} for end in (0, -1))
        assert min(firsts) == 0 and max(lasts) == length - 1


def test_a_share_of_the_words_becomes_others_and_boxes_and_image_stay():
    torch.manual_seed(0)
    text = " ".join(["board"] * 2000)
    sample = make_sample(40, 30, (3, 4, 20, 11), (5, 5, 9, 25), text=text)
    changed = RandomWords(("oak", "elm", "ash"), 0.2)(sample)
    assert changed.image is sample.image
    for before, after in zip(sample.targets, changed.targets, strict=True):
        said = after.text.split()
        assert len(said) == 2000 and set(said) == {"board", "oak", "elm", "ash"}
        assert 300 < sum(word != "board" for word in said) < 500
        assert (after.boxes, after.mask) == (before.boxes, before.mask)
    assert changed.targets[0].text != changed.targets[1].text


def test_what_one_word_says_and_what_means_nothing_stays():
    always = RandomWords(("oak",), 1.0)
    lone = make_sample(40, 30, (3, 4, 20, 11), text="board")
    nothing = with_referents(make_sample(40, 30, (3, 4, 20, 11)), boxes=())
    assert always(lone) == lone and always(nothing) == nothing
    assert always(make_sample(40, 30, (3, 4, 20, 11), text="red board")).targets[0].text == "oak oak"


def test_words_change_last_so_that_cropping_and_mirroring_read_what_was_said():
    steps = training_augmentation(SQUARE, words=("oak",), word_share=0.1).transforms
    assert [type(step).__name__ for step in steps][-3:] == ["RandomMirror", "RandomWords", "Stretch"]
