"""Two graphs, traced once, answer as the network for images, expressions and batches of other sizes."""

import copy
import io

import pytest
import torch
from timm.layers import Conv2dSame

from conftest import small_config
from plvl.deploy.graphs import EightBits, export_graphs, store_weights_in_eight_bits
from plvl.deploy.same_padding import SamePaddedConvolution
from plvl.modeling_plvl import PLVLModel
from shallow_models import shallow_model


@pytest.fixture(scope="module")
def any_model():
    return shallow_model(targets="any", max_targets=3)


@pytest.fixture(scope="module")
def graphs(any_model):
    return export_graphs(copy.deepcopy(any_model))


# The grid that the position table was made for (3 × 3), others, and one of fewer cells than boxes are asked for.
@pytest.mark.parametrize(
    ("images", "expressions", "length", "rows", "columns"),
    [(1, 1, 3, 3, 3), (2, 5, 9, 6, 4), (3, 1, 40, 2, 5), (1, 4, 12, 1, 3), (1, 2, 5, 1, 1)],
)
def test_they_answer_as_the_network_whatever_the_sizes(any_model, graphs, images, expressions, length, rows, columns):
    generator = torch.Generator().manual_seed(rows)
    pixel_values = torch.randn(images, 3, 16 * rows, 16 * columns, generator=generator)
    input_ids = torch.randint(5, 99, (expressions, length), generator=generator)
    attention_mask = torch.ones_like(input_ids)
    attention_mask[-1, 3:] = 0
    image_index = torch.randint(images, (expressions,), generator=generator)
    [embeddings] = graphs["image"].program.module(check_guards=False)(pixel_values=pixel_values)
    answers = graphs["expressions"].program.module(check_guards=False)(
        image_embeddings=embeddings, image_index=image_index, input_ids=input_ids, attention_mask=attention_mask
    )
    with torch.no_grad():
        expected = any_model(
            pixel_values=pixel_values[image_index], input_ids=input_ids, attention_mask=attention_mask
        )
    answers = dict(zip(graphs["expressions"].outputs, answers, strict=True))
    is_box = expected.pred_scores > 0  # what has no score is no box
    torch.testing.assert_close(answers.pop("pred_boxes")[is_box], expected.pred_boxes[is_box], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(answers, {name: expected[name] for name in answers}, atol=1e-4, rtol=1e-4)


def test_each_graph_is_saved_without_the_tensors_of_the_other(any_model, graphs):
    sizes = {}
    for name, graph in graphs.items():
        torch.export.save(graph.program, file := io.BytesIO())
        file.seek(0)
        loaded = torch.export.load(file)
        assert loaded.example_inputs is None
        sizes[name] = sum(tensor.numel() for tensor in loaded.state_dict.values())
    whole = sum(tensor.numel() for tensor in any_model.state_dict().values())
    assert 0.9 * whole < sum(sizes.values()) < 1.1 * whole and max(sizes.values()) < 0.7 * whole


def test_weights_in_eight_bits_are_within_half_a_step_of_each_outputs_own_scale():
    weight = torch.randn(5, 3, 2, 2) * torch.tensor([1.0, 100.0, 0.01, 1.0, 0.0]).view(5, 1, 1, 1)
    numbers, scale = EightBits().right_inverse(weight)
    assert numbers.dtype == torch.int8 and numbers.abs().flatten(1).amax(1).tolist() == [127] * 4 + [0]
    assert ((EightBits()(numbers, scale) - weight).abs() <= 0.501 * scale).all()


def test_large_linear_layers_convolutions_and_embeddings_are_stored_in_eight_bits(any_model, monkeypatch):
    monkeypatch.setattr("plvl.deploy.graphs.LEAST_WEIGHTS", 1024)
    model = copy.deepcopy(any_model)
    store_weights_in_eight_bits(model)
    stored = {name for name, tensor in model.state_dict().items() if tensor.dtype == torch.int8}
    embedding = "text_encoder.embeddings.word_embeddings"
    for kind in ("vision_encoder.embeddings.projection", embedding, "decoder.vision_proj"):
        assert f"{kind}.parametrizations.weight.original0" in stored
    assert "decoder.text_proj.weight" in model.state_dict()
    weights = {name: tensor for name, tensor in model.state_dict().items() if name.endswith(".weight")}
    assert max(tensor.numel() for tensor in weights.values()) < 1024


def test_plain_vits_of_timm_are_traced_with_their_prefix_tokens():
    vision_config = {
        "model_type": "plvl_timm_vision",
        "architecture": "vit_tiny_patch16_224",
        "model_args": {"depth": 2},
        "image_size": 64,
    }
    model = PLVLModel(small_config(vision_config=vision_config, cross_attention_layers=[1])).eval()
    program = export_graphs(copy.deepcopy(model))["image"].program.module(check_guards=False)
    for rows, columns in ((14, 14), (3, 4)):
        pixel_values = torch.randn(1, 3, 16 * rows, 16 * columns)
        with torch.no_grad():
            torch.testing.assert_close(program(pixel_values=pixel_values)[0], model.get_image_embeddings(pixel_values))


@pytest.mark.parametrize("kind", ["convolutions of an even size", "maps coarser than the grid"])
def test_same_padding_is_traced_for_any_size(make_config, kind):
    """EfficientNet-Lite's: of one map, or of a second whose rows are half of the first's, rounded up."""
    backbone = {"model_type": "timm_backbone", "backbone": "tf_efficientnet_lite0"}
    one_map = kind.startswith("convolutions")
    config = make_config(cross_attention_layers=[1], decoder_layers=1)
    changes = {"backbone_config": backbone | {"out_indices": [2] if one_map else [2, 3]}}
    vision_config = config.vision_config.to_dict() | changes | {"patch_size": 8, "num_hidden_layers": 2}
    model = PLVLModel(make_config(vision_config=vision_config, cross_attention_layers=[1])).eval()
    program = export_graphs(copy.deepcopy(model))["image"].program.module(check_guards=False)
    for rows, columns in ((4, 6), (5, 3)):
        pixel_values = torch.randn(1, 3, 8 * rows, 8 * columns)
        with torch.no_grad():
            expected = model.get_image_embeddings(pixel_values)
            torch.testing.assert_close(program(pixel_values=pixel_values)[0], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("kernel_size", "stride", "dilation"), [(3, 2, 1), (5, 2, 1), (1, 2, 1), (2, 3, 1), (3, 2, 2)]
)
def test_same_padding_is_timms(kernel_size, stride, dilation):
    convolution = Conv2dSame(2, 3, kernel_size, stride=stride, dilation=dilation)
    for size in ((12, 7), (9, 10), (8, 11)):
        features = torch.randn(1, 2, *size)
        torch.testing.assert_close(SamePaddedConvolution(convolution)(features), convolution(features))


def test_an_encoder_whose_code_asks_for_the_size_is_named(any_model):
    model = copy.deepcopy(any_model)
    embed = model.get_image_embeddings
    model.get_image_embeddings = lambda pixel_values: embed(pixel_values) * (2 if len(pixel_values) > 1 else 1)
    with pytest.raises(ValueError, match="'plvl_vision' cannot be traced for images of any size"):
        export_graphs(model)


def test_a_graph_that_answers_otherwise_than_the_network_is_not_given(any_model):
    model, calls = copy.deepcopy(any_model), []
    embed = model.get_image_embeddings

    def other_each_time(pixel_values):
        calls.append(0)
        return embed(pixel_values) + 0.1 * len(calls)

    model.get_image_embeddings = other_each_time
    with pytest.raises(ValueError, match="'plvl_vision' .* traced .* image_embeddings are off by up to 0"):
        export_graphs(model)
