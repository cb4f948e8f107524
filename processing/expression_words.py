"""Words in an expression that say where the object is, which cropping and mirroring an image make untrue."""

import re

# "leftmost", "lefthand", "leftside"; "left-hand" and "left's" hold the whole word "left" anyway.
_ENDING = r"(?=(?:most|hand|handed|side|wards?)?\b)"
_SIDE = re.compile(rf"\b(left|right){_ENDING}", re.IGNORECASE)
_POSITION = re.compile(
    rf"\b(?:(?:left|right|top|bottom|middle|upper|lower|cent(?:er|re)|corner){_ENDING}|(?:central|corners)\b)",
    re.IGNORECASE,
)
# "right behind him" says how close, not on which side; "the one on the right behind him" does.
_HOW_CLOSE = re.compile(
    r"\s+(?:behind|beside|next|between|above|below|under|underneath|beneath|near|against|inside|outside|before|after"
    r"|at|by|over|here|there|where|in\s+front|in\s+the\s+(?:middle|cent(?:er|re))|on\s+top)\b",
    re.IGNORECASE,
)
_NOUN_BEFORE = re.compile(
    r"\b(?:the|on|to|at|from|far|his|her|its|their|your|my|top|bottom|upper|lower|very|way)\W+$", re.IGNORECASE
)


def says_position(text: str) -> bool:
    """
    Whether an expression has the word left, right, top, bottom, middle, upper, lower, center or corner, or one made of
    it (leftmost, top-right, uppermost).

    Words of which these are only a part (bright, stop, cleft) do not count.
    """
    return _POSITION.search(text) is not None


def swap_sides(text: str) -> str:
    """
    The expression for the mirrored image: left becomes right and right left, also in leftmost, left-hand, lefthand,
    leftside and leftward.

    Case is kept (Left, LEFT), and no other word is touched: bright, upright and cleft stay, and so does a right that
    says how close something is (right behind him, right next to it).
    """
    return _SIDE.sub(lambda match: match[0] if _says_how_close(match) else _other_side(match[0]), text)


def _says_how_close(match: re.Match) -> bool:
    before, after = match.string[: match.start()], match.string[match.end() :]
    return match[0].lower() == "right" and bool(_HOW_CLOSE.match(after)) and not _NOUN_BEFORE.search(before)


def _other_side(word: str) -> str:
    other = "right" if word.lower() == "left" else "left"
    if word.isupper():
        return other.upper()
    return other.capitalize() if word[0].isupper() else other


def is_blank(text: str) -> bool:
    """Whether there is nothing in a text that could be seen: no character but spaces, control and zero-width ones."""
    return not any(character.isprintable() and not character.isspace() for character in text)


def is_text(value) -> bool:
    """Whether it is a string that can be written: half of an emoji, as JSON may spell it, cannot."""
    return isinstance(value, str) and not any(0xD800 <= ord(character) < 0xE000 for character in value)
