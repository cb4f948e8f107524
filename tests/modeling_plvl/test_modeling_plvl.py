import pytest
import torch
from torch import nn
from transformers import AutoModel

from plvl.modeling_plvl import PLVLModel
from plvl.modeling_plvl.modeling_plvl import PLVLHead, clamped_sigmoid, read_boxes


def test_the_outputs_have_the_documented_shapes(model, inputs):
    with torch.no_grad():
        outputs = model(**inputs, output_hidden_states=True)
    assert outputs.pred_boxes.shape == (2, 4)
    assert outputs.pred_masks.shape == (2, 64, 96)
    assert outputs.center_logits.shape == (2, 4, 6)
    assert outputs.size.shape == outputs.offset.shape == (2, 2, 4, 6)
    assert len(outputs.hidden_states) == 4


def test_eager_and_sdpa_agree(model, inputs):
    with torch.no_grad():
        sdpa = model(**inputs)
        model.set_attn_implementation("eager")
        eager = model(**inputs, output_attentions=True)
    torch.testing.assert_close(sdpa.pred_boxes, eager.pred_boxes, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(sdpa.pred_masks, eager.pred_masks, atol=1e-4, rtol=1e-4)
    # Two windows by three of each image, the whole grid, and windows again.
    windows, grid = (12, 2, 4, 4), (2, 2, 24, 24)
    assert [weights.shape for weights in eager.attentions] == [windows, grid, windows]
    assert all(torch.allclose(weights.sum(-1), torch.ones(())) for weights in eager.attentions)
    assert [weights.shape for weights in eager.cross_attentions] == [(2, 2, 24, 7)] * 2


def test_flash_attention_is_refused_by_name_and_the_model_goes_on_without(config, model_folder, inputs):
    refusal = "PLVLModel does not support Flash Attention 2"
    with pytest.raises(ValueError, match=refusal):
        PLVLModel.from_pretrained(model_folder, attn_implementation="flash_attention_2")
    model = PLVLModel(config).eval()
    with pytest.raises(ValueError, match=refusal):
        model.set_attn_implementation("flash_attention_2")
    assert model.config._attn_implementation == model.text_encoder.config._attn_implementation == "sdpa"
    assert model(**inputs).pred_boxes.isfinite().all()


def test_a_grid_that_windows_do_not_divide_is_padded_and_cut_back(config, inputs):
    config.vision_config.window_size = 3
    inputs["pixel_values"] = torch.randn(2, 3, 64, 80)
    with torch.no_grad():
        outputs = PLVLModel(config).eval()(**inputs)
    assert outputs.pred_masks.shape == (2, 64, 80)


@pytest.mark.parametrize("masks_padding", [False, True])
def test_parts_may_have_attentions_of_their_own(make_config, inputs, tmp_path, masks_padding):
    PLVLModel(make_config(mask_text_padding_in_vision=masks_padding)).save_pretrained(tmp_path)
    chosen = {"vision_config": "eager", "text_config": "sdpa", "": "sdpa"}
    mixed, eager = (PLVLModel.from_pretrained(tmp_path, attn_implementation=each).eval() for each in (chosen, "eager"))
    implementations = [
        each.config._attn_implementation
        for each in (
            mixed.vision_encoder.layers[0].attention,
            mixed.text_encoder,
            mixed.decoder.layers[0].cross_attention,
        )
    ]
    assert implementations == ["eager", "sdpa", "sdpa"]
    with torch.no_grad():
        found, expected = (each(**inputs, output_attentions=True) for each in (mixed, eager))
    torch.testing.assert_close(found.center_logits, expected.center_logits, atol=1e-5, rtol=1e-5)
    for one, other in zip(
        found.attentions + found.cross_attentions, expected.attentions + expected.cross_attentions, strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_the_box_is_read_at_the_best_centre():
    center_logits = torch.full((1, 4, 8), -5.0)
    center_logits[0, 2, 5] = 3
    offset, size = torch.zeros(1, 2, 4, 8), torch.full((1, 2, 4, 8), 0.1)
    offset[0, :, 2, 5] = torch.tensor([0.5, 0.25])
    size[0, :, 2, 5] = torch.tensor([0.3, 0.6])
    box = read_boxes(center_logits, offset, size)
    torch.testing.assert_close(box, torch.tensor([[5.5 / 8, 2.25 / 4, 0.3, 0.6]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_of_centres_that_are_surer_than_a_probability_is_kept_the_surest_is_taken(dtype):
    center_logits = torch.tensor([[[-30.0, 9.5, 14.0, 13.0]]], dtype=dtype)
    size = torch.tensor([0.1, 0.2, 0.3, 0.4]).expand(1, 2, 1, 4)
    assert read_boxes(center_logits, torch.zeros(1, 2, 1, 4), size)[0, 2].item() == pytest.approx(0.3)


def test_probabilities_keep_a_ten_thousandth_from_0_and_1():
    kept = clamped_sigmoid(torch.tensor([-50.0, 0.0, 50.0]))
    assert kept.tolist() == pytest.approx([1e-4, 0.5, 1 - 1e-4], abs=1e-6)


def test_boxes_are_read_in_float32_by_a_model_in_bfloat16(config):
    head = PLVLHead(config).bfloat16().eval()
    offset, size = torch.tensor([0.3, 0.7], dtype=torch.bfloat16), torch.tensor([-1.0, 0.3], dtype=torch.bfloat16)
    for branch, values in ((head.offset, offset), (head.size, size)):
        nn.init.zeros_(branch[-1].weight)
        branch[-1].bias.data = values
    center_logits = torch.full((1, 1, 28, 28), -5.0, dtype=torch.bfloat16)
    center_logits[0, 0, 27, 27] = 3
    head.center.register_forward_hook(lambda *_: center_logits)
    with torch.no_grad():
        outputs = head(torch.zeros(1, 32, 28, 28, dtype=torch.bfloat16))
    box = torch.cat([(27 + offset.float()) / 28, size.float().sigmoid()])
    torch.testing.assert_close(outputs["pred_boxes"], box[None])
    assert {outputs[name].dtype for name in ("center_logits", "offset", "size")} == {torch.float32}


def test_hidden_states_begin_where_the_image_embeddings_end(model, inputs):
    embeddings = model.get_image_embeddings(inputs.pop("pixel_values"))
    states = model(image_embeddings=embeddings, **inputs, output_hidden_states=True).hidden_states
    assert len(states) == 3
    assert torch.equal(states[0], embeddings.flatten(1, 2))


def test_every_parameter_gets_a_gradient_with_both_tasks_on(model, inputs, labels):
    model.train()
    model(**inputs, labels=labels).loss.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    # The key's bias shifts all scores of a query alike: its gradient is zero by nature.
    silent = [name for name, parameter in model.named_parameters() if parameter.grad.abs().max() == 0]
    assert [name for name in silent if "key.bias" not in name and "k_proj.bias" not in name] == []


@pytest.mark.parametrize("mask_shares_center", [True, False])
@pytest.mark.parametrize("tasks", [["rec"], ["res"], ["rec", "res"]], ids="_".join)
def test_every_parameter_gets_a_gradient_with_any_tasks_on(tasks, mask_shares_center, make_config, inputs, labels):
    model = PLVLModel(make_config(tasks=tasks, mask_shares_center=mask_shares_center)).train()
    outputs = model(**inputs, labels=labels)
    outputs.loss.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    assert (outputs.pred_boxes is None) == ("rec" not in tasks)
    assert (outputs.pred_masks is None) == ("res" not in tasks)


def test_every_parameter_gets_a_gradient_with_image_tokens_normalised(make_config, inputs, labels):
    model = PLVLModel(make_config(normalize_image_tokens=True)).train()
    model(**inputs, labels=labels).loss.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    norms = [name for name, _ in model.named_parameters() if "query_norm" in name or "vision_norm" in name]
    assert len(norms) == 2 * (len(model.config.cross_attention_layers) + 1)


@pytest.mark.parametrize("normalised", [True, False])
def test_normalised_image_tokens_meet_the_text_alike_at_any_scale(normalised, make_config):
    config = make_config(normalize_image_tokens=normalised)
    model = PLVLModel(config).eval()
    guidance = next(layer.text_guidance for layer in model.vision_encoder.layers if layer.text_guidance is not None)
    tokens = torch.randn(1, 16, config.vision_config.hidden_size)
    text = torch.randn(1, 5, config.text_config.hidden_size)
    with torch.no_grad():
        for meet in (guidance, model.decoder):
            alike = torch.allclose(meet(tokens, text, None), meet(100 * tokens, text, None), atol=1e-4)
            assert alike == normalised


def learners(head, answer) -> set[str]:
    """The branches of the head that learn from an answer."""
    head.zero_grad()
    head(torch.randn(2, 32, 4, 4))[answer].sum().backward()
    return {name.split(".")[0] for name, parameter in head.named_parameters() if parameter.grad is not None}


def test_the_mask_is_painted_from_the_centers_features(config):
    head = PLVLHead(config)
    assert learners(head, "pred_masks") == {"center_trunk", "mask"}
    assert learners(head, "center_logits") == {"center_trunk", "center"}


def test_a_mask_that_does_not_share_the_center_shares_nothing_with_the_box(make_config):
    head = PLVLHead(make_config(mask_shares_center=False))
    assert learners(head, "pred_masks") == {"mask_trunk", "mask"}
    assert learners(head, "center_logits") == {"center_trunk", "center"}
    assert learners(head, "pred_boxes") == {"box_trunk", "offset", "size"}


def test_a_mask_of_its_own_reads_the_same_half_of_the_channels(make_config):
    head = PLVLHead(make_config(mask_shares_center=False)).eval()
    feature_map = torch.randn(2, 32, 4, 4)
    other = torch.cat([feature_map[:, :16], torch.randn(2, 16, 4, 4)], dim=1)
    with torch.no_grad():
        assert torch.equal(head(feature_map)["pred_masks"], head(other)["pred_masks"])


def test_the_loss_is_the_sum_of_its_named_parts(model, inputs, labels):
    outputs = model(**inputs, labels=labels)
    assert set(outputs.loss_dict) == {"loss_giou", "loss_l1", "loss_center", "loss_mask_focal", "loss_mask_dice"}
    assert outputs.loss.shape == ()
    torch.testing.assert_close(outputs.loss, sum(outputs.loss_dict.values()))


def test_language_changes_the_answer_and_text_padding_only_as_configured(model, inputs):
    with torch.no_grad():
        before = model(**inputs).center_logits
        other = model(**(inputs | {"input_ids": inputs["input_ids"].flip(0)})).center_logits
        model.config.mask_text_padding_in_vision = True
        masked = model(**inputs).center_logits
    assert not torch.allclose(before, other)
    torch.testing.assert_close(before[0], masked[0])
    assert not torch.allclose(before[1], masked[1])


def test_one_image_serves_many_expressions(model, inputs):
    one = inputs["pixel_values"][:1]
    with torch.no_grad():
        embeddings = model.get_image_embeddings(one)
        shared = model(
            image_embeddings=embeddings,
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
        )
        repeated = model(**(inputs | {"pixel_values": one.expand(2, -1, -1, -1)}))
    torch.testing.assert_close(shared.pred_boxes, repeated.pred_boxes, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(shared.pred_masks, repeated.pred_masks, atol=1e-5, rtol=1e-5)


def test_what_comes_before_language_runs_once_for_all_expressions(model, inputs):
    images = {}
    for name, module in model.vision_encoder.named_modules(prefix="vision_encoder"):
        module.register_forward_pre_hook(lambda _, args, name=name: images.update({name: len(args[0])}))
    with torch.no_grad():
        states = model(**(inputs | {"pixel_values": inputs["pixel_values"][:1]}), output_hidden_states=True)
    # Two windows by three in the blocks with windows.
    assert images["vision_encoder.layers.0.attention"] == 6
    assert images["vision_encoder.layers.0.fc1"] == 1
    assert images["vision_encoder.layers.1.attention"] == 1
    assert images["vision_encoder.layers.1.text_guidance.attention.q_proj"] == 1
    assert images["vision_encoder.layers.1.fc1"] == 2
    assert [len(state) for state in states.hidden_states] == [1, 1, 2, 2]


def test_many_expressions_about_one_image_train_as_the_repeated_image_does(make_config, inputs, labels):
    config = make_config(cross_attention_dropout=0.0, decoder_dropout=0.0)
    config.vision_config.drop_path_rate = 0.0
    config.text_config.hidden_dropout_prob = config.text_config.attention_probs_dropout_prob = 0.0
    model = PLVLModel(config).train()
    one = inputs["pixel_values"][:1]
    gradients = []
    for pixel_values in (one, one.expand(2, -1, -1, -1)):
        model.zero_grad()
        model(**(inputs | {"pixel_values": pixel_values}), labels=labels).loss.backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)


def test_each_of_two_images_serves_its_own_expressions(model, inputs):
    pixel_values = inputs["pixel_values"]
    of_four = {name: torch.cat([values, values.flip(0)]) for name, values in inputs.items() if name != "pixel_values"}
    with torch.no_grad():
        shared = model(pixel_values=pixel_values, **of_four)
        repeated = model(pixel_values=pixel_values.repeat_interleave(2, 0), **of_four)
    torch.testing.assert_close(shared.pred_boxes, repeated.pred_boxes, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(shared.pred_masks, repeated.pred_masks, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_gradient_checkpointing_changes_no_gradient(use_reentrant, model, inputs, labels):
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
        torch.manual_seed(0)
        model.zero_grad()
        model.train()(**inputs, labels=labels).loss.backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    torch.testing.assert_close(*gradients)


def test_a_model_without_language_in_its_vision_blocks_runs(make_config, inputs):
    model = PLVLModel(make_config(cross_attention_layers=[])).eval()
    with torch.no_grad():
        assert model(**inputs).pred_boxes.shape == (2, 4)


def test_another_text_encoder_fits(make_config, inputs):
    text_config = {"model_type": "distilbert", "vocab_size": 99, "dim": 24, "n_layers": 1, "n_heads": 2}
    model = PLVLModel(make_config(text_config=text_config)).eval()
    with torch.no_grad():
        assert model(**inputs).pred_boxes.shape == (2, 4)


def test_saving_and_loading_through_the_auto_class_keeps_the_numbers(model, inputs, tmp_path):
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    loaded = AutoModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        before, after = model(**inputs), loaded(**inputs)
    assert torch.equal(before.pred_boxes, after.pred_boxes)
    assert torch.equal(before.pred_masks, after.pred_masks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixel_values": torch.zeros(3, 3, 64, 64)}, "got 3 images and 2 expressions"),
        ({"pixel_values": torch.zeros(2, 1, 64, 64)}, r"must have the shape \(batch_size, 3, height, width\)"),
        ({"pixel_values": torch.zeros(2, 3, 64, 70)}, r"multiples of 16, got \(64, 70\)"),
        ({"pixel_values": torch.zeros(2, 3, 0, 64)}, r"multiples of 16, got \(0, 64\)"),
        ({"pixel_values": None}, "one of pixel_values and image_embeddings, got neither"),
        ({"input_ids": torch.zeros(7, dtype=torch.long)}, r"input_ids must have the shape .* got \(7,\)"),
    ],
)
def test_wrong_inputs_get_an_error_that_says_what_was_given(model, inputs, change, message):
    with pytest.raises(ValueError, match=message):
        model(**(inputs | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": torch.zeros(2, 5)}, r"labels\['boxes'\] must have the shape \(2, 4\), got \(2, 5\)"),
        ({"boxes": None}, r"labels\['boxes'\] must have the shape \(2, 4\), got None"),
        ({"masks": torch.zeros(2, 32, 32)}, r"labels\['masks'\] must have the shape \(2, 64, 96\), got \(2, 32, 32\)"),
        ({"has_mask": torch.zeros(3)}, r"labels\['has_mask'\] must have the shape \(2,\), got \(3,\)"),
    ],
)
def test_wrong_labels_get_an_error_that_says_what_was_given(model, inputs, labels, change, message):
    with pytest.raises(ValueError, match=message):
        model(**inputs, labels=labels | change)
