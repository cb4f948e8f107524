"""A PLVL model small enough to run in milliseconds, its processor, and a folder that holds both."""

import pytest
import torch
from transformers import BertTokenizer

from plvl.configuration import PLVLConfig
from plvl.modeling_plvl import PLVLModel
from plvl.processing import PLVLImageProcessor, PLVLProcessor

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "left", "right", "red", "blue", "man", "cup", "in", "on"]


@pytest.fixture
def tiny_config():
    return PLVLConfig(
        vision_config={
            "image_size": 64,
            "hidden_size": 32,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "window_size": 2,
            "global_attention_layers": [1, 3],
            "position_grid_size": 2,
            "relative_position_grid_size": 4,
        },
        text_config={
            "model_type": "bert",
            "vocab_size": len(WORDS),
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 64,
        },
        cross_attention_layers=[1, 3],
        cross_attention_heads=4,
        adapter_size=8,
        decoder_hidden_size=32,
        decoder_layers=1,
        decoder_attention_heads=4,
        decoder_ffn_dim=32,
        head_channels=16,
        head_hidden_channels=8,
    )


@pytest.fixture
def tiny_tokenizer():
    return BertTokenizer(vocab={word: index for index, word in enumerate(WORDS)})


@pytest.fixture
def tiny_processor(tiny_tokenizer):
    return PLVLProcessor(PLVLImageProcessor(size={"height": 64, "width": 64}), tiny_tokenizer)


@pytest.fixture
def tiny_model(tiny_config):
    torch.manual_seed(0)
    model = PLVLModel(tiny_config).eval()
    with torch.no_grad():
        # At their initial values some parts answer nearly alike whatever they are given.
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture
def tiny_folder(tiny_model, tiny_processor, tmp_path):
    """A folder as training leaves it: model and processor."""
    folder = tmp_path / "trained"
    tiny_model.save_pretrained(folder)
    tiny_processor.save_pretrained(folder)
    return folder
