"""
Attention on a CPU where a gradient is wanted: a few samples or heads at a time, whose weights the backward pass
computes anew in place of keeping them.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from plvl.modeling_plvl.position_plvl import position_bias

# How many bytes of scores are made at once: what the processor's cache holds through the steps from scores to sums.
SCORES_AT_ONCE = 10 * 2**20


def attention_with_positions(query, key, value, row_table, column_table, *, scaling: float) -> torch.Tensor:
    """
    Attention with the relative positions of keys and queries; arguments and result are those of `chunked_attention`.
    """
    rows, columns = query.shape[2:4]

    def attend_piece(query, key, value):
        bias = position_bias(query, row_table, column_table)
        scores = torch.baddbmm(
            bias.flatten(0, 1), query.flatten(2, 3).flatten(0, 1), key.flatten(0, 1).transpose(-1, -2), alpha=scaling
        )
        return F.softmax(scores, dim=-1).view_as(bias) @ value

    return _in_pieces(attend_piece, (query, key, value), rows * columns * rows * columns)


def attention_with_dropout(query, key, value, *, scaling: float, dropout: float) -> torch.Tensor:
    """
    Args:
        query, key, value (`torch.Tensor` of shape `(batch_size, heads, tokens, width)`).
        dropout (`float`): the share of the weights that is dropped; which ones is kept for the backward pass, in a
            byte each.

    Returns:
        `torch.Tensor` of shape `(batch_size, queries, heads, width)`.
    """
    shape = (*query.shape[:3], key.shape[2])
    stays = torch.empty(shape, dtype=torch.bool, device=query.device).bernoulli_(1 - dropout)

    def attend_piece(query, key, value, stays):
        weights = F.softmax((query * scaling) @ key.transpose(-1, -2), dim=-1)
        return (weights * stays) @ (value / (1 - dropout))

    return _in_pieces(attend_piece, (query, key, value, stays), shape[2] * shape[3])


def _in_pieces(attend_piece: Callable, tensors: tuple[torch.Tensor, ...], scores_of_a_head: int) -> torch.Tensor:
    """
    `attend_piece` of pieces of `tensors`, `(batch_size, heads, ...)`, gives `(batch_size, heads, queries, width)`; all
    together `(batch_size, queries, heads, width)`.
    """
    heads = tensors[0].shape[1]
    head_size = scores_of_a_head * tensors[0].element_size()
    samples_at_once = max(SCORES_AT_ONCE // (heads * head_size), 1)
    heads_at_once = max(SCORES_AT_ONCE // head_size, 1)
    outputs = []
    for of_samples in zip(*(tensor.split(samples_at_once) for tensor in tensors), strict=True):
        pieces = zip(*(tensor.split(heads_at_once, dim=1) for tensor in of_samples), strict=True)
        attended = [
            # Nothing in a piece is drawn at random or decided by values.
            checkpoint(
                attend_piece, *piece, use_reentrant=False, preserve_rng_state=False, determinism_check="none"
            ).transpose(1, 2)
            for piece in pieces
        ]
        outputs.append(torch.cat(attended, dim=2))
    return torch.cat(outputs)
