"""Rows to batches, with and without an augmentation."""

import pytest
import torch
from PIL import Image

from plvl.data.collator import GroundingCollator, row_truth
from plvl.processing.augmentation import RandomMirror, training_augmentation

SQUARE = [[10, 5, 30, 5, 30, 25, 10, 25]]


@pytest.fixture
def rows(image):
    row = {"image": image, "text": "the red square", "boxes": [[10, 5, 20, 20]], "height": 40, "width": 60}
    with_mask = {"segmentation": {"polygons": SQUARE, "size": None, "counts": None}}
    return [row | with_mask, row | {"segmentation": None, "text": "the man on the right"}]


def test_without_augmentation_a_batch_is_what_the_processor_gives(processor, rows, image):
    batch = GroundingCollator(processor)(rows)
    expected = processor(
        images=[image, image],
        text=["the red square", "the man on the right"],
        boxes=[(10, 5, 30, 25)] * 2,
        masks=[row_truth(rows[0])[1], None],
        return_tensors="pt",
    )
    assert torch.equal(batch["pixel_values"], expected["pixel_values"])
    assert torch.equal(batch["input_ids"], expected["input_ids"])
    for name, values in expected["labels"].items():
        assert torch.equal(batch["labels"][name], values)


def test_an_augmentation_changes_image_labels_and_expression_together(processor, rows):
    plain = GroundingCollator(processor)(rows)
    mirrored = GroundingCollator(processor, RandomMirror(p=1.0))(rows)
    torch.testing.assert_close(mirrored["pixel_values"], plain["pixel_values"].flip(-1), atol=0.02, rtol=0)
    assert mirrored["labels"]["boxes"][0].tolist() == pytest.approx([40 / 60, 15 / 40, 20 / 60, 20 / 40], abs=0.01)
    assert (mirrored["labels"]["masks"] != plain["labels"]["masks"].flip(-1)).float().mean() < 0.02
    words = processor.tokenizer.decode(mirrored["input_ids"][1], skip_special_tokens=True)
    assert words == "the man on the left"


def test_a_row_without_a_mask_has_none_after_augmentation(processor, rows):
    batch = GroundingCollator(processor, training_augmentation({"height": 64, "width": 64}))(rows)
    assert batch["labels"]["has_mask"].tolist() == [True, False]
    assert batch["labels"]["masks"][0].any()
    assert not batch["labels"]["masks"][1].any()
    assert batch["pixel_values"].shape == (2, 3, 64, 96)


def test_an_image_thinner_than_the_network_can_show_is_still_augmented(processor, rows):
    thin = rows[0] | {"image": Image.new("RGB", (400, 2), "white"), "height": 2, "width": 400}
    thin |= {"boxes": [[5, 0, 300, 2]], "segmentation": None}
    batch = GroundingCollator(processor, training_augmentation({"height": 64, "width": 64}, blur=True))([thin] * 8)
    assert torch.isfinite(batch["pixel_values"]).all()


def test_rows_about_one_image_share_it_and_are_mirrored_together(processor, rows):
    other = {"image": Image.new("RGB", (80, 30), "teal"), "height": 30, "width": 80, "boxes": [[1, 2, 8, 9]]}
    rows += [rows[1] | other, rows[1] | other | {"boxes": [[40, 2, 8, 9]], "text": "the left one"}]
    alone = GroundingCollator(processor, RandomMirror(p=1.0))(rows)
    together = GroundingCollator(processor, RandomMirror(p=1.0), expressions_per_image=2)(rows)
    assert torch.equal(together["pixel_values"], alone["pixel_values"][::2])
    assert torch.equal(together["input_ids"], alone["input_ids"])
    for name, values in alone["labels"].items():
        assert torch.equal(together["labels"][name], values)


def test_rows_that_are_no_whole_images_are_refused(processor, rows):
    with pytest.raises(ValueError, match="got 3 rows, which are no whole images with 2 expressions each"):
        GroundingCollator(processor, expressions_per_image=2)([*rows, rows[0]])
