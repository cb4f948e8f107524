"""Weights from elsewhere into a PLVL model: everything a checkpoint must bring, or nothing of it.

The functions named after what they read (`plvl_weights`, `vitdet_weights`, `text_weights` ..., for backbones in a
module of its own) each give what one checkpoint brings; `build_model` puts one or more of them together.
"""

import copy
import math
import re
from dataclasses import dataclass, field

import numpy as np
import torch

from plvl.configuration.configuration_plvl import PLVLConfig
from plvl.modeling_plvl.checkpoint_files import load_text_encoder
from plvl.modeling_plvl.checkpoint_keys import (
    SAM_KEYS,
    TIMM_VIT_KEYS,
    VITDET_KEYS,
    name_there,
    plvl_keys,
    sort_names,
    split_stacked_projection,
)
from plvl.modeling_plvl.modeling_plvl import PLVLModel
from plvl.modeling_plvl.text_encoder_plvl import is_unread

_EVERYTHING = r".*"
_VISION_ALONE = r"vision_encoder\.(?!layers\.\d+\.text_guidance\.).*"
_TEXT_ALONE = r"text_encoder\..*"
# What text encoders were pre-trained with: BERT, RoBERTa, DistilBERT, DeBERTa, ModernBERT, T5, and CLIP and SigLIP.
_PRETRAINING_HEADS = (
    r"(cls|lm_head|vocab_transform|vocab_layer_norm|vocab_projector|lm_predictions|mask_predictions|head|decoder)\..*"
    r"|(.*\.)?pooler\..*|(vision_model|visual_projection|text_projection)\..*|logit_(scale|bias)"
)
BACKBONE = "vision_encoder.embeddings.backbone."
_POSITION_TABLE = "vision_encoder.embeddings.position_embeddings"


class CheckpointMismatchError(ValueError):
    """Tensors are missing, left over or of another shape; the message lists them."""


@dataclass
class ForeignWeights:
    """
    What one checkpoint brings.

    Args:
        origin (`str`): the file, folder or name it comes from.
        tensors (`dict[str, torch.Tensor]`): by PLVL's names.
        dropped (`list[str]`): its tensors that PLVL has no use for, by the checkpoint's names.
        part (`str`): pattern of the PLVL names that it must bring, all of them.
        settings (`dict`): what it tells about the architecture, as attributes of [`PLVLConfig`].
        vision_settings (`dict`): likewise, of its `vision_config`.
        unknown (`list[str]`): its tensors that nothing is known about.
        keys (`list`): the map of names, from `checkpoint_keys`.
        normalisation (`dict`): what its pixels were normalised with, as arguments of [`PLVLImageProcessor`]; empty if
            it does not say.
    """

    origin: str
    tensors: dict[str, torch.Tensor]
    dropped: list[str]
    part: str
    settings: dict = field(default_factory=dict)
    vision_settings: dict = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    keys: list = field(default_factory=list)
    normalisation: dict = field(default_factory=dict)


def plvl_weights(checkpoint: dict, origin: str, config: PLVLConfig | None = None) -> ForeignWeights:
    """
    The original PLVL, from what its best_checkpoint.pth or its resumable checkpoint.pth holds, saved with or
    without DistributedDataParallel around the model.

    Args:
        checkpoint (`dict`): what the file holds.
        origin (`str`): the file, for the messages.
        config ([`PLVLConfig`], *optional*): what `build_model` will be given; says which blocks have cross-attention.
            The authors' models, also those trained for boxes alone, are like the default.
    """
    state_dict = _state_dict(checkpoint, "model", origin)
    if all(name.startswith("module.") for name in state_dict):
        state_dict = {name.removeprefix("module."): tensor for name, tensor in state_dict.items()}
    keys = plvl_keys((config or PLVLConfig()).cross_attention_layers)
    return _renamed_weights(state_dict, origin, keys, _EVERYTHING)


def vitdet_weights(checkpoint: dict, origin: str) -> ForeignWeights:
    """detectron2's ViTDet, from its pickle: the plain ViT; the rest of the detector is dropped."""
    return _renamed_weights(_state_dict(checkpoint, "model", origin), origin, VITDET_KEYS, _VISION_ALONE)


def sam_weights(checkpoint: dict, origin: str) -> ForeignWeights:
    """timm's SAM ViT (`samvit_base_patch16`), from its state dict: without the neck and the head."""
    return weights_by_names(checkpoint, origin, SAM_KEYS, _VISION_ALONE)


def timm_vit_weights(checkpoint: dict, origin: str) -> ForeignWeights:
    """A plain ViT of timm, from its state dict: without what pools and classifies."""
    return weights_by_names(checkpoint, origin, TIMM_VIT_KEYS, _VISION_ALONE)


def weights_by_names(checkpoint: dict, origin: str, keys: list, part: str) -> ForeignWeights:
    """A state dict, by a map of names (`keys`, as in checkpoint_keys.py), which brings `part` (a pattern)."""
    return _renamed_weights(_state_dict(checkpoint, None, origin), origin, keys, part)


def text_weights(
    folder_or_name, num_hidden_layers: int | None = None, kept_words: list[int] | None = None
) -> ForeignWeights:
    """
    A text encoder of Transformers, without its pooler and the heads it was pre-trained with.

    Args:
        folder_or_name: of the encoder.
        num_hidden_layers (`int`, *optional*): its first layers that are kept; all by default.
        kept_words (`list[int]`, *optional*): the rows of its word embeddings that are kept, in their new order; all by
            default.
    """
    model, info = load_text_encoder(folder_or_name, num_hidden_layers)
    dropped = {name for name in info["unexpected_keys"] if re.fullmatch(_PRETRAINING_HEADS, name)}
    if num_hidden_layers is not None:
        dropped |= {name for name in info["unexpected_keys"] if _layer_beyond(name, num_hidden_layers)}
    account = info | {"missing_keys": [name for name in info["missing_keys"] if not is_unread(name)]}
    raise_unless_whole(account, dropped, str(folder_or_name))
    if kept_words is not None:
        _keep_words(model, kept_words)
    tensors = model.state_dict()
    unread = [name for name in tensors if is_unread(name) and name not in info["missing_keys"]]
    return ForeignWeights(
        origin=str(folder_or_name),
        tensors={f"text_encoder.{name}": v for name, v in tensors.items() if not is_unread(name)},
        dropped=sorted(dropped) + unread,
        part=_TEXT_ALONE,
        settings={"text_config": model.config},
    )


def raise_unless_whole(info: dict, dropped: set[str], origin: str):
    """
    Args:
        info (`dict`): Transformers' account of loading a part: `missing_keys`, `unexpected_keys`, `mismatched_keys`.
        dropped (`set[str]`): which of those that were not expected nobody misses.
        origin (`str`): for the message.

    Raises:
        CheckpointMismatchError: the part was not loaded whole.
    """
    problems = {
        "missing": info["missing_keys"],
        "left over": set(info["unexpected_keys"]).difference(dropped),
        "of another shape": [
            f"{name}: {tuple(given)}, expected {tuple(expected)}" for name, given, expected in info["mismatched_keys"]
        ],
    }
    _raise_if_any(problems, origin)


def _layer_beyond(name: str, num_layers: int) -> bool:
    """Whether a tensor of an encoder belongs to a layer after its first `num_layers`."""
    numbered = re.search(r"(?:layers?|block)\.(\d+)\.", name)
    return numbered is not None and int(numbered[1]) >= num_layers


def _keep_words(model, kept_words: list[int]):
    embeddings = model.get_input_embeddings()
    embeddings.weight = torch.nn.Parameter(embeddings.weight.detach()[kept_words])
    new_index = {old: new for new, old in enumerate(kept_words)}
    config = model.config
    for name, value in config.to_dict().items():
        if name.endswith("_token_id") and isinstance(value, int):
            setattr(config, name, new_index.get(value))
    config.vocab_size = len(kept_words)


def build_model(weights: list[ForeignWeights], config: PLVLConfig | None = None) -> PLVLModel:
    """
    A model with these weights, the parts that none of them brings newly initialised, in float32.

    Args:
        weights (`list[ForeignWeights]`): of different parts of the model.
        config (`PLVLConfig`, *optional*): the sizes, the base model's by default. What the weights tell about
            the architecture goes before it.

    Raises:
        CheckpointMismatchError: a tensor of a part is missing, left over, or of another shape than `config`'s.
    """
    config = copy.deepcopy(config) if config is not None else PLVLConfig()
    for brought in weights:
        for name, value in brought.settings.items():
            setattr(config, name, value)
        for name, value in brought.vision_settings.items():
            setattr(config.vision_config, name, value)
    config.vision_config.validate_architecture()
    config.validate_architecture()
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in PLVLModel(config).state_dict().items()}
    for brought in weights:
        _check(brought, shapes)

    model = PLVLModel(config)
    for brought in weights:
        model.load_state_dict(brought.tensors, strict=False)
    return model


def newly_initialised(model: PLVLModel, weights: list[ForeignWeights]) -> list[str]:
    """The parts of the model that none of the weights brings."""
    brought = set().union(*(each.tensors for each in weights))
    has_backbone = any(name.startswith(BACKBONE) for name in brought)

    def part_of(name: str) -> str:
        if ".text_guidance." in name:
            return "text guidance of the vision encoder"
        part = name.split(".")[0]
        return "vision_encoder after its backbone" if has_backbone and part == "vision_encoder" else part

    return sorted({part_of(name) for name in model.state_dict() if name not in brought})


def _state_dict(checkpoint: dict, key: str | None, origin: str) -> dict:
    """What stands under `key`, or at the top, by names."""
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{origin}: no checkpoint, it holds a {type(checkpoint).__name__}")
    held = checkpoint.get(key) if key else checkpoint
    if not isinstance(held, dict) or not held:
        raise ValueError(f"{origin}: no weights under {key or 'the top'!r}; the file has {list(checkpoint)[:20]}")
    nameless = [repr(name) for name in held if not isinstance(name, str)]
    if nameless:
        raise ValueError(f"{origin}: no state dict, these are no names of tensors: {', '.join(nameless[:20])}")
    return held


def _tensors(values: dict, origin: str) -> dict[str, torch.Tensor]:
    """NumPy arrays become tensors; anything else that is none is an error."""
    tensors = {name: torch.tensor(value) if _is_numeric(value) else value for name, value in values.items()}
    strangers = [repr(name) for name, value in tensors.items() if not isinstance(value, torch.Tensor)]
    if strangers:
        raise ValueError(f"{origin}: no state dict, these are not tensors: {', '.join(strangers[:20])}")
    return tensors


def _is_numeric(value) -> bool:
    return isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.number)


def _renamed_weights(state_dict: dict, origin: str, keys: list, part: str) -> ForeignWeights:
    names = sort_names(state_dict, keys)
    # What is dropped is not looked at: it may be anything.
    taken = _tensors({name: state_dict[name] for name in (*names.here, *names.unknown)}, origin)
    tensors: dict[str, torch.Tensor] = {}
    for name, name_here in names.here.items():
        tensors |= split_stacked_projection(name_here, taken[name])
    vision_settings = {}
    table = tensors.get(_POSITION_TABLE)
    if table is not None:
        if table.ndim == 4 and table.shape[1] == table.shape[2]:
            # timm keeps the table as a grid.
            table = tensors[_POSITION_TABLE] = table.flatten(1, 2)
        vision_settings = _position_settings(table)
    return ForeignWeights(
        origin=origin,
        tensors=tensors,
        dropped=names.dropped,
        part=part,
        vision_settings=vision_settings,
        unknown=names.unknown,
        keys=keys,
    )


def _position_settings(table: torch.Tensor) -> dict:
    """The grid that an absolute position table of `(1, positions, hidden_size)` was made for."""
    if table.ndim != 3:
        return {}
    for has_class_position in (False, True):
        positions = table.shape[1] - has_class_position
        side = math.isqrt(positions)
        if side and side**2 == positions:
            return {"position_grid_size": side, "has_class_position": has_class_position}
    return {}


def _check(brought: ForeignWeights, shapes: dict[str, torch.Size]):
    def there(name):
        named = name_there(name, brought.keys)
        return name if named == name else f"{named} ({name} here)"

    expected = {name for name in shapes if re.fullmatch(brought.part, name)}
    given = brought.tensors
    problems = {
        "missing": [there(name) for name in expected.difference(given)],
        "left over": [*brought.unknown, *(there(name) for name in set(given).difference(expected))],
        "of another shape": [
            f"{there(name)}: {tuple(given[name].shape)}, expected {tuple(shapes[name])}"
            for name in expected.intersection(given)
            if given[name].shape != shapes[name]
        ],
    }
    _raise_if_any(problems, brought.origin)


def _raise_if_any(problems: dict, origin: str):
    if any(problems.values()):
        lists = [
            f"{kind} ({len(names)}):\n" + "\n".join(f"  {name}" for name in sorted(names))
            for kind, names in problems.items()
            if names
        ]
        raise CheckpointMismatchError(f"{origin} does not fit, so nothing of it is taken\n" + "\n".join(lists))
