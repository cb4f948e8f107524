"""The flags of run_grounding.py that choose the training transform."""

import pytest

from plvl.scripts.run_grounding import make_augmentation
from plvl.training.recipe import DataArguments, parse_recipe

SIZE = {"height": 448, "width": 448}


@pytest.mark.parametrize(
    ("flags", "steps"),
    [
        (["--augmentation"], ["RandomCrop", "RandomLongSide", "RandomColors", "RandomMirror", "Stretch"]),
        (["--augmentation", "--no_aug_crop"], ["RandomLongSide", "RandomColors", "RandomMirror", "Stretch"]),
        (["--augmentation", "--no_aug_color"], ["RandomCrop", "RandomLongSide", "RandomMirror", "Stretch"]),
        (
            ["--augmentation", "--no_aug_crop", "--aug_blur"],
            ["RandomLongSide", "RandomColors", "RandomBlur", "RandomMirror", "Stretch"],
        ),
    ],
)
def test_flags_choose_the_steps(flags, steps):
    [arguments] = parse_recipe((DataArguments,), flags)
    assert [type(step).__name__ for step in make_augmentation(arguments, SIZE).transforms] == steps


def test_words_become_others_of_the_vocabulary_where_a_share_is_given(processor):
    [arguments] = parse_recipe((DataArguments,), ["--augmentation", "--aug_words", "0.25"])
    step = make_augmentation(arguments, SIZE, processor.tokenizer).transforms[-2]
    assert type(step).__name__ == "RandomWords" and step.share == 0.25
    assert {"red", "square", "the"} <= set(step.words) <= set(processor.tokenizer.get_vocab())
    assert all(word.isalpha() and len(word) > 2 for word in step.words) and list(step.words) == sorted(step.words)
    with pytest.raises(ValueError, match=r"aug_words is a share from 0 to 1, got 1\.5"):
        parse_recipe((DataArguments,), ["--augmentation", "--aug_words", "1.5"])


def test_the_long_side_may_always_be_the_networks():
    [arguments] = parse_recipe((DataArguments,), ["--augmentation", "--no_aug_scale"])
    assert make_augmentation(arguments, SIZE).transforms[1].long_sides == (448,)


def test_without_the_flag_nothing_is_augmented():
    [arguments] = parse_recipe((DataArguments,), [])
    assert make_augmentation(arguments, SIZE) is None
