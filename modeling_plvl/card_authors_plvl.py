"""Tells a model card that this project wrote from one that a person had a hand in."""

import hashlib
import re

# At the end of a card: the sum over all before it.
MARK = re.compile(r"\n<!-- Written by PLVL \(([0-9a-f]{64})\)[^\n]*-->\s*\Z")


def signed(text: str) -> str:
    """The card with a mark at its end, by which [`is_as_written`] knows it; of a signed card, with a new one."""
    text = MARK.sub("", text).rstrip() + "\n"
    return f"{text}\n<!-- Written by PLVL ({_sum(text)}). With words of yours in it, it is kept from now on. -->\n"


def is_as_written(text: str) -> bool:
    """Whether a card is what this project wrote, to the letter."""
    mark = MARK.search(text)
    return mark is not None and _sum(text[: mark.start()]) == mark[1]


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
