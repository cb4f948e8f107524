"""Converts a checkpoint of another program, as `plvl convert` was told to."""

from pathlib import Path
from typing import Any

import timm
import torch
from transformers import AutoConfig, AutoTokenizer
from transformers.utils import logging

from plvl.configuration import PLVLConfig
from plvl.data.safe_pickle import load_label_pickle
from plvl.modeling_plvl.backbone_weights import efficientnet_lite_of, image_normalisation, timm_weights
from plvl.modeling_plvl.checkpoint_conversion import (
    build_model,
    newly_initialised,
    plvl_weights,
    sam_weights,
    text_weights,
    vitdet_weights,
)
from plvl.modeling_plvl.checkpoint_files import load_checkpoint
from plvl.processing import PLVLImageProcessor, PLVLProcessor
from plvl.processing.processing_plvl import forget_length
from plvl.scripts.atomic_directory import atomic_directory
from plvl.scripts.model_loading import load_plvl_config


def convert(arguments):
    """
    Writes the folder and tells what became of each part.

    Args:
        arguments: the script's, each by its name.

    Raises:
        ValueError: the checkpoint is none, does not fit, or other parts do not; nothing is written.
    """
    # What does not fit ends the conversion, and what is dropped or new is told below: no need for warnings.
    logging.set_verbosity_error()
    tokenizer = _load_tokenizer(arguments.tokenizer)
    config = _base_config(arguments)
    weights = _read_weights(arguments, config)
    torch.manual_seed(0)  # the parts that start anew are the same each time
    model = build_model(weights, config)
    processor = _processor(model, tokenizer, image_normalisation(model.config, weights))
    with atomic_directory(arguments.output) as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
    _tell(model, weights, arguments.output, has_tokenizer=tokenizer is not None)


def _load_tokenizer(folder_or_name):
    if not folder_or_name:
        return None
    tokenizer = AutoTokenizer.from_pretrained(folder_or_name)
    forget_length(tokenizer)
    return tokenizer


def _read_weights(arguments, config: PLVLConfig) -> list:
    source, given = arguments.source, arguments.input
    if source == "bert":
        return [text_weights(given)]
    if source == "plvl":
        return [plvl_weights(load_checkpoint(given), given, config)]
    if source == "vitdet":
        weights = vitdet_weights(load_label_pickle(given), given)
    elif source == "efficientnet-lite":
        weights = _lite_weights(load_checkpoint(given), given, config)
    else:
        weights = sam_weights(load_checkpoint(given), given)
    return [weights, *([text_weights(arguments.text)] if arguments.text else [])]


def _lite_weights(checkpoint: dict, given: str, config: PLVLConfig):
    """Where `config` has no backbone, it gets the one that the weights are of, at the stride of its patches."""
    vision = config.vision_config
    if vision.backbone_config is None:
        architecture = efficientnet_lite_of(checkpoint, given)
        strides = _strides(architecture)
        if vision.patch_size not in strides:
            raise ValueError(f"{architecture} has maps at strides of {strides}, and patch_size is {vision.patch_size}")
        vision.backbone_config = AutoConfig.for_model(
            "timm_backbone",
            backbone=architecture,
            out_indices=[strides.index(vision.patch_size)],
            freeze_batch_norm_2d=True,
        )
    return timm_weights(checkpoint, given, vision.backbone_config, {})


def _strides(architecture: str) -> list[int]:
    with torch.device("meta"):
        network: Any = timm.create_model(architecture, features_only=True)
    return network.feature_info.reduction()


def _base_config(arguments) -> PLVLConfig:
    config = load_plvl_config(arguments.config) if arguments.config else PLVLConfig()
    if arguments.source == "plvl" and arguments.text:
        config.text_config = AutoConfig.from_pretrained(arguments.text)
    if arguments.image_size is not None:
        config.vision_config.image_size = arguments.image_size
    return config


def _processor(model, tokenizer, normalisation: dict):
    side = model.config.vision_config.image_size
    image_processor = PLVLImageProcessor(size={"height": side, "width": side}, **normalisation)
    if tokenizer is None:
        return image_processor
    vocab_size = model.config.text_config.vocab_size
    if len(tokenizer) > vocab_size:
        raise ValueError(f"the tokenizer has {len(tokenizer)} tokens, the text encoder knows {vocab_size}")
    return PLVLProcessor(image_processor, tokenizer)


def _tell(model, weights, output: Path, has_tokenizer: bool):
    for each in weights:
        print(f"{each.origin}: fills {len(each.tensors)} tensors of the model, {len(each.dropped)} are dropped")
        for name in each.dropped:
            print(f"  dropped {name}")
    new = newly_initialised(model, weights)
    if new:
        print(f"newly initialised, to be trained: {', '.join(new)}")
    layers = ", ".join(map(str, model.config.cross_attention_layers))
    print(f"tasks: {', '.join(model.config.tasks)}; cross-attention to the text in the vision blocks {layers}")
    if not has_tokenizer:
        print("no --tokenizer was given, so the folder holds an image processor and no full processor")
    print(f"written: {output}")
