"""Measures this project's speed: python scripts/benchmark.py data --image_root IMAGES --label_root LABELS

Each subject is a subcommand with its own options (`--help` lists them); it prints a table and writes JSON.
"""

import argparse
import json
from pathlib import Path

from plvl.scripts import benchmark_data

# name: module with `add_arguments(parser)` and `measure(arguments)`, which prints its table and gives its numbers.
SUBJECTS = {"data": benchmark_data}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="subject", required=True)
    for name, subject in SUBJECTS.items():
        command = commands.add_parser(name, help=subject.__doc__.splitlines()[0], description=subject.__doc__)
        command.add_argument("--output", default=f"benchmark_{name}.json", help="where the numbers go, as JSON")
        subject.add_arguments(command)
    arguments = parser.parse_args(argv)
    numbers = SUBJECTS[arguments.subject].measure(arguments)
    Path(arguments.output).write_text(json.dumps(numbers, indent=2) + "\n")
    print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
