"""What a new model starts from: weights of its parts, and what its processor takes from these."""

import json
import re
from types import SimpleNamespace

import pytest
import timm
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    AutoModel,
    AutoProcessor,
    BertConfig,
    BertModel,
    BertTokenizer,
    PreTrainedTokenizerFast,
    ResNetConfig,
)

from conftest import small_config
from efficientnet_lite import random_lite0
from plvl.configuration import PLVLConfig
from plvl.modeling_plvl.checkpoint_conversion import CheckpointMismatchError, text_weights
from plvl.training.recipe import ModelArguments
from plvl.training.starting_model import check_model, load_or_make_model, longest_expression


@pytest.mark.parametrize(("of_tokenizer", "of_encoder", "longest"), [(512, 512, 40), (32, 77, 32), (10**30, 24, 24)])
def test_an_expression_is_as_long_as_tokenizer_and_encoder_take(of_tokenizer, of_encoder, longest):
    words = Tokenizer(WordLevel({"[UNK]": 0, "left": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=of_tokenizer)
    config = PLVLConfig(text_config={"model_type": "bert", "max_position_embeddings": of_encoder})
    assert longest_expression(tokenizer, config) == longest


def test_an_encoder_without_a_table_of_positions_takes_the_authors_length():
    config = SimpleNamespace(text_config=SimpleNamespace())
    assert longest_expression(SimpleNamespace(model_max_length=512), config) == 40


WORDS = ["[unused0]", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS += [*"abcdefghiklmnoprstuw", *(f"##{letter}" for letter in "abcdefghiklmnoprstuw")]
WORDS += ["the", "red", "dog", "left", "right", "##t", "ho", "##rse", "horse", "cat", "##s", "blue"]


@pytest.fixture
def text_folder(tmp_path):
    """A BERT of word pieces in Transformers' form, whose tokenizer was last called with a length of 128."""
    folder = tmp_path / "text"
    words = list(dict.fromkeys(WORDS))
    tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(words)}, do_lower_case=True)
    tokenizer("the dog", max_length=128, truncation=True, padding="max_length")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = SMALL["text_config"] | {"vocab_size": len(words), "pad_token_id": 1}
    encoder = BertModel(BertConfig(**sizes))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    encoder.save_pretrained(folder)
    return folder


SMALL = {
    name: value
    for name, value in small_config().to_dict().items()
    if name.endswith(("_config", "_layers", "_heads", "_size", "_dim", "_channels")) and name != "initializer_range"
}
VISION = {name: value for name, value in SMALL["vision_config"].items() if name != "model_type"}
LITE = {"model_type": "timm_backbone", "backbone": "test_efficientnet", "out_indices": [3]}
EXPRESSIONS = ["the red dog", "The horses on the left"]


def model_config(**parts):
    return SMALL | {"vision_config": VISION, "text_config": {}} | parts


def made(expressions=EXPRESSIONS, **arguments):
    return load_or_make_model(ModelArguments(**arguments), lambda: iter(expressions))


def problems(**arguments) -> list[str]:
    return list(check_model(ModelArguments(**arguments), is_trained=True))


@torch.no_grad()
def states(model, processor, expressions):
    inputs = processor(text=list(expressions), return_tensors="pt")
    return model.eval().get_text_features(inputs.input_ids, inputs.attention_mask).last_hidden_state


def test_expressions_have_the_processors_length_whatever_the_tokenizer_was_called_with(text_folder, tmp_path):
    _, processor = made(model_config=model_config(), text_weights=str(text_folder))
    assert processor(text=["the dog"], return_tensors="pt").input_ids.shape == (1, 40)
    fresh = made(model_config=model_config(), text_weights=str(text_folder))[1]
    fresh.save_pretrained(tmp_path / "saved")
    loaded = AutoProcessor.from_pretrained(tmp_path / "saved")
    assert loaded(text=["the dog"], return_tensors="pt").input_ids.shape == (1, 40)


def test_a_text_encoder_that_takes_fewer_tokens_gets_fewer(text_folder):
    config = BertConfig.from_pretrained(text_folder, max_position_embeddings=16)
    BertModel(config).save_pretrained(text_folder)
    assert made(model_config=model_config(), text_weights=str(text_folder))[1].max_text_length == 16


def test_a_cut_vocabulary_gives_the_same_states_of_its_expressions(text_folder, tmp_path):
    file = tmp_path / "expressions.txt"
    file.write_text("\n".join(EXPRESSIONS), encoding="utf-8")
    arguments = {"model_config": model_config(), "text_weights": str(text_folder)}
    whole = made(**arguments)
    of_training = made(EXPRESSIONS, **arguments, text_vocabulary="training")
    of_file = made(["the blue cat"], **arguments, text_vocabulary=str(file))
    for model, processor in (of_training, of_file):
        torch.testing.assert_close(
            states(model, processor, EXPRESSIONS), states(*whole, EXPRESSIONS), atol=1e-6, rtol=0
        )
        words = processor.tokenizer.get_vocab().keys()
        assert len(words) == model.config.text_config.vocab_size == model.get_input_embeddings().num_embeddings
        assert model.config.text_config.pad_token_id == processor.tokenizer.pad_token_id == 0
        # Right is what left becomes in a mirrored image.
        assert {"red", "horse", "left", "right", "[MASK]", "##a"} <= words
        assert not {"cat", "blue", "ho", "##rse", "[unused0]"} & words
        assert processor.tokenizer.tokenize("a cat") == ["a", "c", "##a", "##t"]


def test_a_cut_model_comes_back_from_disk_as_it_was(text_folder, tmp_path):
    model, processor = made(model_config=model_config(), text_weights=str(text_folder), text_vocabulary="training")
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    again = AutoModel.from_pretrained(tmp_path / "saved"), AutoProcessor.from_pretrained(tmp_path / "saved")
    expressions = [*EXPRESSIONS, "a cat"]
    assert torch.equal(states(*again, expressions), states(model, processor, expressions))


def test_a_text_encoder_may_keep_its_first_layers_alone(text_folder):
    whole, processor = made(model_config=model_config(), text_weights=str(text_folder))
    first = model_config(text_config={"num_hidden_layers": 1})
    model, _ = made(model_config=first, text_weights=str(text_folder))
    assert len(model.text_encoder.encoder.layer) == 1
    inputs = processor(text=EXPRESSIONS, return_tensors="pt")
    with torch.no_grad():
        expected = whole.eval().text_encoder(**inputs, output_hidden_states=True).hidden_states[1]
    torch.testing.assert_close(states(model, processor, EXPRESSIONS), expected)
    assert set(text_weights(text_folder, 1).dropped) >= {"encoder.layer.1.output.dense.bias", "pooler.dense.bias"}
    with pytest.raises(CheckpointMismatchError, match=r"missing \(16\):\n  encoder\.layer\.2\."):
        made(model_config=model_config(text_config={"num_hidden_layers": 3}), text_weights=str(text_folder))


def test_vision_weights_are_the_backbones_where_there_is_one(tmp_path):
    torch.manual_seed(1)
    network = timm.create_model("test_efficientnet")
    torch.save(network.state_dict(), tmp_path / "x.pth")
    arguments = {"model_config": model_config(vision_config=VISION | {"backbone_config": LITE})}
    assert problems(**arguments, vision_weights=str(tmp_path / "x.pth")) == []
    model, processor = made(**arguments, vision_weights=str(tmp_path / "x.pth"))
    backbone = model.vision_encoder.embeddings.backbone._backbone
    assert torch.equal(backbone.conv_stem.weight, network.conv_stem.weight)
    assert tuple(processor.image_processor.image_mean) == network.default_cfg["mean"]


def test_pixels_are_normalised_as_the_backbone_wants_them(tmp_path):
    lite = LITE | {"backbone": "tf_efficientnet_lite0"}
    arguments = {"model_config": model_config(vision_config=VISION | {"backbone_config": lite})}
    assert made(**arguments)[1].image_processor.image_std == (0.5, 0.5, 0.5)
    torch.save(random_lite0(), tmp_path / "lite.pth")
    found = made(**arguments, vision_weights=str(tmp_path / "lite.pth"))[1].image_processor
    assert tuple(found.image_mean) == (127 / 255,) * 3 and tuple(found.image_std) == (128 / 255,) * 3
    assert made(model_config=model_config())[1].image_processor.image_mean == (0.485, 0.456, 0.406)


def test_a_folder_of_transformers_brings_the_sizes_of_its_backbone(tmp_path):
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 12, 20], "depths": [1, 1, 1], "layer_type": "basic"}
    AutoModel.from_config(ResNetConfig(**sizes)).save_pretrained(tmp_path)
    vision = VISION | {"backbone_config": {"model_type": "resnet", "out_indices": [3]}}
    arguments = {"model_config": model_config(vision_config=vision), "vision_weights": str(tmp_path)}
    assert problems(**arguments) == []
    model, _ = made(**arguments)
    truth = AutoModel.from_pretrained(tmp_path).embedder.embedder.convolution.weight
    assert torch.equal(model.vision_encoder.embeddings.backbone.embedder.embedder.convolution.weight, truth)
    other = vision | {"backbone_config": {"model_type": "convnext"}}
    [problem] = problems(**arguments | {"model_config": model_config(vision_config=other)})
    assert problem == f"{tmp_path} holds a model of the type 'resnet', and backbone_config names 'convnext'"


def test_a_vit_of_timm_comes_from_a_file_or_a_folder_with_its_pixels(tmp_path):
    model_args = {"embed_dim": 48, "depth": 3, "num_heads": 4, "img_size": 64}
    network = timm.create_model("vit_tiny_patch16_224", **model_args)
    torch.save(network.state_dict(), tmp_path / "vit.pth")
    (tmp_path / "folder").mkdir()
    save_file(network.state_dict(), tmp_path / "folder" / "model.safetensors")
    told = {"pretrained_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.1, 0.2, 0.3]}}
    (tmp_path / "folder" / "config.json").write_text(json.dumps(told))
    vision = {"architecture": "vit_tiny_patch16_224", "model_args": model_args, "image_size": 96}
    arguments = {"model_config": model_config(vision_config=vision, cross_attention_heads=4)}
    means = {"vit.pth": [0.5, 0.5, 0.5], "folder": [0.4, 0.5, 0.6]}
    for name, mean in means.items():
        given = arguments | {"vision_weights": str(tmp_path / name)}
        assert problems(**given) == []
        model, processor = made(**given)
        weight = model.vision_encoder.layers[1].mlp_half.mlp.fc1.weight
        assert torch.equal(weight, network.blocks[1].mlp.fc1.weight)
        assert list(processor.image_processor.image_mean) == mean
    weights = network.state_dict()
    del weights["blocks.2.attn.qkv.weight"]
    torch.save(weights, tmp_path / "cut.pth")
    with pytest.raises(CheckpointMismatchError, match=r"cut.pth does not fit.*\nmissing \(1\):\n  blocks.2.attn.qkv"):
        made(**arguments, vision_weights=str(tmp_path / "cut.pth"))
    [problem] = problems(**arguments, vision_weights=str(tmp_path / "nowhere.pth"))
    assert "nowhere.pth" in problem
    [problem] = problems(model_config=model_config(vision_config=vision | {"window_size": 4}))
    assert problem.startswith("model_config has no vision_config.window_size")
    [problem] = problems(model_config=model_config(vision_config=vision | {"architecture": "vit_tinier_patch16_224"}))
    assert "timm has no 'vit_tinier_patch16_224'; the nearest are vit_tiny_patch16_224" in problem


def test_what_cannot_be_is_said_in_a_sentence_each_before_anything_is_made(text_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    unknown = model_config(vision_config=VISION | {"backbone_config": LITE | {"backbone": "tf_efficientnet_lite"}})
    [problem] = problems(model_config=unknown)
    assert re.match(
        "backbone_config: timm has no 'tf_efficientnet_lite'; the nearest are tf_efficientnet_lite", problem
    )
    known = model_config(vision_config=VISION | {"backbone_config": LITE})
    [problem] = problems(model_config=known, vision_weights="timm/nowhere")
    assert re.match("vision_weights: there is no folder timm/nowhere, and the Hub .*should be the backbone's", problem)
    [problem] = problems(model_config=known, vision_weights=str(text_folder.parent))
    assert problem.endswith("has neither model.safetensors nor pytorch_model.bin")
    [problem] = problems(model_config=model_config(), vision_weights=str(text_folder))
    assert problem.startswith(f"vision_weights: there is no file {text_folder}")
    [problem] = problems(model_config=model_config(), text_vocabulary="training")
    assert problem == "text_vocabulary cuts the vocabulary of text_weights, and none are named"
    [problem] = problems(text_weights=str(text_folder), text_vocabulary="trainings")
    assert problem.startswith(
        "text_vocabulary: there is no file trainings; it is a file of expressions, or 'training'"
    )
    assert problems(text_weights=str(text_folder), text_vocabulary="training") == []
