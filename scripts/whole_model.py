"""A trained model and its processor from their folder, whole, or an error that says what is wrong with it."""

from pathlib import Path

import torch
from safetensors import SafetensorError

from plvl.modeling_plvl import PLVLModel
from plvl.processing import PLVLProcessor
from plvl.scripts.model_files import require_model_files, require_network_files
from plvl.scripts.stored_config import load_plvl_config


def load_whole(folder: Path, dtype: str | torch.dtype = "auto", **options) -> tuple[PLVLModel, PLVLProcessor]:
    """
    Args:
        folder: of a PLVL model with its processor.
        dtype: of the weights; by default the one they are stored in.
        options: for `from_pretrained` of the model.

    Returns:
        the model, every tensor of it read from the folder, and its processor.

    Raises:
        ValueError: a part is missing, is no PLVL model, or cannot be loaded whole. The message names folder and part.
    """
    require_model_files(folder)
    model = load_whole_network(folder, dtype, **options)
    try:
        processor = PLVLProcessor.from_pretrained(folder)
    # Each kind of damage in its files fails with an exception of its own.
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{folder} is no whole model: its processor does not load ({reason})") from error
    return model, processor


def load_whole_network(folder: Path, dtype: str | torch.dtype = "auto", **options) -> PLVLModel:
    """As [`load_whole`], without the processor, which need not be there."""
    require_network_files(folder)
    load_plvl_config(folder)  # for its errors
    try:
        model, info = PLVLModel.from_pretrained(folder, dtype=dtype, output_loading_info=True, **options)
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{folder} is no whole model: its weights do not load ({error})") from None
    half_loaded = sorted({*info["missing_keys"], *info["unexpected_keys"]})
    if half_loaded:
        raise ValueError(f"{folder} is no whole model: missing or left over in its weights: {', '.join(half_loaded)}")
    return model
