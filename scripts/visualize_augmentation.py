"""Draws samples of a data set, with boxes and mask, and what each step of the training transform does to them.

plvl data show refcoco --root data --split train --num_samples 4 --output sheet.png
"""

import argparse
from pathlib import Path

from plvl.scripts.data_arguments import add_max_skipped, add_place, add_split_by
from plvl.scripts.output_place import require_writable_folder
from plvl.scripts.program import ArgumentParser, run_as_program


def add_arguments(parser: argparse.ArgumentParser):
    parser.add_argument("name", nargs="?", metavar="NAME", help="name of the dataset, see docs/data.md")
    parser.add_argument("--dataset", help=argparse.SUPPRESS)  # as it was called before NAME
    add_place(parser)
    parser.add_argument("--split", default="train", help="the split (default: train)")
    add_split_by(parser)
    parser.add_argument("--num_samples", type=int, default=4, help="samples, each of another image (default: 4)")
    parser.add_argument("--output", default="sheet.png", help="where the sheet goes (default: sheet.png)")
    parser.add_argument("--size", type=int, default=448, help="side of the network's square (default: 448)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other samples and draws (default: 0)")
    parser.add_argument("--shuffle_buffer", type=int, default=1000, help="rows to draw from; 0: the first ones")
    add_max_skipped(parser)
    switch = {"action": argparse.BooleanOptionalAction}
    parser.add_argument("--aug_crop", default=True, **switch, help="cut every other image to a part")
    parser.add_argument("--aug_scale", default=True, **switch, help="draw the size images are resized to")
    parser.add_argument("--aug_color", default=True, **switch, help="change brightness, contrast and saturation")
    parser.add_argument("--aug_blur", default=False, **switch, help="blur every other image")


def run(arguments):
    if (arguments.name is None) == (arguments.dataset is None):
        raise ValueError("name one data set, as refcoco")
    require_writable_folder(Path(arguments.output).absolute().parent)
    # Not at the top: --help and what is wrong with the arguments need not wait for PyTorch.
    from plvl.scripts.sample_sheet import draw_sheet

    draw_sheet(arguments.name or arguments.dataset, arguments)


def main(argv=None):
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    run(parser.parse_args(argv))


if __name__ == "__main__":
    run_as_program(main)
