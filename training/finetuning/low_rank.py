"""LoRA: low-rank additions to the linear layers are trained, through peft, and all else stays as it is."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from plvl.modeling_plvl import PLVLModel


def low_rank_config(rank: int) -> Any:
    """The `peft.LoraConfig` of additions to every linear layer: encoders, decoder, and what lets language in."""
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")


def weakened(state: dict[str, torch.Tensor], share: float) -> dict[str, torch.Tensor]:
    """Weights with additions that are `share` times as large."""
    return {name: value * share if ".lora_B." in name else value for name, value in state.items()}


def add_low_rank(model: PLVLModel, rank: int):
    """
    Puts the additions, which change nothing yet, into the model's layers; they alone have gradients then. Weights are
    saved and loaded with the names that peft gives them.
    """
    from peft import inject_adapter_in_model

    inject_adapter_in_model(low_rank_config(rank), model)


def write_merged(model: PLVLModel, state: dict[str, torch.Tensor], rank: int, folder: Path):
    """
    Writes a model with what was learned added to its weights, as a folder like any other.

    Args:
        model ([`PLVLModel`]): that the training started from.
        state (`dict[str, torch.Tensor]`): the weights of a model with [`add_low_rank`].
        rank: of the additions.
        folder: to write into.
    """
    from peft import LoraModel

    tuner: Any = LoraModel(model, low_rank_config(rank), "default")
    model.load_state_dict(state)
    tuner.merge_and_unload().save_pretrained(folder)


def write_adapter(model: PLVLModel, state: dict[str, torch.Tensor], rank: int, folder: Path, base: str):
    """As [`write_merged`], but writes the additions alone, which `from_pretrained` adds to the model `base`."""
    from peft import get_peft_model_state_dict
    from peft.utils import SAFETENSORS_WEIGHTS_NAME

    add_low_rank(model, rank)
    model.load_state_dict(state)
    # Transformers' own `save_pretrained` asks for a newer peft than loading does (5.24: 0.22, of which there is none).
    additions = {f"base_model.model.{name}": value for name, value in get_peft_model_state_dict(model).items()}
    save_file(additions, folder / SAFETENSORS_WEIGHTS_NAME, metadata={"format": "pt"})
    config = model.peft_config["default"]
    config.base_model_name_or_path, config.inference_mode = base, True
    config.save_pretrained(folder)
