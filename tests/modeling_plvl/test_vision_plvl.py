"""Self-attention of the vision blocks: one result, by whichever way it is computed."""

import pytest
import torch
from torch import nn

from plvl.modeling_plvl import attention_in_pieces_plvl
from plvl.modeling_plvl.vision_plvl import PLVLVisionAttention


@pytest.fixture
def attention(config):
    torch.manual_seed(0)
    attention = PLVLVisionAttention(config, relative_grid_size=4)
    for table in (attention.rel_pos_h, attention.rel_pos_w):
        nn.init.normal_(table)
    return attention.eval()


def attention_with_a_position_bias(attention, hidden_states):
    """By the book, on a grid of 4 x 4."""
    query, key, value = attention.qkv(hidden_states).view(2, 16, 3, 2, 16).permute(2, 0, 3, 1, 4)
    scores = query @ key.transpose(-1, -2) / 4
    for position in range(16):
        for other in range(16):
            row, column, other_row, other_column = position // 4, position % 4, other // 4, other % 4
            bias = attention.rel_pos_h[row - other_row + 3] + attention.rel_pos_w[column - other_column + 3]
            scores[:, :, position, other] += query[:, :, position] @ bias
    return attention.proj((scores.softmax(-1) @ value).transpose(1, 2).reshape(2, 16, 32))


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("with_gradients", [True, False])
def test_attention_has_a_position_bias_in_every_form(implementation, with_gradients, attention):
    attention.config._attn_implementation = implementation
    hidden_states = torch.randn(2, 16, 32)
    with torch.set_grad_enabled(with_gradients):
        output = attention(hidden_states, 4, 4)[0]
    expected = attention_with_a_position_bias(attention, hidden_states)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows_at_once", [0.5, 1, 3, 4, 8])
@torch.no_grad()
def test_the_pieces_of_a_picture_and_of_a_batch_come_back_in_their_order(rows_at_once, dtype, attention, monkeypatch):
    bytes_at_once = int(rows_at_once * 2 * 4 * 16 * dtype.itemsize)
    monkeypatch.setattr(attention_in_pieces_plvl, "SCORES_AT_ONCE", bytes_at_once)
    hidden_states = torch.randn(2, 16, 32)
    expected = attention_with_a_position_bias(attention, hidden_states)
    output = attention.to(dtype)(hidden_states.to(dtype), 4, 4)[0]
    tolerance = 1e-5 if dtype == torch.float32 else 0.03
    torch.testing.assert_close(output.float(), expected, atol=tolerance, rtol=tolerance)
