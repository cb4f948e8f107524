"""
What a CPU computes faster another way, where no gradient is wanted and no graph is traced.

The figures are of one core of an AMD EPYC with AVX512-BF16, for a picture of 784 tokens and 12 heads of width 64.
"""

from collections.abc import Callable

import torch
from torch import nn

# Bytes of attention scores that are made at once: about what the C library's allocator keeps for the next request. It
# gives larger pieces back to the system, and to fetch their pages anew costs more than the arithmetic in them.
SCORES_AT_ONCE = 32 * 2**20
# What compiled PyTorch calls for a linear layer; builds without oneDNN lack it.
ONEDNN_LINEAR = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def infers_on_cpu(tensor: torch.Tensor) -> bool:
    """Whether `tensor` is on a CPU and what is made from it is neither traced nor kept for a backward pass."""
    return tensor.device.type == "cpu" and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def attends_step_by_step(query: torch.Tensor) -> bool:
    """Whether scores, softmax and sum one after the other beat PyTorch's fused kernel: in half types 22 ms to 46."""
    return infers_on_cpu(query) and query.dtype != torch.float32


def attend_in_pieces(
    attend: Callable, queries: tuple[torch.Tensor, ...], key: torch.Tensor, value: torch.Tensor
) -> torch.Tensor:
    """
    Attention of a few samples, or of a few queries of a sample, at a time, so that memory grows as the tokens do.

    Args:
        attend (`Callable`): gives `(batch_size, queries, heads, head_dim)` for pieces of `queries`, `key`, `value`.
        queries (tuple of `torch.Tensor` of shape `(batch_size, heads, queries, any)`): the queries and whatever else
            belongs to each of them.
        key, value (`torch.Tensor` of shape `(batch_size, heads, keys, any)`).

    Returns:
        `torch.Tensor` of shape `(batch_size, queries, heads, head_dim)`.
    """
    heads, num_queries = queries[0].shape[1:3]
    bytes_of_a_query = heads * key.shape[2] * key.element_size()
    queries_at_once = max(SCORES_AT_ONCE // bytes_of_a_query, 1)
    samples_at_once = max(queries_at_once // num_queries, 1)
    outputs = []
    for *of_samples, keys, values in zip(
        *(tensor.split(samples_at_once) for tensor in (*queries, key, value)), strict=True
    ):
        pieces = zip(*(tensor.split(queries_at_once, dim=2) for tensor in of_samples), strict=True)
        outputs.append(torch.cat([attend(*piece, keys, values) for piece in pieces], dim=1))
    return torch.cat(outputs)


class PLVLLinear(nn.Linear):
    """`nn.Linear` that infers in float32 through oneDNN, as compiled PyTorch does: 5 to 10 % faster than MKL."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        if (
            infers_on_cpu(hidden_states)
            and hidden_states.dtype == self.weight.dtype == torch.float32
            and type(self.weight) is nn.Parameter
            and not torch.is_autocast_enabled("cpu")
            and ONEDNN_LINEAR is not None
        ):
            return ONEDNN_LINEAR(hidden_states, self.weight, self.bias, "none", [], "")
        return super().forward(hidden_states)
