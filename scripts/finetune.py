"""Teaches a model one's own images: a folder of images and a file of labels, nothing else is needed.

plvl finetune --images DIR --labels FILE --output DIR [--model MODEL] [--lora [RANK] [--keep_adapter] | --freeze]
              [--ema] [--gradient_checkpointing] [--steps N] [--learning_rate RATE] [--start_share SHARE]
              [--max_skipped SHARE] [--seed N]
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from plvl.checkpoints import CARRIED_CHECKPOINTS
from plvl.scripts.extras import pip_install
from plvl.scripts.output_place import require_writable_folder
from plvl.scripts.program import run_command

RANK = 8


def add_arguments(parser: argparse.ArgumentParser):
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of the images")
    parser.add_argument(
        "--labels",
        type=Path,
        required=True,
        metavar="FILE",
        help="JSON Lines (.jsonl: file_name, text and bbox [x, y, w, h] in each line) or COCO form (.json)",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the new model")
    parser.add_argument("--model", help="folder or Hub name of a PLVL model, or photos (default) or shapes")
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument(
        "--lora",
        type=int,
        nargs="?",
        const=RANK,
        metavar="RANK",
        help=f"train low-rank additions to the linear layers alone (default rank: {RANK})",
    )
    ways.add_argument("--freeze", action="store_true", help="train decoder and head alone")
    parser.add_argument(
        "--keep_adapter",
        action="store_true",
        help="with --lora: write the additions alone, to be added to the starting model when they are loaded",
    )
    parser.add_argument("--ema", action="store_true", help="average the weights over the steps")
    parser.add_argument(
        "--gradient_checkpointing", action="store_true", help="less memory: compute parts of a step twice"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="of training (default: by the number of expressions)")
    parser.add_argument("--learning_rate", type=float, metavar="RATE", help="(default: by what is trained)")
    parser.add_argument(
        "--start_share",
        type=float,
        default=0.25,
        metavar="SHARE",
        help="of the starting model's weights in the result: with more, less is forgotten and less learned "
        "(default: 0.25)",
    )
    parser.add_argument(
        "--max_skipped",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="of the expressions, that may be left out for what is wrong with them (default: 0.01)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the division and of the training")


def run(arguments):
    check_arguments(arguments)
    # Not at the top: --help and what is wrong with the arguments need not wait for Transformers.
    from plvl.checkpoints.model_files import is_adapter, require_model_files
    from plvl.scripts.model_loading import chosen_folder
    from plvl.training.finetuning.request import FineTuning
    from plvl.training.finetuning.run import fine_tune
    from plvl.training.run_lock import sole_run_in
    from plvl.training.signals import EXIT_AFTER_SIGTERM, end_on_sigterm

    end_on_sigterm()
    start = chosen_folder(arguments.model)
    require_model_files(start)
    if is_adapter(start):
        raise ValueError(
            f"--model {start} has additions to a model (--keep_adapter), and no model that can be trained: name that "
            "which they belong to, or one that was written without --keep_adapter"
        )
    is_here = arguments.model is None or arguments.model in CARRIED_CHECKPOINTS or Path(arguments.model).exists()
    asked = FineTuning(
        images=arguments.images,
        labels=arguments.labels,
        output=arguments.output,
        start=start,
        base=str(start) if is_here else arguments.model,
        rank=arguments.lora,
        keep_adapter=arguments.keep_adapter,
        freeze=arguments.freeze,
        averages=arguments.ema,
        gradient_checkpointing=arguments.gradient_checkpointing,
        num_steps=arguments.steps,
        learning_rate=arguments.learning_rate,
        start_share=arguments.start_share,
        max_skipped=arguments.max_skipped,
        seed=arguments.seed,
    )
    with sole_run_in(arguments.output):
        # Flushed: who reads the output through a pipe sees how it goes, too.
        if not fine_tune(asked, partial(print, flush=True)):
            sys.exit(EXIT_AFTER_SIGTERM)


def check_arguments(arguments):
    """
    Raises:
        ValueError: an argument cannot be, or goes with another that is not there.
        OSError: there are no such images or labels, or the output cannot be written.
    """
    if not arguments.images.is_dir():
        raise FileNotFoundError(f"--images {arguments.images}: there is no such folder")
    if not arguments.labels.is_file():
        raise FileNotFoundError(f"--labels {arguments.labels}: there is no such file")
    if arguments.labels.suffix not in (".jsonl", ".json"):
        raise ValueError(f"--labels {arguments.labels}: JSON Lines (.jsonl) or COCO form (.json) is expected")
    require_writable_folder(arguments.output)
    if arguments.keep_adapter and arguments.lora is None:
        raise ValueError("--keep_adapter goes with --lora, which has an adapter to keep")
    for name, least in (("lora", 1), ("steps", 1), ("learning_rate", 1e-12)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise ValueError(f"--{name} must be positive, got {value}")
    for name in ("start_share", "max_skipped"):
        if not 0 <= getattr(arguments, name) <= 1:
            raise ValueError(f"--{name} is a share from 0 to 1, got {getattr(arguments, name):g}")
    if arguments.lora is not None:
        from importlib.util import find_spec

        if find_spec("peft") is None:
            raise ValueError(f"--lora needs peft: {pip_install('finetune')}")


def main(argv=None):
    run_command(__doc__, add_arguments, run, "plvl finetune", argv)


if __name__ == "__main__":
    main()
