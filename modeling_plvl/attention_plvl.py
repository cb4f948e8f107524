"""Multi-head attention as Transformers dispatches it: the eager form, and attention of queries over a memory."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from plvl.configuration.configuration_plvl import PLVLConfig
from plvl.modeling_plvl.cpu_plvl import PLVLLinear, attend_in_pieces, attends_step_by_step


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor]:
    scores = (query * scaling) @ key.transpose(-1, -2)
    if attention_mask is not None:
        scores = scores + attention_mask
    # In half types, too, PyTorch's softmax sums in float32.
    weights = F.softmax(scores, dim=-1)
    weights = F.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


def attend(
    module: nn.Module,
    implementation: str,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    scaling: float = 1.0,
    dropout: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """
    Attention by the implementation of that name, or by what is faster in its place. Query and key may be wider than
    the value.

    Args:
        query, key, value (`torch.Tensor` of shape `(batch_size, heads, tokens, width)`).
        attention_mask (`torch.Tensor`, *optional*): in the form that the implementation takes.

    Returns:
        The output, `(batch_size, queries, heads, head_dim)`, and the weights where they are made.
    """
    if implementation == "sdpa" and attention_mask is None and attends_step_by_step(query):
        step_by_step = partial(eager_attention_forward, module, attention_mask=None, scaling=scaling)
        return attend_in_pieces(lambda *pieces: step_by_step(*pieces)[0], (query,), key, value), None

    function: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
    head_dim, padding = value.shape[-1], query.shape[-1] - value.shape[-1]
    if padding and function is not eager_attention_forward:
        # Fused kernels want heads of one width; the zeros added to the value are cut off again.
        value = F.pad(value, (0, padding))
    output, weights = function(module, query, key, value, attention_mask, scaling=scaling, dropout=dropout)
    return output[..., :head_dim], weights


class PLVLAttention(nn.Module):
    """
    Multi-head attention of queries over a memory (`key` = `value` = memory). One sample of queries serves any number
    of memories.
    """

    def __init__(self, config: PLVLConfig, hidden_size: int, num_heads: int, dropout: float):
        super().__init__()
        self.config = config
        self.head_dim = hidden_size // num_heads
        self.dropout = dropout
        self.is_causal = False
        self.q_proj = PLVLLinear(hidden_size, hidden_size)
        self.k_proj = PLVLLinear(hidden_size, hidden_size)
        self.v_proj = PLVLLinear(hidden_size, hidden_size)
        self.out_proj = PLVLLinear(hidden_size, hidden_size)

    def forward(self, hidden_states, memory, attention_mask=None):
        query, key, value = (
            projection(states).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for projection, states in (
                (self.q_proj, hidden_states),
                (self.k_proj, memory),
                (self.v_proj, memory),
            )
        )
        output, weights = attend(
            self,
            self.config._attn_implementation,
            query.expand(key.shape[0], -1, -1, -1),
            key,
            value,
            attention_mask,
            scaling=self.head_dim**-0.5,
            dropout=self.dropout if self.training else 0.0,
        )
        return self.out_proj(output.flatten(-2)), weights
