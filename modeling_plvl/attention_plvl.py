"""Multi-head attention as Transformers dispatches it, its eager form, and attention of queries over a memory."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedConfig
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from plvl.modeling_plvl.recomputed_attention_plvl import attention_with_dropout


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
    # In the half types, too, PyTorch sums in float32.
    weights = F.softmax(scores, dim=-1)
    weights = F.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


def attention_function(config: PreTrainedConfig) -> Callable:
    """The implementation that a configuration names."""
    return ALL_ATTENTION_FUNCTIONS.get_interface(str(config._attn_implementation), eager_attention_forward)


def gives_weights(config: PreTrainedConfig) -> bool:
    """Whether attention as a configuration has it makes its weights, to be given as `attentions`."""
    return attention_function(config) is eager_attention_forward


def attends_in_pieces(config: PreTrainedConfig, query: torch.Tensor) -> bool:
    """Whether attention is this project's, a few samples or heads at a time, in the place of PyTorch's kernel."""
    uses_sdpa = config._attn_implementation == "sdpa"
    return uses_sdpa and query.device.type == "cpu" and not torch.compiler.is_compiling()


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    *,
    scaling: float,
    dropout: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """
    Attention by the implementation that `module.config` names.

    Args:
        query, key, value (`torch.Tensor` of shape `(batch_size, heads, tokens, width)`): query and key may be wider
            than the value.
        attention_mask (`torch.Tensor`, *optional*): in the form that the implementation takes.
        scaling (`float`): what the products of queries and keys are multiplied by.
        dropout (`float`): the share of the weights that is dropped.

    Returns:
        The output, `(batch_size, queries, heads, width of the value)`, and the weights where the implementation
        makes them.
    """
    if dropout and attention_mask is None and attends_in_pieces(module.config, query):
        return attention_with_dropout(query, key, value, scaling=scaling, dropout=dropout), None
    function = attention_function(module.config)
    width, widening = value.shape[-1], query.shape[-1] - value.shape[-1]
    if widening:
        # Fused kernels want heads of one width; the zeros added to the value are cut off again.
        value = F.pad(value, (0, widening))
    output, weights = function(module, query, key, value, attention_mask, scaling=scaling, dropout=dropout)
    return output[..., :width], weights


class PLVLAttention(nn.Module):
    """
    Multi-head attention of queries over a memory (`key` = `value` = memory). One sample of queries serves any number
    of memories.
    """

    def __init__(self, config: PreTrainedConfig, hidden_size: int, num_heads: int, dropout: float):
        super().__init__()
        self.config = config
        self.head_dim = hidden_size // num_heads
        self.dropout = dropout
        self.is_causal = False
        self.q_proj = nn.Linear(hidden_size, hidden_size)
        self.k_proj = nn.Linear(hidden_size, hidden_size)
        self.v_proj = nn.Linear(hidden_size, hidden_size)
        self.out_proj = nn.Linear(hidden_size, hidden_size)

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
            query.expand(key.shape[0], -1, -1, -1),
            key,
            value,
            attention_mask,
            scaling=self.head_dim**-0.5,
            dropout=self.dropout if self.training else 0.0,
        )
        return self.out_proj(output.flatten(-2)), weights
