import numpy as np
import pytest
import torch
from PIL import Image

from plvl.processing import PLVLImageProcessor, PLVLImageProcessorPil


@pytest.fixture(params=[PLVLImageProcessor, PLVLImageProcessorPil])
def image_processor(request):
    return request.param(size={"height": 64, "width": 64})


def test_images_of_any_shape_become_one_square_size(image_processor):
    images = [Image.new("RGB", size) for size in ((60, 40), (10, 200), (64, 64))]
    assert image_processor(images, return_tensors="pt").pixel_values.shape == (3, 3, 64, 64)


def test_greyscale_and_transparent_images_are_read_as_colour(image_processor):
    grey, clear = Image.new("L", (30, 20), 128), Image.new("RGBA", (30, 20), (128, 128, 128, 255))
    pixel_values = image_processor([grey, clear], return_tensors="pt").pixel_values
    torch.testing.assert_close(pixel_values[0], pixel_values[1])


def test_boxes_and_masks_follow_the_image(image_processor):
    mask = np.zeros((40, 80), dtype=np.uint8)
    mask[10:30, 20:60] = 1
    batch = image_processor(Image.new("RGB", (80, 40)), boxes=[(20, 10, 60, 30)], masks=[mask], return_tensors="pt")
    labels = batch["labels"]
    torch.testing.assert_close(labels["boxes"], torch.tensor([[0.5, 0.5, 0.5, 0.5]]))
    assert labels["masks"].shape == (1, 64, 64)
    assert set(labels["masks"].unique().tolist()) == {0.0, 1.0}
    assert labels["masks"].mean().item() == pytest.approx(0.25, abs=0.02)
    assert labels["has_mask"].tolist() == [True]


def test_boxes_and_masks_of_images_that_are_not_resized_keep_their_size(image_processor):
    mask = np.zeros((40, 80), dtype=np.uint8)
    mask[10:30, 20:60] = 255
    images, boxes = [Image.new("RGB", (80, 40))] * 2, [(20, 10, 60, 30)] * 2
    batch = image_processor(images, boxes=boxes, masks=[mask, None], do_resize=False, return_tensors="pt")
    assert batch["pixel_values"].shape == (2, 3, 40, 80)
    labels = batch["labels"]
    torch.testing.assert_close(labels["boxes"], torch.tensor([[0.5, 0.5, 0.5, 0.5]] * 2))
    assert labels["masks"].dtype == torch.float32
    assert np.array_equal(labels["masks"], [mask > 0, np.zeros((40, 80))])


def test_masks_of_several_sizes_are_no_batch_where_nothing_is_resized(image_processor):
    images = [Image.new("RGB", (80, 40)), Image.new("RGB", (40, 80))]
    with pytest.raises(ValueError, match=r"do_resize=False images must have one size, got \[\(40, 80\), \(80, 40\)\]"):
        image_processor(images, masks=[np.ones((40, 80)), np.ones((80, 40))], do_resize=False, return_tensors="pt")


def test_an_absent_mask_is_marked_as_absent(image_processor):
    images = [Image.new("RGB", (80, 40))] * 2
    masks = [None, np.ones((40, 80))]
    labels = image_processor(images, boxes=[(0, 0, 80, 40)] * 2, masks=masks, return_tensors="pt")["labels"]
    assert labels["has_mask"].tolist() == [False, True]
    assert labels["masks"][0].sum() == 0
    assert labels["masks"][1].mean() == 1


def test_a_mask_that_vanishes_at_the_networks_size_counts_as_none(image_processor):
    mask = np.zeros((400, 800))
    mask[100, 300] = 1
    labels = image_processor(Image.new("RGB", (800, 400)), masks=[mask], return_tensors="pt")["labels"]
    assert labels["masks"].sum() == 0 and labels["has_mask"].tolist() == [False]


def test_each_of_two_images_has_its_own_two_objects(image_processor):
    wide, high = Image.new("RGB", (80, 40)), Image.new("RGB", (40, 80))
    boxes = [(0, 0, 40, 20), (40, 20, 80, 40), (0, 0, 20, 40), (20, 0, 40, 80)]
    masks = [np.ones((40, 80)), None, None, np.ones((80, 40))]
    batch = image_processor([wide, high], boxes=boxes, masks=masks, return_tensors="pt")
    assert len(batch["pixel_values"]) == 2
    expected = [[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5], [0.25, 0.25, 0.5, 0.5], [0.75, 0.5, 0.5, 1.0]]
    torch.testing.assert_close(batch["labels"]["boxes"], torch.tensor(expected))
    assert batch["labels"]["has_mask"].tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"images": Image.new("RGB", (0, 40))}, r"image 0 has no area: its size is \(0, 40\)"),
        ({"images": [Image.new("RGB", (8, 4))], "boxes": []}, "got 1 images and 0 boxes"),
        (
            {"images": [Image.new("RGB", (8, 4))], "boxes": [(0, 0, 1, 1)] * 2, "masks": [None]},
            "got 2 boxes and 1 masks",
        ),
        (
            {"images": [Image.new("RGB", (8, 4))], "masks": [np.ones((8, 4))]},
            r"a mask of \(8, 4\) was given for an image of \(4, 8\)",
        ),
        ({"images": [Image.new("RGB", (8, 4))], "size": {"shortest_edge": 32}}, "width, .* got {'shortest_edge': 32}"),
    ],
)
def test_wrong_input_gets_an_error_that_says_what_was_given(image_processor, given, message):
    with pytest.raises(ValueError, match=message):
        image_processor(**given, return_tensors="pt")


def test_the_backends_differ_by_rounding_only():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 150, 3), dtype=np.uint8))
    size = {"height": 64, "width": 64}
    with_torchvision = PLVLImageProcessor(size=size)(noise, return_tensors="pt").pixel_values
    with_pillow = PLVLImageProcessorPil(size=size)(noise, return_tensors="pt").pixel_values
    assert (with_torchvision - with_pillow).abs().mean() < 0.02


def test_with_max_targets_each_expression_has_its_own_number_of_boxes(image_processor):
    images = [Image.new("RGB", (80, 40)), Image.new("RGB", (40, 80))]
    boxes = [[(0, 0, 40, 20), (40, 20, 80, 40)], [], [(0, 0, 20, 40)], ((20, 0, 40, 80),)]
    labels = image_processor(images, boxes=boxes, max_targets=3, return_tensors="pt")["labels"]
    nothing = [0.0] * 4
    expected = [
        [[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5], nothing],
        [nothing] * 3,
        [[0.25, 0.25, 0.5, 0.5], nothing, nothing],
        [[0.75, 0.5, 0.5, 1.0], nothing, nothing],
    ]
    torch.testing.assert_close(labels["boxes"], torch.tensor(expected))
    assert labels["num_boxes"].tolist() == [2, 0, 1, 1] and labels["num_boxes"].dtype == torch.int64
    assert set(labels) == {"boxes", "num_boxes"}


def test_an_empty_mask_is_known_where_nothing_is_meant_alone(image_processor):
    images, empty = [Image.new("RGB", (80, 40))] * 4, np.zeros((40, 80))
    whole = np.ones((40, 80))
    boxes, masks = [[], [(0, 0, 80, 40)], [], [(0, 0, 80, 40)]], [empty, empty, None, whole]
    labels = image_processor(images, boxes=boxes, masks=masks, max_targets=2, return_tensors="pt")["labels"]
    assert labels["has_mask"].tolist() == [True, False, False, True]
    assert labels["masks"].flatten(1).any(1).tolist() == [False, False, False, True]
    alone = image_processor(images[0], boxes=[(0, 0, 80, 40)], masks=[empty], return_tensors="pt")["labels"]
    assert alone["has_mask"].tolist() == [False]


def test_more_boxes_than_max_targets_are_refused(image_processor):
    images, boxes = [Image.new("RGB", (80, 40))] * 2, [[], [(0, 0, 1, 1)] * 3]
    with pytest.raises(ValueError, match="expression 1 has 3 boxes, more than max_targets=2"):
        image_processor(images, boxes=boxes, max_targets=2, return_tensors="pt")
