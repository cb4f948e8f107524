"""The example images of a model's demo, which lie in the model's folder.

    examples/examples.json    [{"image": "market.jpg", "expressions": ["the man in red", ...]}, ...]
    examples/market.jpg

A folder without examples/examples.json has none.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from plvl.configuration import earlier_names


@dataclass(frozen=True)
class Example:
    """An image and expressions about it, of which there is at least one."""

    image: Path
    expressions: list[str]


def read_examples(model_folder: Path) -> list[Example]:
    """
    The images of examples/examples.json with their expressions, in the order of the file.

    Raises:
        ValueError: the file is no JSON of that form, or names an image that is not beside it.
    """
    index = Path(model_folder, "examples", "examples.json")
    if not index.is_file():
        return []
    try:
        entries = json.loads(index.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{index}: no JSON ({error})") from None
    if not isinstance(entries, list):
        raise ValueError(f"{index}: must be a list, got {type(entries).__name__}")
    return [_example(entry, index, number) for number, entry in enumerate(entries)]


def _example(entry, index: Path, number: int) -> Example:
    entry = entry if isinstance(entry, dict) else {}
    image = entry.get("image", entry.get(earlier_names.IMAGE_OF_AN_EXAMPLE))
    expressions = entry.get("expressions")
    if not isinstance(image, str) or not _is_list_of_texts(expressions):
        raise ValueError(f"{index}: entry {number} must have an 'image' and a list of 'expressions'")
    path = index.parent / image
    if not path.is_file():
        raise ValueError(f"{index}: entry {number}: the image {path} is missing")
    return Example(path, expressions)


def _is_list_of_texts(value) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) and text.strip() for text in value)
