"""The arguments that commands about data sets have in common: where a set lies, and whose splits are meant."""

import argparse
from pathlib import Path

from plvl.data.fetching.sources import IMAGES, LABELS


def add_place(parser: argparse.ArgumentParser):
    parser.add_argument("--root", help=f"folder of the folders {IMAGES} and {LABELS}, as plvl data get makes it")
    parser.add_argument("--image_root", help="folder of the images, in the place of --root")
    parser.add_argument("--label_root", help="folder of the labels, in the place of --root")


def place(arguments) -> tuple[str | Path | None, str | Path | None]:
    """
    The folders of images and of labels, as far as the arguments say.

    Raises:
        ValueError: they say one of them twice.
    """
    if not arguments.root:
        return arguments.image_root, arguments.label_root
    if arguments.image_root or arguments.label_root:
        raise ValueError("--root stands for --image_root and --label_root: give it, or them")
    return Path(arguments.root) / IMAGES, Path(arguments.root) / LABELS


def add_split_by(parser: argparse.ArgumentParser):
    parser.add_argument("--split_by", help="who split a REFER set (unc, umd, google)")


def add_max_skipped(parser: argparse.ArgumentParser):
    parser.add_argument(
        "--max_skipped", type=float, default=0.01, help="share of bad rows to put up with (default: 0.01)"
    )
