"""What a new model takes of a trained one of another make: every tensor that fits, and the states of its words."""

import logging
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from plvl.modeling_plvl import PLVLModel

logger = logging.getLogger(__name__)

PROJECTION = "vision_encoder.embeddings.projection.weight"


@torch.no_grad()
def take_what_fits(
    model: PLVLModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path, keep: frozenset[str] = frozenset()
):
    """
    Copies into `model` what a trained model has under the same name and of the same shape, and the embedding of each
    word that both vocabularies have. Where `model` reads finer maps of the backbone before those that the trained one
    read, it begins by not hearing them. The log says what begins anew.

    Args:
        tokenizer: of `model`.
        folder: the trained model's, with its tokenizer; or its name on the Hub.
        keep: names of parameters that have weights already.

    Raises:
        ValueError: the trained model is not whole.
    """
    both: Any = PLVLModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    loaded, info = both
    if info["missing_keys"]:
        raise ValueError(f"initial_model: {folder} lacks weights: {', '.join(sorted(info['missing_keys']))}")
    trained = loaded.state_dict()
    own = model.state_dict()
    words = {id(model.text_encoder.get_input_embeddings().weight)}
    embeddings = next(name for name, each in model.named_parameters(remove_duplicate=False) if id(each) in words)
    fitting = [
        name
        for name, tensor in trained.items()
        if name in own and name not in keep and name != embeddings and own[name].shape == tensor.shape
    ]
    for name in fitting:
        own[name].copy_(trained[name])
    if reads_further_maps(model, loaded) and PROJECTION not in keep:
        channels = trained[PROJECTION].shape[1]
        own[PROJECTION][:, :-channels] = 0
        own[PROJECTION][:, -channels:] = trained[PROJECTION]
        fitting.append(PROJECTION)
    shared = 0
    if embeddings in trained and embeddings not in keep and own[embeddings].shape[1] == trained[embeddings].shape[1]:
        vocabulary = AutoTokenizer.from_pretrained(folder).get_vocab()
        pairs = [(place, vocabulary[word]) for word, place in tokenizer.get_vocab().items() if word in vocabulary]
        here, there = map(list, zip(*pairs, strict=True))
        own[embeddings][here] = trained[embeddings][there]
        shared = len(pairs)
    anew = sorted(name for name in own if name not in fitting and name not in keep and name != embeddings)
    logger.info(
        "initial_model %s: %d tensors and %d of %d words taken; new: %s",
        folder, len(fitting), shared, len(tokenizer), ", ".join(anew),
    )  # fmt: skip


def reads_further_maps(model: PLVLModel, trained: PLVLModel) -> bool:
    """Whether both have one width and backbone, whose last maps `trained` reads and `model` others before them."""
    backbones = [getattr(each.vision_encoder.embeddings, "backbone", None) for each in (model, trained)]
    if None in backbones or model.config.vision_config.hidden_size != trained.config.vision_config.hidden_size:
        return False
    own, known = ([*each.out_features] for each in backbones)
    names = [getattr(each.config, "backbone", each.config.model_type) for each in backbones]
    return names[0] == names[1] and len(own) > len(known) and own[-len(known) :] == known
