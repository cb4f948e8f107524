"""The checkpoint that the project carries does what its folder says it does."""

import shutil

import numpy as np
import torch
from PIL import Image

from bundle_checkpoint import EXAMPLE_SEED, bundle_card, check_size, wrong_expressions
from plvl.checkpoints import CARRIED_CHECKPOINTS
from plvl.data.refshapes import make_referred_scene
from plvl.scripts.demo_page.examples import read_examples
from plvl.scripts.model_loading import load_whole
from plvl.scripts.release_card import draw_example
from recorded_slice import check_slice

SHAPES = CARRIED_CHECKPOINTS["shapes"]


def test_the_bundled_checkpoint_does_what_its_folder_records():
    metrics = check_slice(SHAPES, *load_whole(SHAPES, dtype=torch.float32))
    assert metrics["num_samples"] == 112


def test_the_bundled_checkpoints_card_is_what_bundling_writes(tmp_path):
    model, processor = load_whole(SHAPES, dtype=torch.float32)
    card = (SHAPES / "README.md").read_text(encoding="utf-8")
    assert card == bundle_card(SHAPES, model, half=True)
    assert "](example.jpg)" in card and "| `muon_learning_rate` | 0.0015 |" in card
    shutil.copytree(SHAPES / "examples", tmp_path / "examples")
    draw_example(tmp_path, model, processor)
    drawn, carried = (np.asarray(Image.open(each / "example.jpg")) for each in (tmp_path, SHAPES))
    assert np.abs(drawn.astype(int) - carried).mean() < 2


def test_the_bundled_checkpoint_is_small_enough_to_carry():
    check_size(SHAPES)


def test_the_first_example_of_each_image_is_answered_right():
    model, processor = load_whole(SHAPES, dtype=torch.float32)
    examples = read_examples(SHAPES)
    numbers_wrong = []
    for example in examples:
        index = int(example.image.stem.rpartition("_")[2]) - 1
        referred = make_referred_scene(EXAMPLE_SEED, index, typo_rate=0.0)
        wrong = wrong_expressions(model, processor, index, referred)
        assert example.expressions[0] not in wrong
        numbers_wrong.append(sum(text in wrong for text in example.expressions) / len(example.expressions))
    assert len(numbers_wrong) == 6 and numbers_wrong == sorted(numbers_wrong) and numbers_wrong[0] == 0
