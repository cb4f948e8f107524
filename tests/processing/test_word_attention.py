import numpy as np
import pytest
import torch
from PIL import Image

from plvl.modeling_plvl import PLVLModel
from plvl.processing.word_attention import word_attention

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))


@torch.no_grad()
def attend(model, processor, expression):
    model.set_attn_implementation("eager")
    inputs = processor(images=IMAGE, text=expression, return_tensors="pt")
    return model(**inputs, output_attentions=True)


def test_words_are_those_of_the_expression_however_many_pieces_they_have(model, processor):
    expression = "The red Sandal, on the left"  # the sandal is spelled out by the tokenizer
    outputs = attend(model, processor, expression)
    attention = word_attention(outputs, processor, expression)
    assert attention.words == ["the", "red", "sandal", ",", "on", "the", "left"]
    assert attention.maps.shape == (2, 7, 4, 6)  # blocks 1 and 2 have language, on a grid of 4 x 6


def test_a_words_map_is_the_mean_of_the_heads_over_its_pieces(model, processor):
    outputs = attend(model, processor, "red sandal")
    attention = word_attention(outputs, processor, "red sandal")
    weights = outputs.cross_attentions[1][0].mean(0)
    pieces = len(processor.tokenizer("sandal")["input_ids"]) - 2
    assert pieces > 1
    expected = weights[:, 2 : 2 + pieces].sum(1).reshape(4, 6)
    assert attention.maps[1, 1] == pytest.approx(expected.numpy())
    assert (attention.maps.sum(1) < 1).all()  # the marks and the padding have their share


def test_words_that_are_cut_off_are_left_out(model, processor):
    expression = "red " * 60
    attention = word_attention(attend(model, processor, expression), processor, expression)
    assert attention.words == ["red"] * 38


def test_a_model_of_masks_alone_has_the_same_regions(make_config, processor):
    model = PLVLModel(make_config(tasks=["res"])).eval()
    attention = word_attention(attend(model, processor, "the man"), processor, "the man")
    assert attention.maps.shape == (2, 2, 4, 6)


def test_where_language_enters_no_block_or_there_are_no_words_there_is_none(make_config, model, processor):
    deaf = PLVLModel(make_config(cross_attention_layers=[])).eval()
    assert word_attention(attend(deaf, processor, "the man"), processor, "the man") is None
    no_words = "\ufffd"
    assert word_attention(attend(model, processor, no_words), processor, no_words) is None
