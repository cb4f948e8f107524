"""Reading the checkpoints of other programs without running what they may carry."""

import argparse
import pickle
import re
import zipfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from safetensors.torch import load_file
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING

from plvl.modeling_plvl.text_encoder_plvl import text_encoder_class

HUB_TIMEOUT = 5  # seconds
WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")


class _NotRead:
    """Stands for NumPy's numbers, whose types take whatever state a file gives them for memory of theirs."""

    def __init__(self, *args):
        pass

    def __setstate__(self, state):
        pass


# Beside tensors and plain containers: the arguments of a training run; its best scores, which nobody asks for.
_ALLOWED: list[Callable | tuple[Callable, str]] = [
    argparse.Namespace,
    (_NotRead, "numpy.dtype"),
    *((_NotRead, f"numpy.dtypes.{type(np.dtype(kind)).__name__}") for kind in ("f4", "f8", "i8", "?")),
    (_NotRead, "numpy.core.multiarray.scalar"),
    (_NotRead, "numpy._core.multiarray.scalar"),
]


class UnsafeCheckpointError(ValueError):
    """A checkpoint asks for a function or class that weights do not need."""


def load_checkpoint(path) -> dict:
    """
    Reads a checkpoint that `torch.save` wrote, or a `.safetensors` file, onto the CPU.

    Raises:
        UnsafeCheckpointError: it names a class or function outside the allow-list; nothing of it has been run.
        ValueError: the file is cut short, or is no checkpoint.
        OSError: it cannot be opened.
    """
    path = Path(path)
    with open(path, "rb"):
        pass  # a folder, or a file that is not there, is not a damaged one
    try:
        checkpoint = load_file(path) if path.suffix == ".safetensors" else _load_torch(path)
    # A damaged file can fail in any opcode, each with an exception of its own.
    except Exception as error:
        asked_for = _refused_global(error) or _first_global_of_a_plain_pickle(path)
        if asked_for:
            raise UnsafeCheckpointError(
                f"{path}: refused, because it asks for {asked_for}; a checkpoint may hold tensors, plain containers, "
                "numbers, strings and an argparse.Namespace only"
            ) from None
        raise ValueError(f"{path}: cut short or no checkpoint ({_one_line(error)})") from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path}: no checkpoint, it holds a {type(checkpoint).__name__}")
    return checkpoint


def _load_torch(path: Path):
    with torch.serialization.safe_globals(_ALLOWED):
        # Mapped, the state of an optimizer beside the weights is never read.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def load_text_encoder(folder_or_name, num_hidden_layers: int | None = None) -> tuple[PreTrainedModel, dict]:
    """
    Loads a text encoder of Transformers in float32, from a folder or by its name on the Hub; of a model that has more
    (CLIP, SigLIP, T5) the text's part alone.

    Args:
        folder_or_name: of the encoder.
        num_hidden_layers (`int`, *optional*): how many of its layers to load, from the first on; all by default.

    Returns:
        the model, and Transformers' account of the loading: `missing_keys`, `unexpected_keys`, `mismatched_keys`.

    Raises:
        UnsafeCheckpointError: its weights name a class or function; nothing of it has been run.
        ValueError: there is no such encoder, its files are damaged, or it does not read text.
    """
    with _explained(folder_or_name, "text encoder"):
        config = AutoConfig.from_pretrained(folder_or_name)
        config = getattr(config, "text_config", config)
        if num_hidden_layers is not None:
            config.num_hidden_layers = num_hidden_layers
            if getattr(config, "layer_types", None):
                config.layer_types = config.layer_types[:num_hidden_layers]
        return _load_in_float32(text_encoder_class(config), folder_or_name, config)


def load_backbone(folder_or_name, config: PreTrainedConfig) -> tuple[PreTrainedModel, dict]:
    """As [`load_text_encoder`], a backbone of Transformers' `AutoBackbone`, of this configuration."""
    with _explained(folder_or_name, "backbone"):
        return _load_in_float32(MODEL_FOR_BACKBONE_MAPPING[type(config)], folder_or_name, config)


def find_weights_file(file_folder_or_name) -> tuple[Path, Path | None]:
    """
    A file of weights, and the config.json that lies beside it in a folder or on the Hub, if there is one.

    Args:
        file_folder_or_name: the file itself; a folder with one of `WEIGHTS_FILES`; or a name on the Hub.

    Raises:
        ValueError: there is none of these.
    """
    path = Path(file_folder_or_name)
    if path.is_file():
        return path, None
    if path.is_dir():
        found = next((path / name for name in WEIGHTS_FILES if (path / name).is_file()), None)
        if found is None:
            raise ValueError(f"the folder {path} has no weights: neither {' nor '.join(WEIGHTS_FILES)}")
        return found, path / "config.json" if (path / "config.json").is_file() else None
    name = str(file_folder_or_name)
    found = next(filter(None, (_from_hub(name, file) for file in WEIGHTS_FILES)), None)
    if found is None:
        raise ValueError(f"{name} is no file or folder, and the Hub gives neither {' nor '.join(WEIGHTS_FILES)} of it")
    return found, _from_hub(name, "config.json")


def _from_hub(name: str, file: str) -> Path | None:
    """Where the file lies in the Hub's cache; None where the repository, or without a network the cache, has none."""
    try:
        return Path(hf_hub_download(name, file, etag_timeout=HUB_TIMEOUT))
    except EntryNotFoundError:
        return None
    except Exception as error:  # each other way of not giving it has one of its own
        raise ValueError(f"{name} is no file or folder, and the Hub does not give it ({_one_line(error)})") from error


def _load_in_float32(model_class: Any, folder_or_name, config: PreTrainedConfig) -> tuple[PreTrainedModel, dict]:
    return model_class.from_pretrained(
        folder_or_name, config=config, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
    )


@contextmanager
def _explained(folder_or_name, what: str):
    try:
        yield
    # As above: each format of weights fails with exceptions of its own.
    except Exception as error:
        asked_for = _refused_global(error)
        if asked_for:
            raise UnsafeCheckpointError(
                f"{folder_or_name}: refused, because its weights ask for {asked_for}"
            ) from None
        raise ValueError(f"{folder_or_name}: no {what} could be loaded ({_one_line(error)})") from error


def _refused_global(error: Exception) -> str | None:
    refused = re.search(r"GLOBAL (\S+) (?:was not an allowed|whose module)", str(error))
    return refused and refused[1]


class _FirstGlobal(pickle.Unpickler):
    """Stops at the first class or function that a pickle names; resolves none, so nothing can be run."""

    def find_class(self, module, name):
        raise UnsafeCheckpointError(f"{module}.{name}")


def _first_global_of_a_plain_pickle(path: Path) -> str | None:
    try:
        with open(path, "rb") as file:
            _FirstGlobal(file).load()
    except UnsafeCheckpointError as error:
        return str(error)
    except Exception:
        return None  # no pickle
    return None


def _one_line(error: Exception) -> str:
    # torch surrounds the reason with advice, for one to load the file unsafely.
    reason = str(error).split("WeightsUnpickler error:")[-1].split("Check the documentation")[0]
    return f"{type(error).__name__}: {' '.join(reason.split())[:200]}"
