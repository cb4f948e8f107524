"""A new part of the model starts as the network's parts should, beside parts that come from a checkpoint."""

import pytest
import torch

from plvl.configuration import PLVLConfig
from plvl.modeling_plvl import PLVLModel


@pytest.fixture(scope="module")
def config():
    return PLVLConfig(
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "global_attention_layers": [1],
        },
        text_config={
            "model_type": "bert",
            "vocab_size": 50,
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "intermediate_size": 32,
        },
        cross_attention_layers=[1],
        decoder_hidden_size=64,
        decoder_layers=1,
        head_channels=64,
    )


def assert_head_and_attention_are_new(model):
    assert torch.sigmoid(model.head.center[-1].bias).item() == pytest.approx(0.1, abs=1e-3)
    # Kaiming's deviation for 32 channels of 3 × 3, and Xavier's for 64 -> 64.
    assert model.head.center_trunk[0].weight.std().item() == pytest.approx((2 / (32 * 9)) ** 0.5, rel=0.05)
    assert torch.sigmoid(model.head.mask[-1].bias).item() == pytest.approx(0.1, abs=1e-3)
    smoothing = model.head.mask[-1].weight[0, 0]
    assert smoothing[2, 2] == 1 and smoothing.sum() == 1
    query = model.decoder.layers[0].self_attention.q_proj.weight
    assert query.std().item() == pytest.approx((2 / (64 + 64)) ** 0.5, rel=0.05)


def test_a_new_model_starts_with_rare_centers_and_sound_scales(config):
    assert_head_and_attention_are_new(PLVLModel(config))


def test_parts_missing_in_a_checkpoint_start_alike_and_the_others_are_kept(config):
    text_weights = {
        f"text_encoder.{name}": torch.full_like(values, 0.25)
        for name, values in PLVLModel(config).text_encoder.state_dict().items()
    }
    model = PLVLModel.from_pretrained(None, config=config, state_dict=text_weights)
    assert_head_and_attention_are_new(model)
    assert all((parameter == 0.25).all() for parameter in model.text_encoder.parameters())
