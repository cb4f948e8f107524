# Copyright 2026 The maintainers of PLVL.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""PLVL (arXiv 2504.16145): an image and an expression in, a box and a mask out.

Read from top to bottom: the outputs, the decoder, the head, the model. The vision encoder is in vision_model_plvl.py.
"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs, can_return_tuple, logging
from transformers.utils.output_capturing import capture_outputs

from plvl.configuration.configuration_plvl import PLVLConfig, PLVLTimmVisionConfig, expressions_about_each
from plvl.modeling_plvl.attention_plvl import PLVLAttention, gives_weights
from plvl.modeling_plvl.box_reading_plvl import boxes_at_cells, read_any_boxes, read_boxes
from plvl.modeling_plvl.linear_plvl import use_onednn
from plvl.modeling_plvl.loss_plvl import any_box_losses, box_losses, center_cells, mask_losses
from plvl.modeling_plvl.text_encoder_plvl import ATTEND_TO_PADDING, new_text_encoder
from plvl.modeling_plvl.text_guidance_plvl import image_token_norm
from plvl.modeling_plvl.timm_vision_plvl import PLVLTimmVisionModel
from plvl.modeling_plvl.vision_model_plvl import PLVLVisionModel, PLVLVisionPreTrainedModel

# Below Transformers' own logger: its verbosity is that of this model, too.
logger = logging.get_logger("transformers.models.plvl")

PROBABILITY_EPSILON = 1e-4
RARE_LOGIT = -2.19


@dataclass
class PLVLOutput(ModelOutput):
    """
    What [`PLVLModel`] gives. `rows` × `columns` is the patch grid, `height` × `width` the image's size.

    Args:
        loss (`torch.FloatTensor` of shape `()`, *optional*, with `labels`): sum of `loss_dict`.
        loss_dict (`dict[str, torch.FloatTensor]`, *optional*, with `labels`): the losses by name, weighted.
        pred_boxes (`torch.FloatTensor` of shape `(batch_size, 4)`): cx, cy, w, h as shares of the image. In a model of
            any number of targets `(batch_size, max_targets, 4)`, those of the best score first.
        pred_scores (`torch.FloatTensor` of shape `(batch_size, max_targets)`, with `targets` "any"): of these boxes,
            in 0..1; 0 where there are no more peaks.
        presence_logits (`torch.FloatTensor` of shape `(batch_size,)`, with `targets` "any"): whether there is anything
            of the kind in the image.
        pred_masks (`torch.FloatTensor` of shape `(batch_size, height, width)`): mask logits.
        center_logits (`torch.FloatTensor` of shape `(batch_size, rows, columns)`): where the object's centre is.
        size (`torch.FloatTensor` of shape `(batch_size, 2, rows, columns)`): w and h of a box centred there.
        offset (`torch.FloatTensor` of shape `(batch_size, 2, rows, columns)`): x and y of its centre within
            the cell, in cells.
        last_hidden_state (`torch.FloatTensor` of shape `(batch_size, rows * columns, decoder_hidden_size)`):
            the decoder's image tokens, row by row.
        text_last_hidden_state (`torch.FloatTensor` of shape `(batch_size, sequence_length, text_hidden_size)`).
        hidden_states (`tuple[torch.FloatTensor]`, *optional*, with `output_hidden_states=True`): what entered
            the first vision block and what left each, of shape `(batch_size, rows * columns, hidden_size)`, row
            by row; with `image_embeddings`, these, and what left the first block with cross-attention and each one
            after. With fewer images than expressions, the states of `pixel_values` before that
            are the images', of their number.
        attentions (`tuple[torch.FloatTensor]`, *optional*, with `output_attentions=True`): of each vision block,
            `(batch_size, heads, tokens, tokens)`; blocks with windows have `batch_size * windows` first.
        cross_attentions (`tuple[torch.FloatTensor]`, *optional*, with `output_attentions=True`): of each vision
            block with cross-attention, `(batch_size, heads, rows * columns, sequence_length)`.

    Box outputs are `None` in a model without the task "rec", `pred_masks` in one without "res". `pred_boxes`,
    `center_logits`, `size` and `offset` are float32 in any model.
    """

    loss: torch.FloatTensor | None = None
    loss_dict: dict[str, torch.FloatTensor] | None = None
    pred_boxes: torch.FloatTensor | None = None
    pred_masks: torch.FloatTensor | None = None
    pred_scores: torch.FloatTensor | None = None
    presence_logits: torch.FloatTensor | None = None
    center_logits: torch.FloatTensor | None = None
    size: torch.FloatTensor | None = None
    offset: torch.FloatTensor | None = None
    last_hidden_state: torch.FloatTensor | None = None
    text_last_hidden_state: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    cross_attentions: tuple[torch.FloatTensor, ...] | None = None


class PLVLDecoderLayer(GradientCheckpointingLayer):
    """A post-norm Transformer decoder layer: image tokens attend to each other, then to the text."""

    def __init__(self, config: PLVLConfig):
        super().__init__()
        hidden_size, eps = config.decoder_hidden_size, config.decoder_layer_norm_eps
        heads, dropout = config.decoder_attention_heads, config.decoder_dropout
        self.self_attention = PLVLAttention(config, hidden_size, heads, dropout)
        self.norm1 = nn.LayerNorm(hidden_size, eps=eps)
        self.cross_attention = PLVLAttention(config, hidden_size, heads, dropout)
        self.norm2 = nn.LayerNorm(hidden_size, eps=eps)
        self.fc1 = nn.Linear(hidden_size, config.decoder_ffn_dim)
        self.fc2 = nn.Linear(config.decoder_ffn_dim, hidden_size)
        self.norm3 = nn.LayerNorm(hidden_size, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden_states, memory, attention_mask):
        attended, _ = self.self_attention(hidden_states, hidden_states)
        hidden_states = self.norm1(hidden_states + self.dropout(attended))
        attended, _ = self.cross_attention(hidden_states, memory, attention_mask)
        hidden_states = self.norm2(hidden_states + self.dropout(attended))
        mlp_output = self.fc2(self.dropout(F.relu(self.fc1(hidden_states))))
        return self.norm3(hidden_states + self.dropout(mlp_output))


class PLVLDecoder(nn.Module):
    """Image tokens and text, brought to one width, through the decoder layers."""

    def __init__(self, config: PLVLConfig):
        super().__init__()
        self.vision_norm = image_token_norm(config)
        self.vision_proj = nn.Linear(config.vision_config.hidden_size, config.decoder_hidden_size)
        self.text_proj = nn.Linear(config.text_config.hidden_size, config.decoder_hidden_size)
        self.layers = nn.ModuleList([PLVLDecoderLayer(config) for _ in range(config.decoder_layers)])
        self.norm = nn.LayerNorm(config.decoder_hidden_size, eps=config.decoder_layer_norm_eps)

    def forward(self, image_hidden_states, text_hidden_states, attention_mask):
        """`image_hidden_states`: `(batch_size, tokens, hidden_size)`."""
        hidden_states = self.vision_proj(self.vision_norm(image_hidden_states))
        memory = self.text_proj(text_hidden_states)
        for layer in self.layers:
            hidden_states = layer(hidden_states, memory, attention_mask)
        return self.norm(hidden_states)


def conv_norm_relu(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU())


class PLVLHead(nn.Module):
    """
    Box and mask around a shared centre: half of the channels finds the centre and paints the mask, through one
    trunk or, without `config.mask_shares_center`, through one each; the other half gives the box's offset and size.
    Only the branches of `config.tasks` are built. With `config.targets` "any", all cells together, and how high the
    centre map is, say in one logit whether there is an object at all.
    """

    def __init__(self, config: PLVLConfig):
        super().__init__()
        half, channels, hidden = (
            config.decoder_hidden_size // 2,
            config.head_channels,
            config.head_hidden_channels,
        )
        patch_size = config.vision_config.patch_size
        self.has_boxes, self.has_masks = "rec" in config.tasks, "res" in config.tasks
        self.mask_shares_center = config.mask_shares_center
        # CODEPATH: the authors' checkpoints and those converted from them have one target, gRefCOCO's any number.
        self.max_targets = config.max_targets if config.targets == "any" else None
        if self.has_boxes or self.mask_shares_center:
            self.center_trunk = conv_norm_relu(half, channels, 3)
        if self.has_boxes:
            self.center = nn.Sequential(conv_norm_relu(channels, hidden, 3), nn.Conv2d(hidden, 1, 1))
            self.box_trunk = conv_norm_relu(half, channels, 3)
            self.offset = nn.Sequential(conv_norm_relu(channels, hidden, 3), nn.Conv2d(hidden, 2, 1))
            self.size = nn.Sequential(conv_norm_relu(channels, hidden, 3), nn.Conv2d(hidden, 2, 1))
        if self.has_masks:
            if not self.mask_shares_center:
                self.mask_trunk = conv_norm_relu(half, channels, 3)
            self.mask = nn.Sequential(
                conv_norm_relu(channels, patch_size**2, 1),
                nn.PixelShuffle(patch_size),
                nn.Conv2d(1, 1, 5, padding=2),
            )

        if self.max_targets:
            self.presence_hidden = nn.Linear(2 * config.decoder_hidden_size + self.has_boxes, hidden)
            self.presence = nn.Linear(hidden, 1)

    def forward(self, feature_map: torch.Tensor) -> dict[str, torch.Tensor]:
        """`feature_map`: `(batch_size, decoder_hidden_size, rows, columns)`; gives fields of [`PLVLOutput`]."""
        center_half, box_half = feature_map.chunk(2, dim=1)
        outputs = {}
        if self.has_boxes or self.mask_shares_center:
            center_features = self.center_trunk(center_half)
        if self.has_boxes:
            box_features = self.box_trunk(box_half)
            # Float32 from here on: in bfloat16 a cell's number plus an offset is off by up to 1/16 of a cell.
            outputs["center_logits"] = self.center(center_features).squeeze(1).float()
            outputs["offset"] = self.offset(box_features).float()
            outputs["size"] = clamped_sigmoid(self.size(box_features).float())
            if self.max_targets is None:
                outputs["pred_boxes"] = read_boxes(**outputs)
            else:
                outputs["pred_boxes"], outputs["pred_scores"] = read_any_boxes(**outputs, max_targets=self.max_targets)
        if self.has_masks:
            mask_features = center_features if self.mask_shares_center else self.mask_trunk(center_half)
            outputs["pred_masks"] = self.mask(mask_features).squeeze(1)
        if self.max_targets:
            pooled = [feature_map.mean((-2, -1)), feature_map.amax((-2, -1))]
            if self.has_boxes:  # the highest peak tells most
                pooled.append(outputs["center_logits"].amax((-2, -1))[:, None].to(feature_map.dtype))
            hidden = F.relu(self.presence_hidden(torch.cat(pooled, dim=1)))
            outputs["presence_logits"] = self.presence(hidden).squeeze(1).float()
        return outputs


def clamped_sigmoid(logits: torch.Tensor) -> torch.Tensor:
    return logits.sigmoid().clamp(PROBABILITY_EPSILON, 1 - PROBABILITY_EPSILON)


class PLVLPreTrainedModel(PLVLVisionPreTrainedModel):
    config: PLVLConfig
    base_model_prefix = "plvl"
    model_tags = ["plvl", "visual-grounding"]
    input_modalities = ["image", "text"]
    _no_split_modules = ["PLVLDecoderLayer", "PLVLHead"]  # and those of its encoders

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, PLVLDecoder):
            init.xavier_uniform_(module.vision_proj.weight)
            init.xavier_uniform_(module.text_proj.weight)
        elif isinstance(module, PLVLHead):
            for convolution in module.modules():
                if isinstance(convolution, nn.Conv2d):
                    init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            # Centres and objects are rare: start from a probability of 0.1 (CenterNet).
            if module.has_boxes:
                init.constant_(module.center[-1].bias, RARE_LOGIT)
            if module.has_masks:
                # The last convolution smooths what the cells painted: start by leaving it as it is.
                init.dirac_(module.mask[-1].weight)
                init.constant_(module.mask[-1].bias, RARE_LOGIT)


class PLVLModel(PLVLPreTrainedModel):
    """
    Progressive Language-guided Visual Learning: finds what an expression means in an image.

    The text encoder reads the expression, the vision encoder lets it in block by block, the decoder and the head
    give box and mask. What comes before the first cross-attention to the text, that block's self-attention included,
    depends on the image alone: `get_image_embeddings` runs it once for many expressions.

    Example:

    ```python
    >>> import torch
    >>> import plvl
    >>> from PIL import Image
    >>> from transformers import AutoModel, AutoProcessor

    >>> folder = "checkpoints/plvl-tiny-refshapes"
    >>> model, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    >>> image = Image.open(f"{folder}/examples/val_refshapes_000004.jpg")
    >>> expressions = ["the blue moon", "the star on the left"]
    >>> inputs = processor(images=image, text=expressions, return_tensors="pt")
    >>> with torch.no_grad():
    ...     embeddings = model.get_image_embeddings(inputs.pixel_values)  # once, for any number of expressions
    ...     outputs = model(
    ...         image_embeddings=embeddings, input_ids=inputs.input_ids, attention_mask=inputs.attention_mask
    ...     )
    >>> outputs.pred_boxes.shape, outputs.pred_masks.shape
    (torch.Size([2, 4]), torch.Size([2, 160, 160]))

    ```
    """

    def __init__(self, config: PLVLConfig):
        super().__init__(config)
        self.text_encoder = new_text_encoder(config.text_config)
        is_timm = isinstance(config.vision_config, PLVLTimmVisionConfig)
        self.vision_encoder = (PLVLTimmVisionModel if is_timm else PLVLVisionModel)(config.vision_config)
        self.vision_encoder.let_language_in(config)
        self.decoder = PLVLDecoder(config)
        self.head = PLVLHead(config)
        use_onednn(self)
        self.post_init()

    def _say_what_gives_attentions(self):
        if not gives_weights(self.config.vision_config):
            logger.warning_once(
                f"`{self.config.vision_config._attn_implementation}` attention gives no attentions, which "
                '`output_attentions=True` asks for: load the model with attn_implementation="eager"'
            )

    def get_input_embeddings(self):
        return self.text_encoder.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.text_encoder.set_input_embeddings(value)

    def get_image_embeddings(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """
        What the image alone decides, to be given to `forward` as `image_embeddings` with many expressions.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, channels, height, width)`): normalised.

        Returns:
            `torch.Tensor` of shape `(batch_size, rows, columns, hidden_size)`.
        """
        self._check_pixel_values(pixel_values)
        return self.vision_encoder.embed(pixel_values)

    @can_return_tuple
    def get_text_features(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutput:
        """
        What the expressions alone decide; its `last_hidden_state` is what `forward` takes as `text_embeds` with many
        images.

        Args:
            input_ids (`torch.Tensor` of shape `(batch_size, sequence_length)`): the expressions.
            attention_mask (`torch.Tensor` of shape `(batch_size, sequence_length)`, *optional*): 0 at padding.

        Returns:
            the text encoder's output, `last_hidden_state` of shape `(batch_size, sequence_length, text_hidden_size)`.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        attends_to_padding = self.config.text_config.model_type in ATTEND_TO_PADDING
        mask = None if attends_to_padding else attention_mask
        return self.text_encoder(input_ids=input_ids, attention_mask=mask, **kwargs)

    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        pixel_values: torch.FloatTensor | None = None,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        image_embeddings: torch.FloatTensor | None = None,
        labels: dict[str, torch.Tensor] | None = None,
        text_embeds: torch.FloatTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> PLVLOutput:
        r"""
        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, channels, height, width)`, *optional*):
                images from [`PLVLProcessor`]; sides are multiples of the patch size. With fewer images than
                expressions, each serves as many expressions as the others, which follow one another.
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*): the expressions.
            attention_mask (`torch.Tensor` of shape `(batch_size, sequence_length)`, *optional*): 0 at padding.
            image_embeddings (`torch.FloatTensor` of shape `(batch_size, rows, columns, hidden_size)`,
                *optional*): from `get_image_embeddings`, in place of `pixel_values`.
            labels (`dict[str, torch.Tensor]`, *optional*): `"boxes"` of shape `(batch_size, 4)`, cx, cy, w, h in
                0..1, for the task "rec"; `"masks"` of shape `(batch_size, height, width)`, 0 or 1, for the task
                "res"; `"has_mask"` of shape `(batch_size,)`, *optional*: samples without one count only for boxes.
                With `targets` "any", `"boxes"` has the shape `(batch_size, max_targets, 4)`, of which the first
                `"num_boxes"`, of shape `(batch_size,)`, count, and a mask is of all objects.
            text_embeds (`torch.FloatTensor` of shape `(batch_size, sequence_length, text_hidden_size)`, *optional*):
                `last_hidden_state` of `get_text_features`, in place of `input_ids`; with the same `attention_mask`.
        """
        if (pixel_values is None) == (image_embeddings is None):
            which = "neither" if pixel_values is None else "both"
            raise ValueError(f"Give one of pixel_values and image_embeddings, got {which}")
        if input_ids is not None and text_embeds is not None:
            raise ValueError("Give one of input_ids and text_embeds, got both")
        if text_embeds is None and (input_ids is None or input_ids.ndim != 2):
            shape = None if input_ids is None else tuple(input_ids.shape)
            raise ValueError(f"input_ids must have the shape (batch_size, sequence_length), got {shape}")
        if kwargs.get("output_attentions", self.config.output_attentions):
            self._say_what_gives_attentions()
        if image_embeddings is None:
            image_embeddings = self.get_image_embeddings(pixel_values)
        text = text_embeds
        if text is None:
            text = self.get_text_features(input_ids, attention_mask).last_hidden_state
        about_each = expressions_about_each(image_embeddings.shape[0], text.shape[0])
        if about_each > 1 and image_embeddings.shape[0] > 1:  # one image alone is broadcast
            image_embeddings = image_embeddings.repeat_interleave(about_each, 0)
        rows, columns = self.vision_encoder.grid_of_embeddings(image_embeddings)

        if attention_mask is None:
            attention_mask = torch.ones(text.shape[:2], dtype=torch.long, device=text.device)
        text_mask = partial(
            create_bidirectional_mask,
            inputs_embeds=image_embeddings.flatten(1, 2)[:, : rows * columns],
            attention_mask=attention_mask,
            encoder_hidden_states=text,
            # To skip the mask where nothing is padded, its values would have to be fetched from the device.
            allow_is_bidirectional_skip=False,
        )
        masks_padding = self.config.mask_text_padding_in_vision
        vision_text_mask = text_mask(config=self.config.vision_config) if masks_padding else None
        image_tokens = self.vision_encoder.guide(image_embeddings, text, vision_text_mask)
        image_tokens = self.decoder(image_tokens, text, text_mask(config=self.config))
        outputs = self.head(image_tokens.transpose(1, 2).unflatten(2, (rows, columns)))

        loss = loss_dict = None
        if labels is not None:
            loss_dict = self.compute_losses(outputs, labels)
            loss = sum(loss_dict.values())
        return PLVLOutput(
            loss=loss,
            loss_dict=loss_dict,
            last_hidden_state=image_tokens,
            text_last_hidden_state=text,
            **outputs,
        )

    def compute_losses(self, outputs, labels: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The weighted losses of the model's tasks by name; `labels` as in `forward`."""
        losses: dict[str, torch.Tensor] = {}
        num_boxes = None
        if self.head.max_targets:
            batch_size = outputs["presence_logits"].shape
            num_boxes = _label(labels, "num_boxes", batch_size)
            is_present = (num_boxes > 0).float()
            losses["loss_presence"] = F.binary_cross_entropy_with_logits(outputs["presence_logits"], is_present)
        if self.head.has_boxes:
            boxes = _label(labels, "boxes", outputs["pred_boxes"].shape)
            center_probability = clamped_sigmoid(outputs["center_logits"])
            if num_boxes is None:
                losses |= box_losses(outputs["pred_boxes"], center_probability, boxes, self.config.loss_alpha)
            else:
                cells = center_cells(boxes, center_probability.shape[-2:])
                at_centers = boxes_at_cells(cells, outputs["offset"], outputs["size"])
                losses |= any_box_losses(at_centers, center_probability, boxes, num_boxes, self.config.loss_alpha)
        if self.head.has_masks:
            mask_logits = outputs["pred_masks"]
            masks = _label(labels, "masks", mask_logits.shape)
            if labels.get("has_mask") is None:
                has_mask = masks.new_ones(masks.shape[0])
            else:
                has_mask = _label(labels, "has_mask", mask_logits.shape[:1])
            losses |= mask_losses(mask_logits, masks, has_mask, self.config.mask_focal_input)
        return losses

    def _check_pixel_values(self, pixel_values: torch.Tensor):
        vision_config = self.config.vision_config
        shape, patch_size = tuple(pixel_values.shape), vision_config.patch_size
        if len(shape) != 4 or shape[1] != vision_config.num_channels:
            raise ValueError(
                f"pixel_values must have the shape (batch_size, {vision_config.num_channels}, height, width), "
                f"got {shape}"
            )
        if not all(side and side % patch_size == 0 for side in shape[2:]):
            raise ValueError(f"the sides of pixel_values must be multiples of {patch_size}, got {shape[2:]}")


def _label(labels: dict[str, torch.Tensor], name: str, shape) -> torch.Tensor:
    given = tuple(labels[name].shape) if labels.get(name) is not None else None
    if given != tuple(shape):
        raise ValueError(f"labels[{name!r}] must have the shape {tuple(shape)}, got {given}")
    return labels[name]


__all__ = ["PLVLModel", "PLVLOutput", "PLVLPreTrainedModel"]
