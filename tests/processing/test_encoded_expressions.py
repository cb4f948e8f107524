"""An expression that comes again is not encoded again."""

import pytest
import torch

from plvl.processing import encoded_expressions
from plvl.processing.encoded_expressions import EncodedExpressions
from small_runs import random_model

IDS = torch.tensor([[2, 5, 6, 3], [2, 7, 3, 0], [2, 5, 6, 3], [2, 8, 8, 3]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1]])


@pytest.fixture
def model():
    return random_model().eval()


@pytest.fixture
def encoded(model, monkeypatch):
    """A list that gets the expressions of each pass through the text encoder."""
    passes, encode = [], model.get_text_features
    monkeypatch.setattr(
        model, "get_text_features", lambda ids, mask: passes.append(ids[:, 1:3].tolist()) or encode(ids, mask)
    )
    return passes


@torch.no_grad()
def test_states_are_those_of_the_text_encoder_and_each_expression_is_encoded_once(model, encoded):
    expected = model.text_encoder(input_ids=IDS, attention_mask=MASK).last_hidden_state
    encode = EncodedExpressions(model)
    torch.testing.assert_close(encode(IDS[:2], MASK[:2]), expected[:2])
    torch.testing.assert_close(encode(IDS, MASK), expected)
    torch.testing.assert_close(encode(IDS[[3, 0]], MASK[[3, 0]]), expected[[3, 0]])
    assert encoded == [[[5, 6], [7, 3]], [[8, 8]]]


@torch.no_grad()
def test_the_same_tokens_under_another_mask_are_another_expression(model, encoded):
    encode = EncodedExpressions(model)
    two = encode(IDS[[0, 0]], torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]))
    assert len(encoded[0]) == 2 and not torch.allclose(two[0], two[1])


@torch.no_grad()
def test_only_those_that_were_asked_for_last_are_kept(model, encoded, monkeypatch):
    monkeypatch.setattr(encoded_expressions, "MOST", 2)
    encode = EncodedExpressions(model)
    for place in (0, 1, 0, 3, 0, 1):
        encode(IDS[place : place + 1], MASK[place : place + 1])
    assert [passes[0] for passes in encoded] == [[5, 6], [7, 3], [8, 8], [7, 3]]
    assert encode(IDS, MASK).shape == (4, 4, 24), "more at once than are kept"
