"""How a meaning is said: synonyms, word order, politeness, noise words and typing errors.

Whoever mirrors an image in training swaps the words left and right (plvl.processing.expression_words), so
sides are said by words that it knows, and those get no typing errors.
"""

import random
import re
from collections.abc import Sequence

from plvl.data.scene_language.meanings import (
    Absent,
    Attribute,
    Between,
    Comparison,
    Depth,
    Exclusion,
    Meaning,
    Order,
    Place,
    Relation,
    Scene,
    Several,
)

MAX_WORDS = 20
_CORNER = 0.27  # of the image's width and height: what is farther from the edge is in no corner

_VERTICAL = {"top": ("top", "upper"), "bottom": ("bottom", "lower")}
_AT_PLACE = {
    "left": ("on the left", "on the left side", "at the left", "to the left", "in the left half", "left"),
    "right": ("on the right", "on the right side", "at the right", "to the right", "in the right half", "right"),
    "top": ("at the top", "on top", "at the top of the picture", "in the upper half", "on the top side", "top"),
    "bottom": (
        "at the bottom",
        "on the bottom",
        "at the bottom of the picture",
        "in the lower half",
        "on the bottom side",
        "bottom",
    ),
    "middle": ("in the middle", "in the center", "in the centre", "at the center", "in the middle of the picture"),
}
_BEFORE_PLACE = {
    "left": ("left", "left hand"),
    "right": ("right", "right hand"),
    "top": ("top", "upper"),
    "bottom": ("bottom", "lower"),
    "middle": ("middle", "center", "central"),
}
_ORDINALS = ("first", "second", "third", "fourth")
_NUMERALS = ("1st", "2nd", "3rd", "4th")
_MOST = {
    "left": ("leftmost", "most left", "left most"),
    "right": ("rightmost", "most right", "right most"),
    "top": ("topmost", "highest", "uppermost", "top"),
    "bottom": ("lowest", "bottommost", "bottom"),
}
_FARTHEST = {
    "left": ("farthest to the left", "furthest left", "furthest to the left", "on the far left"),
    "right": ("farthest to the right", "furthest right", "furthest to the right", "on the far right"),
    "top": ("closest to the top", "furthest up", "nearest the top"),
    "bottom": ("closest to the bottom", "furthest down", "nearest the bottom"),
}
_OF_TWO = {"left": ("left",), "right": ("right",), "top": ("upper", "top", "higher"), "bottom": ("lower", "bottom")}
_LARGEST = {True: ("largest", "biggest"), False: ("smallest", "tiniest", "littlest")}
_LARGER = {True: ("larger", "bigger"), False: ("smaller",)}
_FRONT = (
    ("closest", "front", "nearest", "foreground"),
    (
        "closest to us",
        "in front",
        "in the front",
        "in the foreground",
        "closest to the camera",
        "nearest to us",
        "front",
    ),
)
_BACK = (
    ("farthest", "back", "furthest", "background"),
    (
        "in the back",
        "in the background",
        "farthest away",
        "furthest away",
        "farthest from us",
        "in back",
        "in background",
    ),
)
_RELATIONS = {
    "left": ("left of", "to the left of", "on the left of", "on the left side of"),
    "right": ("right of", "to the right of", "on the right of", "on the right side of"),
    "above": ("above", "over", "higher than", "somewhere above"),
    "below": ("below", "under", "beneath", "underneath", "lower than"),
    "near": ("next to", "near", "beside", "close to", "by", "right next to"),
    "nearest": ("closest to", "nearest to", "nearest", "that is closest to"),
    "larger": ("larger than", "bigger than", "that is larger than", "that is bigger than"),
    "smaller": ("smaller than", "that is smaller than"),
    "behind": ("behind", "partly behind", "partly hidden by", "partly covered by", "that is behind"),
    "in front": ("in front of", "covering", "partly covering", "that is in front of"),
}
_POLITE = (
    "please find",
    "can you find",
    "could you find",
    "find",
    "find me",
    "show me",
    "where is",
    "where's",
    "point to",
    "please point to",
    "select",
    "please select",
    "click on",
    "mark",
    "can you show me",
    "could you please mark",
    "i am looking for",
    "i'm looking for",
    "i want",
    "i mean",
    "look for",
    "give me",
    "which one is",
    "segment",
    "locate",
    "it is",
    "it's",
)
_POLITE_TO_SEVERAL = tuple(each for each in _POLITE if not each.startswith(("where", "which", "it")))
_QUESTIONS = ("can you", "could you", "where", "which")
_AFTER = ("please", "in the picture", "in this picture", "in the image", "thanks", "here", "you see", "please")
_NOISE = ("um", "uh", "well", "ok", "hmm", "so", "maybe", "just", "hey", "yes", "i think", "i guess")
_NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}
_EACH = ("every", "each")
_BARE = ("not ", "both ", "all ", *(f"{each} " for each in _EACH))  # what has no article before it
_PLURAL_VERBS = {"is": "are", "'s": " are", "has": "have", "isn't": "aren't", "isnt": "arent"}
_VERB = re.compile(r"\b(that|which)( ?)(is|'s|has|isn't|isnt)(?= )")
# "largest of the horses", "left one of the two": there the article stays.
_ARTICLES = re.compile(r"(?<!\bone of )(?<!est of )(?<!er of )\b(the|an?) ")
_OF_ALL = re.compile(r"\b(both|all|two|three|four|five) of the ")
_SPOKEN_AS_CONSONANT = ("one", "uni", "use", "eu")
_PROTECTED = re.compile("left|right")
# What is typed in place of a letter, mostly a key near it; q, x and z stay.
_MISTAKEN = dict(zip("abcdefghijklmnopqrstuvwxyz", "svxsrdhjkkljnmioqetyycdxtz", strict=True))


def phrase_of(meaning: Meaning, scene: Scene, rng: random.Random) -> str:
    """One of the ways to say `meaning` about `scene`, without an article: lower case, hardly any punctuation."""
    return _SAY[type(meaning)](meaning, scene, rng)


def dressed(phrase: str, meaning: Meaning, rng: random.Random, typo_rate: float = 0.0) -> str:
    """A phrase of [`phrase_of`] with an article, and with what people say around it; MAX_WORDS words at most.

    Args:
        typo_rate: the probability of a typing error somewhere in it, 0 to 1.
    """
    plural = isinstance(meaning.said if isinstance(meaning, Absent) else meaning, Several)
    text = f"{_article(phrase, rng, plural)} {phrase}".strip()
    with_more = _dress(text, rng, plural)
    text = with_more if len(with_more.split()) <= MAX_WORDS else text
    return _mistype(text, rng) if rng.random() < typo_rate else text


def terse(phrase: str) -> str:
    """A phrase of [`phrase_of`] as somebody in a hurry writes it: no articles ("cup by laptop", "both dogs")."""
    return _ARTICLES.sub("", _OF_ALL.sub(r"\1 ", phrase))


def indefinite(noun: str) -> str:
    """ "a dog", "an umbrella" """
    return f"{'an' if noun[0] in 'aeiou' and not noun.startswith(_SPOKEN_AS_CONSONANT) else 'a'} {noun}"


def _article(phrase, rng, plural):
    if phrase.startswith(_BARE):
        return ""
    draw = rng.random()
    return "the" if draw < 0.72 else ("those" if plural else "that") if draw < 0.74 else ""


def _dress(text, rng, plural):
    """Adds what people say around an expression."""
    question = ""
    if rng.random() < 0.12 and not (plural and text.startswith("not ")):
        before = rng.choice(_POLITE_TO_SEVERAL if plural else _POLITE)
        if not text.startswith(("the ", "that ", "those ", *_BARE)) and (
            before == "which one is" or rng.random() < 0.8
        ):
            text = f"the {text}"
        question = "?" if before.startswith(_QUESTIONS) and rng.random() < 0.4 else ""
        text = f"{before} {text}"
    if rng.random() < 0.07:
        text = f"{text} {rng.choice(_AFTER)}"
    if rng.random() < 0.04:
        text = f"{rng.choice(_NOISE)} {text}"
    return text + (question or ("." if rng.random() < 0.01 else ""))


def _mistype(text, rng):
    """The text with one typing error, in a word of four letters or more that names no side.

    One time in forty nothing changes: two like letters are swapped, or the wrong letter is the right one.
    """
    words = text.split(" ")
    candidates = [k for k, word in enumerate(words) if _may_be_mistyped(word)]
    if not candidates:
        return text
    k = rng.choice(candidates)
    word, at = words[k], rng.randrange(1, len(words[k]) - 1)
    way = rng.choice(("swap", "drop", "double", "neighbour"))
    if way == "swap":
        word = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    elif way == "drop":
        word = word[:at] + word[at + 1 :]
    elif way == "double":
        word = word[:at] + word[at] + word[at:]
    else:
        word = word[:at] + _MISTAKEN[word[at]] + word[at + 1 :]
    words[k] = word
    return " ".join(words)


def _may_be_mistyped(word):
    return len(word) >= 4 and word.isalpha() and not _PROTECTED.search(word)


# A phrase is put together from words before the noun, the noun and words behind it.


def usual(options: Sequence[str], rng: random.Random) -> str:
    """The first of `options` half of the time, else any other."""
    return options[0] if len(options) == 1 or rng.random() < 0.5 else rng.choice(options[1:])


def _say_attribute(meaning, scene, rng, plural=False):
    first = ("only",) if rng.random() < 0.02 and not plural else ()
    return meaning.description.words(rng, first, plural, noun_needed=plural or bool(first))


def _where(meaning, scene, rng):
    """ "at the top left", after a noun"""
    if meaning.place in _AT_PLACE:
        return usual(_AT_PLACE[meaning.place], rng)
    vertical, side = meaning.place.split()
    words = f"{usual(_VERTICAL[vertical], rng)} {side}"
    if _in_corner(meaning, scene) and rng.random() < 0.4:
        return f"in the {words} corner"
    return rng.choice(
        (
            f"at the {words}",
            f"on the {words}",
            f"in the {words}",
            f"in the {words}",
            f"in the {words} part",
            f"on the {words} side",
            words,
            f"{side} {vertical}" if rng.random() < 0.5 else words.replace(" ", "-"),
        )
    )


def _in_corner(meaning, scene):
    middles = [scene.middles[target] for target in meaning.targets(scene, strict=True)]
    return all(min(share, 1 - share) < _CORNER for x, y in middles for share in (x / scene.width, y / scene.height))


def _say_place(meaning, scene, rng, plural=False):
    if meaning.description.is_empty and not plural and rng.random() < 0.12:
        vertical, _, side = meaning.place.rpartition(" ")
        return f"{usual(_VERTICAL[vertical], rng)} {side}" if vertical else side  # "top left"
    if rng.random() < 0.68:
        link = rng.choice(("that is ", "which is ")) if rng.random() < 0.08 else ""
        where = _where(meaning, scene, rng)
        if where.startswith(("left", "right", "top", "bottom", "upper", "lower")):
            link = ""  # "star top right"
        return f"{meaning.description.words(rng, plural=plural, behind=not link)} {link}{where}"
    if meaning.place in _BEFORE_PLACE:
        first = usual(_BEFORE_PLACE[meaning.place], rng)
    else:
        vertical, side = meaning.place.split()
        first = f"{usual(_VERTICAL[vertical], rng)} {side}"
    return meaning.description.words(rng, (first,), plural)


def _count(described, rng):
    """The number of the shapes that an expression speaks of; any where there is none."""
    return len(described) or rng.choice((2, 2, 2, 3, 4))


def _say_order(meaning, scene, rng):
    description, side = meaning.description, meaning.side
    count = _count(description.group(scene), rng)
    if meaning.rank == 0:
        draw = rng.random()
        if count == 2 and draw < 0.45:
            first = usual(_OF_TWO[side], rng)
            if rng.random() < 0.6:
                return description.words(rng, first=(first,))
            one = "one " if side in ("left", "right") else rng.choice(("one ", ""))
            return f"{first} {one}of the two {description.words(rng, plural=True)}"
        if draw < 0.75:
            return description.words(rng, first=(usual(_MOST[side], rng),))
        if draw < 0.9:
            return f"{description.words(rng)} {usual(_FARTHEST[side], rng)}"
    number = (_NUMERALS if rng.random() < 0.08 else _ORDINALS)[meaning.rank]
    start = "from left" if side == "left" and rng.random() < 0.1 else f"from the {side}"
    draw = rng.random()
    if description.is_empty and draw < 0.35:
        return f"{number} {start}"
    if draw < 0.85 or meaning.rank == 0:
        return f"{description.words(rng, first=(number,))} {start}"
    return f"{description.words(rng, behind=False)} that is {number} {start}"


def _say_comparison(meaning, scene, rng):
    description = meaning.description
    count = _count(description.group(scene), rng)
    if count == 2 and rng.random() < 0.65:
        if rng.random() < 0.15:
            return description.words(rng, first=("big" if meaning.largest else "small",))
        first = usual(_LARGER[meaning.largest], rng)
        if rng.random() < 0.5:
            return description.words(rng, first=(first,))
        number = "two " if rng.random() < 0.7 else ""
        return f"{first} {rng.choice(('one ', '', ''))}of the {number}{description.words(rng, plural=True)}"
    first = usual(_LARGEST[meaning.largest], rng)
    draw = rng.random()
    if draw < 0.12 and not description.is_empty:
        return f"{first} {rng.choice(('one ', ''))}of the {description.words(rng, plural=True)}"
    if draw < 0.2 and not description.is_empty:
        return f"{first} {rng.choice(('one ', ''))}of all {description.words(rng, plural=True)}"
    if draw < 0.2:
        return f"{first} {rng.choice(('of all', 'one of all', 'in the picture'))}"
    if draw < 0.28:
        return f"{description.words(rng, behind=False)} that is the {first}"
    return description.words(rng, first=(first,))


def _say_depth(meaning, scene, rng):
    before, behind = _FRONT if meaning.nearest else _BACK
    if rng.random() < 0.35:
        return meaning.description.words(rng, (usual(before, rng),))
    return f"{meaning.description.words(rng, behind=False)} {usual(behind, rng)}"


def _anchor(meaning, scene, rng):
    """A shape that a relation starts from, said so that nothing behind its noun is taken for the head's."""
    if isinstance(meaning, Relation):
        return f"the {_say_relation(meaning, scene, rng)}"
    if isinstance(meaning, Order):
        return f"the {meaning.description.words(rng, (_MOST[meaning.side][0],), behind=False)}"
    if isinstance(meaning, Comparison):
        return f"the {meaning.description.words(rng, (usual(_LARGEST[meaning.largest], rng),), behind=False)}"
    article = "the" if rng.random() < 0.93 else rng.choice(("a", "that", ""))
    phrase = meaning.description.words(rng, behind=False)
    return indefinite(phrase) if article == "a" else f"{article} {phrase}".strip()


def _say_relation(meaning, scene, rng, plural=False):
    head = meaning.description.words(rng, plural=plural, behind=rng.random() < 0.3)
    words = usual(meaning.anchor.description.links.get(meaning.relation) or _RELATIONS[meaning.relation], rng)
    link = "that is " if rng.random() < 0.06 and not words.startswith("that") else ""
    return f"{head} {link}{words} {_anchor(meaning.anchor, scene, rng)}"


def _say_between(meaning, scene, rng):
    first, second = rng.sample(meaning.anchors, 2)
    head = meaning.description.words(rng, behind=False)
    ends = f"{_anchor(first, scene, rng)} and {_anchor(second, scene, rng)}"
    return f"{head} {usual(('between', 'in between', 'that is between'), rng)} {ends}"


def _say_exclusion(meaning, scene, rng, plural=False):
    description = meaning.description
    if len(meaning.excluded) == 2:
        first, second = (excluded.description.predicate(rng, plural) for excluded in meaning.excluded)
        ways = (f"that is neither {first} nor {second}", f"that is not {first} and not {second}",
                f"that is not {first} or {second}")  # fmt: skip
        return f"{description.words(rng, plural=plural, behind=False)} {usual(ways, rng)}"
    (excluded,) = meaning.excluded
    head = description.words(rng, plural=plural, behind=False)
    link = usual(("that is not", "that isn't", "which is not", "that's not", "not", "that isnt"), rng)
    if isinstance(excluded, Place):
        where = usual(_AT_PLACE[excluded.place][:4], rng)
        return f"{head} {link} {where}"
    if len(description.group(scene)) == 2 and len(meaning.targets(scene, True)) == 1 and rng.random() < 0.4:
        other = description.together_with(excluded.description).words(rng, behind=False)
        if description.name and not excluded.description.name and rng.random() < 0.5:
            other = f"{excluded.description.predicate(rng)} one"
            return f"{head} {rng.choice(('not', 'but not', 'other than'))} the {other}"
        ways = (f"{head} other than the {other}", f"{head} but not the {other}", f"other {head} not the {other}",
                f"{head} not the {other}", f"not the {other}")  # fmt: skip
        return rng.choice(ways)
    own_way = description.exclusion(head, excluded.description, rng, plural)
    if own_way is not None:
        return own_way
    return f"{head} {link} {excluded.description.predicate(rng, plural)}"


def _say_several(meaning, scene, rng):
    said, count = meaning.said, _count(meaning.targets(scene, True), rng)
    each = rng.random() < 0.1
    phrase = _SAY[type(said)](said, scene, rng, plural=not each)
    if phrase.startswith("not "):
        return phrase  # "not the red ones"
    if each:
        return f"{rng.choice(_EACH)} {phrase}"
    phrase = _VERB.sub(lambda verb: f"{verb[1]}{verb[2]}{_PLURAL_VERBS[verb[3]]}", phrase)
    draw = rng.random()
    if draw < 0.4:
        return phrase
    number = _NUMBERS.get(count)
    first, link = ("both" if count == 2 and draw < 0.9 else "all"), usual(("", "the", "of the"), rng)
    if number and draw < 0.6:
        first, link = number, ""
    elif number and count > 2 and draw < 0.7:
        first, link = f"all {number}", usual(("", "of the"), rng)
    if not link:
        phrase = phrase.removeprefix("ones ")  # "both next to the ring"
    return " ".join(word for word in (first, link, phrase) if word)


def _say_absent(meaning, scene, rng):
    return _SAY[type(meaning.said)](meaning.said, scene, rng)


_SAY = {
    Attribute: _say_attribute,
    Place: _say_place,
    Order: _say_order,
    Comparison: _say_comparison,
    Depth: _say_depth,
    Relation: _say_relation,
    Between: _say_between,
    Exclusion: _say_exclusion,
    Several: _say_several,
    Absent: _say_absent,
}
