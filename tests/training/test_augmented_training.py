"""Training rows are augmented, evaluation rows are not, and the draws come from the run's seed."""

import pytest
import torch

from plvl.processing.augmentation import RandomColors
from plvl.training import PLVLTrainer, PLVLTrainingArguments


@pytest.fixture
def make_trainer(model, processor, image, tmp_path):
    row = {"image": image, "text": "the red square", "boxes": [[10, 5, 20, 20]], "segmentation": None}
    rows = [row | {"height": 40, "width": 60}] * 8

    def make(augmentation, **arguments):
        defaults = {"output_dir": str(tmp_path), "use_cpu": True, "report_to": "none"}
        args = PLVLTrainingArguments(**defaults, per_device_train_batch_size=1, **arguments)
        sets = {"train_dataset": rows, "eval_dataset": rows[:1]}
        return PLVLTrainer(model, args, processing_class=processor, augmentation=augmentation, **sets)

    return make


def train_images(trainer, epoch=0):
    loader = trainer.get_train_dataloader()
    loader.set_epoch(epoch)
    return torch.cat([batch["pixel_values"] for batch in loader])


def test_only_training_rows_are_augmented(make_trainer, processor, image):
    plain = processor(images=image, return_tensors="pt")["pixel_values"][0]
    assert all(torch.equal(given, plain) for given in train_images(make_trainer(None)))
    augmented = make_trainer(RandomColors(p=1.0))
    assert not any(torch.equal(given, plain) for given in train_images(augmented))

    seen = []
    augmented.model.register_forward_pre_hook(
        lambda _, args, inputs: seen.append(inputs["pixel_values"]), with_kwargs=True
    )
    augmented.evaluate()
    assert torch.equal(torch.cat(seen)[0], plain)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_seed_settles_what_is_drawn_and_epochs_and_batches_differ(make_trainer, workers):
    def two_epochs(seed):
        trainer = make_trainer(
            RandomColors(p=1.0),
            seed=seed,
            dataloader_num_workers=workers,
            dataloader_multiprocessing_context="fork" if workers else None,
        )
        return torch.stack([train_images(trainer, epoch) for epoch in (0, 1)])

    drawn = two_epochs(seed=1)
    assert torch.equal(drawn, two_epochs(seed=1))
    assert not torch.equal(drawn, two_epochs(seed=2))
    # The rows are all the same; 16 samples of them are not, whichever batch and epoch they come from.
    assert len(drawn.flatten(2).sum(-1).unique()) == 16
