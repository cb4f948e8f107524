"""Finding and reading the files of a source, with errors that name the file and say what was expected."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from numbers import Integral
from pathlib import Path
from typing import Any

import fsspec

# A repository of the Hub, `user/set`.
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def existing_folder(folder: str | Path, name: str) -> Path:
    """`folder`, which must be there: it holds files of the set `name`."""
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder} is missing: the files of {name} belong there")
    return Path(folder).absolute()


def existing_files(folder: str | Path, file_names: Iterable[str], name: str) -> list[Path]:
    """The files of the set `name` in `folder`; the error for a missing one tells all that are expected."""
    folder = Path(folder)
    for file_name in file_names:
        if not (folder / file_name).is_file():
            expected = ", ".join(repr(expected) for expected in file_names)
            there = "no such folder"
            if folder.is_dir():
                there = ", ".join(sorted(path.name for path in folder.iterdir())[:20]) or "nothing"
            raise FileNotFoundError(
                f"{folder / file_name} is missing: {name} needs {expected} in {folder} (there: {there})"
            )
    return [folder / file_name for file_name in file_names]


def content_digest(paths: Iterable[Path]) -> str:
    """The sha256 of label files' names and contents.

    Args:
        paths: files (URLs too) and folders, of which every file counts, in the order of their names. Where a URL of
            the Hub has the commit (hf://datasets/user/set@commit/...) it stands for the file's content.
    """
    digest = hashlib.sha256()
    for path in paths:
        if str(path).startswith("hf://") and "@" in str(path):
            digest.update(str(path).encode())
            continue
        files = sorted(Path(path).iterdir()) if os.path.isdir(path) else [path]
        for file in files:
            digest.update(os.path.basename(file).encode())
            with fsspec.open(str(file), "rb") as opened:
                while block := opened.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def check_split(split: str, splits: Iterable[str], name: str) -> None:
    """Raise ValueError listing the splits there are unless `split` is one of them."""
    if split not in splits:
        raise ValueError(f"{name} has no split {split!r}; it has {', '.join(sorted(splits)) or 'none'}")


def check_entries(entries: Any, form: dict[str, Any], where: str | Path) -> None:
    """Raise ValueError with `where` and the entry's place unless `entries` is a list of dicts of one form.

    Args:
        entries: what should be such a list.
        form: {key: type or types of its value}, the keys that each entry must have.
        where: the file, and the part of it.
    """
    if not isinstance(entries, list):
        raise ValueError(f"{where}: a list is expected, this is {type(entries).__name__}")
    for place, entry in enumerate(entries):
        check_entry(entry, form, f"{where}, entry {place}")


def check_entry(entry: Any, form: dict[str, Any], where: str | Path) -> None:
    """The same for one dict."""
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: an object with {', '.join(form)} is expected, this is {type(entry).__name__}")
    for key, kind in form.items():
        if key not in entry:
            raise ValueError(f"{where}: {key!r} is missing")
        if not isinstance(entry[key], kind):
            raise ValueError(f"{where}: {key!r} is {entry[key]!r:.100}, {_type_names(kind)} is expected")


def _type_names(kind):
    names = {"Integral": "a whole number", "Real": "a number", "str": "text", "list": "a list", "dict": "an object"}
    kinds = [each for each in getattr(kind, "__args__", (kind,)) if each.__name__ != "NoneType"]
    return " or ".join(names.get(each.__name__, each.__name__) for each in kinds)


def read_json(path: str | Path, object_hook: Callable | None = None) -> Any:
    """A whole JSON file, with a byte order mark or without; ValueError names a file that cannot be read.
    `object_hook` is that of `json.load`."""
    return parse_json(Path(path).read_bytes(), path, object_hook)


def parse_json(text: bytes, where: str | Path, object_hook: Callable | None = None) -> Any:
    """JSON of `text` (bytes); ValueError begins with `where`, the file and the place in it."""
    try:
        return json.loads(text, object_hook=object_hook)
    # Objects or lists in one another by the thousand end Python's own stack.
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{where}: cut short or no JSON of its kind ({error})") from error


def index_images(entries: Iterable[dict], where: str) -> dict:
    """`index_by_id` of COCO's images. Two of one file are refused, too: what is said of one would be read of both."""
    index = index_by_id(entries, where, "file_name")
    index_by_id(index.values(), where, "id", key="file_name")
    return index


def index_by_id(entries: Iterable, where: str, name: str | None = None, key: str = "id") -> dict:
    """{id: entry} of a list of dicts; ValueError names both where two have one id.

    Args:
        entries: the list.
        where: the file, and the part of it.
        name: the key of what a person knows an entry by, for the error.
        key: the key of the id.
    """
    index: dict = {}
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get(key), Integral | str):
            raise ValueError(f"{where}: an object with the {key} is expected, got {str(entry)[:100]!a}")
        first = index.setdefault(entry[key], entry)
        if first != entry:
            both = [str(each.get(name, each))[:100] for each in (first, entry)]
            raise ValueError(f"{where}: two have the {key} {entry[key]}: {both[0]!a} and {both[1]!a}")
    return index
