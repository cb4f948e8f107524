"""Training rows are augmented, evaluation rows are not, and the draws come from the run's seed."""

import pytest
import torch
from transformers import set_seed

from plvl.processing.augmentation import RandomColors
from plvl.training import PLVLTrainer, PLVLTrainingArguments


@pytest.fixture
def make_trainer(model, processor, picture, tmp_path):
    row = {"image": picture, "text": "the red square", "bbox": [10, 5, 20, 20], "segmentation": None}
    rows = [row | {"height": 40, "width": 60}] * 8

    def make(augmentation, **arguments):
        args = PLVLTrainingArguments(
            output_dir=str(tmp_path), use_cpu=True, report_to="none", per_device_train_batch_size=1, **arguments
        )
        return PLVLTrainer(
            model, args, processor, train_dataset=rows, eval_dataset=rows[:1], augmentation=augmentation
        )

    return make


def train_pictures(trainer):
    return torch.cat([batch["pixel_values"] for batch in trainer.get_train_dataloader()])


def test_only_training_rows_are_augmented(make_trainer):
    augmented = make_trainer(RandomColors(p=1.0))
    [evaluated] = [batch["pixel_values"] for batch in augmented.get_eval_dataloader()]
    plain = train_pictures(make_trainer(None))
    assert torch.equal(plain[:1], evaluated)
    assert all(not torch.equal(picture, evaluated[0]) for picture in train_pictures(augmented))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_seed_settles_what_is_drawn_and_epochs_and_workers_differ(make_trainer, workers):
    trainer = make_trainer(
        RandomColors(p=1.0),
        dataloader_num_workers=workers,
        dataloader_multiprocessing_context="fork" if workers else None,
    )

    def two_epochs(seed):
        set_seed(seed)
        return torch.stack([train_pictures(trainer), train_pictures(trainer)])

    drawn = two_epochs(seed=1)
    assert torch.equal(drawn, two_epochs(seed=1))
    assert not torch.equal(drawn, two_epochs(seed=2))
    # The rows are all the same; 16 samples of them are not, whichever worker and epoch they come from.
    assert len(drawn.flatten(2).sum(-1).unique()) == 16
