"""Which files a trained model consists of; looked at before anything is loaded."""

import json
from pathlib import Path

# For each part, files of which one will do.
NETWORK_FILES: dict[str, tuple[str, ...]] = {
    "config.json": ("config.json",),
    "weights (model.safetensors)": ("model.safetensors", "model.safetensors.index.json"),
}
# Additions to a network that is elsewhere, in the place of its own (`plvl finetune --lora --keep_adapter`).
ADAPTER_FILES: dict[str, tuple[str, ...]] = {
    "adapter_config.json": ("adapter_config.json",),
    "additions (adapter_model.safetensors)": ("adapter_model.safetensors",),
}
PROCESSOR_FILES = {
    "a processor (processor_config.json)": ("processor_config.json", "preprocessor_config.json"),
    "a tokenizer (tokenizer_config.json)": ("tokenizer_config.json",),
    # Without it Transformers makes a tokenizer that knows no word, and says nothing.
    "a vocabulary (tokenizer.json)": ("tokenizer.json", "vocab.txt"),
}


def require_network_files(folder: Path):
    """Raises ValueError where a folder lacks what a network is loaded from; the message names folder and parts."""
    _require(folder, _network_files(folder))


def require_model_files(folder: Path):
    """As [`require_network_files`], of a network with its processor."""
    _require(folder, _network_files(folder) | PROCESSOR_FILES)


def is_adapter(folder: Path) -> bool:
    """Whether a folder has additions to a network that is elsewhere, and not a network."""
    return (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file()


def _network_files(folder: Path) -> dict[str, tuple[str, ...]]:
    return ADAPTER_FILES if is_adapter(folder) else NETWORK_FILES


def base_model(folder: Path) -> str:
    """
    The model that the additions in a folder belong to: a folder, or a name on the Hub.

    Raises:
        ValueError: the folder's adapter_config.json names none.
    """
    file = folder / "adapter_config.json"
    try:
        base = json.loads(file.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, TypeError, KeyError):
        base = None
    if not isinstance(base, str) or not base:
        raise ValueError(f"{file} names no base_model_name_or_path, the model that its additions belong to")
    return base


def weight_files(folder: Path) -> list[Path]:
    """
    The files that a model's weights are read from, with their index where there are several; or its additions, with
    what says how they are added, to weights that are elsewhere (`base_model`).
    """
    if is_adapter(folder):
        return [folder / "adapter_config.json", folder / "adapter_model.safetensors"]
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    index = folder / "model.safetensors.index.json"
    names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
    return [index, *(folder / name for name in sorted(set(names)))]


def _require(folder: Path, parts: dict[str, tuple[str, ...]]):
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder")
    missing = [part for part, files in parts.items() if not any((folder / file).is_file() for file in files)]
    if missing:
        raise ValueError(f"{folder} is no whole model: it lacks {', '.join(missing)}")
