"""Words in an expression that say where the object is, which cropping and mirroring a picture make untrue."""

import re

# "leftmost", "lefthand", "leftside"; "left-hand" and "left's" hold the whole word "left" anyway.
_ENDING = r"(?=(?:most|hand|handed|side|wards?)?\b)"
_SIDE = re.compile(rf"\b(left|right){_ENDING}", re.IGNORECASE)
_POSITION = re.compile(rf"\b(left|right|top|bottom|middle){_ENDING}", re.IGNORECASE)


def says_position(text: str) -> bool:
    """
    Whether an expression has the word left, right, top, bottom or middle, or one made of it (leftmost, top-right).

    Words of which these are only a part (bright, stop, cleft) do not count.
    """
    return _POSITION.search(text) is not None


def swap_sides(text: str) -> str:
    """
    The expression for the mirrored picture: left becomes right and right left, also in leftmost, left-hand, lefthand,
    leftside and leftward.

    Case is kept (Left, LEFT), and no other word is touched: bright, upright and cleft stay.
    """
    return _SIDE.sub(lambda match: _other_side(match[0]), text)


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
