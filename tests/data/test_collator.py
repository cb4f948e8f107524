"""Rows to batches, with and without an augmentation."""

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from plvl.data.collator import GroundingCollator, row_truth, true_answer
from plvl.data.masks import NO_OBJECT
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


def three_rows(rows):
    """None, two and one of the image's objects; of the one no mask is known."""
    one, other = rows
    nothing = one | {"text": "the dog", "boxes": [], "segmentation": dict(NO_OBJECT)}
    return [nothing, one | {"boxes": [[40, 30, 12, 6], [10, 5, 20, 20]]}, other]


def test_with_max_targets_boxes_are_filled_up_and_counted(processor, rows):
    labels = GroundingCollator(processor, max_targets=3)(three_rows(rows))["labels"]
    assert labels["boxes"].shape == (3, 3, 4) and labels["boxes"].dtype == torch.float32
    assert labels["num_boxes"].tolist() == [0, 2, 1] and labels["num_boxes"].dtype == torch.int64
    first, second = [46 / 60, 33 / 40, 12 / 60, 6 / 40], [20 / 60, 15 / 40, 20 / 60, 20 / 40]
    expected = torch.tensor([[[0.0] * 4] * 3, [first, second, [0.0] * 4], [second, [0.0] * 4, [0.0] * 4]])
    torch.testing.assert_close(labels["boxes"], expected, atol=0.01, rtol=0)
    assert labels["has_mask"].tolist() == [True, True, False]
    assert labels["masks"].flatten(1).any(1).tolist() == [False, True, False]


def test_with_max_targets_a_row_of_one_object_has_the_labels_that_it_has_without(processor, rows):
    one, several = GroundingCollator(processor)(rows), GroundingCollator(processor, max_targets=2)(rows)
    assert torch.equal(several["labels"].pop("num_boxes"), torch.tensor([1, 1]))
    assert torch.equal(several["labels"]["boxes"][:, 0], one["labels"]["boxes"])
    for name in ("masks", "has_mask"):
        assert torch.equal(several["labels"][name], one["labels"][name])


def test_of_more_objects_than_max_targets_the_largest_are_kept_counted_and_warned_of_once(processor, rows, caplog):
    collator = GroundingCollator(processor, max_targets=2)
    named = {"dataset": "grefcoco", "split": "train", "ref_id": 5, "sent_id": 12, "file_name": "a.jpg"}
    many = rows[0] | named | {"boxes": [[1, 1, 3, 3], [10, 5, 20, 20], [40, 30, 12, 6]]}
    labels = collator([many, rows[1], many])["labels"]
    assert labels["num_boxes"].tolist() == [2, 1, 2]
    expected = torch.tensor([[20 / 60, 15 / 40, 20 / 60, 20 / 40], [46 / 60, 33 / 40, 12 / 60, 6 / 40]])
    torch.testing.assert_close(labels["boxes"][2], expected, atol=0.01, rtol=0)
    collator([many])
    assert collator.num_cut == 3
    assert caplog.text.count("objects, of which the largest 2") == 1
    assert "grefcoco train, reference 5, expression 12 (a.jpg) has 3 objects" in caplog.text


def test_data_workers_count_and_warn_together(processor, rows, capfd):
    many = rows[0] | {"boxes": [[1, 1, 3, 3], [10, 5, 20, 20]]}
    collator = GroundingCollator(processor, max_targets=1)
    batches = list(DataLoader([many] * 6, batch_size=2, collate_fn=collator, num_workers=2))
    assert [batch["labels"]["num_boxes"].tolist() for batch in batches] == [[1, 1]] * 3
    assert collator.num_cut == 6


@pytest.mark.parametrize(("boxes", "number"), [([], "no"), ([[10, 5, 20, 20], [1, 1, 3, 3]], "2")])
@pytest.mark.parametrize("keep_truths", [True, False])
def test_a_model_of_one_object_refuses_a_row_of_another_number_and_names_it(
    processor, rows, boxes, number, keep_truths
):
    named = {"dataset": "grefcoco", "split": "val", "ref_id": 5, "sent_id": 12, "file_name": "a.jpg"}
    row = rows[1] | named | {"boxes": boxes}
    message = rf"^grefcoco val, reference 5, expression 12 \(a\.jpg\) means {number} objects.*`targets: any` learns"
    with pytest.raises(ValueError, match=message):
        GroundingCollator(processor, keep_truths=keep_truths)([rows[0], row])


def test_true_answers_have_every_box_and_a_mask_of_zeros_where_nothing_is_meant(processor, rows):
    given = three_rows(rows)
    batch = GroundingCollator(processor, keep_truths=True, max_targets=2)(given)
    nothing, two, one = batch["truths"]
    assert nothing["boxes"] == [] and nothing["mask"].shape == (40, 60) and not nothing["mask"].any()
    assert two["boxes"] == [(40, 30, 52, 36), (10, 5, 30, 25)] and two["mask"].sum() == 400
    assert one["boxes"] == [(10, 5, 30, 25)] and one["mask"] is None
    for row, truth in zip(given, batch["truths"], strict=True):
        answer = true_answer(row)
        assert answer["boxes"] == truth["boxes"]
        assert (answer["mask"] is None) == (truth["mask"] is None)


def test_an_augmentation_moves_every_box_and_leaves_nothing_what_it_is(processor, rows):
    mirrored = GroundingCollator(processor, RandomMirror(p=1.0), max_targets=2)(three_rows(rows))["labels"]
    expected = torch.tensor([[14 / 60, 33 / 40, 12 / 60, 6 / 40], [40 / 60, 15 / 40, 20 / 60, 20 / 40]])
    torch.testing.assert_close(mirrored["boxes"][1], expected, atol=0.01, rtol=0)
    trained = GroundingCollator(processor, training_augmentation({"height": 64, "width": 64}), max_targets=2)
    for _ in range(8):
        labels = trained(three_rows(rows))["labels"]
        assert labels["num_boxes"].tolist() == [0, 2, 1] and labels["has_mask"].tolist() == [True, True, False]
        assert not labels["masks"][0].any()


def test_rows_that_ones_own_code_makes_may_have_one_bbox(processor, rows):
    row = rows[0]
    earlier = {name: value for name, value in row.items() if name != "boxes"} | {"bbox": row["boxes"][0]}
    batches = [GroundingCollator(processor, keep_truths=True)([each]) for each in (row, earlier)]
    assert torch.equal(*(batch["labels"]["boxes"] for batch in batches))
    assert batches[0]["truths"][0]["boxes"] == batches[1]["truths"][0]["boxes"] == [(10, 5, 30, 25)]
