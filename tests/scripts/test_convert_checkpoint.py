import argparse
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoProcessor,
    AutoTokenizer,
    BertConfig,
    BertModel,
    BertTokenizer,
)

from efficientnet_lite import random_lite0
from original_checkpoints import small_config, small_plvl, small_samvit, small_vitdet
from plvl.configuration import PLVLConfig
from plvl.modeling_plvl.checkpoint_conversion import build_model, plvl_weights
from plvl.scripts.convert_checkpoint import main

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "red", "board"]


@pytest.fixture
def config_folder(tmp_path):
    small_config().save_pretrained(tmp_path / "config")
    return tmp_path / "config"


@pytest.fixture
def tokenizer_folder(tmp_path):
    BertTokenizer(vocab={word: i for i, word in enumerate(WORDS)}).save_pretrained(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


@pytest.fixture
def bert_folder(tmp_path):
    BertModel(BertConfig(**small_config().text_config.to_dict())).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


@pytest.fixture
def convert(tmp_path, config_folder):
    """Runs the script in the small sizes; gives the folder it writes."""

    def run(source, given, *more):
        output = tmp_path / "out" / "converted"
        main(["--from", source, str(given), "--output", str(output), "--config", str(config_folder), *map(str, more)])
        return output

    return run


@pytest.fixture
def original(tmp_path):
    """A resumable checkpoint of the original PLVL, as several processes save it."""
    checkpoint = {
        "model": {f"module.{name}": tensor for name, tensor in small_plvl().items()},
        "optimizer": torch.optim.AdamW([torch.ones(2)]).state_dict(),
        "epoch": 3,
        "args": argparse.Namespace(dataset="unc", lr=2.5e-5),
    }
    torch.save(checkpoint, tmp_path / "checkpoint.pth")
    return tmp_path / "checkpoint.pth"


def assert_nothing_is_left(tmp_path):
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_an_original_checkpoint_becomes_a_folder_that_grounds(convert, original, tokenizer_folder, capsys):
    output = convert("plvl", original, "--tokenizer", tokenizer_folder)
    model, processor = AutoModel.from_pretrained(output).eval(), AutoProcessor.from_pretrained(output)
    inputs = processor(images=Image.new("RGB", (40, 30)), text="the red board", max_length=8, return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, 24, 24)
    with torch.no_grad():
        outputs = model(**inputs)
        weights = plvl_weights({"model": small_plvl()}, "", small_config())
        expected = build_model([weights], small_config()).eval()(**inputs)
    assert torch.equal(outputs.pred_masks, expected.pred_masks)
    assert torch.equal(outputs.pred_boxes, expected.pred_boxes)
    printed = capsys.readouterr().out
    assert "dropped mask_cnn.weight" in printed
    assert "newly initialised" not in printed
    assert "cross-attention to the text in the vision blocks 2" in printed


def test_vitdet_and_bert_start_one_model(convert, tmp_path, bert_folder, capsys):
    path = tmp_path / "vitdet.pkl"
    path.write_bytes(pickle.dumps(small_vitdet()))
    model = AutoModel.from_pretrained(convert("vitdet", path, "--text", bert_folder))
    weights = torch.from_numpy(small_vitdet()["model"]["backbone.net.blocks.1.mlp.fc2.weight"])
    assert torch.equal(model.vision_encoder.layers[1].fc2.weight, weights)
    truth = BertModel.from_pretrained(bert_folder)
    assert torch.equal(model.text_encoder.embeddings.word_embeddings.weight, truth.embeddings.word_embeddings.weight)
    printed = capsys.readouterr().out
    assert "dropped roi_heads.x" in printed and "dropped pooler.dense.weight" in printed
    assert "newly initialised, to be trained: decoder, head, text guidance of the vision encoder\n" in printed


def test_sam_starts_a_model_without_a_class_position(convert, tmp_path, capsys):
    torch.save(small_samvit().state_dict(), tmp_path / "sam.pth")
    output = convert("sam", tmp_path / "sam.pth", "--image_size", 40)
    model = AutoModel.from_pretrained(output)
    assert not model.config.vision_config.has_class_position
    assert model.config.vision_config.image_size == 40
    assert AutoImageProcessor.from_pretrained(output).size == {"height": 40, "width": 40}
    assert "dropped neck.0.weight" in capsys.readouterr().out


@pytest.fixture
def convert_lite(tmp_path):
    """Runs the script on EfficientNet-Lite0, with these fields of the vision configuration."""
    torch.save(random_lite0(), tmp_path / "efficientnet-lite0.pth")

    def run(**vision):
        config = small_config().to_dict()
        PLVLConfig(**config | {"vision_config": config["vision_config"] | vision}).save_pretrained(tmp_path / "given")
        command = ["--from", "efficientnet-lite", str(tmp_path / "efficientnet-lite0.pth"), "--output"]
        main([*command, str(tmp_path / "out" / "lite"), "--config", str(tmp_path / "given")])
        return tmp_path / "out" / "lite"

    return run


def test_efficientnet_lite_starts_a_model_with_itself_as_backbone(convert_lite, capsys):
    output = convert_lite(patch_size=16, image_size=64)
    model = AutoModel.from_pretrained(output)
    backbone = model.config.vision_config.backbone_config
    assert (backbone.backbone, backbone.out_indices) == ("tf_efficientnet_lite0", [3])
    found = model.vision_encoder.embeddings.backbone._backbone.blocks[4][2].conv_pwl.weight
    assert torch.equal(found, random_lite0()["_blocks.10._project_conv.weight"])
    image_processor = AutoImageProcessor.from_pretrained(output)
    assert tuple(image_processor.image_mean) == (127 / 255,) * 3
    assert tuple(image_processor.image_std) == (128 / 255,) * 3
    printed = capsys.readouterr().out
    assert "dropped _fc.weight" in printed and "vision_encoder after its backbone" in printed


def test_efficientnet_lite_that_does_not_fit_writes_nothing(convert_lite, tmp_path):
    with pytest.raises(SystemExit, match=r"has maps at strides of \[2, 4, 8, 16, 32\], and patch_size is 12"):
        convert_lite(patch_size=12, image_size=24)
    other = {"model_type": "timm_backbone", "backbone": "tf_efficientnet_lite1", "out_indices": [2]}
    with pytest.raises(SystemExit, match=r"does not fit(?s:.)*missing(?s:.)*_blocks\."):
        convert_lite(patch_size=8, image_size=24, backbone_config=other)
    assert_nothing_is_left(tmp_path)


def test_bert_alone_starts_a_model(convert, bert_folder):
    model = AutoModel.from_pretrained(convert("bert", bert_folder))
    truth = BertModel.from_pretrained(bert_folder, add_pooling_layer=False)
    assert all(torch.equal(a, b) for a, b in zip(model.text_encoder.parameters(), truth.parameters(), strict=True))


def test_the_same_command_gives_the_same_weights(convert, bert_folder, tmp_path):
    first = convert("bert", bert_folder).rename(tmp_path / "first")
    weights = [(folder / "model.safetensors").read_bytes() for folder in (first, convert("bert", bert_folder))]
    assert weights[0] == weights[1]


def test_the_text_sizes_of_an_original_checkpoint_may_come_from_its_encoder(original, bert_folder, tmp_path):
    config = small_config(text_config={"model_type": "bert", "hidden_size": 48})
    config.save_pretrained(tmp_path / "other")
    command = ["--from", "plvl", str(original), "--output", str(tmp_path / "out"), "--config", str(tmp_path / "other")]
    with pytest.raises(SystemExit, match="of another shape"):
        main(command)
    main([*command, "--text", str(bert_folder)])
    assert AutoModel.from_pretrained(tmp_path / "out").config.text_config.hidden_size == 24


def test_a_checkpoint_that_does_not_fit_writes_nothing(convert, tmp_path):
    state_dict = small_plvl()
    del state_dict["visu_proj.bias"]
    torch.save({"model": state_dict}, tmp_path / "x.pth")
    with pytest.raises(
        SystemExit, match=r"convert_checkpoint: .*x\.pth does not fit(?s:.)*missing(?s:.)*visu_proj\.bias"
    ):
        convert("plvl", tmp_path / "x.pth")
    assert_nothing_is_left(tmp_path)


def test_a_tokenizer_with_more_words_than_the_text_encoder_knows_writes_nothing(convert, original, tmp_path):
    vocab = {word: i for i, word in enumerate([*WORDS, *(f"word{i}" for i in range(40))])}
    BertTokenizer(vocab=vocab).save_pretrained(tmp_path / "large")
    with pytest.raises(SystemExit, match="the tokenizer has 48 tokens, the text encoder knows 40"):
        convert("plvl", original, "--tokenizer", tmp_path / "large")
    assert_nothing_is_left(tmp_path)


def test_a_failure_while_writing_leaves_nothing(convert, original, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr("plvl.scripts.conversion.PLVLImageProcessor.save_pretrained", fail)
    with pytest.raises(SystemExit, match="no space left on device"):
        convert("plvl", original)
    assert_nothing_is_left(tmp_path)


def test_a_folder_that_holds_something_is_left_alone(convert, original, tmp_path):
    (tmp_path / "out/converted").mkdir(parents=True)
    (tmp_path / "out/converted/notes.txt").write_text("mine")
    with pytest.raises(SystemExit, match="converted is not an empty folder"):
        convert("plvl", original)
    assert [path.name for path in (tmp_path / "out/converted").iterdir()] == ["notes.txt"]


def test_a_length_that_the_tokenizer_was_last_called_with_is_forgotten(convert, bert_folder, tokenizer_folder):
    for options in ({"truncation": True}, {"padding": "max_length"}):
        tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
        tokenizer("the red board", max_length=19, **options)
        tokenizer.save_pretrained(tokenizer_folder)
        processor = AutoProcessor.from_pretrained(convert("bert", bert_folder, "--tokenizer", tokenizer_folder))
        assert processor(text=["the red board"], return_tensors="pt").input_ids.shape == (1, 40)
        shutil.rmtree(bert_folder.parent / "out")


def test_an_image_size_that_patches_do_not_fill_is_refused(convert, original, tmp_path):
    with pytest.raises(SystemExit, match="image_size must be a multiple of patch_size"):
        convert("plvl", original, "--image_size", 450)
    assert_nothing_is_left(tmp_path)


def test_the_layout_is_the_base_models_unless_a_configuration_says_otherwise(original, tmp_path):
    command = ["--from", "plvl", str(original), "--output", str(tmp_path / "out" / "converted"), "--config"]
    for name, change in (("two_blocks", {"cross_attention_layers": [1, 2]}), ("boxes", {"tasks": ["rec"]})):
        small_config(**change).save_pretrained(tmp_path / name)
    with pytest.raises(SystemExit, match=r"missing(?s:.)*blocks\.1\.cross_attn\.in_proj_weight"):
        main([*command, str(tmp_path / "two_blocks")])
    with pytest.raises(SystemExit, match=r"left over(?s:.)*bbox_embed\.conv3_seg\.weight"):
        main([*command, str(tmp_path / "boxes")])
    assert_nothing_is_left(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model_type": "bert"}, "holds a model of the type 'bert', not PLVL"),
        ({"model_type": "plvl", "tasks": ["x"]}, r"no configuration of PLVL \(.*tasks must name one or both of .*\)"),
        ({"model_type": "plvl", "text_config": {"model_type": "nope"}}, r"no configuration of PLVL \(KeyError: .*\)"),
        ([], r"no configuration of PLVL \(\w+Error: .*\)"),
    ],
)
def test_a_configuration_that_is_none_of_plvl_ends_in_one_line(original, tmp_path, content, message):
    (tmp_path / "config.json").write_text(json.dumps(content))
    command = ["--from", "plvl", str(original), "--output", str(tmp_path / "out" / "converted")]
    with pytest.raises(SystemExit, match=rf"^convert_checkpoint: {tmp_path}:? {message}$"):
        main([*command, "--config", str(tmp_path)])
    assert_nothing_is_left(tmp_path)


def test_weights_under_numbers_end_in_one_line(convert, tmp_path):
    torch.save({"model": {0: torch.zeros(2)}}, tmp_path / "x.pth")
    with pytest.raises(SystemExit, match=r"x\.pth: no state dict, these are no names of tensors: 0$"):
        convert("plvl", tmp_path / "x.pth")


@pytest.mark.parametrize("source", ["plvl", "vitdet", "sam", "efficientnet-lite"])
def test_a_damaged_file_ends_in_one_line(convert, source, original, tmp_path):
    (tmp_path / "x").write_bytes(original.read_bytes()[:1000])
    with pytest.raises(SystemExit, match=rf"^convert_checkpoint: {tmp_path / 'x'}: cut short or no .*$") as caught:
        convert(source, tmp_path / "x")
    assert "\n" not in str(caught.value)
    assert_nothing_is_left(tmp_path)


def test_it_runs_as_a_file_and_ends_with_code_1_where_it_fails(tmp_path):
    script = Path(__file__).parents[2] / "scripts" / "convert_checkpoint.py"
    command = [sys.executable, script, "--from", "plvl", tmp_path / "x.pth", "--output", tmp_path / "out"]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 1
    assert finished.stderr == f"convert_checkpoint: there is no file {tmp_path / 'x.pth'}\n"


@pytest.mark.parametrize(
    ("source", "given", "flags", "message"),
    [
        ("plvl", "nowhere.pth", [], r"there is no file nowhere\.pth"),
        ("vitdet", ".", [], r"\. is a folder, and --from vitdet takes a file"),
        ("bert", "nowhere/of/all", [], "INPUT nowhere/of/all: there is no such folder"),
        ("plvl", "checkpoint.pth", ["--text", "nowhere/of/all"], "--text nowhere/of/all: there is no such folder"),
        ("plvl", "checkpoint.pth", ["--tokenizer", "lab/x"], "--tokenizer lab/x: .*, and http.* cannot be reached .*"),
        ("plvl", "checkpoint.pth", ["--config", "lab/x"], "--config lab/x: .*, and http.* cannot be reached .*"),
        ("plvl", "checkpoint.pth", ["--output", "checkpoint.pth"], "/.*checkpoint.pth is a file, and a folder .*"),
    ],
)
def test_what_is_missing_is_told_before_transformers_is_imported(original, monkeypatch, source, given, flags, message):
    monkeypatch.chdir(original.parent)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setitem(sys.modules, "plvl.scripts.conversion", None)
    with pytest.raises(SystemExit, match=f"^convert_checkpoint: {message}$"):
        main(["--from", source, given, "--output", "out", *flags])


class TouchesAFile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("source", ["plvl", "vitdet", "sam", "efficientnet-lite"])
def test_a_file_that_would_run_code_is_refused(convert, tmp_path, source):
    path, trace = tmp_path / "x", tmp_path / "trace"
    payload = {"model": {"weight": TouchesAFile(trace)}}
    path.write_bytes(pickle.dumps(payload)) if source == "vitdet" else torch.save(payload, path)
    with pytest.raises(SystemExit, match=rf"{path}: refused, because .* {os.mkdir.__module__}\.mkdir"):
        convert(source, path)
    assert not trace.exists()
    assert_nothing_is_left(tmp_path)
