"""How the tensors of other checkpoints are called here: the original PLVL, detectron2's ViTDet, timm's SAM ViT.

Each map is a list of (pattern, replacement); the first pattern that matches a whole name decides. A replacement
of None drops the tensor: it is dead weight in the original, or belongs to another network.
"""

import re

import torch

# The blocks of a ViT, as detectron2, timm and the original PLVL all name them.
_VIT_BLOCK = [
    (r"blocks\.(\d+)\.(norm[12])\.(.*)", r"layers.\1.\2.\3"),
    (r"blocks\.(\d+)\.attn\.(.*)", r"layers.\1.attention.\2"),
    (r"blocks\.(\d+)\.mlp\.(fc[12])\.(.*)", r"layers.\1.\2.\3"),
]
_VIT_EMBEDDINGS = [
    (r"pos_embed", r"embeddings.position_embeddings"),
    (r"patch_embed\.proj\.(.*)", r"embeddings.projection.\1"),
]


def _prefixed(source_prefix: str, target_prefix: str, keys: list) -> list:
    return [(source_prefix + pattern, target_prefix + replacement) for pattern, replacement in keys]


def plvl_keys(cross_attention_layers) -> list:
    """The original PLVL's names, in a model whose language enters these blocks."""
    body = r"visumodel\.backbone\.\d+\.body\."
    guided = "|".join(str(layer) for layer in cross_attention_layers)
    guidance = r"vision_encoder.layers.\1.text_guidance."
    return [
        *_prefixed(body, "vision_encoder.", _VIT_BLOCK + _VIT_EMBEDDINGS),
        (rf"{body}blocks\.(\d+)\.cross_attn\.(.*)", rf"{guidance}attention.\2"),
        (rf"{body}prompt_blocks\.(\d+)\.(down|up)_project\.(.*)", rf"{guidance}\2_proj.\3"),
        (rf"{body}prompt_norms\.({guided})\.(.*)", rf"{guidance}norm.\2"),
        (rf"{body}prompt_norms\.\d+\..*", None),
        (r"textmodel\.bert\.pooler\..*", None),
        (r"textmodel\.bert\.(.*)", r"text_encoder.\1"),
        (r"visu_proj\.(.*)", r"decoder.vision_proj.\1"),
        (r"text_proj\.(.*)", r"decoder.text_proj.\1"),
        (r"decoder\.decoder\.layers\.(\d+)\.self_attn\.(.*)", r"decoder.layers.\1.self_attention.\2"),
        (r"decoder\.decoder\.layers\.(\d+)\.multihead_attn\.(.*)", r"decoder.layers.\1.cross_attention.\2"),
        (r"decoder\.decoder\.layers\.(\d+)\.linear([12])\.(.*)", r"decoder.layers.\1.fc\2.\3"),
        (r"decoder\.decoder\.layers\.(\d+)\.(norm[123])\.(.*)", r"decoder.layers.\1.\2.\3"),
        (r"decoder\.decoder\.norm\.(.*)", r"decoder.norm.\1"),
        (r"(mask_head|mask_cnn)\..*", None),
        (r"bbox_embed\.conv1_ctr\.(\d)\.(.*)", r"head.center_trunk.\1.\2"),
        (r"bbox_embed\.conv2_ctr\.(\d)\.(.*)", r"head.center.0.\1.\2"),
        (r"bbox_embed\.conv3_ctr\.(.*)", r"head.center.1.\1"),
        (r"bbox_embed\.conv2_seg\.(\d)\.(.*)", r"head.mask.0.\1.\2"),
        (r"bbox_embed\.conv3_seg\.(.*)", r"head.mask.2.\1"),
        (r"bbox_embed\.conv1_offset\.(\d)\.(.*)", r"head.box_trunk.\1.\2"),
        (r"bbox_embed\.conv2_(offset|size)\.(\d)\.(.*)", r"head.\1.0.\2.\3"),
        (r"bbox_embed\.conv3_(offset|size)\.(.*)", r"head.\1.1.\2"),
    ]


def rename(state_dict: dict[str, torch.Tensor], keys: list) -> tuple[dict, list[str], list[str]]:
    """
    Names the tensors as here.

    Returns:
        the renamed tensors (`torch.nn.MultiheadAttention`'s stacked projections split in three), the names that
        were dropped as the map says, and the names that no pattern of the map matches.
    """
    renamed, dropped, unknown = {}, [], []
    for name, tensor in state_dict.items():
        matches = ((re.fullmatch(pattern, name), replacement) for pattern, replacement in keys)
        match, replacement = next(((match, new) for match, new in matches if match), (None, None))
        if match is None:
            unknown.append(name)
        elif replacement is None:
            dropped.append(name)
        else:
            renamed |= _split_stacked_projection(match.expand(replacement), tensor)
    return renamed, dropped, unknown


def _split_stacked_projection(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    stacked = re.fullmatch(r"(.*\.)in_proj_(weight|bias)", name)
    if not stacked:
        return {name: tensor}
    parts = zip(("q", "k", "v"), tensor.chunk(3), strict=True)
    return {f"{stacked[1]}{part}_proj.{stacked[2]}": values.clone() for part, values in parts}
