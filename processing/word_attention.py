"""Which words each region of an image attended to, in the vision blocks with cross-attention to the text."""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class WordAttention:
    """
    Args:
        words (`list[str]`): the expression's words and punctuation marks, in order, as the network read them.
        maps (`np.ndarray` of shape `(blocks, words, rows, columns)`): for each vision block with cross-attention,
            the share of its attention that a region gave to a word, the mean over the heads. What is missing to 1
            went to the marks around the expression and to the padding.
    """

    words: list[str]
    maps: np.ndarray


def word_attention(outputs, processor, expression: str) -> WordAttention | None:
    """
    Args:
        outputs ([`PLVLOutput`]): of one image and one expression, with `output_attentions=True`, from a model with
            eager attention (others do not tell where they attended).
        processor ([`PLVLProcessor`]): that the expression went through.
        expression (`str`): words that were cut off, because it is too long for the network, are left out here too.

    Returns:
        [`WordAttention`], or `None` where no vision block has cross-attention or the expression has no words.
    """
    if not outputs.cross_attentions:
        return None
    rows, columns = _grid(outputs)
    weights = torch.stack([block[0].float().mean(0) for block in outputs.cross_attentions]).cpu()
    tokens = processor.tokenizer(processor.normalize_text(expression), truncation=True, max_length=weights.shape[-1])
    places: dict[int, list[int]] = {}
    for place, word in enumerate(tokens.word_ids()):
        if word is not None:
            places.setdefault(word, []).append(place)
    if not places:
        return None
    words = [processor.normalize_text(expression)[slice(*tokens.word_to_chars(word))] for word in places]
    maps = torch.stack([weights[..., at].sum(-1) for at in places.values()], dim=1)
    return WordAttention(words, maps.unflatten(-1, (rows, columns)).numpy())


def _grid(outputs) -> tuple[int, int]:
    if outputs.center_logits is not None:
        return tuple(outputs.center_logits.shape[-2:])
    # A model of masks alone: the regions have the mask's proportions.
    height, width = outputs.pred_masks.shape[-2:]
    patch = round((height * width / outputs.last_hidden_state.shape[1]) ** 0.5)
    return height // patch, width // patch
