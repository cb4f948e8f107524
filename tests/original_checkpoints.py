"""Small checkpoints in the layouts of the original PLVL, of detectron2's ViTDet and of timm's SAM ViT.

Their names are those of a real original checkpoint, the first layers of it, and each size of the base model has a
smaller one in its place.
"""

import re

import torch
from timm.models.vision_transformer_sam import VisionTransformerSAM

from plvl.configuration import PLVLConfig
from reference_values import made_up_state_dict, reference_shapes

_BODY = "visumodel.backbone.0.body."
_VISION_LAYERS, _TEXT_LAYERS = 3, 2
_SMALL = {
    **{768: 24, 3 * 768: 3 * 24, 4 * 768: 4 * 24},  # vision and text width, stacked projections, MLP
    **{512: 32, 3 * 512: 3 * 32, 1024: 48},  # decoder width (and BERT's positions), stacked projections, MLP
    **{256: 16, 128: 8, 64: 8},  # the head's channels; adapter and head width
    **{30522: 40, 197: 3 * 3 + 1, 127: 2 * 5 - 1, 27: 2 * 3 - 1, 16: 4},  # words, position tables, patch size
}


def small_config(**changes) -> PLVLConfig:
    """The configuration of `small_plvl`: an image of 24 x 24, a grid of 6 x 6."""
    return PLVLConfig(
        **{
            "vision_config": {
                "image_size": 24,
                "patch_size": 4,
                "hidden_size": 24,
                "num_hidden_layers": _VISION_LAYERS,
                "num_attention_heads": 3,
                "window_size": 3,
                "global_attention_layers": [2],
                "position_grid_size": 3,
                "relative_position_grid_size": 5,
            },
            "text_config": {
                "model_type": "bert",
                "vocab_size": 40,
                "hidden_size": 24,
                "num_hidden_layers": _TEXT_LAYERS,
                "num_attention_heads": 4,
                "intermediate_size": 96,
                "max_position_embeddings": 32,
            },
            "cross_attention_layers": [2],
            "adapter_size": 8,
            "decoder_hidden_size": 32,
            "decoder_ffn_dim": 48,
            "head_channels": 16,
            "head_hidden_channels": 8,
        }
        | changes
    )


def small_plvl() -> dict[str, torch.Tensor]:
    """The state dict of a small original PLVL: three vision blocks, language enters the last, two text layers."""
    shapes = {
        name: [[_SMALL.get(side, side) for side in shape], dtype]
        for name, (shape, dtype) in reference_shapes().items()
        if not _is_beyond(r"(?:blocks|prompt_norms)\.(\d+)\.", name, _VISION_LAYERS)
        and not _is_beyond(r"encoder\.layer\.(\d+)\.", name, _TEXT_LAYERS)
    }
    return made_up_state_dict(shapes)


def _is_beyond(pattern: str, name: str, layers: int) -> bool:
    match = re.search(pattern, name)
    return bool(match) and int(match[1]) >= layers


def small_vitdet() -> dict:
    """What detectron2's pickle holds: the detector's tensors as NumPy arrays, the plain ViT among them."""
    vision = {name.removeprefix(_BODY): v.numpy() for name, v in small_plvl().items() if name.startswith(_BODY)}
    vision = {name: v for name, v in vision.items() if "prompt" not in name and "cross_attn" not in name}
    model = {f"backbone.net.{name}": values for name, values in vision.items()}
    for name in ("backbone.simfp_4.0.weight", "proposal_generator.anchor_generator.cell_anchors.0", "roi_heads.x"):
        model[name] = torch.ones(2, 2).numpy()
    return {"model": model, "__author__": "someone", "matching_heuristics": True}


def small_samvit(depth: int = 3, **changes) -> VisionTransformerSAM:
    """timm's SAM ViT in small, with random weights throughout: an image of 20 x 20, a grid of 5 x 5."""
    arguments = {
        "img_size": 20,
        "patch_size": 4,
        "embed_dim": 24,
        "depth": depth,
        "num_heads": 3,
        "num_classes": 0,
        "use_rel_pos": True,
        "window_size": 3,
        "global_attn_indexes": (2,),
        "neck_chans": 8,
    }
    model = VisionTransformerSAM(**(arguments | changes)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model
