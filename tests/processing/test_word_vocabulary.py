import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.processors import BertProcessing
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


def test_what_a_cut_tokenizer_adds_and_pads_with_has_its_new_index():
    whole = build_word_vocabulary(["the red square"])
    words = {f"unused{number}": number for number in range(30)}
    words |= {word: index + 30 for word, index in whole.get_vocab().items()}
    whole = type(whole)(vocab=words, do_lower_case=True)
    whole.add_tokens(["<box>"])
    backend = whole.backend_tokenizer
    backend.post_processor = BertProcessing(("[SEP]", words["[SEP]"]), ("[CLS]", words["[CLS]"]))
    backend.enable_padding(pad_id=words["[PAD]"], length=9)
    tokenizer, kept = cut_word_pieces(whole, ["red"])
    encoded = tokenizer("the red <box>", padding="max_length", max_length=7)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(encoded) == ["[CLS]", "t", "##h", "##e", "red", "<box>", "[SEP]"]
    assert ids_before(kept, tokenizer, "red <box>") == whole("red <box>")["input_ids"]
    padded = tokenizer("red", padding="max_length", max_length=5)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(padded) == ["[CLS]", "red", "[SEP]", "[PAD]", "[PAD]"]
    assert not any(piece.startswith("unused") for piece in tokenizer.get_vocab())


def test_a_tokenizer_of_another_kind_is_not_cut():
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")])))
    with pytest.raises(ValueError, match=r"text_vocabulary: only a tokenizer of word pieces .* and this is of BPE$"):
        cut_word_pieces(tokenizer, ["ab"])
