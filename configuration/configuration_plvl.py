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
"""PLVL's configuration: the vision part, any BERT-like text part, the decoder, the head and the losses."""

import difflib
from typing import Any

from huggingface_hub.dataclasses import strict
from packaging.version import Version
from transformers import CONFIG_MAPPING, AutoConfig
from transformers.backbone_utils import BackboneConfigMixin
from transformers.configuration_utils import PreTrainedConfig

TASKS = ("rec", "res")
MASK_FOCAL_INPUTS = ("probability", "logit")
TARGETS = ("one", "any")
TIMM = "1.0.24"  # the oldest that setup.cfg admits


def config_class_of(given: dict, name: str) -> type[PreTrainedConfig]:
    """
    Transformers' configuration class for a part that is given as a `dict`.

    Raises:
        ValueError: Transformers does not know its `model_type`; the message names the field `name` and the nearest.
    """
    kind = given.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        like = difflib.get_close_matches(str(kind), CONFIG_MAPPING, n=1)
        meant = f" (did you mean {like[0]}?)" if like else ""
        raise ValueError(f"{name}: Transformers has no model_type {kind!r}{meant}")
    return CONFIG_MAPPING[kind]


def require_timm() -> Any:
    """
    timm, which no other model needs than those with a part of it.

    Raises:
        ImportError: it cannot be imported, or is older than `TIMM`; the message says what to install.
    """
    install = f"pip install 'timm>={TIMM}'"
    try:
        import timm
    except ImportError as error:
        raise ImportError(f"the vision encoder is built by timm, which does not load ({error}): {install}") from error
    if Version(timm.__version__) < Version(TIMM):
        raise ImportError(f"the vision encoder needs timm {TIMM} or newer, and {timm.__version__} is here: {install}")
    return timm


def require_timm_network(name: str, field: str):
    """
    Raises:
        ImportError: see [`require_timm`].
        ValueError: timm has no network of this name; the message names the `field` and the nearest.
    """
    timm = require_timm()
    if not timm.is_model(name):
        like = difflib.get_close_matches(str(name), timm.list_models(), n=3)
        raise ValueError(f"{field}: timm has no {name!r}; the nearest are {', '.join(like)}")


class VisionConfigMixin(BackboneConfigMixin):
    """
    The grid of a vision configuration, and `out_features` and `out_indices` of an `AutoBackbone`: what leaves the
    embeddings, and each block.
    """

    image_size: Any
    patch_size: Any
    num_hidden_layers: Any

    def __post_init__(self, **kwargs):
        asked = {name: kwargs.pop(name, None) for name in ("out_features", "out_indices")}
        if any(asked.values()):  # else it is the last block, whatever their number is by then
            self.set_output_features_output_indices(**asked)
        super().__post_init__(**kwargs)

    @property
    def stage_names(self) -> list[str]:
        return ["stem", *(f"stage{number}" for number in range(1, (self.num_hidden_layers or 0) + 1))]

    @property
    def grid_size(self) -> int:
        """Side of the patch grid of an image of `image_size`."""
        return self.image_size // self.patch_size


@strict
class PLVLVisionConfig(VisionConfigMixin, PreTrainedConfig):
    r"""
    The plain ViT of ViTDet (arXiv 2203.16527) that PLVL lets language into. The defaults are the base model's.

    Args:
        image_size (`int`, defaults to 448): side of the square image, in pixels; a multiple of `patch_size`.
        backbone_config (`PreTrainedConfig` or `dict`, *optional*): a backbone of Transformers' `AutoBackbone` (timm's
            by `model_type` `"timm_backbone"`), whose feature map takes the place of the image's pixels: the patch
            projection is then a 1 × 1 convolution, and `patch_size` the map's stride. Where its `out_indices` name
            several, the coarser ones are enlarged to the first. The blocks follow as they are.
        mlp_ratio (`float`, defaults to 4.0): width of a block's MLP over `hidden_size`.
        drop_path_rate (`float`, defaults to 0.1): stochastic depth of the last block; rises linearly from 0.
        window_size (`int`, defaults to 14): side of an attention window, in patches.
        global_attention_layers (`list[int]`, defaults to `[2, 5, 8, 11]`): blocks that attend over the whole
            grid; the others attend inside windows.
        position_grid_size (`int`, defaults to 14): side of the grid that the absolute position table was made
            for; another grid resizes the table bicubically.
        has_class_position (`bool`, defaults to `True`): whether the position table starts with a class
            position (it is kept in the table and not used).
        relative_position_grid_size (`int`, defaults to 64): side of the grid that the relative position tables
            of the global blocks were made for (1024 pixels); another grid resizes them linearly.
        out_features, out_indices (*optional*): which feature maps `AutoBackbone` gives of it; the last by default.
    """

    model_type = "plvl_vision"
    base_config_key = "vision_config"
    sub_configs = {"backbone_config": AutoConfig}

    image_size: int = 448
    patch_size: int = 16
    num_channels: int = 3
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    mlp_ratio: float | int = 4.0
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02
    qkv_bias: bool = True
    drop_path_rate: float | int = 0.1
    window_size: int = 14
    global_attention_layers: list[int] | tuple[int, ...] = (2, 5, 8, 11)
    position_grid_size: int = 14
    has_class_position: bool = True
    relative_position_grid_size: int = 64
    backbone_config: dict | PreTrainedConfig | None = None
    _out_features: list[str] | None = None
    _out_indices: list[int] | None = None

    def __post_init__(self, **kwargs):
        if isinstance(self.backbone_config, dict):
            given = dict(self.backbone_config)
            config_class = config_class_of(given, "backbone_config")
            given.pop("model_type")
            self.backbone_config = config_class(**given)
        super().__post_init__(**kwargs)

    def validate_architecture(self):
        _check_image_size(self)
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of num_attention_heads "
                f"({self.num_attention_heads})"
            )
        _check_layers("global_attention_layers", self.global_attention_layers, self.num_hidden_layers)


@strict
class PLVLTimmVisionConfig(VisionConfigMixin, PreTrainedConfig):
    r"""
    A plain ViT of timm that PLVL lets language into: timm builds it, its own blocks run.

    Args:
        architecture (`str`): timm's name of it, as `"vit_base_patch16_dinov3"`.
        model_args (`dict`, *optional*): further arguments of `timm.create_model`, as `{"depth": 6}`.
        image_size (`int`, defaults to 448): side of the square image, in pixels; a multiple of the patches' side. The
            position table keeps the size that timm has it in and is resized to the image's grid.
        drop_path_rate (`float`, defaults to 0.1): stochastic depth of the last block.
        layer_norm_eps (`float`, defaults to 1e-6): of the norms that language adds; the ViT's own are timm's.
        patch_size, num_channels, hidden_size, num_hidden_layers, num_attention_heads, num_prefix_tokens (`int`,
            *optional*): timm's; they are looked up where they are not given.
        out_features, out_indices (*optional*): which feature maps `AutoBackbone` gives of it; the last by default.
    """

    model_type = "plvl_timm_vision"
    base_config_key = "vision_config"

    architecture: str = ""
    model_args: dict[str, Any] | None = None
    image_size: int = 448
    drop_path_rate: float | int = 0.1
    layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02
    patch_size: int | None = None
    num_channels: int | None = None
    hidden_size: int | None = None
    num_hidden_layers: int | None = None
    num_attention_heads: int | None = None
    num_prefix_tokens: int | None = None
    _out_features: list[str] | None = None
    _out_indices: list[int] | None = None

    def __post_init__(self, **kwargs):
        if self.architecture and self.num_prefix_tokens is None:
            for name, size in timm_vit_sizes(self.architecture, self.model_args or {}).items():
                if getattr(self, name) not in (None, size):
                    raise ValueError(
                        f"{name} is {size} in {self.architecture}, got {getattr(self, name)}: model_args changes what "
                        "timm builds"
                    )
                setattr(self, name, size)
        if self.architecture:
            super().__post_init__(**kwargs)
        else:  # as Transformers makes one to compare others with
            PreTrainedConfig.__post_init__(self, **kwargs)

    def validate_architecture(self):
        if self.architecture:
            _check_image_size(self)


def timm_vit_sizes(architecture: str, model_args: dict) -> dict[str, Any]:
    """
    The sizes of a plain ViT of timm, by [`PLVLTimmVisionConfig`]'s names.

    Raises:
        ValueError: timm has no such architecture, or it is one that language cannot be let into.
    """
    require_timm_network(architecture, "architecture")
    import torch
    from timm.models import create_model
    from timm.models.eva import Eva, EvaBlock
    from timm.models.vision_transformer import Block, VisionTransformer

    taken = sorted({"num_classes", "dynamic_img_size", "drop_path_rate"} & set(model_args))
    if taken:
        raise ValueError(
            f"model_args: {', '.join(taken)} of {architecture} is PLVL's to set (drop_path_rate beside it)"
        )
    try:
        with torch.device("meta"):
            vit: Any = create_model(architecture, **model_args)
    except TypeError as error:
        raise ValueError(f"model_args: {model_args} does not go with {architecture} ({error})") from error
    # Their relatives (distilled ones) have another forward.
    if type(vit) not in (VisionTransformer, Eva):
        raise ValueError(
            f"architecture: {architecture} is a {type(vit).__name__} and no plain ViT; backbone_config takes others"
        )
    unfit = sorted({type(block).__name__ for block in vit.blocks if type(block) not in (Block, EvaBlock)})
    if unfit:
        raise ValueError(
            f"architecture: {architecture} has blocks of the kind {', '.join(unfit)}: between their attention and MLP "
            "there is no place for language"
        )
    return {
        "patch_size": vit.patch_embed.feat_ratio(),
        "num_channels": model_args.get("in_chans", 3),
        "hidden_size": vit.embed_dim,
        "num_hidden_layers": len(vit.blocks),
        "num_attention_heads": vit.blocks[0].attn.num_heads,
        "num_prefix_tokens": vit.num_prefix_tokens,
    }


def vision_config_class(given: dict) -> type[PreTrainedConfig]:
    """
    The configuration class of a vision encoder that is given as a `dict`: timm's where it names an architecture.

    Raises:
        ValueError: its `model_type` is of neither.
    """
    found = PLVLTimmVisionConfig if "architecture" in given else PLVLVisionConfig
    if given.get("model_type", found.model_type) != found.model_type:
        kinds = f"it is {PLVLVisionConfig.model_type!r}, or with an architecture {PLVLTimmVisionConfig.model_type!r}"
        raise ValueError(
            f"vision_config: model_type {given['model_type']!r} is none here: {kinds}; backbone_config takes others"
        )
    return found


@strict
class PLVLConfig(PreTrainedConfig):
    r"""
    Configuration of [`PLVLModel`]. The defaults are the base model of arXiv 2504.16145.

    Args:
        vision_config (`PLVLVisionConfig`, `PLVLTimmVisionConfig` or `dict`, *optional*): the vision encoder; a `dict`
            with an `architecture` is of the second kind.
        text_config (`PreTrainedConfig` or `dict`, *optional*): any BERT-like encoder that `AutoModel` builds;
            a `dict` names it by its `model_type`. Defaults to BERT-base.
        tasks (`list[str]`, defaults to `["rec", "res"]`): which answers the model gives: boxes (`"rec"`),
            masks (`"res"`) or both. Only the branches of the head that they need are built.
        targets (`str`, defaults to `"one"`): how many objects an expression may mean. `"one"` is the paper: each
            expression has one box. With `"any"` it has none, one or several: the centre map has a peak for each, and
            a presence logit says whether there is any.
        max_targets (`int`, defaults to 16): with `targets` `"any"`, boxes of an expression at most.
        cross_attention_layers (`list[int]`, defaults to `[2, 5, 8, 11]`): vision blocks with cross-attention to
            the text.
        cross_attention_heads, cross_attention_dropout: of the cross-attention in those blocks.
        adapter_size (`int`, defaults to 64): width inside the adapter that the text passes before it.
        mask_text_padding_in_vision (`bool`, defaults to `False`): whether that cross-attention leaves out the
            text's padding. The authors' weights were trained with the padding attended to.
        decoder_*: the decoder's width, layers, heads, feed-forward width, dropout and LayerNorm epsilon.
        normalize_image_tokens (`bool`, defaults to `False`): whether image tokens are normalised (LayerNorm) where
            they ask the text in a vision block, and before the decoder. The authors' are not. In a network that
            learns from nothing they grow, and its attention hardens before it has learned where to look.
        head_channels, head_hidden_channels (`int`, default to 256 and 128): channels of the head's branches,
            and before their last convolution.
        mask_shares_center (`bool`, defaults to `True`): whether the mask is painted from the features that the
            box's centre is found in, as the authors do. If not, it has a trunk of its own on the same half of the
            decoder's channels, and box and mask share nothing in the head.
        loss_alpha (`float`, defaults to 0.1): weight of the three box losses beside the two mask losses.
        mask_focal_input (`str`, defaults to `"probability"`): what the mask's focal loss takes for a logit.
            `"probability"` is what the authors trained with, `"logit"` is the loss as it was meant.

    Example:

    ```python
    >>> from plvl import PLVLConfig, PLVLModel

    >>> # A small model of boxes alone: four blocks, cross-attention to the text in the last two.
    >>> config = PLVLConfig(
    ...     vision_config={"hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4, "image_size": 64,
    ...                    "global_attention_layers": [1, 3], "window_size": 2},
    ...     text_config={"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    ...                  "intermediate_size": 64, "vocab_size": 100},
    ...     cross_attention_layers=[2, 3],
    ...     tasks=["rec"],
    ... )
    >>> model = PLVLModel(config)
    >>> model.config.cross_attention_layers
    [2, 3]

    ```
    """

    model_type = "plvl"
    sub_configs = {"vision_config": PLVLVisionConfig, "text_config": AutoConfig}

    vision_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    tasks: list[str] | tuple[str, ...] = TASKS
    targets: str = "one"
    max_targets: int = 16
    cross_attention_layers: list[int] | tuple[int, ...] = (2, 5, 8, 11)
    cross_attention_heads: int = 8
    cross_attention_dropout: float | int = 0.1
    adapter_size: int = 64
    mask_text_padding_in_vision: bool = False
    decoder_hidden_size: int = 512
    decoder_layers: int = 3
    decoder_attention_heads: int = 8
    decoder_ffn_dim: int = 1024
    decoder_dropout: float | int = 0.1
    decoder_layer_norm_eps: float = 1e-5
    normalize_image_tokens: bool = False
    head_channels: int = 256
    head_hidden_channels: int = 128
    mask_shares_center: bool = True
    loss_alpha: float | int = 0.1
    mask_focal_input: str = "probability"
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs):
        if self.vision_config is None:
            self.vision_config = PLVLVisionConfig(initializer_range=self.initializer_range)
        elif isinstance(self.vision_config, dict):
            given = {"initializer_range": self.initializer_range} | self.vision_config
            config_class = vision_config_class(given)
            given.pop("model_type", None)
            self.vision_config = config_class(**given)
        if self.text_config is None:
            self.text_config = CONFIG_MAPPING["bert"]()
        elif isinstance(self.text_config, dict):
            text_config = dict(self.text_config)
            self.text_config = CONFIG_MAPPING[text_config.pop("model_type", "bert")](**text_config)
        super().__post_init__(**kwargs)

    @property
    def num_hidden_layers(self) -> int:
        """Of the vision encoder, whose states are the model's `hidden_states`."""
        return self.vision_config.num_hidden_layers

    def validate_architecture(self):
        unknown = [task for task in self.tasks if task not in TASKS]
        if unknown or not self.tasks:
            raise ValueError(f"tasks must name one or both of {list(TASKS)}, got {list(self.tasks)}")
        if self.targets not in TARGETS:
            raise ValueError(f"targets must be one of {list(TARGETS)}, got {self.targets!r}")
        if self.max_targets < 1:
            raise ValueError(f"max_targets must be at least 1, got {self.max_targets}")
        if self.mask_focal_input not in MASK_FOCAL_INPUTS:
            raise ValueError(
                f"mask_focal_input must be one of {list(MASK_FOCAL_INPUTS)}, got {self.mask_focal_input!r}"
            )
        for width, heads in (
            (self.vision_config.hidden_size, self.cross_attention_heads),
            (self.decoder_hidden_size, self.decoder_attention_heads),
        ):
            if width % heads:
                raise ValueError(f"a width of {width} cannot be split among {heads} attention heads")
        if self.decoder_hidden_size % 2:
            raise ValueError(
                f"decoder_hidden_size is split in halves and must be even, got {self.decoder_hidden_size}"
            )
        _check_layers("cross_attention_layers", self.cross_attention_layers, self.vision_config.num_hidden_layers)


def expressions_about_each(num_images: int, num_expressions: int, given: str = "images") -> int:
    """
    Expressions follow one another image by image, as many about each: how many that is. `given` is what there is of
    each image, for the error.

    Raises:
        ValueError: they do not come out even, or there is no image.
    """
    if num_images == 0 or num_expressions % num_images:
        raise ValueError(
            f"got {num_images} {given} and {num_expressions} expressions; "
            "give each image as many expressions as the others"
        )
    return num_expressions // num_images


def _check_image_size(config):
    if config.image_size < config.patch_size or config.image_size % config.patch_size:
        raise ValueError(f"image_size must be a multiple of patch_size ({config.patch_size}), got {config.image_size}")


def _check_layers(name: str, layers, num_layers: int):
    outside = [layer for layer in layers if not 0 <= layer < num_layers]
    if outside:
        raise ValueError(f"{name} names layers {outside}, but the vision encoder has layers 0 to {num_layers - 1}")
