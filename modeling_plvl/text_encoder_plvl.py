"""PLVL's text encoder: any of Transformers' that gives a state for each token, without what PLVL leaves unread."""

from importlib import import_module
from inspect import signature
from typing import Any

from torch import nn
from transformers import MODEL_FOR_TEXT_ENCODING_MAPPING, MODEL_MAPPING, PreTrainedConfig, PreTrainedModel

# Trained without a mask: they attend to the padding that their tokenizers add.
ATTEND_TO_PADDING = ("siglip_text_model", "siglip2_text_model")


def text_encoder_class(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """
    The class of an encoder's configuration: BERT and its relatives, T5's encoder, the text tower of CLIP or SigLIP.

    Raises:
        ValueError: Transformers has no text encoder of this configuration.
    """
    found: Any = None
    for mapping in (MODEL_FOR_TEXT_ENCODING_MAPPING, MODEL_MAPPING):
        if type(config) in mapping:
            found = mapping[type(config)]
            break
    else:
        # Towers that no Auto class knows stand beside their configuration.
        module = import_module(type(config).__module__.replace(".configuration_", ".modeling_"))
        towers = [each for name, each in vars(module).items() if name.endswith("TextModel") and isinstance(each, type)]
        found = next((each for each in towers if getattr(each, "config_class", None) is type(config)), None)
    if found is None or found.main_input_name != "input_ids" or _has_decoder(found):
        raise ValueError(f"text_config: a model of the type {config.model_type!r} gives no states of an expression")
    return found


def without_unread_parts(encoder: PreTrainedModel) -> PreTrainedModel:
    """Takes away poolers, whose parameters would never get a gradient: only the states of tokens are read."""
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None  # type: ignore[assignment]
    if isinstance(getattr(encoder, "head", None), nn.Linear):  # SigLIP
        encoder.head = nn.Identity()
    return encoder


def new_text_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    return without_unread_parts(text_encoder_class(config)._from_config(config))


def is_unread(name: str) -> bool:
    """Whether a tensor of an encoder, by its name there, belongs to one of the parts that are taken away."""
    return name.startswith(("pooler.", "head."))


def _has_decoder(found: type[PreTrainedModel]) -> bool:
    return "decoder_input_ids" in signature(found.forward).parameters
