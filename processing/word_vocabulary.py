"""The vocabulary of the expressions themselves: learned, for models that start without a pretrained tokenizer, or what
a pretrained one has of it.
"""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import BertTokenizer, PreTrainedTokenizerBase

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def build_word_vocabulary(expressions: Iterable[str], vocab_size: int = 8192) -> BertTokenizer:
    """
    A lower-cased WordPiece vocabulary: the characters seen, whole and as pieces, then the most frequent words. A word
    that is not in it is spelled out. The same expressions give the same vocabulary.

    Args:
        expressions (`Iterable[str]`): what to learn from.
        vocab_size (`int`, defaults to 8192): entries at most; the characters are kept in any case.
    """
    normalizer, pre_tokenizer = BertNormalizer(lowercase=True), BertPreTokenizer()
    words: Counter[str] = Counter()
    for expression in expressions:
        words.update(word for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(expression)))
    characters = sorted(set("".join(words)))
    pieces = characters + [f"##{character}" for character in characters]
    by_frequency = sorted((word for word in words if len(word) > 1), key=lambda word: (-words[word], word))
    entries = SPECIAL_TOKENS + pieces + by_frequency[: max(vocab_size - len(SPECIAL_TOKENS) - len(pieces), 0)]
    return BertTokenizer(vocab={entry: index for index, entry in enumerate(entries)}, do_lower_case=True)


def plain_words(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """The entries of a vocabulary that are three or more of the letters a to z, in the order of the alphabet."""
    return tuple(sorted(word for word in tokenizer.get_vocab() if len(word) > 2 and word.isascii() and word.isalpha()))


def cut_word_pieces(
    tokenizer: PreTrainedTokenizerBase, expressions: Iterable[str]
) -> tuple[PreTrainedTokenizerBase, list[int]]:
    """
    A WordPiece tokenizer with the pieces that the expressions use, its special tokens and all single characters, whole
    and as pieces: the expressions have the pieces they had, and a word of others falls into smaller ones.

    Returns:
        the tokenizer, and by each of its ids the one before.

    Raises:
        ValueError: it has no word pieces; another kind (BPE, Unigram) is built of merges or odds that a part would
            change.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    kind = json.loads(backend.to_str())["model"]["type"] if backend else type(tokenizer).__name__
    if kind != "WordPiece":
        raise ValueError(
            f"text_vocabulary: only a tokenizer of word pieces (BERT's WordPiece) can be cut, and this is of {kind}"
        )
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        file = Path(folder, "tokenizer.json")
        content = json.loads(file.read_text(encoding="utf-8"))
        before, prefix = tokenizer.get_vocab(), content["model"]["continuing_subword_prefix"]
        used = {piece for each in dict.fromkeys(expressions) for piece in tokenizer.tokenize(each)}
        used |= {each["content"] for each in content["added_tokens"]} | {content["model"]["unk_token"]}
        used |= set(tokenizer.convert_ids_to_tokens(tokenizer("", "")["input_ids"]))  # its marks
        used |= {piece for piece in before if len(piece.removeprefix(prefix)) == 1}
        kept = sorted(used, key=before.__getitem__)
        _renumber(content, {piece: index for index, piece in enumerate(kept)})
        file.write_text(json.dumps(content), encoding="utf-8")
        return type(tokenizer).from_pretrained(folder), [before[piece] for piece in kept]


def _renumber(content: dict, index_of: dict[str, int]):
    """Gives each token of a tokenizer.json its new index, and leaves out of its vocabulary what has none."""
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = {piece: index for piece, index in index_of.items() if piece in vocabulary}
    for token in content["added_tokens"]:
        token["id"] = index_of[token["content"]]
    after = content["post_processor"] or {}
    for token in (after.get("special_tokens") or {}).values():  # of a template
        token["ids"] = [index_of[piece] for piece in token["tokens"]]
    for name in {"cls", "sep"} & after.keys():  # as BERT's own has them
        after[name] = [after[name][0], index_of[after[name][0]]]
    content["padding"] = None  # of its last call; each call says it anew
