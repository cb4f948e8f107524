import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordPiece
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import BertProcessing, TemplateProcessing
from transformers import PreTrainedTokenizerFast

from plvl.processing.word_vocabulary import build_word_vocabulary, cut_word_pieces


def test_seen_words_are_one_token_and_others_are_spelled_out():
    tokenizer = build_word_vocabulary(["the red square", "the blue circle"])
    assert tokenizer.tokenize("The RED circle") == ["the", "red", "circle"]
    assert tokenizer.tokenize("cure") == ["c", "##u", "##r", "##e"]
    assert tokenizer.tokenize("Ω") == ["[UNK]"]
    assert tokenizer.convert_ids_to_tokens(tokenizer("red")["input_ids"]) == ["[CLS]", "red", "[SEP]"]


def test_a_small_vocabulary_keeps_the_most_frequent_words():
    expressions = ["red square", "red circle", "red star"]
    characters = set("redsquarecirclestar")
    tokenizer = build_word_vocabulary(expressions, vocab_size=5 + 2 * len(characters) + 1)
    assert tokenizer.tokenize("red") == ["red"]
    assert tokenizer.tokenize("star") == ["s", "##t", "##a", "##r"]


def test_the_same_expressions_give_the_same_vocabulary():
    expressions = ["the red square", "the blue circle", "a small star"]
    assert build_word_vocabulary(expressions).get_vocab() == build_word_vocabulary(expressions).get_vocab()


def ids_before(kept, tokenizer, text):
    return [kept[index] for index in tokenizer(text)["input_ids"]]


def test_a_cut_vocabulary_spells_its_expressions_as_before_and_others_in_smaller_pieces():
    whole = build_word_vocabulary(["the red square", "the blue circle", "a star"])
    tokenizer, kept = cut_word_pieces(whole, ["The RED stars", "[MASK] Ω"])
    for text in ("The RED stars", "[MASK] Ω", "red", "stars"):
        assert ids_before(kept, tokenizer, text) == whole(text)["input_ids"]
    assert tokenizer.tokenize("the square") == ["the", *"s"] + [f"##{letter}" for letter in "quare"]
    assert not {"blue", "circle", "square"} & tokenizer.get_vocab().keys()
    assert [*tokenizer.get_vocab().values()] != kept and kept == sorted(kept)
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(kept)))


TEMPLATE = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 32), ("[SEP]", 33)])


@pytest.mark.parametrize("marks", [BertProcessing(("[SEP]", 33), ("[CLS]", 32)), TEMPLATE, None])
def test_what_a_cut_tokenizer_adds_and_pads_with_has_its_new_index(marks):
    words = {f"unused{number}": number for number in range(30)}
    words |= {word: index + 30 for word, index in build_word_vocabulary(["the red square"]).get_vocab().items()}
    backend = Tokenizer(WordPiece(words, unk_token="[UNK]"))
    backend.pre_tokenizer = BertPreTokenizer()
    if marks is not None:
        backend.post_processor = marks
    backend.enable_padding(pad_id=30, length=9)
    whole = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]")
    whole.add_tokens(["<box>"])
    tokenizer, kept = cut_word_pieces(whole, ["red"])
    before, after = (["[CLS]"], ["[SEP]"]) if marks is not None else ([], [])
    encoded = tokenizer("the red <box>")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(encoded) == [*before, "t", "##h", "##e", "red", "<box>", *after]
    assert ids_before(kept, tokenizer, "red <box>") == whole("red <box>")["input_ids"]
    padded = tokenizer("red", padding="max_length", max_length=5)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(padded)[:4] == [*before, "red", *after, "[PAD]", "[PAD]", "[PAD]"][:4]
    assert not any(piece.startswith("unused") for piece in tokenizer.get_vocab())


def test_a_tokenizer_of_another_kind_is_not_cut():
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")])))
    with pytest.raises(ValueError, match=r"text_vocabulary: only a tokenizer of word pieces .* and this is of BPE$"):
        cut_word_pieces(tokenizer, ["ab"])
