"""Measures the colours of labelled objects, for expressions of them: "the red car", "man in blue".

plvl data colors LABELS --image_root DIR --output FILE
"""

import argparse
import sys
from pathlib import Path

from plvl.scripts.output_place import output_named, require_writable_folder
from plvl.scripts.program import run_command

SHOWN = 3  # images that cannot be used, by name


def add_arguments(parser: argparse.ArgumentParser):
    parser.add_argument("labels", metavar="LABELS", help="detection labels in COCO's form, instances_<split>.json")
    parser.add_argument("--image_root", required=True, help="folder of their images")
    parser.add_argument("--output", required=True, help="file to write: the labels with the colours of each object")


def run(arguments):
    output = Path(arguments.output)
    require_writable_folder(output.parent)
    if output.is_dir():
        raise IsADirectoryError(f"{output} is a folder, and a file is to be written")
    # Not at the top: --help and a misspelt flag need not wait for NumPy and Pillow.
    from plvl.data.detection.colors import write_colors

    output.parent.mkdir(parents=True, exist_ok=True)
    with output_named(output):
        objects, colored, unusable = write_colors(arguments.labels, arguments.image_root, output)
    print(f"{output}: {colored} of {objects} objects have a colour for certain")
    if unusable:
        print(f"{len(unusable)} images cannot be used ({'; '.join(unusable[:SHOWN])})", file=sys.stderr)


def main(argv=None):
    run_command(__doc__, add_arguments, run, "color_labels", argv)


if __name__ == "__main__":
    main()
