"""The vision blocks without language compute what timm's SAM ViT computes: windows, global blocks, positions."""

from functools import partial

import pytest
import timm
import torch
from torch import nn

from original_checkpoints import small_config, small_samvit
from plvl.configuration import PLVLConfig
from plvl.modeling_plvl import PLVLModel
from plvl.modeling_plvl.checkpoint_conversion import build_model, sam_weights


@pytest.mark.parametrize("image_size", [20, 24, 36], ids=["padded windows", "whole windows", "whole windows too"])
def test_blocks_agree_with_timm(image_size):
    # timm leaves the epsilon at 1e-5, where SAM itself and ViTDet have 1e-6.
    timm_model = small_samvit(img_size=image_size, norm_layer=partial(nn.LayerNorm, eps=1e-6))
    model = build_model(
        [sam_weights(timm_model.state_dict(), "sam")], _without_language(small_config(), image_size)
    ).eval()
    pixel_values = torch.randn(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = model.get_image_embeddings(pixel_values).permute(0, 3, 1, 2)
        theirs = timm_model.forward_intermediates(pixel_values, indices=1, intermediates_only=True)[0]
    assert ours.abs().max() > 1, "weights too small to tell anything"
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def _without_language(config, image_size):
    config.cross_attention_layers = []
    config.vision_config.relative_position_grid_size = image_size // 4
    return config


def test_timms_base_model_has_the_names_and_shapes_that_are_expected():
    with torch.device("meta"):
        state_dict = timm.create_model("samvit_base_patch16", pretrained=False).state_dict()
        weights = sam_weights(state_dict, "samvit_base_patch16")
        config = PLVLConfig(vision_config=weights.vision_settings)
        expected = PLVLModel(config).state_dict()
    assert weights.vision_settings == {"position_grid_size": 64, "has_class_position": False}
    assert weights.unknown == []
    assert {name.split(".")[0] for name in weights.dropped} == {"neck"}
    assert {name: tensor.shape for name, tensor in weights.tensors.items()} == {
        name: tensor.shape
        for name, tensor in expected.items()
        if name.startswith("vision_encoder.") and ".text_guidance." not in name
    }
