"""Turns a checkpoint of another program into a folder that AutoModel.from_pretrained loads.

python scripts/convert_checkpoint.py --from plvl best_checkpoint.pth --output plvl-unc --tokenizer bert-base-uncased
python scripts/convert_checkpoint.py --from vitdet model_final_435fa9.pkl --output start \
    --text bert-base-uncased --tokenizer bert-base-uncased
"""

import sys
from pathlib import Path

import torch
from transformers import AutoConfig, AutoTokenizer
from transformers.utils import logging

from plvl.configuration import PLVLConfig
from plvl.data.safe_pickle import load_label_pickle
from plvl.modeling_plvl.checkpoint_conversion import (
    build_model,
    newly_initialised,
    plvl_weights,
    sam_weights,
    text_weights,
    vitdet_weights,
)
from plvl.modeling_plvl.checkpoint_files import load_checkpoint
from plvl.processing import PLVLImageProcessor, PLVLProcessor
from plvl.scripts.program import ArgumentParser
from plvl.scripts.stored_config import load_plvl_config
from plvl.scripts.whole_folder import require_new_folder, whole_folder

INPUTS = {
    "plvl": "the original PLVL: best_checkpoint.pth or checkpoint.pth",
    "vitdet": "detectron2's ViTDet: a .pkl file",
    "sam": "timm's samvit_base_patch16: a state dict, .pth or .safetensors",
    "bert": "a BERT-like encoder of Transformers: a folder or a name on the Hub",
}


def main(argv=None):
    arguments = _parse(argv)
    # What does not fit ends the conversion, and what is dropped or new is told below: no need for warnings.
    logging.set_verbosity_error()
    try:
        require_new_folder(arguments.output)
        tokenizer = _load_tokenizer(arguments.tokenizer)
        config = _base_config(arguments)
        weights = _read_weights(arguments, config)
        torch.manual_seed(0)  # the parts that start anew are the same each time
        model = build_model(weights, config)
        processor = _processor(model, tokenizer)
        with whole_folder(arguments.output) as folder:
            model.save_pretrained(folder)
            processor.save_pretrained(folder)
    except (ValueError, OSError) as error:
        sys.exit(f"convert_checkpoint: {error}")
    _tell(model, weights, arguments.output, has_tokenizer=tokenizer is not None)


def _parse(argv):
    parser = ArgumentParser(description="Turns a checkpoint of another program into a PLVL folder.")
    parser.add_argument("--from", dest="source", required=True, choices=INPUTS, help="what INPUT is")
    parser.add_argument("input", metavar="INPUT", help="; ".join(f"{name}: {what}" for name, what in INPUTS.items()))
    parser.add_argument("--output", required=True, type=Path, help="the folder to write, new or empty")
    parser.add_argument(
        "--text",
        metavar="FOLDER_OR_NAME",
        help="with vitdet and sam: the text encoder; with plvl: the encoder whose sizes the checkpoint's has "
        "(default: BERT-base's)",
    )
    parser.add_argument("--tokenizer", metavar="FOLDER_OR_NAME", help="the tokenizer that goes into the processor")
    parser.add_argument("--image_size", type=int, help="side of the square picture in pixels (default: 448)")
    parser.add_argument(
        "--config",
        metavar="FOLDER_OR_FILE",
        help="a PLVL configuration of other sizes or parts than the base model's",
    )
    arguments = parser.parse_args(argv)
    if arguments.source == "bert" and arguments.text:
        parser.error("--from bert: INPUT is the text encoder, --text would be a second one")
    return arguments


def _load_tokenizer(folder_or_name):
    return AutoTokenizer.from_pretrained(folder_or_name) if folder_or_name else None


def _read_weights(arguments, config: PLVLConfig) -> list:
    source, given = arguments.source, arguments.input
    if source == "bert":
        return [text_weights(given)]
    if source == "plvl":
        return [plvl_weights(load_checkpoint(given), given, config)]
    if source == "vitdet":
        weights = vitdet_weights(load_label_pickle(given), given)
    else:
        weights = sam_weights(load_checkpoint(given), given)
    return [weights, *([text_weights(arguments.text)] if arguments.text else [])]


def _base_config(arguments) -> PLVLConfig:
    config = load_plvl_config(arguments.config) if arguments.config else PLVLConfig()
    if arguments.source == "plvl" and arguments.text:
        config.text_config = AutoConfig.from_pretrained(arguments.text)
    if arguments.image_size is not None:
        config.vision_config.image_size = arguments.image_size
    return config


def _processor(model, tokenizer):
    side = model.config.vision_config.image_size
    image_processor = PLVLImageProcessor(size={"height": side, "width": side})
    if tokenizer is None:
        return image_processor
    vocab_size = model.config.text_config.vocab_size
    if len(tokenizer) > vocab_size:
        raise ValueError(f"the tokenizer has {len(tokenizer)} tokens, the text encoder knows {vocab_size}")
    return PLVLProcessor(image_processor, tokenizer)


def _tell(model, weights, output: Path, has_tokenizer: bool):
    for each in weights:
        print(f"{each.origin}: fills {len(each.tensors)} tensors of the model, {len(each.dropped)} are dropped")
        for name in each.dropped:
            print(f"  dropped {name}")
    new = newly_initialised(model, weights)
    if new:
        print(f"newly initialised, to be trained: {', '.join(new)}")
    layers = ", ".join(map(str, model.config.cross_attention_layers))
    print(f"tasks: {', '.join(model.config.tasks)}; language enters the vision blocks {layers}")
    if not has_tokenizer:
        print("no --tokenizer was given, so the folder holds an image processor and no full processor")
    print(f"written: {output}")


if __name__ == "__main__":
    main()
