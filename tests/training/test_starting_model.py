"""What a new model's processor takes from its tokenizer and text encoder."""

from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from plvl.configuration import PLVLConfig
from plvl.training.starting_model import longest_expression


@pytest.mark.parametrize(("of_tokenizer", "of_encoder", "longest"), [(512, 512, 40), (32, 77, 32), (10**30, 24, 24)])
def test_an_expression_is_as_long_as_tokenizer_and_encoder_take(of_tokenizer, of_encoder, longest):
    words = Tokenizer(WordLevel({"[UNK]": 0, "left": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=of_tokenizer)
    config = PLVLConfig(text_config={"model_type": "bert", "max_position_embeddings": of_encoder})
    assert longest_expression(tokenizer, config) == longest


def test_an_encoder_without_a_table_of_positions_takes_the_authors_length():
    config = SimpleNamespace(text_config=SimpleNamespace())
    assert longest_expression(SimpleNamespace(model_max_length=512), config) == 40
