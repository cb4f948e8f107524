"""The model a run starts from, with its processor."""

import copy
import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoModel, AutoProcessor, AutoTokenizer, PreTrainedTokenizerBase

from plvl.checkpoints.model_files import base_model, is_adapter
from plvl.configuration import PLVLConfig, PLVLTimmVisionConfig, PLVLVisionConfig
from plvl.configuration.configuration_plvl import config_class_of, vision_config_class
from plvl.data.safe_pickle import load_label_pickle
from plvl.modeling_plvl import PLVLModel
from plvl.modeling_plvl.backbone_weights import (
    backbone_settings,
    backbone_weights,
    image_normalisation,
    pretrained_vit,
)
from plvl.modeling_plvl.checkpoint_conversion import (
    ForeignWeights,
    build_model,
    newly_initialised,
    sam_weights,
    text_weights,
    vitdet_weights,
)
from plvl.modeling_plvl.checkpoint_files import HUB_TIMEOUT, WEIGHTS_FILES, load_checkpoint
from plvl.modeling_plvl.vision_plvl import new_backbone
from plvl.processing import PLVLImageProcessor, PLVLProcessor
from plvl.processing.expression_words import swap_sides
from plvl.processing.processing_plvl import MAX_TEXT_LENGTH, forget_length
from plvl.processing.word_vocabulary import build_word_vocabulary, cut_word_pieces
from plvl.training.initial_model import take_what_fits
from plvl.training.recipe import ModelArguments, nearest

logger = logging.getLogger(__name__)

TOKENIZER_FILES = ("tokenizer*", "vocab*", "*.model")
OF_TRAINING = "training"  # of text_vocabulary: the expressions that are trained on
NOTHING_TO_EVALUATE = "model_name_or_path must name the model to evaluate: a new one has learned nothing"
NO_MODEL = (
    "no model is named: model_name_or_path names one to go on from, vision_weights and text_weights what a new one "
    "starts from, model_config the fields of a network that starts from nothing ('{}' is the base model, which learns "
    "little so)"
)
WHERE_VITDET_IS = (
    "detectron2's is to be had from https://dl.fbaipublicfiles.com/detectron2/ViTDet/COCO/cascade_mask_rcnn_vitdet_b/"
    "f325358525/model_final_435fa9.pkl"
)
WHAT_A_BACKBONES_ARE = "the backbone's: a file, a folder or a name on the Hub, as docs/encoders.md says"
WHERE_BERT_IS = (
    "BERT or the like, as from `hf download google-bert/bert-base-uncased --local-dir checkpoints/bert-base-uncased` "
    "where there is a network"
)


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
        raise ValueError(NOTHING_TO_EVALUATE)
    tokenizer_name = arguments.tokenizer_name_or_path or arguments.text_weights
    tokenizer: PreTrainedTokenizerBase = (
        AutoTokenizer.from_pretrained(tokenizer_name) if tokenizer_name else build_word_vocabulary(expressions())
    )
    # A tokenizer that knows capitals may have them.
    do_lower_case = tokenizer.tokenize("Left") == tokenizer.tokenize("left")
    kept_words = None
    if arguments.text_vocabulary:
        tokenizer, kept_words = cut_word_pieces(tokenizer, _vocabulary_of(arguments, expressions))
    forget_length(tokenizer)
    config = new_config(arguments)
    if not arguments.text_weights:
        config.text_config.vocab_size = len(tokenizer)
    weights = _initial_weights(arguments, config, kept_words)
    model = build_model(weights, config)
    for each in weights:
        if each.dropped:
            logger.info("%s: left out: %s", each.origin, ", ".join(each.dropped))
    if weights:
        logger.info("newly initialised, to be trained: %s", ", ".join(newly_initialised(model, weights)))
    if arguments.initial_model:
        brought: frozenset[str] = frozenset().union(*(each.tensors for each in weights))
        take_what_fits(model, tokenizer, arguments.initial_model, brought)
    image_size = config.vision_config.image_size
    image_processor = PLVLImageProcessor(
        size={"height": image_size, "width": image_size}, **image_normalisation(config, weights)
    )
    return model, PLVLProcessor(
        image_processor,
        tokenizer,
        max_text_length=longest_expression(tokenizer, model.config),
        do_lower_case=do_lower_case,
    )


def _vocabulary_of(arguments: ModelArguments, expressions: Callable[[], Iterable[str]]) -> Iterable[str]:
    """The expressions that text_vocabulary names, also as mirroring an image changes them."""
    if arguments.text_vocabulary == OF_TRAINING:
        given = expressions()
    else:
        given = Path(arguments.text_vocabulary).read_text(encoding="utf-8").splitlines()
    return chain.from_iterable((each, swap_sides(each)) for each in given)


def longest_expression(tokenizer, config: PLVLConfig) -> int:
    """Tokens that an expression may have: the authors' 40, or fewer where tokenizer or text encoder take no more."""
    positions = getattr(config.text_config, "max_position_embeddings", None) or MAX_TEXT_LENGTH
    return min(MAX_TEXT_LENGTH, tokenizer.model_max_length, positions)


def new_config(arguments: ModelArguments) -> PLVLConfig:
    """
    The configuration of a new model.

    Raises:
        ValueError: model_config has a key that is no field of PLVLConfig or of the part's configuration, which would
            keep it and go by its default; or a value that cannot be.
    """
    given = dict(arguments.model_config or {})
    vision = given.get("vision_config")
    vision_class = vision_config_class(vision) if isinstance(vision, dict) else PLVLVisionConfig
    parts = {"vision_config": vision_class, "text_config": _text_config_class(given)}
    fields = {"": _fields(PLVLConfig)} | {f"{part}.": _fields(kind) for part, kind in parts.items()}
    names = [(f"{part}.", name) for part in parts if isinstance(given.get(part), dict) for name in given[part]]
    unknown = [(part, name) for part, name in [*(("", name) for name in given), *names] if name not in fields[part]]
    if unknown:
        # A field may stand in the wrong part, too; the part it was given to comes first.
        told = []
        for part, name in unknown:
            places = {field: f"{place}{field}" for place in (*fields, part) for field in fields[place]}
            told.append(f"model_config has no {part}{name}{nearest(name, places, places.__getitem__)}")
        raise ValueError("; ".join(told))
    backbone = _given_backbone(arguments)
    if backbone and arguments.vision_weights and backbone.get("model_type") != "timm_backbone":
        config_class_of(backbone, "backbone_config")  # for its error
        settings = backbone_settings(arguments.vision_weights, backbone)
        given["vision_config"] = given["vision_config"] | {"backbone_config": settings}
    return PLVLConfig(**(given | arguments.changes | arguments.attention))


def _given_backbone(arguments: ModelArguments) -> dict:
    vision = (arguments.model_config or {}).get("vision_config")
    backbone = vision.get("backbone_config") if isinstance(vision, dict) else None
    return backbone if isinstance(backbone, dict) else {}


def _text_config_class(given: dict) -> type:
    text = given.get("text_config")
    text = text if isinstance(text, dict) else {}
    return config_class_of({"model_type": "bert"} | text, "model_config.text_config")


def _fields(config_class) -> set[str]:
    return {*config_class().to_dict(), *config_class.attribute_map, "attn_implementation"}


def check_model(arguments: ModelArguments, is_trained: bool) -> Iterator[str]:
    """What keeps the model from being loaded or made, as far as it can be told before that is tried."""
    if arguments.model_name_or_path:
        if arguments.vision_weights or arguments.text_weights:
            yield "vision_weights and text_weights are for a new model, and model_name_or_path names one"
        folder = Path(arguments.model_name_or_path)
        if is_adapter(folder):
            yield from _useless_adapter(folder, is_trained)
        else:
            yield from _unreachable(
                "model_name_or_path", arguments.model_name_or_path, "the folder of a model that was trained"
            )
        return
    if not is_trained:
        yield NOTHING_TO_EVALUATE
        return
    if arguments.model_config is None and not (arguments.vision_weights or arguments.text_weights):
        yield NO_MODEL
    of_vision = list(_unreachable_vision_weights(arguments)) if arguments.vision_weights else []
    yield from of_vision
    if arguments.initial_model and is_adapter(Path(arguments.initial_model)):
        yield f"initial_model: {arguments.initial_model} has additions to a model, and not its weights: merge the two"
    elif arguments.initial_model:
        yield from _unreachable("initial_model", arguments.initial_model, "a PLVL model with its tokenizer")
    if arguments.text_weights:
        yield from _unreachable("text_weights", arguments.text_weights, WHERE_BERT_IS)
    yield from _impossible_vocabulary(arguments)
    tokenizer = arguments.tokenizer_name_or_path or arguments.text_weights
    if tokenizer and Path(tokenizer).is_dir():
        # Transformers makes an empty one where it finds none of the files.
        if not any(each for pattern in TOKENIZER_FILES for each in Path(tokenizer).glob(pattern)):
            yield f"the folder {tokenizer} has no tokenizer; tokenizer_name_or_path names one"
    elif arguments.tokenizer_name_or_path:
        yield from _unreachable(
            "tokenizer_name_or_path", arguments.tokenizer_name_or_path, "a tokenizer", "tokenizer_config.json"
        )
    try:
        config = new_config(dataclasses.replace(arguments, vision_weights=None) if of_vision else arguments)
        if isinstance(config.vision_config, PLVLVisionConfig) and config.vision_config.backbone_config is not None:
            with torch.device("meta"):
                new_backbone(copy.deepcopy(config.vision_config.backbone_config))
    except (ValueError, TypeError, StrictDataclassError) as error:
        yield str(error)


def _useless_adapter(folder: Path, is_trained: bool) -> Iterator[str]:
    """Additions to a model that is elsewhere (`plvl finetune --keep_adapter`) can be evaluated where that is."""
    has_additions = f"model_name_or_path: {folder} has additions to a model"
    if is_trained:
        yield f"{has_additions}, and no model that can be trained: name that which they belong to, or merge the two"
        return
    if find_spec("peft") is None:
        yield f"{has_additions}, which are loaded with peft: pip install peft"
    try:
        base = Path(base_model(folder))
    except ValueError as error:
        yield f"model_name_or_path: {error}"
        return
    if base.is_absolute() and not (base / "config.json").is_file():
        yield f"{has_additions} that is not there: {base}, which its adapter_config.json names"


def _unreachable_vision_weights(arguments: ModelArguments) -> Iterator[str]:
    path = Path(arguments.vision_weights)
    backbone = _given_backbone(arguments)
    if "architecture" in ((arguments.model_config or {}).get("vision_config") or {}):
        backbone = {"model_type": "timm_backbone"}  # whose weights are found in the same places
    if not backbone:
        if not path.is_file():
            yield f"vision_weights: there is no file {path}. {WHERE_VITDET_IS}"
    elif backbone.get("model_type") != "timm_backbone" or not path.exists():
        yield from _unreachable("vision_weights", arguments.vision_weights, WHAT_A_BACKBONES_ARE)
    elif path.is_dir() and not any((path / name).is_file() for name in WEIGHTS_FILES):
        yield f"vision_weights: the folder {path} has neither {' nor '.join(WEIGHTS_FILES)}"


def _impossible_vocabulary(arguments: ModelArguments) -> Iterator[str]:
    given = arguments.text_vocabulary
    if given and not arguments.text_weights:
        yield "text_vocabulary cuts the vocabulary of text_weights, and none are named"
    elif given and given != OF_TRAINING and not Path(given).is_file():
        yield f"text_vocabulary: there is no file {given}; it is a file of expressions, or '{OF_TRAINING}'"


def _unreachable(argument: str, name: str, what: str, file: str = "config.json") -> Iterator[str]:
    if Path(name).is_dir():
        if not Path(name, file).is_file():
            yield f"{argument}: the folder {name} has no {file}; it should be {what}"
        return
    try:
        if not try_to_load_from_cache(name, file):
            # A download would try again and again, for half a minute.
            get_hf_file_metadata(hf_hub_url(name, file), timeout=HUB_TIMEOUT)
    # Each way of not reaching the Hub has an exception of its own.
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        yield f"{argument}: there is no folder {name}, and the Hub does not give it ({reason}). It should be {what}"


def _model_to_go_on_from(arguments: ModelArguments, is_trained: bool):
    path = arguments.model_name_or_path
    for name in ("model_config", "tokenizer_name_or_path", "text_vocabulary", "initial_model"):
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


def _initial_weights(
    arguments: ModelArguments, config: PLVLConfig, kept_words: list[int] | None
) -> list[ForeignWeights]:
    weights = []
    if arguments.vision_weights and isinstance(config.vision_config, PLVLTimmVisionConfig):
        weights.append(pretrained_vit(arguments.vision_weights))
    elif arguments.vision_weights and config.vision_config.backbone_config is not None:
        weights.append(backbone_weights(arguments.vision_weights, config.vision_config.backbone_config))
    elif arguments.vision_weights:
        file = Path(arguments.vision_weights)
        # detectron2 publishes pickles, timm state dicts.
        read = (load_label_pickle, vitdet_weights) if file.suffix == ".pkl" else (load_checkpoint, sam_weights)
        weights.append(read[1](read[0](file), str(file)))
    if arguments.text_weights:
        text = (arguments.model_config or {}).get("text_config") or {}
        weights.append(text_weights(arguments.text_weights, text.get("num_hidden_layers"), kept_words))
    return weights
