"""Writes a PLVL model as an ONNX file.

python scripts/export_onnx.py --model outputs/refcoco --output plvl.onnx
"""

import argparse
import importlib.util
from pathlib import Path

from plvl.checkpoints import CARRIED_CHECKPOINTS
from plvl.checkpoints.model_files import require_network_files
from plvl.scripts.extras import pip_install
from plvl.scripts.hub_names import require_folder_or_hub_name
from plvl.scripts.output_place import output_named, require_writable_folder
from plvl.scripts.program import run_command


def add_arguments(parser: argparse.ArgumentParser):
    parser.add_argument("--model", required=True, help="folder or Hub name of a PLVL model, or photos or shapes")
    parser.add_argument("--output", default="plvl.onnx", help="the file to write; what is there is replaced")
    parser.add_argument(
        "--image_size",
        "--picture_size",
        dest="image_size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="in pixels; default: the model's own",
    )


def run(arguments):
    outputs = export(arguments)
    print(f"written: {arguments.output}, with the outputs {', '.join(outputs)}")


def export(arguments) -> tuple[str, ...]:
    if Path(arguments.output).is_dir():
        raise IsADirectoryError(f"--output {arguments.output} is a folder; name a file, as plvl.onnx")
    require_writable_folder(Path(arguments.output).absolute().parent)
    if arguments.model not in CARRIED_CHECKPOINTS:
        require_folder_or_hub_name("--model", arguments.model)
    if Path(arguments.model).exists():
        require_network_files(Path(arguments.model))
    if importlib.util.find_spec("onnxscript") is None:  # what PyTorch exports through
        raise ValueError(f"onnxscript is not installed: {pip_install('onnx')}")
    # Not at the top: what is missing is told before PyTorch and Transformers are there.
    import torch

    from plvl.modeling_plvl.onnx_plvl import export_onnx
    from plvl.scripts.model_loading import chosen_folder, load_whole_network

    model = load_whole_network(chosen_folder(arguments.model), torch.float32)
    with output_named(arguments.output):
        return export_onnx(model, arguments.output, arguments.image_size)


def main(argv=None):
    run_command(__doc__, add_arguments, run, "export_onnx", argv)


if __name__ == "__main__":
    main()
