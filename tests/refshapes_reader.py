"""A second reader of RefShapes, who knows English and the written files and nothing of how they were made."""

import json
import re

from plvl.data.refshapes.shapes import COLOURS, TEXTURES

WORDS = {
    "name": {"disc": "circle", "disk": "circle", "ball": "circle", "box": "square", "bar": "rectangle"}
    | {"plus": "cross", "rhombus": "diamond", "donut": "ring", "hoop": "ring", "crescent": "moon"}
    | {name: name for name in ("circle", "square", "triangle", "rectangle", "star", "cross", "diamond")}
    | {name: name for name in ("heart", "ring", "moon", "arrow", "flower")}
    | {f"{name}s": name for name in ("circle", "square", "triangle", "star", "heart", "ring", "moon", "arrow")},
    "colour": {"violet": "purple"} | {colour: colour for colour in COLOURS},
    "size": {"little": "small", "tiny": "small", "big": "large", "huge": "large"}
    | {size: size for size in ("small", "medium", "large")},
    "texture": {"solid": "plain", "stripy": "striped", "spotted": "dotted", "checked": "checkered"}
    | {texture: texture for texture in TEXTURES},
}
EMPTY = {"the", "one", "thing", "shape", "object", "ones", "things", "shapes", "objects"}
SIDES = {"left": (0, 1), "right": (0, -1), "top": (1, 1), "bottom": (1, -1)}
RELATIONS = {"left of": (0, -1), "to the left of": (0, -1), "right of": (0, 1), "to the right of": (0, 1)}
RELATIONS |= {"above": (1, -1), "over": (1, -1), "below": (1, 1), "under": (1, 1), "beneath": (1, 1)}
ORDINALS = ("first", "second", "third", "fourth")


def described(words, objects):
    """The objects that words such as "small red circle" fit; None when there is a word not in the list above."""
    asked = {}
    for token in words.split():
        found = {key: known[token] for key, known in WORDS.items() if token in known}
        if not found and token not in EMPTY:
            return None
        asked |= found
    return [thing for thing in objects if all(thing[key] == value for key, value in asked.items())]


def understood(text, objects, width, height):
    """The objects that a reader of the expression finds from the annotations alone; None when it is beyond them."""
    text = text.strip("?.").removeprefix("the ")
    if match := re.fullmatch(rf"(.+?) ({'|'.join(RELATIONS)}) the (.+)", text):
        heads, anchors = described(match[1], objects), described(match[3], objects)
        if heads is None or anchors is None:
            return None
        (anchor,), (axis, sign) = anchors, RELATIONS[match[2]]
        return [t for t in heads if t is not anchor and sign * (t["middle"][axis] - anchor["middle"][axis]) > 0]
    if match := re.fullmatch(rf"({'|'.join(ORDINALS)}) (.+) from the (left|right|top|bottom)", text):
        rank, heads, (axis, sign) = ORDINALS.index(match[1]), described(match[2], objects), SIDES[match[3]]
        return heads and sorted(heads, key=lambda thing: sign * thing["middle"][axis])[rank : rank + 1]
    if match := re.fullmatch(r"(largest|biggest|smallest) (.+)", text):
        return by_area(match[2], objects, match[1] != "smallest")
    if match := re.fullmatch(r"(.+) (?:that is|that's|which is) not (?:a |an )?(\S+)", text):
        heads, out = described(match[1], objects), described(match[2], objects)
        return None if heads is None or out is None else [thing for thing in heads if thing not in out]
    if match := re.fullmatch(r"(.+) (?:on the|at the) (left|right|top|bottom)(?: side)?", text):
        heads, (axis, sign) = described(match[1], objects), SIDES[match[2]]
        half = (width, height)[axis] / 2
        return heads and [thing for thing in heads if sign * (thing["middle"][axis] - half) < 0]
    found = described(text, objects)
    if found == [] and (match := re.fullmatch(r"(big|small) (.+)", text)):
        return by_area(match[2], objects, match[1] == "big")  # of two stars none of which is large as such
    return found


PLURALS = {f"{noun}s": noun for noun in (*WORDS["name"], "one", "thing", "shape", "object")}
PLURALS |= {"crosses": "cross", "boxes": "box", "are": "is"}
COUNTS = {"two": 2, "both": 2, "three": 3, "four": 4, "five": 5}
HOW_MANY = re.compile(rf"(?:the |those |each |every |(all )?(?:({'|'.join(COUNTS)}) )?(?:of the |the )?)")


def understood_of_several(text, objects, width, height):
    """The same for an expression that asks for several, and the number that it speaks of; None where it names none."""
    text = text.strip("?.").removeprefix("the ")
    start = HOW_MANY.match(text)
    words = [PLURALS.get(token, token) for token in text[start.end() :].split()]
    if not words or words[0] in ("on", "at", "in", *" ".join(RELATIONS).split()):
        words.insert(0, "one")  # "both on the left"
    return understood(" ".join(words), objects, width, height), COUNTS.get(start[2])


def by_area(words, objects, largest):
    heads = described(words, objects)
    return heads and sorted(heads, key=lambda thing: thing["area"], reverse=largest)[:1]


def objects_of(folder):
    """By image_id, the objects of a written set with what each looks like, and the images' widths and heights."""
    instances = json.loads((folder / "labels/refshapes/instances.json").read_text(encoding="utf-8"))
    names = {category["id"]: category["name"] for category in instances["categories"]}
    sizes = {image["id"]: (image["width"], image["height"]) for image in instances["images"]}
    objects = {image_id: [] for image_id in sizes}
    for annotation in instances["annotations"]:
        x, y, width, height = annotation["bbox"]
        thing = {"id": annotation["id"], "name": names[annotation["category_id"]], "area": annotation["area"]}
        thing |= annotation["attributes"] | {"middle": (x + width / 2, y + height / 2)}
        objects[annotation["image_id"]].append(thing)
    return objects, sizes
