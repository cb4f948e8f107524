"""Makes RefShapes, the made-up set of images of shapes and expressions about them.

plvl data make --output outputs/refshapes --num_images 1200 --seed 0
"""

import argparse

from plvl.data.refshapes import ALL_KINDS, KINDS, NEW_SHAPES, TYPO_RATE, write_refshapes
from plvl.scripts.output_place import output_named, require_writable_folder
from plvl.scripts.program import run_command


def add_arguments(parser: argparse.ArgumentParser):
    parser.add_argument("--output", required=True, help="a folder that is new, empty or from the same arguments")
    parser.add_argument("--num_images", type=int, default=1200, help="number of images (default: 1200)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default: 0)")
    parser.add_argument(
        "--typo_rate",
        type=float,
        default=TYPO_RATE,
        help=f"share of the expressions with a typing error (default: {TYPO_RATE})",
    )
    parser.add_argument("--backgrounds", metavar="FOLDER", help="photographs to stand behind half of the images")
    parser.add_argument(
        "--new_shape",
        choices=NEW_SHAPES,
        help="a shape that no other set has: train shows it among the others, and testC is about it alone",
    )
    parser.add_argument(
        "--none_rate", type=float, default=0.0, help="share of the expressions that fit no object (default: 0)"
    )
    parser.add_argument(
        "--several_rate", type=float, default=0.0, help="share of the expressions about several objects (default: 0)"
    )
    parser.add_argument("--num_workers", type=int, default=1, help="processes; the bytes stay the same (default: 1)")


def run(arguments):
    require_writable_folder(arguments.output)
    with output_named(arguments.output):
        summary = write_refshapes(
            arguments.output,
            num_images=arguments.num_images,
            seed=arguments.seed,
            typo_rate=arguments.typo_rate,
            backgrounds=arguments.backgrounds,
            new_shape=arguments.new_shape,
            none_rate=arguments.none_rate,
            several_rate=arguments.several_rate,
            num_workers=arguments.num_workers,
            show_progress=True,
        )
    _print_summary(arguments.output, summary)


def _print_summary(output, summary):
    print(f"{output}: {summary['images']} images, {summary['objects']} objects, {summary['words']} words")
    said = set().union(*summary["expressions"].values())
    kinds = [kind for kind in ALL_KINDS if kind in KINDS or kind in said]
    print("".join(f"{head:>11}" for head in ("expressions", *kinds, "all")))
    for split, counts in summary["expressions"].items():
        numbers = [counts.get(kind, 0) for kind in kinds]
        print("".join(f"{cell:>11}" for cell in (split, *numbers, sum(numbers))))
    for file_name, kind, text in summary["examples"]:
        print(f'{file_name}  {kind}: "{text}"')


def main(argv=None):
    run_command(__doc__, add_arguments, run, "make_refshapes", argv)


if __name__ == "__main__":
    main()
