"""Fetches data sets, checks, shows or writes them as Parquet, makes RefShapes, or adds colours to labels.

plvl data get NAME --root DIR [--splits SPLIT ...] [--split_by WHO] [--labels_only]
plvl data check NAME [NAME ...] (--root DIR | --image_root DIR --label_root DIR) [--splits SPLIT ...] [--split_by WHO]
plvl data show NAME (--root DIR | --image_root DIR --label_root DIR) [--split SPLIT] [--output FILE]
plvl data prepare NAME [NAME ...] (--root DIR | --image_root DIR --label_root DIR) --splits SPLIT ... --output DIR
plvl data make --output DIR [--num_images N] [--seed N]
plvl data colors LABELS --image_root DIR --output FILE
"""

import argparse
import sys
from pathlib import Path

from plvl.data.fetching.sources import DOWNLOADS, IMAGES, LABELS, SETS
from plvl.scripts import color_labels, make_refshapes, prepare_data, visualize_augmentation
from plvl.scripts.data_arguments import add_place, add_split_by, place
from plvl.scripts.output_place import require_writable_folder
from plvl.scripts.program import run_command, show_progress

# name: module with `add_arguments(parser)` and `run(arguments)`, as those of plvl.scripts.cli.
ACTIONS = {"show": visualize_augmentation, "prepare": prepare_data, "make": make_refshapes, "colors": color_labels}


def add_arguments(parser: argparse.ArgumentParser):
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    summary = "Fetches a set's labels and images, as far as they are not there."
    get = actions.add_parser("get", help=summary, description=summary)
    get.add_argument("name", choices=SETS, metavar="NAME", help=f"one of {', '.join(SETS)}")
    get.add_argument("--root", required=True, help=f"folder of the folders {IMAGES}, {LABELS} and {DOWNLOADS}")
    get.add_argument("--labels_only", action="store_true", help="leave out the images")
    summary = "Says what of sets is there and whether it is whole; exit code 1 where it is not."
    check = actions.add_parser("check", help=summary, description=summary)
    check.add_argument("name", nargs="+", metavar="NAME", help="one or more names of datasets, see docs/data.md")
    add_place(check)
    for each in (get, check):
        each.add_argument("--splits", nargs="+", default=(), metavar="SPLIT", help="these alone (default: all)")
        add_split_by(each)
    for name, module in ACTIONS.items():
        summary = module.__doc__.splitlines()[0]
        module.add_arguments(actions.add_parser(name, help=summary, description=summary))


def run(arguments):
    if arguments.action in ACTIONS:
        ACTIONS[arguments.action].run(arguments)
        return
    show_progress()
    try:
        is_whole = get(arguments) if arguments.action == "get" else check(arguments)
    except KeyboardInterrupt:
        print("\nwhat has come is kept: the same command goes on from here", file=sys.stderr)
        raise
    if not is_whole:
        sys.exit(1)


def get(arguments) -> bool:
    require_writable_folder(arguments.root)
    # Not at the top: --help and a misspelt name need not wait for Transformers.
    from plvl.data.fetching.fetch_set import fetch_set

    fetch_set(arguments.name, arguments.root, arguments.splits, arguments.split_by, arguments.labels_only)
    images, labels = Path(arguments.root) / IMAGES, Path(arguments.root) / LABELS
    fetched = SETS[arguments.name]
    is_whole = True
    if fetched.labels and fetched.images and not arguments.labels_only:
        is_whole = report([arguments.name], images, labels, arguments.splits, arguments.split_by)
    print(f"use it with --image_root {images} --label_root {labels}")
    return is_whole


def check(arguments) -> bool:
    return report(arguments.name, *place(arguments), arguments.splits, arguments.split_by)


def report(names, images, labels, splits=(), split_by=None) -> bool:
    """Prints what there is of sets; gives whether all of it can be used."""
    from plvl.data.set_check import check_set, leaks

    checks, is_whole = [], True
    for name in names:
        try:
            found = check_set(name, images, labels, splits, split_by)
        except (ValueError, OSError) as error:
            # The other sets are looked at all the same.
            print(f"{name}\n  PROBLEM: {error}")
            is_whole = False
            continue
        checks += found
        for each in found:
            print(f"{each.name} {each.split}: {each.expressions} expressions about {len(each.images)} images")
            for problem in each.problems:
                print(f"  PROBLEM: {problem}")
                is_whole = False
            for warning in each.warnings:
                print(f"  warning: {warning}")
            if each.held_back:
                print(
                    f"  {each.held_back} expressions are about images of a validation or test split of the RefCOCO "
                    "family: in mixtures they are held back"
                )
    for leak in leaks(checks):
        print(f"leak: {leak}")
    return is_whole


def main(argv=None):
    run_command(__doc__, add_arguments, run, "data_sets", argv)


if __name__ == "__main__":
    main()
