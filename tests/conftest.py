"""Small models and images that the tests of every room share."""

import own_home  # noqa: F401  # isort: skip
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from plvl.configuration import PLVLConfig
from plvl.modeling_plvl import PLVLModel
from plvl.processing import PLVLImageProcessor, PLVLProcessor
from plvl.processing.word_vocabulary import build_word_vocabulary

# Runs in processes of their own have one thread; with another number, sums differ in their last places.
torch.set_num_threads(1)

SHARED = Path(os.environ.get("PLVL_SHARED", Path(__file__).parents[1].parent / "shared"))
# Of Transformers, by model_type.
SMALL_BACKBONES = {
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 12, 20], "depths": [1, 1, 1], "layer_type": "basic"},
    "convnext": {"hidden_sizes": [8, 12, 20], "depths": [1, 1, 1], "num_stages": 3},
    "swin": {"image_size": 64, "embed_dim": 8, "depths": [1, 1, 1], "num_heads": [1, 2, 2], "window_size": 2},
    "dinov2": {
        "image_size": 64,
        "patch_size": 16,
        "hidden_size": 20,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    },
}
EXPRESSIONS = ["the red square", "the blue circle on the left", "the man in the red shirt"]


def small_config(**changes) -> PLVLConfig:
    """A model with windowed and global blocks, language in the last two."""
    parts = {
        "vision_config": {
            "image_size": 64,
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "window_size": 2,
            "global_attention_layers": [1],
            "position_grid_size": 3,
            "relative_position_grid_size": 5,
        },
        "text_config": {
            "model_type": "bert",
            "vocab_size": 99,
            "hidden_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 48,
            "max_position_embeddings": 64,
        },
        "cross_attention_layers": [1, 2],
        "cross_attention_heads": 2,
        "adapter_size": 8,
        "decoder_hidden_size": 32,
        "decoder_layers": 2,
        "decoder_attention_heads": 2,
        "decoder_ffn_dim": 48,
        "head_channels": 16,
        "head_hidden_channels": 8,
    }
    return PLVLConfig(**(parts | changes))


@pytest.fixture
def make_config():
    """Makes a small configuration, with changes."""
    return small_config


@pytest.fixture
def config():
    return small_config()


@pytest.fixture
def model(config):
    torch.manual_seed(0)
    return PLVLModel(config).eval()


@pytest.fixture
def inputs(config):
    """Two images of 4 x 6 patches with an expression each, the second one padded."""
    generator = torch.Generator().manual_seed(1)
    attention_mask = torch.ones(2, 7, dtype=torch.long)
    attention_mask[1, 4:] = 0
    return {
        "pixel_values": torch.randn(2, 3, 64, 96, generator=generator),
        "input_ids": torch.randint(5, 99, (2, 7), generator=generator) * attention_mask,
        "attention_mask": attention_mask,
    }


@pytest.fixture
def labels():
    masks = torch.zeros(2, 64, 96)
    masks[0, 10:40, 8:30] = 1
    masks[1, 30:60, 40:90] = 1
    return {
        "boxes": torch.tensor([[0.2, 0.4, 0.23, 0.47], [0.68, 0.7, 0.52, 0.47]]),
        "masks": masks,
        "has_mask": torch.tensor([True, True]),
    }


@pytest.fixture(scope="session")
def processor():
    image_processor = PLVLImageProcessor(size={"height": 64, "width": 96})
    return PLVLProcessor(image_processor, build_word_vocabulary(EXPRESSIONS, vocab_size=99))


@pytest.fixture
def model_folder(model, processor, tmp_path):
    """A folder as training leaves it: `model` and `processor`."""
    folder = tmp_path / "trained"
    with torch.no_grad():
        # A new model answers all expressions nearly alike.
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def any_model():
    """Of any number of targets, at most 3: present with 0.9, boxes of scores of 0.81 to 0.93 for `EXPRESSIONS`."""
    torch.manual_seed(0)
    model = PLVLModel(small_config(targets="any", max_targets=3)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.head.presence.weight.zero_()
        model.head.presence.bias.copy_(torch.tensor(0.9).logit())
        model.head.center[-1].weight.mul_(4)
        model.head.center[-1].bias.add_(2.0)
        # Boxes about their cells, of 12 % of the image's sides.
        for branch, bias in ((model.head.offset, 0.5), (model.head.size, -2.0)):
            branch[-1].weight.mul_(0.1)
            branch[-1].bias.fill_(bias)
    return model


@pytest.fixture
def any_model_folder(any_model, processor, tmp_path):
    """A folder as training leaves it: `any_model` and `processor`."""
    folder = tmp_path / "trained_for_any"
    any_model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def image():
    image = Image.new("RGB", (60, 40), (30, 60, 90))
    image.paste((220, 40, 40), (10, 5, 30, 25))
    return image


@pytest.fixture
def mini_refer():
    """Folders of the two real photographs: `image_root` and `label_root`."""
    root = SHARED / "mini_refer"
    if not root.is_dir():
        pytest.skip(f"the two photographs are not there: {root} (set PLVL_SHARED to the folder of mini_refer)")
    return {"image_root": root / "images", "label_root": root / "labels"}
