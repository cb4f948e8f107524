"""Attention in pieces that a backward pass computes anew: outputs and gradients are those of the plain form."""

import pytest
import torch

from plvl.modeling_plvl import recomputed_attention_plvl
from plvl.modeling_plvl.recomputed_attention_plvl import attention_with_dropout, attention_with_positions

SAMPLES, HEADS, ROWS, COLUMNS, WIDTH = 3, 5, 2, 4, 6
TOKENS = ROWS * COLUMNS


@pytest.fixture(params=[0.5, 2, 5, 10, 100], ids=lambda heads: f"{heads} heads at once")
def pieces(request, monkeypatch):
    """From half a head at once, which is one, to all samples."""
    monkeypatch.setattr(recomputed_attention_plvl, "SCORES_AT_ONCE", int(request.param * TOKENS * TOKENS * 8))


def tensors(*shapes):
    torch.manual_seed(0)
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def inputs_with_positions():
    memory = (SAMPLES, HEADS, TOKENS, WIDTH)
    return tensors(
        (SAMPLES, HEADS, ROWS, COLUMNS, WIDTH), memory, memory, (ROWS, ROWS, WIDTH), (COLUMNS, COLUMNS, WIDTH)
    )


def written_out_with_positions(query, key, value, row_table, column_table, scaling):
    scores = scaling * torch.einsum("bnhwd,bnkd->bnhwk", query, key).unflatten(-1, (ROWS, COLUMNS))
    scores = scores + torch.einsum("bnhwd,hrd->bnhwr", query, row_table)[..., :, None]
    scores = scores + torch.einsum("bnhwd,wcd->bnhwc", query, column_table)[..., None, :]
    weights = scores.flatten(-2).flatten(2, 3).softmax(-1)
    return torch.einsum("bnqk,bnkd->bqnd", weights, value)


def test_with_positions_outputs_and_gradients_are_those_of_the_plain_form(pieces):
    inputs = inputs_with_positions()
    output = attention_with_positions(*inputs, scaling=0.3)
    expected = written_out_with_positions(*inputs, scaling=0.3)
    torch.testing.assert_close(output, expected)
    grad = torch.randn_like(output)
    torch.testing.assert_close(torch.autograd.grad(output, inputs, grad), torch.autograd.grad(expected, inputs, grad))


def test_with_dropout_outputs_and_gradients_are_those_of_the_plain_form(pieces):
    shape = (SAMPLES, HEADS, TOKENS, WIDTH)
    inputs = tensors(shape, (SAMPLES, HEADS, 3, WIDTH), (SAMPLES, HEADS, 3, WIDTH))
    torch.manual_seed(7)
    output = attention_with_dropout(*inputs, scaling=0.3, dropout=0.4)
    torch.manual_seed(7)
    stays = torch.empty(SAMPLES, HEADS, TOKENS, 3, dtype=torch.bool).bernoulli_(0.6)
    assert 0.5 < stays.float().mean() < 0.7
    query, key, value = inputs
    weights = torch.einsum("bnqd,bnkd->bnqk", query * 0.3, key).softmax(-1) * stays / 0.6
    expected = torch.einsum("bnqk,bnkd->bqnd", weights, value)
    torch.testing.assert_close(output, expected)
    grad = torch.randn_like(output)
    torch.testing.assert_close(torch.autograd.grad(output, inputs, grad), torch.autograd.grad(expected, inputs, grad))


def test_neither_scores_nor_weights_are_kept():
    tokens = 4 * TOKENS
    query, key, value = tensors(*[(SAMPLES, HEADS, tokens, WIDTH)] * 3)
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        attention_with_dropout(query, key, value, scaling=0.3, dropout=0.4)
    scores = SAMPLES * HEADS * tokens * tokens
    assert sum(kept.values()) <= 3 * query.nbytes + scores  # what is dropped takes a byte of a score's eight
