"""Plain ViTs of timm as vision encoders: timm builds them and its own blocks run, each in two halves."""

import copy
from typing import Any

import torch
from torch import nn
from transformers import initialization as init

from plvl.configuration.configuration_plvl import PLVLTimmVisionConfig, require_timm
from plvl.modeling_plvl.text_guidance_plvl import PLVLGuidedLayer
from plvl.modeling_plvl.vision_model_plvl import PLVLVisionModel

# By the names of timm's `Block` and `EvaBlock`.
ATTENTION_HALF = ("norm1", "attn", "ls1", "drop_path1", "gamma_1")
MLP_HALF = ("norm2", "mlp", "ls2", "drop_path2", "gamma_2")


def new_timm_vit(config: PLVLTimmVisionConfig) -> Any:
    """timm's ViT for images of any size, of random weights; what timm puts behind its last norm is left out."""
    timm = require_timm()
    model_args = config.model_args or {}
    vit: Any = timm.create_model(
        config.architecture, num_classes=0, dynamic_img_size=True, drop_path_rate=config.drop_path_rate, **model_args
    )
    vit.reset_classifier(0, global_pool="")
    vit.fc_norm = nn.Identity()
    return vit


class PLVLTimmVisionEmbeddings(nn.Module):
    """
    What timm's ViT does before its blocks: patches, position table, prefix tokens, norm. The ViT is given without
    blocks and last norm, which are the encoder's.
    """

    def __init__(self, vit: Any):
        super().__init__()
        self.vit: Any = vit

    def positions(self, rows: int, columns: int) -> list[torch.Tensor | None] | torch.Tensor | None:
        """Rotary positions of the grid, where the ViT has any; some have another for each block."""
        rope = getattr(self.vit, "rope", None)
        return None if rope is None else rope.get_embed(shape=(rows, columns))

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Gives `(batch_size, prefix tokens + rows * columns, hidden_size)`."""
        return self.vit(pixel_values)


class Nothing(nn.Module):
    """In the place of a branch that is not to run: adds nothing to the residual."""

    def forward(self, hidden_states: torch.Tensor, **kwargs) -> torch.Tensor:
        return hidden_states.new_zeros(())


def half_without(block: nn.Module, branch: str, names: tuple[str, ...]) -> nn.Module:
    """A block of timm one of whose branches, with these names, is gone: what is left of its forward is the other."""
    half = copy.deepcopy(block)
    for name in names:
        if isinstance(getattr(half, name, None), nn.Module):
            setattr(half, name, Nothing() if name == branch else nn.Identity())
        elif getattr(half, name, None) is not None:  # a scale, which has nothing left to scale
            delattr(half, name)
            setattr(half, name, 1.0)
    return half


class PLVLTimmVisionLayer(PLVLGuidedLayer):
    """A block of timm, that of a `VisionTransformer` or of an `Eva`."""

    def __init__(self, block: Any, layer_idx: int, num_prefix_tokens: int):
        super().__init__()
        self.layer_idx = layer_idx
        self.num_prefix_tokens = num_prefix_tokens
        self.attention_half = half_without(block, "mlp", MLP_HALF)
        self.mlp_half = half_without(block, "attn", ATTENTION_HALF)
        self.drop_path = copy.deepcopy(block.drop_path1)

    def attend(self, hidden_states, positions):
        if positions is None:
            return self.attention_half(hidden_states)
        # One for all blocks, `(tokens, width)`, or in "mixed" form one for each: `(blocks, heads, tokens, width)`.
        rope = positions if positions.ndim < 4 else positions[self.layer_idx]
        return self.attention_half(hidden_states, rope=rope)

    def transform(self, hidden_states):
        return self.mlp_half(hidden_states)


class PLVLTimmVisionModel(PLVLVisionModel):
    """
    A plain ViT of timm, named by `config.architecture`. Without language it computes what timm's `forward_features`
    does.

    Example:

    ```python
    >>> import torch
    >>> from plvl import PLVLTimmVisionConfig, PLVLTimmVisionModel

    >>> config = PLVLTimmVisionConfig(architecture="vit_tiny_patch16_224", model_args={"depth": 2}, image_size=64)
    >>> with torch.no_grad():
    ...     maps = PLVLTimmVisionModel(config).eval()(torch.randn(1, 3, 64, 96)).feature_maps
    >>> [list(each.shape) for each in maps]
    [[1, 192, 4, 6]]

    ```
    """

    config: PLVLTimmVisionConfig  # type: ignore[assignment]
    _no_split_modules = ["PLVLTimmVisionEmbeddings", "PLVLTimmVisionLayer"]

    def build(self):
        vit = new_timm_vit(self.config)
        built = {"num_hidden_layers": len(vit.blocks), "hidden_size": vit.embed_dim}
        for name, size in built.items():
            if getattr(self.config, name) != size:
                raise ValueError(
                    f"{name} is {getattr(self.config, name)} in the configuration, and {size} in what timm builds of "
                    f"{self.config.architecture} with model_args {self.config.model_args}"
                )
        self.num_prefix_tokens = self.config.num_prefix_tokens
        self.layers = nn.ModuleList(
            [
                PLVLTimmVisionLayer(block, layer_idx, self.num_prefix_tokens)
                for layer_idx, block in enumerate(vit.blocks)
            ]
        )
        self.norm, vit.norm, vit.blocks = vit.norm, nn.Identity(), nn.Sequential()
        self.embeddings = PLVLTimmVisionEmbeddings(vit)

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        for name, parameter in module.named_parameters(recurse=False):
            if name.startswith("gamma"):
                init.constant_(parameter, module.init_values)
            elif name in ("cls_token", "reg_token", "pos_embed"):
                init.trunc_normal_(parameter, std=self.config.initializer_range)
            elif name in ("q_bias", "v_bias"):
                init.zeros_(parameter)


__all__ = ["PLVLTimmVisionModel"]
