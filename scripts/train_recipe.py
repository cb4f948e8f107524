"""Trains a model by a recipe, evaluates it, and leaves it with its metrics in a folder.

plvl train [RECIPE] [--argument value ...]
"""

import argparse

from plvl.scripts.carried_recipes import ACCELERATE, has_recipe, recipe_names

EXAMPLE = "refcoco --image_root data/images --label_root data/labels"


def add_arguments(parser: argparse.ArgumentParser):
    describe(parser, "train", EXAMPLE)


def describe(parser: argparse.ArgumentParser, command: str, example: str):
    """The words of `plvl train` and `plvl evaluate` are those of scripts/run_grounding.py, which are hundreds."""
    parser.set_defaults(words_of_its_own=[])
    parser.usage = "%(prog)s [RECIPE] [--argument value ...]"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"""\
  plvl {command} {example}

RECIPE is a YAML file of one's own (mine.yaml), or one of these:
{_in_lines(recipe_names())}

Arguments go before the recipe's: those of docs/training.md, and those of Transformers' TrainingArguments.
python -m plvl.scripts.run_grounding --help lists them all.

In more than one process, and on more than one GPU, the same words go to accelerate's launcher, with one of the
configurations {", ".join(sorted(file.stem for file in ACCELERATE.glob("*.yaml")))}:

  accelerate launch --config_file {ACCELERATE}/4_gpus.yaml \\
      -m plvl.scripts.run_grounding {example}
"""


def run(arguments):
    words = arguments.words_of_its_own
    # A recipe says itself whether it trains.
    run_words(words if has_recipe(words) else ["--do_train", "true", *words], "train")


def run_words(words: list[str], command: str):
    """Does what scripts/run_grounding.py does with these words, as far as it is what `command` is for."""
    # Not at the top: --help need not wait for PyTorch.
    from plvl.scripts import run_grounding
    from plvl.training.signals import end_on_sigterm

    end_on_sigterm()
    parsed = run_grounding.parse(words)
    trains = parsed[2].do_train
    if trains != (command == "train"):
        other = "train" if trains else "evaluate"
        raise ValueError(f"this says {'' if trains else 'not '}to train (do_train): plvl {other} does that")
    run_grounding.check_and_run(*parsed)


def _in_lines(names: list[str], columns: int = 3) -> str:
    width = max(map(len, names)) + 2
    rows = [names[start : start + columns] for start in range(0, len(names), columns)]
    return "\n".join("  " + "".join(name.ljust(width) for name in row).rstrip() for row in rows)
