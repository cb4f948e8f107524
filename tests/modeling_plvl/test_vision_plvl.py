"""Self-attention of the vision blocks: one result, by whichever way it is computed."""

import pytest
import torch
from torch import nn

from plvl.modeling_plvl import chunked_attention_plvl, vision_plvl
from plvl.modeling_plvl.position_plvl import relative_position_table
from plvl.modeling_plvl.vision_model_plvl import PLVLVisionModel
from plvl.modeling_plvl.vision_plvl import PLVLVisionAttention


@pytest.fixture
def attention(config):
    torch.manual_seed(0)
    attention = PLVLVisionAttention(config.vision_config, relative_grid_size=6)
    for table in (attention.rel_pos_h, attention.rel_pos_w):
        nn.init.normal_(table)
    return attention.eval()


def attention_with_a_position_bias(attention, hidden_states):
    """By the book, on a grid of 4 rows and 6 columns."""
    query, key, value = attention.qkv(hidden_states).view(2, 24, 3, 2, 16).permute(2, 0, 3, 1, 4)
    scores = query @ key.transpose(-1, -2) / 4
    row_table, column_table = relative_position_table(attention.rel_pos_h, 4), attention.rel_pos_w
    for position in range(24):
        for other in range(24):
            row, column, other_row, other_column = position // 6, position % 6, other // 6, other % 6
            bias = row_table[row, other_row] + column_table[column - other_column + 5]
            scores[:, :, position, other] += query[:, :, position] @ bias
    return attention.proj((scores.softmax(-1) @ value).transpose(1, 2).reshape(2, 24, 32))


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("with_gradients", [True, False])
def test_attention_has_a_position_bias_in_every_form(implementation, with_gradients, attention):
    attention.config._attn_implementation = implementation
    hidden_states = torch.randn(2, 24, 32)
    with torch.set_grad_enabled(with_gradients):
        output = attention(hidden_states, 4, 6)[0]
    expected = attention_with_a_position_bias(attention, hidden_states)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_gradients_are_those_of_a_position_bias_in_every_form(implementation, attention):
    attention.config._attn_implementation = implementation
    hidden_states = torch.randn(2, 24, 32, requires_grad=True)
    inputs = (hidden_states, *attention.parameters())
    outputs = attention(hidden_states, 4, 6)[0], attention_with_a_position_bias(attention, hidden_states)
    grad = torch.randn(2, 24, 32)
    gradients, expected = (torch.autograd.grad(output, inputs, grad) for output in outputs)
    for each, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(each, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("rows_at_once", "pieces"), [(0.5, 8), (1, 8), (3, 4), (4, 2), (8, 1)])
@torch.no_grad()
def test_the_pieces_of_an_image_and_of_a_batch_come_back_in_their_order(
    rows_at_once, pieces, dtype, attention, monkeypatch
):
    attention.config._attn_implementation = "sdpa"
    bytes_at_once = int(rows_at_once * 2 * 6 * 24 * dtype.itemsize)
    monkeypatch.setattr(chunked_attention_plvl, "SCORES_AT_ONCE", bytes_at_once)
    form = "attend_rows_with_bias" if dtype == torch.float32 else "attend_rows_step_by_step"
    attend_rows, sizes = getattr(chunked_attention_plvl, form), []
    monkeypatch.setattr(
        chunked_attention_plvl,
        form,
        lambda module, query, *args, **kwargs: (
            sizes.append(query.shape) or attend_rows(module, query, *args, **kwargs)
        ),
    )
    hidden_states = torch.randn(2, 24, 32)
    expected = attention_with_a_position_bias(attention, hidden_states)
    output = attention.to(dtype)(hidden_states.to(dtype), 4, 6)[0]
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(output.float(), expected, atol=tolerance, rtol=tolerance)
    assert len(sizes) == pieces
    assert sum(samples * rows for samples, _, rows, *_ in sizes) == 2 * 4


def test_whole_blocks_are_dropped_the_oftener_the_deeper_they_are(make_config):
    config = make_config()
    config.vision_config.drop_path_rate = 0.3
    layers = PLVLVisionModel(config.vision_config).layers
    assert [layer.drop_path.p for layer in layers] == pytest.approx([0, 0.15, 0.3])
    dropped = layers[2].drop_path(torch.ones(2000, 3, 5))
    # Of a sample all tokens or none; what stays is scaled up.
    assert all(len(sample.unique()) == 1 for sample in dropped)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert (dropped == 0).float().mean().item() == pytest.approx(0.3, abs=0.05)


def test_a_models_configuration_is_left_as_it_was_given(make_config):
    """So that it may serve another model with more blocks, whose last map is again its last block's."""
    config = make_config()
    before = config.to_dict()
    PLVLVisionModel(config.vision_config)
    assert config.to_dict() == before
    config.vision_config.num_hidden_layers = 4
    vision = PLVLVisionModel(config.vision_config).eval()
    assert (vision.out_features, vision.out_indices, vision.channels) == (["stage4"], [4], [32])
    vision.out_indices = [1, 4]
    with torch.no_grad():
        maps = vision(torch.randn(1, 3, 64, 96)).feature_maps
    assert [each.shape for each in maps] == [(1, 32, 4, 6)] * 2


@pytest.mark.parametrize(("with_gradients", "is_wide"), [(True, True), (False, False), (False, True)])
def test_without_gradients_the_mlp_has_one_sample_of_a_wide_batch_at_a_time(
    with_gradients, is_wide, config, monkeypatch
):
    layer = PLVLVisionModel(config.vision_config).eval().layers[1]
    sizes, at_once = [], layer.transform_all
    monkeypatch.setattr(layer, "transform_all", lambda states: sizes.append(len(states)) or at_once(states))
    hidden_states = torch.randn(3, 24, 32)
    wide = 3 * 24 * layer.fc1.out_features * 4
    monkeypatch.setattr(vision_plvl, "REUSED", wide - 1 if is_wide else wide)
    with torch.set_grad_enabled(with_gradients):
        output = layer.transform(hidden_states)
    torch.testing.assert_close(output, at_once(hidden_states))
    assert sizes == ([1, 1, 1] if is_wide and not with_gradients else [3])
