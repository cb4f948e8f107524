"""The model a run starts from, with its processor."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from transformers import AutoModel, AutoProcessor, AutoTokenizer

from plvl.configuration import PLVLConfig
from plvl.data.safe_pickle import load_label_pickle
from plvl.modeling_plvl import PLVLModel
from plvl.modeling_plvl.checkpoint_conversion import (
    ForeignWeights,
    build_model,
    newly_initialised,
    sam_weights,
    text_weights,
    vitdet_weights,
)
from plvl.modeling_plvl.checkpoint_files import load_checkpoint
from plvl.processing import PLVLImageProcessor, PLVLProcessor
from plvl.processing.wordpiece import learn_wordpiece
from plvl.training.recipe import ModelArguments

logger = logging.getLogger(__name__)


def load_or_make_model(
    arguments: ModelArguments, expressions: Callable[[], Iterable[str]] | None
) -> tuple[PLVLModel, PLVLProcessor]:
    """
    Args:
        arguments ([`ModelArguments`]): which model to go on from, or what a new one is made of.
        expressions: gives the training expressions, for a tokenizer to be learned from them where none is named;
            None where nothing is trained.

    Raises:
        ValueError: the model to go on from lacks weights, or there is nothing to make one of.
    """
    if arguments.model_name_or_path:
        return _model_to_go_on_from(arguments, is_trained=expressions is not None)
    if expressions is None:
        raise ValueError("model_name_or_path must name the model to evaluate: a new one has learned nothing")
    tokenizer_name = arguments.tokenizer_name_or_path or arguments.text_weights
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_name) if tokenizer_name else learn_wordpiece(expressions())
    config = PLVLConfig(**(arguments.model_config | arguments.changes | arguments.attention))
    if not arguments.text_weights:
        config.text_config.vocab_size = len(tokenizer)
    weights = _initial_weights(arguments)
    model = build_model(weights, config)
    if weights:
        logger.warning("newly initialised, to be trained: %s", ", ".join(newly_initialised(model, weights)))
    image_size = config.vision_config.image_size
    image_processor = PLVLImageProcessor(size={"height": image_size, "width": image_size})
    return model, PLVLProcessor(image_processor, tokenizer)


def _model_to_go_on_from(arguments: ModelArguments, is_trained: bool):
    path = arguments.model_name_or_path
    if arguments.vision_weights or arguments.text_weights:
        raise ValueError("vision_weights and text_weights are for a new model, and model_name_or_path names one")
    for name in ("model_config", "tokenizer_name_or_path"):
        if getattr(arguments, name):
            logger.warning("%s is for a new model and changes nothing in %s", name, path)
    # Weights may be stored in half precision, in which nothing is trained.
    options = {"dtype": torch.float32, "output_loading_info": True}
    model, info = AutoModel.from_pretrained(path, **options, **arguments.changes, **arguments.attention)
    # A model of boxes that is to learn masks has that branch of the head new; all else must be there.
    missing = sorted(name for name in info["missing_keys"] if not (is_trained and name.startswith("head.")))
    if missing:
        raise ValueError(f"{path} lacks weights of the model it is to be: {', '.join(missing)}")
    if info["missing_keys"]:
        logger.warning("newly initialised, to be trained: %s", ", ".join(sorted(info["missing_keys"])))
    return model, AutoProcessor.from_pretrained(path)


def _initial_weights(arguments: ModelArguments) -> list[ForeignWeights]:
    weights = []
    if arguments.vision_weights:
        file = Path(arguments.vision_weights)
        # detectron2 publishes pickles, timm state dicts.
        read = (load_label_pickle, vitdet_weights) if file.suffix == ".pkl" else (load_checkpoint, sam_weights)
        weights.append(read[1](read[0](file), str(file)))
    if arguments.text_weights:
        weights.append(text_weights(arguments.text_weights))
    return weights
