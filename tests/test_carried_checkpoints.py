"""The checkpoints that the project carries do what their folders say they do."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from bundle_checkpoint import bundle_card, check_size
from plvl.checkpoints import CARRIED_CHECKPOINTS
from plvl.data.refshapes import make_referred_scene
from plvl.scripts.demo_page.examples import read_examples
from plvl.scripts.model_loading import load_whole
from plvl.scripts.release_card import draw_example
from recorded_slice import check_slice
from shapes_bundle import EXAMPLE_SEED, wrong_expressions

THERE = [name for name, folder in CARRIED_CHECKPOINTS.items() if folder.is_dir()]
SHAPES = CARRIED_CHECKPOINTS["shapes"]


def test_the_one_of_shapes_is_there():
    assert "shapes" in THERE


@pytest.mark.parametrize("name", THERE)
def test_a_carried_checkpoint_does_what_its_folder_records(name):
    folder = CARRIED_CHECKPOINTS[name]
    metrics = check_slice(folder, *load_whole(folder, dtype=torch.float32))
    assert metrics["num_samples"] == 112
    recorded = json.loads((folder / "slice.json").read_text(encoding="utf-8"))
    if name == "photos":
        asked = [(each.image.name, text) for each in read_examples(folder) for text in each.expressions]
        assert [(each["image"], each["text"]) for each in recorded["examples"]] == asked


@pytest.mark.parametrize("name", THERE)
def test_a_carried_checkpoints_card_is_what_bundling_writes(name, tmp_path):
    folder = CARRIED_CHECKPOINTS[name]
    model, processor = load_whole(folder, dtype=torch.float32)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card == bundle_card(name, folder, model, half=True)
    assert "](example.jpg)" in card
    shutil.copytree(folder / "examples", tmp_path / "examples")
    draw_example(tmp_path, model, processor)
    drawn, carried = (np.asarray(Image.open(each / "example.jpg")) for each in (tmp_path, folder))
    assert np.abs(drawn.astype(int) - carried).mean() < 2


@pytest.mark.parametrize("name", THERE)
def test_a_carried_checkpoint_is_small_enough_to_carry(name):
    check_size(name, CARRIED_CHECKPOINTS[name])


def test_the_card_of_shapes_says_how_it_was_trained():
    assert "| `muon_learning_rate` | 0.0015 |" in (SHAPES / "README.md").read_text(encoding="utf-8")


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
