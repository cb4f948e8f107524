"""PLVL's vision encoder as a model of its own: a plain ViT, into whose blocks [`PLVLModel`] lets language."""

from typing import Any

import torch
from torch import nn
from transformers import initialization as init
from transformers.backbone_utils import BackboneMixin
from transformers.modeling_outputs import BackboneOutput
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from plvl.configuration.configuration_plvl import PLVLConfig, PLVLVisionConfig
from plvl.modeling_plvl.attention_plvl import PLVLAttention
from plvl.modeling_plvl.linear_plvl import use_onednn
from plvl.modeling_plvl.text_guidance_plvl import PLVLGuidedLayer, PLVLTextCrossAttentionAdapter
from plvl.modeling_plvl.vision_plvl import PLVLVisionAttention, PLVLVisionEmbeddings, PLVLVisionLayer


class PLVLVisionPreTrainedModel(PreTrainedModel):
    config: PLVLVisionConfig
    base_model_prefix = "vision_encoder"
    main_input_name = "pixel_values"
    input_modalities = ["image"]
    supports_gradient_checkpointing = True
    _no_split_modules = ["PLVLVisionEmbeddings", "PLVLVisionLayer"]
    _supports_sdpa = True
    # Transformers' flash attention drops queries by the padding mask of the keys: of image tokens by the text's.
    _supports_flash_attn = False
    _supports_attention_backend = True
    _can_record_outputs = {
        "hidden_states": OutputRecorder(PLVLGuidedLayer),
        "attentions": OutputRecorder(PLVLVisionAttention, index=1),
        "cross_attentions": OutputRecorder(PLVLAttention, index=1, layer_name="text_guidance"),
    }

    @classmethod
    def is_custom_code(cls) -> bool:
        # In custom code Transformers passes over modules without a parameter of their own, lest loaded weights be
        # overwritten. `_init_weights` below cannot: it writes through transformers.initialization.
        return False

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, PLVLVisionEmbeddings):
            init.trunc_normal_(module.position_embeddings, std=self.config.initializer_range)
        elif isinstance(module, PLVLVisionAttention):
            init.zeros_(module.rel_pos_h)
            init.zeros_(module.rel_pos_w)
        elif isinstance(module, PLVLAttention):
            for projection in (module.q_proj, module.k_proj, module.v_proj, module.out_proj):
                init.xavier_uniform_(projection.weight)
        elif hasattr(module, "init_non_persistent_buffers"):  # timm's: rotary positions, which no checkpoint has
            module.init_non_persistent_buffers()


class PLVLVisionModel(BackboneMixin, PLVLVisionPreTrainedModel):
    """
    The plain ViT of ViTDet, which `AutoBackbone` has, too.

    What depends on the image alone is `embed`, up to the first block that language was let into; `guide` goes on from
    there with a text.

    Example:

    ```python
    >>> import torch
    >>> from plvl import PLVLVisionConfig, PLVLVisionModel

    >>> config = PLVLVisionConfig(image_size=64, hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
    ...                           global_attention_layers=[1], window_size=2, out_indices=[1, 2])
    >>> with torch.no_grad():
    ...     maps = PLVLVisionModel(config).eval()(torch.randn(1, 3, 64, 96)).feature_maps
    >>> [list(each.shape) for each in maps]
    [[1, 48, 4, 6], [1, 48, 4, 6]]

    ```
    """

    num_prefix_tokens = 0  # before those of the grid

    def __init__(self, config: PLVLVisionConfig):
        super().__init__(config)
        self.num_features = [config.hidden_size] * (config.num_hidden_layers + 1)
        self.first_guided_layer = config.num_hidden_layers
        self.norm: nn.Module = nn.Identity()
        self.build()
        use_onednn(self)
        self.post_init()

    def post_init(self):
        # Not BackboneMixin's, which installs hooks that record states at once: these maps need none, and in PLVLModel
        # they would be installed a second time.
        PreTrainedModel.post_init(self)

    @property
    def out_features(self) -> list[str]:
        return self.config.out_features or self.stage_names[-1:]

    @out_features.setter
    def out_features(self, out_features: list[str]):
        self.config.out_features = out_features

    @property
    def out_indices(self) -> list[int]:
        return self.config.out_indices or [len(self.stage_names) - 1]

    @out_indices.setter
    def out_indices(self, out_indices: tuple[int] | list[int]):
        self.config.out_indices = out_indices

    def build(self):
        """Makes `embeddings` and `layers`, and `norm` where the ViT ends in one."""
        self.embeddings: Any = PLVLVisionEmbeddings(self.config)
        indices = range(self.config.num_hidden_layers)
        self.layers = nn.ModuleList([PLVLVisionLayer(self.config, layer_idx) for layer_idx in indices])

    def let_language_in(self, config: PLVLConfig):
        """Gives the blocks `config.cross_attention_layers` their cross-attention to the text."""
        for layer_idx in config.cross_attention_layers:
            self.layers[layer_idx].text_guidance = PLVLTextCrossAttentionAdapter(config)
        self.first_guided_layer = min(config.cross_attention_layers, default=len(self.layers))

    def get_input_embeddings(self):
        return self.embeddings

    @capture_outputs(tie_last_hidden_states=False)
    def forward(self, pixel_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> BackboneOutput:
        """
        Without language, which must not have been let in.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, channels, height, width)`): normalised; sides are
                multiples of the patches'.

        Returns:
            `feature_maps` of the stages that the configuration names, each `(batch_size, hidden_size, rows,
            columns)`: "stem" is what enters the first block, "stage1" what leaves it, and so on; the last has gone
            through the ViT's last norm, where it has one. With `output_hidden_states=True` and
            `output_attentions=True` these, too.
        """
        if self.first_guided_layer < len(self.layers):
            raise ValueError(f"block {self.first_guided_layer} waits for a text here: PLVLModel runs this encoder")
        rows, columns = self.grid_of(pixel_values)
        positions = self.embeddings.positions(rows, columns)
        stages = [self.embeddings(pixel_values)]
        for layer in self.layers:
            stages.append(layer(stages[-1], positions)[0])
        stages[-1] = self.norm(stages[-1])
        asked = [stages[self.stage_names.index(name)] for name in self.out_features]
        maps = [self.of_grid(each).transpose(1, 2).unflatten(2, (rows, columns)) for each in asked]
        return BackboneOutput(feature_maps=tuple(maps))

    def grid_of(self, pixel_values: torch.Tensor) -> tuple[int, int]:
        """Rows and columns of the patches."""
        height, width = pixel_values.shape[-2:]
        return height // self.config.patch_size, width // self.config.patch_size

    def of_grid(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The tokens of the grid alone, `(batch_size, rows * columns, hidden_size)`."""
        return hidden_states[:, self.num_prefix_tokens :]

    def embed(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """
        What the image alone decides: its tokens after the self-attention of the first block with language.

        Gives `(batch_size, rows, columns, hidden_size)`. A ViT's prefix tokens (class, registers) are in as many
        further rows before these as they fill; the rest of these rows is 0.
        """
        rows, columns = self.grid_of(pixel_values)
        positions = self.embeddings.positions(rows, columns)
        hidden_states = self.embeddings(pixel_values)
        for layer in self.layers[: self.first_guided_layer]:
            hidden_states, _ = layer(hidden_states, positions)
        for layer in self.layers[self.first_guided_layer : self.first_guided_layer + 1]:
            _, hidden_states = layer(hidden_states, positions)
        if self.num_prefix_tokens:
            prefix, grid = hidden_states.tensor_split((self.num_prefix_tokens,), dim=1)
            filling = prefix.new_zeros(prefix.shape[0], -self.num_prefix_tokens % columns, prefix.shape[2])
            hidden_states = torch.cat([prefix, filling, grid], dim=1)
        return hidden_states.unflatten(1, (-1, columns))

    def grid_of_embeddings(self, image_embeddings: torch.Tensor) -> tuple[int, int]:
        """Rows and columns of the patches that `embed` was given."""
        rows, columns = image_embeddings.shape[1:3]
        return rows - self._prefix_rows(columns), columns

    def _prefix_rows(self, columns: int) -> int:
        return (self.num_prefix_tokens + columns - 1) // columns

    def guide(self, image_embeddings, text_hidden_states, attention_mask) -> torch.Tensor:
        """
        The other blocks, with language.

        `image_embeddings`: from `embed`, of as many images as expressions, or of one for all of them; gives
        `(batch_size, rows * columns, hidden_size)`.
        """
        rows, columns = self.grid_of_embeddings(image_embeddings)
        positions = self.embeddings.positions(rows, columns)
        hidden_states, has_attended = image_embeddings.flatten(1, 2), True
        if self.num_prefix_tokens:
            grid = hidden_states[:, self._prefix_rows(columns) * columns :]
            hidden_states = torch.cat([hidden_states[:, : self.num_prefix_tokens], grid], dim=1)
        for layer in self.layers[self.first_guided_layer :]:
            hidden_states, _ = layer(hidden_states, positions, text_hidden_states, attention_mask, has_attended)
            has_attended = False
        return self.of_grid(self.norm(hidden_states))


__all__ = ["PLVLVisionModel", "PLVLVisionPreTrainedModel"]
