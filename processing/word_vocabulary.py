"""A tokenizer learned from the expressions themselves, for models that start without a pretrained one."""

from collections import Counter
from collections.abc import Iterable

from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import BertTokenizer

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
