"""The manifest of a checkpoint: its files with sizes and hashes, written last, so that what is lost later is named."""

import json
from pathlib import Path

from huggingface_hub.utils.sha import sha_fileobj

MANIFEST = "manifest.json"


def write_manifest(checkpoint):
    """Lists every file of a folder, those of folders in it too, in its `manifest.json`."""
    folder = Path(checkpoint)
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != MANIFEST)
    entries = {file.relative_to(folder).as_posix(): _entry(file) for file in files}
    (folder / MANIFEST).write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def has_manifest(checkpoint) -> bool:
    return Path(checkpoint, MANIFEST).is_file()


def deviation_from_manifest(checkpoint) -> str | None:
    """
    What is not as the manifest of a folder has it, as "optimizer.pt is missing"; None if everything is. Files that the
    manifest does not have are nobody's business. Every file is read and hashed: a gigabyte takes a second.
    """
    folder = Path(checkpoint)
    try:
        entries = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        listed = {folder / name: (entry["size"], entry["sha256"]) for name, entry in entries.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        return f"{MANIFEST} cannot be read ({type(error).__name__}: {error})"
    for file, (size, sha256) in listed.items():
        name = file.relative_to(folder)
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} bytes and was written with {size}"
        if _sha256(file) != sha256:
            return f"{name} has other content than was written"
    return None


def _entry(file: Path) -> dict:
    return {"size": file.stat().st_size, "sha256": _sha256(file)}


def _sha256(file: Path) -> str:
    with open(file, "rb") as content:
        return sha_fileobj(content).hex()
