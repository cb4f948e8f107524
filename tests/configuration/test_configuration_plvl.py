from configparser import ConfigParser
from pathlib import Path

import pytest

from plvl.configuration import PLVLConfig, PLVLVisionConfig
from plvl.configuration.configuration_plvl import TIMM


def test_the_default_is_the_base_model():
    config = PLVLConfig()
    assert config.text_config.model_type == "bert"
    assert config.vision_config.grid_size == 28
    assert list(config.cross_attention_layers) == [2, 5, 8, 11]
    assert config.mask_focal_input == "probability"
    assert not config.mask_text_padding_in_vision
    assert config.mask_shares_center
    assert not config.normalize_image_tokens


def test_a_configuration_comes_back_from_disk_as_it_was(config, tmp_path):
    config.save_pretrained(tmp_path)
    assert PLVLConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": ["detect"]}, r"tasks must name one or both of \['rec', 'res'\], got \['detect'\]"),
        ({"tasks": []}, "tasks must name one or both"),
        ({"cross_attention_layers": [3, 12]}, r"cross_attention_layers names layers \[12\], .* layers 0 to 11"),
        ({"mask_focal_input": "sigmoid"}, "mask_focal_input must be one of"),
        ({"mask_shares_center": "no"}, "mask_shares_center"),
        ({"decoder_attention_heads": 7}, "a width of 512 cannot be split among 7 attention heads"),
    ],
)
def test_an_impossible_configuration_says_what_was_given(change, message):
    with pytest.raises(Exception, match=message):
        PLVLConfig(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 450}, r"image_size must be a multiple of patch_size \(16\), got 450"),
        ({"global_attention_layers": [-1]}, r"global_attention_layers names layers \[-1\]"),
        ({"num_attention_heads": 5}, r"hidden_size \(768\) must be a multiple of num_attention_heads \(5\)"),
    ],
)
def test_an_impossible_vision_configuration_says_what_was_given(change, message):
    with pytest.raises(Exception, match=message):
        PLVLVisionConfig(**change)


def test_the_timm_that_is_asked_for_is_that_of_the_installation():
    setup = ConfigParser()
    setup.read(Path(__file__).parents[2] / "setup.cfg", encoding="utf-8")
    assert f"timm>={TIMM}" in setup["options"]["install_requires"].split("\n")
