"""In which order rows come, what seeds change, and what an optimizer step is."""

import json
import math
import shutil

import pytest
import torch

from plvl.training.checkpoints import last_good_checkpoint
from plvl.training.resumable_batches import ResumableBatches
from small_runs import make_rows, make_trainer, random_model, without_dropout


class Recorder:
    """A collator that notes the expressions of each batch."""

    def __init__(self, collator):
        self.collator, self.batches = collator, []

    def __call__(self, rows):
        self.batches.append([row["sent_id"] for row in rows])
        return self.collator(rows)


@pytest.fixture
def train(processor, image, tmp_path):
    """Trains on a number of rows, one in a batch; gives the trainer and the order in which they came."""

    def run(count=6, collator=Recorder, **arguments):
        first = make_rows(image)[0]
        rows = [first | {"sent_id": number} for number in range(count)]
        defaults = {"per_device_train_batch_size": 1, "learning_rate": 1e-3, "logging_steps": 1}
        trainer = make_trainer(
            without_dropout(random_model()), processor, image, tmp_path, rows=rows, **(defaults | arguments)
        )
        trainer.data_collator = recorder = collator(trainer.data_collator)
        trainer.train()
        return trainer, [number for batch in recorder.batches for number in batch]

    return run


def test_each_epoch_has_every_row_in_an_order_of_its_own(train):
    _, order = train(num_train_epochs=2)
    assert sorted(order[:6]) == sorted(order[6:]) == list(range(6))
    assert order[:6] != order[6:]


def test_the_order_is_that_of_data_seed_and_without_one_that_of_seed(train):
    orders = {seeds: train(num_train_epochs=1, seed=seeds[0], data_seed=seeds[1])[1] for seeds in
              ((1, None), (2, None), (1, 5), (2, 5), (2, 1))}  # fmt: skip
    assert orders[1, None] != orders[2, None] and orders[1, None] != orders[1, 5]
    assert orders[1, 5] == orders[2, 5] and orders[2, 1] == orders[1, None]


def test_what_is_drawn_in_a_batch_hangs_on_run_epoch_process_and_batch():
    rows = [{"sent_id": number} for number in range(20)]
    drawn = []
    for seed in (3, 4):
        for epoch in range(2):
            for process in range(2):
                batches = ResumableBatches(
                    rows, lambda rows: {"drawn": torch.rand(1).item()}, 5, 2, process, 2, num_workers=0, seed=seed
                )
                batches.set_epoch(epoch)
                drawn += [batch["drawn"] for batch in batches]
    assert len(set(drawn)) == len(drawn) == 16


def test_the_oldest_checkpoints_go_and_the_step_of_each_is_its_names(train, tmp_path):
    train(max_steps=5, save_strategy="steps", save_steps=1, save_total_limit=2)
    assert sorted(folder.name for folder in tmp_path.glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-5"]
    for step in (4, 5):
        state = json.loads((tmp_path / f"checkpoint-{step}/trainer_state.json").read_text(encoding="utf-8"))
        assert state["global_step"] == step
    shutil.move(tmp_path / "checkpoint-5", tmp_path / "checkpoint-9")
    assert last_good_checkpoint(tmp_path) == str(tmp_path / "checkpoint-4")


def test_the_optimizer_has_the_betas_and_the_epsilon_that_were_given(train):
    trainer, _ = train(max_steps=1, adam_beta1=0.7, adam_beta2=0.8, adam_epsilon=1e-5)
    assert {(group["betas"], group["eps"]) for group in trainer.optimizer.param_groups} == {((0.7, 0.8), 1e-5)}


def test_the_rate_falls_from_all_of_it_to_nothing(train):
    trainer, _ = train(max_steps=4, weight_decay=0.0)
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    assert rates == pytest.approx([5e-6 * (1 - step / 4) ** 0.9 for step in range(4)])
    assert trainer.lr_scheduler.get_last_lr()[0] == 0


class OneRow(Recorder):
    """Of whatever comes, the same row."""

    def __call__(self, rows):
        return super().__call__([row | {"sent_id": 0} for row in rows])


def test_accumulated_batches_make_the_step_of_their_mean(train):
    ends, losses = [], []
    for accumulation in (1, 3):
        trainer, order = train(max_steps=1, gradient_accumulation_steps=accumulation, optim="sgd", collator=OneRow)
        assert len(order) >= accumulation
        ends.append(torch.cat([each.detach().flatten() for each in trainer.model.parameters()]))
        losses.append(trainer.state.log_history[0]["loss"])
    assert math.isclose(*losses, rel_tol=1e-4)
    torch.testing.assert_close(*ends, rtol=0, atol=1e-6)
