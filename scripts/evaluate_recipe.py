"""Evaluates a model as a recipe says, and trains nothing.

plvl evaluate [RECIPE] [--argument value ...]
"""

import argparse

from plvl.scripts.carried_recipes import has_recipe
from plvl.scripts.train_recipe import describe, run_words


def add_arguments(parser: argparse.ArgumentParser):
    describe(parser, "evaluate", "evaluate_refcoco --model_name_or_path outputs/refcoco")


def run(arguments):
    words = arguments.words_of_its_own
    if has_recipe(words):
        # Of a recipe that trains, too.
        recipe, *flags = words
        run_words([recipe, "--do_train", "false", *flags], "evaluate")
    else:
        run_words(["--do_eval", "true", *words], "evaluate")
