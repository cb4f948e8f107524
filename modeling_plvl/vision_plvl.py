"""The paper's vision encoder, a plain ViT as in ViTDet: its attention, embeddings and blocks."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import StochasticDepth
from transformers import AutoBackbone, PreTrainedConfig
from transformers.activations import ACT2FN
from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING

from plvl.configuration.configuration_plvl import PLVLVisionConfig, require_timm_network
from plvl.modeling_plvl.attention_plvl import attend, attends_in_pieces
from plvl.modeling_plvl.chunked_attention_plvl import REUSED, chunked_attention
from plvl.modeling_plvl.linear_plvl import linear_of_activation
from plvl.modeling_plvl.position_plvl import (
    absolute_position_table,
    relative_position_table,
    widen_key,
    widen_query,
)
from plvl.modeling_plvl.recomputed_attention_plvl import attention_with_positions
from plvl.modeling_plvl.text_guidance_plvl import PLVLGuidedLayer


class PLVLVisionAttention(nn.Module):
    """
    Self-attention over a grid of tokens with decomposed relative positions (ViTDet).

    The position term of a pair, q·Rh[row - row'] + q·Rw[column - column'], is a dot product too: of q times the
    tables, and a one-hot row and column of the key. So query and key are widened by these, and any attention
    function gives the exact result without a bias tensor of tokens × tokens.

    Where "sdpa" runs on a CPU, it is faster to attend in pieces.
    """

    def __init__(self, config: PLVLVisionConfig, relative_grid_size: int):
        super().__init__()
        self.config = config
        self.is_causal = False
        self.num_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // self.num_heads
        self.scaling = self.head_dim**-0.5
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=config.qkv_bias)
        self.proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * relative_grid_size - 1, self.head_dim))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * relative_grid_size - 1, self.head_dim))

    def forward(self, hidden_states, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """`hidden_states`: `(batch_size, rows * columns, hidden_size)`, the output too."""
        qkv = self.qkv(hidden_states).unflatten(-1, (3, self.num_heads, self.head_dim))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        query = query.unflatten(2, (rows, columns))
        tables = (
            relative_position_table(self.rel_pos_h, rows),
            relative_position_table(self.rel_pos_w, columns),
        )
        weights = None
        if not attends_in_pieces(self.config, query):
            query, key = widen_query(query, *tables, self.scaling), widen_key(key, rows, columns)
            output, weights = attend(self, query, key, value, scaling=1.0)
        elif torch.is_grad_enabled():
            output = attention_with_positions(query, key, value, *tables, scaling=self.scaling)
        else:
            output = chunked_attention(self, query, key, value, *tables, scaling=self.scaling)
        return self.proj(output.flatten(-2)), weights


def new_backbone(config: PreTrainedConfig) -> nn.Module:
    """
    Raises:
        ValueError: `AutoBackbone` knows no backbone of this configuration, or timm none of its name.
    """
    if type(config) not in MODEL_FOR_BACKBONE_MAPPING:
        raise ValueError(f"backbone_config: Transformers has no backbone of the type {config.model_type!r}")
    if config.model_type == "timm_backbone":
        require_timm_network(config.backbone, "backbone_config")
    backbone_class: Any = MODEL_FOR_BACKBONE_MAPPING[type(config)]
    if not backbone_class._supports_sdpa:
        config._attn_implementation = "eager"  # a convolutional network has no attention to choose
    return AutoBackbone.from_config(config)


class PLVLVisionEmbeddings(nn.Module):
    """Patches of the image, or cells of a backbone's feature maps, plus absolute positions."""

    def __init__(self, config: PLVLVisionConfig):
        super().__init__()
        self.has_class_position = config.has_class_position
        self.position_grid_size = config.position_grid_size
        self.patch_size = config.patch_size
        self.backbone: Any = None
        channels, cell = config.num_channels, config.patch_size
        if config.backbone_config is not None:
            self.backbone = new_backbone(config.backbone_config)
            channels, cell = sum(self.backbone.channels), 1
        self.projection = nn.Conv2d(channels, config.hidden_size, kernel_size=cell, stride=cell)
        num_positions = config.position_grid_size**2 + config.has_class_position
        self.position_embeddings = nn.Parameter(torch.zeros(1, num_positions, config.hidden_size))

    def positions(self, rows: int, columns: int) -> tuple[int, int]:
        """What the blocks need to know of a grid: its size."""
        return rows, columns

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Gives `(batch_size, rows * columns, hidden_size)`."""
        features = pixel_values if self.backbone is None else self.features(pixel_values)
        patches = self.projection(features).permute(0, 2, 3, 1)
        rows, columns = patches.shape[1:3]
        table = self.position_embeddings[:, int(self.has_class_position) :]
        table = absolute_position_table(table, self.position_grid_size, rows, columns).unflatten(1, (rows, columns))
        # Channels last in memory, too: every later block adds to these tokens.
        return (patches.contiguous() + table).flatten(1, 2)

    def features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """
        The backbone's feature maps, those that are coarser than the finest enlarged to it, one upon the other:
        `(batch_size, channels of all, rows, columns)`.
        """
        maps = self.backbone(pixel_values).feature_maps
        height, width = pixel_values.shape[-2:]
        grid = (height // self.patch_size, width // self.patch_size)
        if maps[0].shape[-2:] != grid:
            raise ValueError(
                f"the backbone makes a map of {tuple(maps[0].shape[-2:])} of {height} x {width} pixels, which is no "
                f"stride of {self.patch_size}: set patch_size, or another stage in backbone_config"
            )
        coarser = [F.interpolate(each, grid, mode="bilinear", align_corners=False) for each in maps[1:]]
        return torch.cat([maps[0], *coarser], dim=1)


class PLVLVisionLayer(PLVLGuidedLayer):
    """A block of ViTDet: self-attention in windows or over the grid, MLP."""

    def __init__(self, config: PLVLVisionConfig, layer_idx: int):
        super().__init__()
        hidden_size, eps = config.hidden_size, config.layer_norm_eps
        is_global = layer_idx in config.global_attention_layers
        self.window_size = 0 if is_global else config.window_size
        self.norm1 = nn.LayerNorm(hidden_size, eps=eps)
        self.attention = PLVLVisionAttention(
            config, config.relative_position_grid_size if is_global else config.window_size
        )
        self.norm2 = nn.LayerNorm(hidden_size, eps=eps)
        intermediate_size = int(hidden_size * config.mlp_ratio)
        self.fc1 = nn.Linear(hidden_size, intermediate_size)
        self.activation = ACT2FN[config.hidden_act]
        self.fc2 = nn.Linear(intermediate_size, hidden_size)
        depth_share = layer_idx / max(config.num_hidden_layers - 1, 1)
        self.drop_path = StochasticDepth(config.drop_path_rate * depth_share, mode="row")

    def attend(self, hidden_states, positions):
        return hidden_states + self.drop_path(self.self_attend(self.norm1(hidden_states), *positions))

    def transform(self, hidden_states):
        if (
            # First, for in a graph the number of samples is not known.
            torch.compiler.is_compiling()
            or torch.is_grad_enabled()
            or hidden_states.device.type != "cpu"
            or hidden_states.shape[:-1].numel() * self.fc1.out_features * hidden_states.element_size() <= REUSED
        ):
            return self.transform_all(hidden_states)
        # One sample's wide states stay in memory that is reused; the pages of a batch's are fetched anew each time.
        return torch.cat([self.transform_all(sample) for sample in hidden_states.split(1)])

    def transform_all(self, hidden_states):
        mlp_output = linear_of_activation(self.fc2, self.activation, self.fc1(self.norm2(hidden_states)))
        return hidden_states + self.drop_path(mlp_output)

    def self_attend(self, hidden_states, rows: int, columns: int):
        """Self-attention over the grid, or inside windows; the grid is padded to whole windows with zeros."""
        size = self.window_size
        if not size:
            return self.attention(hidden_states, rows, columns)[0]
        # Numbers of windows without a remainder, an operator that graphs of any size lack.
        down, across = (rows + size - 1) // size, (columns + size - 1) // size
        grid = hidden_states.unflatten(1, (rows, columns))
        padded = F.pad(grid, (0, 0, 0, across * size - columns, 0, down * size - rows))
        windows = padded.unflatten(2, (across, size)).unflatten(1, (down, size)).transpose(2, 3)
        attended = self.attention(windows.flatten(3, 4).flatten(0, 2), size, size)[0]
        attended = attended.view_as(windows).transpose(2, 3).reshape_as(padded)
        return attended[:, :rows, :columns].flatten(1, 2)
