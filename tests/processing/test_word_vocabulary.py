from plvl.processing.word_vocabulary import build_word_vocabulary


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
