"""Checkpoint files are read without running what they may carry, and damaged ones are named in one line."""

import argparse
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

from plvl.modeling_plvl.checkpoint_files import UnsafeCheckpointError, load_checkpoint, load_text_encoder

MKDIR = rf"{os.mkdir.__module__}\.mkdir"


class TouchesAFile:
    """Unpickled the plain way, this creates a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_resumable_checkpoint_with_all_its_state_is_read(tmp_path, zipped):
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: (1 - epoch / 10) ** 0.9)
    checkpoint = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": scheduler.state_dict(),
        "epoch": 7,
        "best": np.float64(0.5),
        "args": argparse.Namespace(lr=1e-4, dataset="unc", ca_block_indexes=[2, 5], resume=None),
    }
    torch.save(checkpoint, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    read = load_checkpoint(tmp_path / "x.pth")
    assert torch.equal(read["model"]["weight"], model.weight)
    assert read["args"] == checkpoint["args"] and read["epoch"] == 7


class CraftedNumber:
    """A type of NumPy's with fields that lie beyond it."""

    def __reduce__(self):
        return np.dtype, ("f8", False, True), (3, "<", None, ("a",), {"a": (np.dtype("i8"), 2**40)}, -1, -1, 0)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_type_of_numpy_takes_no_state_from_a_file(tmp_path, zipped):
    path = tmp_path / "x.pth"
    torch.save({"weight": torch.ones(2), "best": CraftedNumber()}, path, _use_new_zipfile_serialization=zipped)
    read = load_checkpoint(path)
    assert torch.equal(read["weight"], torch.ones(2)) and not isinstance(read["best"], np.dtype)


def test_safetensors_are_read(tmp_path):
    save_file({"weight": torch.arange(3.0)}, tmp_path / "x.safetensors")
    assert torch.equal(load_checkpoint(tmp_path / "x.safetensors")["weight"], torch.arange(3.0))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_would_run_code_is_refused_before_it_runs(tmp_path, zipped):
    path, trace = tmp_path / "x.pth", tmp_path / "trace"
    checkpoint = {"model": {"weight": torch.ones(2)}, "args": TouchesAFile(trace)}
    torch.save(checkpoint, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafeCheckpointError, match=rf"x\.pth: refused.* {MKDIR};"):
        load_checkpoint(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists(), "the payload is harmless, so this test shows nothing"


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_plain_pickle_that_would_run_code_is_refused_before_it_runs(tmp_path, protocol):
    path, trace = tmp_path / "x.pth", tmp_path / "trace"
    path.write_bytes(pickle.dumps({"model": TouchesAFile(trace)}, protocol=protocol))
    with pytest.raises(UnsafeCheckpointError, match=rf"x\.pth: refused.* {MKDIR};"):
        load_checkpoint(path)
    assert not trace.exists()


def test_a_whole_module_is_refused(tmp_path):
    torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "x.pth")
    with pytest.raises(UnsafeCheckpointError, match=r"torch\.nn\.modules\.linear\.Linear"):
        load_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_cut_anywhere_is_named_in_one_line(tmp_path, zipped):
    path = tmp_path / "x.pth"
    torch.save({"model": {"weight": torch.ones(50)}}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        # Cut within the name of a class, the old format asks for a class that is not allowed.
        with pytest.raises(ValueError, match=r"x\.pth: (cut short or no checkpoint|refused)") as caught:
            load_checkpoint(path)
        assert "\n" not in str(caught.value)


def test_an_error_says_what_was_wrong_and_not_how_to_load_unsafely(tmp_path):
    torch.save({"weight": torch.ones(2), "more": torch.nn.ReLU}, tmp_path / "x.pth")
    (tmp_path / "y.pth").write_bytes((tmp_path / "x.pth").read_bytes().replace(b"torch.nn", b"torch.nm"))
    for name in ("x.pth", "y.pth"):
        with pytest.raises(ValueError, match=rf"{name}: ") as caught:
            load_checkpoint(tmp_path / name)
        assert "weights_only" not in str(caught.value) and "trust" not in str(caught.value)


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_another_kind_of_file_is_named_in_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n, an image")
    with pytest.raises(ValueError, match=rf"{name}: cut short or no checkpoint") as caught:
        load_checkpoint(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_saved_tensor_is_no_checkpoint(tmp_path):
    torch.save(torch.ones(2), tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth: no checkpoint, it holds a Tensor"):
        load_checkpoint(tmp_path / "x.pth")


def test_a_file_that_is_not_there_is_not_called_damaged(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "x.pth")


@pytest.fixture
def text_encoder():
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    return BertModel(BertConfig(vocab_size=20, **sizes))


def test_text_weights_that_would_run_code_are_refused_before_they_run(tmp_path, text_encoder):
    text_encoder.config.save_pretrained(tmp_path)
    state_dict = text_encoder.state_dict() | {"more": TouchesAFile(tmp_path / "trace")}
    torch.save(state_dict, tmp_path / "pytorch_model.bin")
    with pytest.raises(UnsafeCheckpointError, match=rf"{tmp_path}: refused.* {MKDIR}"):
        load_text_encoder(tmp_path)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("damage", ["cut short", "no weights", "no configuration", "no folder"])
def test_a_damaged_text_encoder_is_named_in_one_line(tmp_path, text_encoder, damage):
    text_encoder.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    if damage == "cut short":
        weights.write_bytes(weights.read_bytes()[:-9])
    elif damage == "no weights":
        weights.unlink()
    elif damage == "no configuration":
        (tmp_path / "config.json").unlink()
    folder = tmp_path / "missing" if damage == "no folder" else tmp_path
    with pytest.raises(ValueError, match=rf"{folder}: no text encoder could be loaded") as caught:
        load_text_encoder(folder)
    assert "\n" not in str(caught.value)
