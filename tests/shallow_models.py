"""Models that are traced in seconds, with every kind of block."""

import torch

from conftest import small_config
from plvl.modeling_plvl import PLVLModel


def shallow_model(**changes) -> PLVLModel:
    """With a block of windows and a global one, which are traced like any others; answers differ by expression."""
    torch.manual_seed(0)
    config = small_config(cross_attention_layers=[1], decoder_layers=1, mask_text_padding_in_vision=True, **changes)
    config.vision_config.num_hidden_layers, config.text_config.num_hidden_layers = 2, 1
    model = PLVLModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        if model.head.max_targets:
            model.head.presence.weight.mul_(8)
        if model.head.has_boxes:
            model.head.center[-1].weight.mul_(4)
            model.head.center[-1].bias.add_(2.0)
    return model
