"""Expressions of one run over many images, each encoded once."""

from collections import OrderedDict
from typing import Any

import torch

MOST = 1024  # of BERT-base's states in float32, 126 MB


class EncodedExpressions:
    """
    The text encoder's states of expressions, kept for when they come again: for as long as the model's weights, their
    type and their device stay as they are. The `MOST` that were asked for last are kept.

    Args:
        model: a [`PLVLModel`].
    """

    def __init__(self, model: Any):
        self.model = model
        self._states: OrderedDict[tuple, torch.Tensor] = OrderedDict()

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """
        Args:
            input_ids, attention_mask (`torch.Tensor` of shape `(batch_size, sequence_length)`): of the expressions.

        Returns:
            `torch.Tensor` of shape `(batch_size, sequence_length, text_hidden_size)`: what the model's `forward` takes
            as `text_embeds`.
        """
        keys = [(*ids, *mask) for ids, mask in zip(input_ids.tolist(), attention_mask.tolist(), strict=True)]
        place_of_new = {key: place for place, key in enumerate(keys) if key not in self._states}
        if place_of_new:
            places = list(place_of_new.values())
            new = self.model.get_text_features(input_ids[places], attention_mask[places]).last_hidden_state
            # A view would keep its whole batch.
            self._states.update(zip(place_of_new, (each.clone() for each in new), strict=True))
        for key in keys:
            self._states.move_to_end(key)
        states = torch.stack([self._states[key] for key in keys])
        while len(self._states) > MOST:
            self._states.popitem(last=False)
        return states
