"""Writes a model as a kit for machines without PyTorch: two graphs, tokenizer, preprocessing and a runner.

plvl export MODEL --format onnx|openvino|torch-export --output DIR [--int8 | --fp16] [--image_size HEIGHT WIDTH]
"""

import argparse
from pathlib import Path

from plvl.scripts.atomic_directory import atomic_directory, require_new_folder
from plvl.scripts.extras import pip_install
from plvl.scripts.program import run_command

FORMATS = ("onnx", "openvino", "torch-export")


def add_arguments(parser: argparse.ArgumentParser):
    parser.add_argument("model", metavar="MODEL", help="folder or Hub name of a PLVL model, or photos or shapes")
    parser.add_argument("--format", choices=FORMATS, required=True, help="what runs the graphs")
    parser.add_argument("--output", required=True, metavar="DIR", help="the folder to write, new or empty")
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument("--int8", action="store_true", help="large weights in 8 bits, arithmetic in float32")
    precision.add_argument("--fp16", action="store_true", help="weights in 16 bits, arithmetic where the runtime can")
    parser.add_argument(
        "--image_size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="what the runner brings images to, in pixels; default: the processor's own",
    )


def run(arguments):
    written = export(arguments)
    names = ", ".join(written["graphs"]["expressions"]["outputs"])
    print(f"written: {arguments.output}, with the outputs {names}")
    print(f"try it: python {Path(arguments.output, 'runner.py')} IMAGE EXPRESSION")


def export(arguments) -> dict:
    require_new_folder(arguments.output)
    # Not at the top: `plvl --help` and what is wrong with the output wait for neither PyTorch nor Transformers.
    import torch
    from transformers.utils import logging

    from plvl.deploy.formats import missing_writers
    from plvl.deploy.kit import write_kit
    from plvl.scripts.model_loading import chosen_folder, load_whole

    if missing := missing_writers(arguments.format):
        raise ValueError(f"{' and '.join(missing)}: not installed: {pip_install('deploy')}")
    logging.disable_progress_bar()
    precision = "int8" if arguments.int8 else "float16" if arguments.fp16 else "float32"
    model, processor = load_whole(chosen_folder(arguments.model), torch.float32)
    with atomic_directory(arguments.output) as folder:
        return write_kit(model, processor, folder, arguments.format, precision, arguments.image_size)


def main(argv=None):
    run_command(__doc__, add_arguments, run, "plvl export", argv)


if __name__ == "__main__":
    main()
