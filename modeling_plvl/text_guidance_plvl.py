"""How language enters a vision block: between its attention and its MLP, image tokens attend to the text."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from plvl.configuration.configuration_plvl import PLVLConfig
from plvl.modeling_plvl.attention_plvl import PLVLAttention


def image_token_norm(config: PLVLConfig) -> nn.Module:
    """What image tokens go through where they ask the text, and before the decoder; nothing, if so configured."""
    if not config.normalize_image_tokens:
        return nn.Identity()
    return nn.LayerNorm(config.vision_config.hidden_size, eps=config.vision_config.layer_norm_eps)


class PLVLTextCrossAttentionAdapter(nn.Module):
    """What language does inside a vision block: image tokens attend to the adapted text."""

    def __init__(self, config: PLVLConfig):
        super().__init__()
        text_size = config.text_config.hidden_size
        vision_size = config.vision_config.hidden_size
        self.query_norm = image_token_norm(config)
        self.norm = nn.LayerNorm(text_size, eps=config.vision_config.layer_norm_eps)
        self.down_proj = nn.Linear(text_size, config.adapter_size)
        self.up_proj = nn.Linear(config.adapter_size, text_size)
        self.to_vision = nn.Linear(text_size, vision_size) if text_size != vision_size else nn.Identity()
        self.attention = PLVLAttention(
            config.vision_config, vision_size, config.cross_attention_heads, config.cross_attention_dropout
        )

    def forward(self, hidden_states, text_hidden_states, attention_mask):
        """`hidden_states`: `(batch_size, rows * columns, hidden_size)`, the output too."""
        text = self.norm(text_hidden_states)
        memory = self.to_vision(text + self.up_proj(F.relu(self.down_proj(text))))
        return self.attention(self.query_norm(hidden_states), memory, attention_mask)[0]


class PLVLGuidedLayer(GradientCheckpointingLayer):
    """
    A pre-norm ViT block in two halves, `attend` and `transform`, between which language may enter: a block that
    [`PLVLModel`] has given `text_guidance`.
    """

    num_prefix_tokens = 0  # before those of the grid: class token, registers

    def __init__(self):
        super().__init__()
        self.text_guidance = None
        self.drop_path = nn.Identity()

    def attend(self, hidden_states, positions):
        """The first half: self-attention, with its norm and residual."""
        raise NotImplementedError

    def transform(self, hidden_states):
        """The second half: the MLP, with its norm and residual."""
        raise NotImplementedError

    def forward(
        self, hidden_states, positions, text_hidden_states=None, attention_mask=None, has_attended: bool = False
    ):
        """
        A block with cross-attention stops before it when it is given no text, and goes on from there when it is
        given its own tokens back, with the text and `has_attended`. One image's tokens then serve all expressions.

        `hidden_states`: `(batch_size, num_prefix_tokens + rows * columns, hidden_size)`; `positions`: what the
        embeddings say of the grid. Gives what leaves the block and what waits in it for the text: one of the two, of
        the same shape, and None for the other.
        """
        if not has_attended:
            hidden_states = self.attend(hidden_states, positions)
        if self.text_guidance is not None:
            if text_hidden_states is None:
                return None, hidden_states
            hidden_states = self.ask_text(hidden_states, text_hidden_states, attention_mask)
        return self.transform(hidden_states), None

    def ask_text(self, hidden_states, text_hidden_states, attention_mask):
        """The tokens of the grid ask; what stands before them passes by."""
        prefix, grid = hidden_states.tensor_split((self.num_prefix_tokens,), dim=1)
        grid = grid + self.drop_path(self.text_guidance(grid, text_hidden_states, attention_mask))
        if not self.num_prefix_tokens:
            return grid
        return torch.cat([prefix.expand(grid.shape[0], -1, -1), grid], dim=1)
