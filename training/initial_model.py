"""What a new model takes of a trained one of another make: every tensor that fits, and the states of its words."""

import logging
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from plvl.modeling_plvl import PLVLModel

logger = logging.getLogger(__name__)


@torch.no_grad()
def take_what_fits(
    model: PLVLModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path, keep: frozenset[str] = frozenset()
):
    """
    Copies into `model` what a trained model has under the same name and of the same shape, and the embedding of each
    word that both vocabularies have. The log says what begins anew.

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
