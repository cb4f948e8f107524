"""
Attention over a grid of tokens on a CPU, where no gradient is wanted: the scores of a few rows of the grid at a time.

In float32 the position term is the bias of PyTorch's fused kernel. In the half types, whose fused kernel is slow on a
CPU, scores, softmax and sum follow one after the other, from widened queries and keys.
"""

import torch
from torch import nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from plvl.modeling_plvl.attention_plvl import eager_attention_forward
from plvl.modeling_plvl.position_plvl import position_bias, widen_key, widen_query

# Bytes that the C library's allocator keeps for the next request (glibc's largest M_MMAP_THRESHOLD). It gives larger
# pieces back to the system, and each page fetched anew costs more than the arithmetic in it.
REUSED = 32 * 2**20
SCORES_AT_ONCE = REUSED  # how many bytes of scores are made at once


def chunked_attention(
    module: nn.Module, query, key, value, row_table, column_table, *, scaling: float
) -> torch.Tensor:
    """
    Attention with the relative positions of keys and queries, of a few samples or a few rows of one at a time.

    Args:
        module: whose attention it is, as Transformers' attention functions want it.
        query (`torch.Tensor` of shape `(batch_size, heads, rows, columns, head_dim)`): not scaled.
        key, value (`torch.Tensor` of shape `(batch_size, heads, rows * columns, head_dim)`).
        row_table, column_table: from `relative_position_table`, for `rows` and `columns`.
        scaling (`float`): what the products of queries and keys are multiplied by; not the position term.

    Returns:
        `torch.Tensor` of shape `(batch_size, rows * columns, heads, head_dim)`.
    """
    heads, rows, columns = query.shape[1:4]
    row_size = heads * columns * rows * columns * query.element_size()
    samples_at_once = max(SCORES_AT_ONCE // (rows * row_size), 1)
    rows_at_once = max(SCORES_AT_ONCE // row_size, 1)
    in_float32 = query.dtype == torch.float32
    attend_rows = attend_rows_with_bias if in_float32 else attend_rows_step_by_step
    outputs = []
    for one_query, one_key, one_value in zip(
        query.split(samples_at_once), key.split(samples_at_once), value.split(samples_at_once), strict=True
    ):
        one_key = one_key if in_float32 else widen_key(one_key, rows, columns)
        pieces = zip(one_query.split(rows_at_once, dim=2), row_table.split(rows_at_once), strict=True)
        attended = [
            attend_rows(module, piece, one_key, one_value, table, column_table, scaling=scaling)
            for piece, table in pieces
        ]
        outputs.append(torch.cat(attended, dim=1))
    return torch.cat(outputs)


def attend_rows_with_bias(module, query, key, value, row_table, column_table, *, scaling: float):
    """`query`: `(batch_size, heads, some rows, columns, head_dim)`; gives `(batch_size, queries, heads, head_dim)`."""
    bias = position_bias(query, row_table, column_table)
    query = query.flatten(2, 3)
    return sdpa_attention_forward(module, query, key, value, bias, scaling=scaling)[0]


def attend_rows_step_by_step(module, query, wide_key, value, row_table, column_table, *, scaling: float):
    """As `attend_rows_with_bias`; `wide_key` is from `widen_key`."""
    query = widen_query(query, row_table, column_table, scaling)
    return eager_attention_forward(module, query, wide_key, value, None, scaling=1.0)[0]
