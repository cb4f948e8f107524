"""Finding and reading the files of a source, with errors that name the file and say what was expected."""

import hashlib
import json
import os
from pathlib import Path

import fsspec


def existing_folder(folder, name):
    """`folder`, which must be there: it holds files of the set `name`."""
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder} is missing: the files of {name} belong there")
    return Path(folder).absolute()


def existing_files(folder, file_names, name):
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


def content_digest(paths):
    """The sha256 of label files' names and contents.

    Args:
        paths: files (URLs too) and folders, of which every file counts, in the order of their names.
    """
    digest = hashlib.sha256()
    for path in paths:
        files = sorted(Path(path).iterdir()) if os.path.isdir(path) else [path]
        for file in files:
            digest.update(os.path.basename(file).encode())
            with fsspec.open(str(file), "rb") as opened:
                while block := opened.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def check_split(split, splits, name):
    """Raise ValueError listing the splits there are unless `split` is one of them."""
    if split not in splits:
        raise ValueError(f"{name} has no split {split!r}; it has {', '.join(sorted(splits)) or 'none'}")


def check_entries(entries, form, where):
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


def check_entry(entry, form, where):
    """The same for one dict."""
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: an object with {', '.join(form)} is expected, this is {type(entry).__name__}")
    for key, kind in form.items():
        if key not in entry:
            raise ValueError(f"{where}: {key!r} is missing")
        if not isinstance(entry[key], kind):
            raise ValueError(f"{where}: {key!r} is {str(entry[key])[:100]!r}, of another type than expected")


def read_json(path, object_hook=None):
    """A whole JSON file; ValueError names a file that is cut short. `object_hook` is that of `json.load`."""
    with open(path, encoding="utf-8") as file:
        try:
            return json.load(file, object_hook=object_hook)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: cut short or no JSON of its kind ({error})") from error
