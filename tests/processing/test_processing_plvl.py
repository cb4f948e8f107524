import copy

import pytest
import torch
from transformers import AutoProcessor

from plvl.modeling_plvl import PLVLOutput
from plvl.processing import PLVLProcessor, processing_plvl


def test_an_expression_is_lower_cased_and_padded(processor, image):
    inputs = processor(images=image, text="The RED Square", return_tensors="pt")
    same = processor(images=image, text="the red square", return_tensors="pt")
    assert inputs.input_ids.shape == (1, 40)
    assert torch.equal(inputs.input_ids, same.input_ids)
    assert set(inputs) == {"pixel_values", "input_ids", "attention_mask"}


def test_a_long_expression_is_cut_to_forty_tokens(processor, image):
    assert processor(images=image, text="red square " * 50, return_tensors="pt").attention_mask.sum() == 40


def test_a_cut_expression_is_said_once_with_its_numbers(processor, image, monkeypatch):
    said = []
    monkeypatch.setattr(processing_plvl.logger, "warning", lambda form, *values: said.append(form % values))
    processor._said_what_is_cut = False
    processor(images=image, text="red square " * 19, return_tensors="pt")  # 38 and two marks: it fits
    assert not said
    for _ in range(2):
        processor(images=image, text=["the man", "red square " * 50], return_tensors="pt")
    assert len(said) == 1 and "has 102 tokens, of which the first 40 are read" in said[0]


def test_another_length_than_that_of_the_training_is_said_once(processor, image, monkeypatch):
    said = []
    monkeypatch.setattr(processing_plvl.logger, "warning", lambda form, *values: said.append(form % values))
    processor._said_how_it_is_padded = False
    processor(images=image, text="the man", return_tensors="pt")
    assert not said
    for _ in range(2):
        processor(images=image, text="the man", padding=True, return_tensors="pt")
    assert len(said) == 1 and said[0].startswith("expressions have 4 tokens with their padding, in place of the 40")


def test_length_and_case_are_the_processors_own_and_saved(processor, image, tmp_path):
    own = PLVLProcessor(processor.image_processor, processor.tokenizer, max_text_length=12, do_lower_case=False)
    assert (own.normalize_text("The RED"), processor.normalize_text("The RED")) == ("The RED", "the red")
    own.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert (loaded.max_text_length, loaded.do_lower_case) == (12, False)
    inputs = loaded(images=image, text="red square " * 50, return_tensors="pt")
    assert inputs.input_ids.shape == inputs.attention_mask.shape == (1, 12)
    shorter = loaded(images=image, text="the man", max_length=7, return_tensors="pt")
    nested = loaded(images=image, text="the man", text_kwargs={"max_length": 7}, return_tensors="pt")
    assert shorter.input_ids.shape == nested.input_ids.shape == (1, 7)


def test_a_tokenizer_that_gives_no_mask_of_itself_is_asked_for_one(processor, image):
    tokenizer = copy.deepcopy(processor.tokenizer)
    tokenizer.model_input_names = ["input_ids"]  # as SigLIP's
    inputs = PLVLProcessor(processor.image_processor, tokenizer)(images=image, text="the man", return_tensors="pt")
    assert inputs.attention_mask.sum() == 4


@pytest.mark.parametrize("text", ["\u200b", "\ufeff \u2060", "\x00\x07"])
def test_an_expression_of_nothing_visible_is_empty(processor, image, text):
    with pytest.raises(ValueError, match="expression 0 is empty"):
        processor(images=image, text=text, return_tensors="pt")


def test_one_image_takes_any_number_of_expressions(processor, image):
    inputs = processor(images=image, text=["the red square", "the man"], return_tensors="pt")
    assert inputs.pixel_values.shape[0] == 1
    assert inputs.input_ids.shape[0] == 2


def test_an_image_alone_and_an_expression_alone_are_prepared_too(processor, image):
    assert set(processor(images=image, return_tensors="pt")) == {"pixel_values"}
    assert set(processor(text="the red square", return_tensors="pt")) == {"input_ids", "attention_mask"}


def test_boxes_and_masks_become_labels(processor, image):
    inputs = processor(images=[image], text=["a"], boxes=[(10, 5, 30, 25)], masks=[None], return_tensors="pt")
    assert inputs["labels"]["boxes"].shape == (1, 4)
    assert inputs["labels"]["has_mask"].tolist() == [False]


@pytest.mark.parametrize(
    ("images", "text", "message"),
    [
        (2, ["a", "b", "c"], "got 2 images and 3 expressions"),
        (1, ["a", "  "], "expression 1 is empty: '  '"),
        (1, ["a", 7], "expression 1 must be a string, got 7"),
    ],
)
def test_wrong_input_gets_an_error_that_says_what_was_given(processor, image, images, text, message):
    with pytest.raises(ValueError, match=message):
        processor(images=[image] * images, text=text, return_tensors="pt")


def test_saving_and_loading_keeps_the_numbers(processor, image, tmp_path):
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    before, after = (
        given(images=image, text="the man in the red shirt", return_tensors="pt") for given in (processor, loaded)
    )
    assert type(loaded.image_processor) is type(processor.image_processor)
    for name in before:
        assert torch.equal(before[name], after[name])


def outputs_with_one_answer():
    center_logits = torch.full((1, 4, 4), -4.0)
    center_logits[0, 1, 1] = 2.0
    pred_masks = torch.full((1, 64, 64), -3.0)
    pred_masks[:, :32, :16] = 3.0
    return PLVLOutput(
        pred_boxes=torch.tensor([[0.125, 0.25, 0.5, 0.5]]),
        pred_masks=pred_masks,
        center_logits=center_logits,
        last_hidden_state=torch.zeros(1, 16, 32),
    )


def test_answers_come_back_in_the_images_pixels(processor):
    [answer] = processor.post_process_grounding(outputs_with_one_answer(), target_sizes=[(40, 80)])
    assert answer["box"].tolist() == [0, 0, 30, 20]  # cut at the left border
    assert answer["score"] == pytest.approx(torch.tensor(2.0).sigmoid().item())
    assert answer["mask"].shape == (40, 80)
    assert answer["mask"].dtype == torch.bool
    assert answer["mask"][:19, :19].all() and not answer["mask"][22:].any() and not answer["mask"][:, 23:].any()


def test_without_sizes_boxes_are_shares_of_the_image(processor):
    [answer] = processor.post_process_grounding(outputs_with_one_answer())
    assert answer["box"].tolist() == [0, 0, 0.375, 0.5]
    assert answer["mask"].shape == (64, 64)


def test_a_masks_probabilities_are_spread_with_pixels_as_areas(processor):
    outputs = outputs_with_one_answer()
    outputs.pred_masks = torch.tensor([[[0.3, 0.9], [0.3, 0.9], [0.3, 0.3]]]).logit()
    [answer] = processor.post_process_grounding(outputs, target_sizes=[(3, 4)], mask_threshold=0.72)
    # Between the middles of two pixels, 0.3 and 0.9, lie 0.45 and 0.75.
    assert answer["mask"].tolist() == [[False, False, True, True]] * 2 + [[False] * 4]


def test_a_higher_threshold_makes_a_smaller_mask(processor):
    outputs = outputs_with_one_answer()
    [some] = processor.post_process_grounding(outputs, mask_threshold=0.5)
    [none] = processor.post_process_grounding(outputs, mask_threshold=0.99)
    assert some["mask"].any() and not none["mask"].any()


def test_the_size_of_an_image_serves_all_expressions_about_it(model, processor, inputs):
    of_four = {name: values.repeat(2, 1) for name, values in inputs.items() if name != "pixel_values"}
    with torch.no_grad():
        outputs = model(pixel_values=inputs["pixel_values"], **of_four)
    answers = processor.post_process_grounding(outputs, target_sizes=[(40, 80), (30, 20)])
    assert [tuple(answer["mask"].shape) for answer in answers] == [(40, 80), (40, 80), (30, 20), (30, 20)]


def test_a_wrong_number_of_sizes_is_refused(processor):
    with pytest.raises(ValueError, match="got 2 target_sizes and 1 expressions"):
        processor.post_process_grounding(outputs_with_one_answer(), target_sizes=[(4, 4), (5, 5)])
