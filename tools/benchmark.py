"""Measures this project's speed and memory: python tools/benchmark.py SUBJECT [options]

    model     inference of the base model, against the plain network
    train     its training step, against the plain network's
    data      rows a second through the training transform, against the plain way
    export    the network in ONNX, against PyTorch
    folder    plvl predict over a folder of images, against one image after another
    deploy    kits of a trained model: sizes, answers and speed, against PyTorch
    report    writes docs/performance.md from what the others have written

Each has its own options (`SUBJECT --help`); it prints tables and, but for the report, writes JSON.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path

from plvl.scripts.program import ArgumentParser, run_as_program

SUBJECTS = ("model", "train", "data", "export", "folder", "deploy")


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subject", choices=[*SUBJECTS, "report"])
    subject = parser.parse_args(argv[:1]).subject

    # Only the subject's own module: the network is measured where the data sets' libraries are not installed, too.
    module = importlib.import_module(f"benchmarks.benchmark_{subject}")
    parser = ArgumentParser(
        prog=f"benchmark.py {subject}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    if subject == "report":
        arguments = parser.parse_args(argv[1:])
        text = module.page(arguments)
    else:
        parser.add_argument("--output", default=f"benchmark_{subject}.json", help="where the numbers go, as JSON")
        arguments = parser.parse_args(argv[1:])
        text = json.dumps({"subject": subject, **module.measure(arguments)}, indent=2, allow_nan=False) + "\n"
    Path(arguments.output).write_text(text, encoding="utf-8")
    print(f"written: {arguments.output}")


if __name__ == "__main__":
    run_as_program(main)
