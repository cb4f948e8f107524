"""The checkpoint that the project carries does what its folder says it does."""

import torch

from plvl.checkpoints import BUNDLED_CHECKPOINT
from plvl.scripts.bundle_checkpoint import check_size
from plvl.scripts.whole_model import load_whole
from plvl.training.recorded_slice import check_slice


def test_the_bundled_checkpoint_does_what_its_folder_records():
    metrics = check_slice(BUNDLED_CHECKPOINT, *load_whole(BUNDLED_CHECKPOINT, dtype=torch.float32))
    assert metrics["num_samples"] == 112


def test_the_bundled_checkpoint_is_small_enough_to_carry():
    check_size(BUNDLED_CHECKPOINT)
