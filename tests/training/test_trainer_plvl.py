import pytest
import torch
from datasets import IterableDataset
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import TrainerCallback
from transformers.trainer_utils import EvalLoopOutput

from plvl.data.training_rows import TrainingRows
from plvl.modeling_plvl import PLVLModel
from plvl.training import PLVLTrainingArguments
from plvl.training.callbacks import DrawGallery
from plvl.training.trainer_plvl import LossNotFiniteError
from small_runs import make_rows, make_trainer, without_dropout


def test_each_part_has_its_learning_rate_and_norms_no_decay(model, processor, image, tmp_path):
    trainer = make_trainer(model, processor, image, tmp_path)
    groups = trainer.create_optimizer().param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    group_of = {names[id(parameter)]: group for group in groups for parameter in group["params"]}
    assert len(group_of) == len(names)
    assert group_of["text_encoder.embeddings.word_embeddings.weight"]["lr"] == 5e-6
    assert group_of["vision_encoder.layers.0.fc1.weight"]["lr"] == 1e-5
    assert group_of["decoder.layers.0.fc1.weight"]["lr"] == 2.5e-5
    assert group_of["decoder.layers.0.fc1.weight"]["weight_decay"] == 1e-4
    assert group_of["decoder.layers.0.norm1.weight"]["weight_decay"] == 0


def test_muon_trains_the_weights_of_linear_layers_and_adamw_the_rest(model, processor, image, tmp_path):
    trainer = make_trainer(model, processor, image, tmp_path, muon_learning_rate=1e-3)
    optimizer = trainer.create_optimizer()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    group_of = {names[id(parameter)]: group for group in optimizer.param_groups for parameter in group["params"]}
    assert len(group_of) == len(names)
    by_muon = {names[id(each)] for group in optimizer.optimizers["muon"].param_groups for each in group["params"]}
    assert by_muon == {f"{name}.weight" for name, each in model.named_modules() if isinstance(each, torch.nn.Linear)}
    assert not any("embeddings" in name or name.endswith("bias") or name.startswith("head") for name in by_muon)
    muon = group_of["decoder.layers.0.fc1.weight"]
    assert (muon["lr"], muon["weight_decay"], muon["adjust_lr_fn"]) == (1e-3, 1e-4, "match_rms_adamw")
    # To Muon's rate as the encoder's own is to learning_rate: 1e-5 and 5e-6 to 2.5e-5.
    assert group_of["vision_encoder.layers.0.fc1.weight"]["lr"] == pytest.approx(4e-4)
    assert group_of["text_encoder.encoder.layer.0.output.dense.weight"]["lr"] == pytest.approx(2e-4)
    assert group_of["vision_encoder.layers.0.fc1.bias"]["lr"] == 1e-5


def test_a_frozen_encoder_is_not_trained_by_muon_either(model, processor, image, tmp_path):
    trainer = make_trainer(
        model, processor, image, tmp_path, muon_learning_rate=1e-3, freeze_text_encoder=True, max_steps=2
    )
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    trainer.train()
    trained = [each for group in trainer.optimizer.param_groups for each in group["params"]]
    assert all(each.requires_grad for each in trained)
    assert len(trained) == sum(each.requires_grad for each in model.parameters()) < len([*model.parameters()])
    after = dict(model.named_parameters())
    assert all(after[name].equal(each) for name, each in before.items() if name.startswith("text_encoder"))
    assert not after["decoder.layers.0.fc1.weight"].equal(before["decoder.layers.0.fc1.weight"])
    assert not after["decoder.layers.0.fc1.bias"].equal(before["decoder.layers.0.fc1.bias"])


def test_rows_about_one_image_are_trained_on_with_the_image_once(model, processor, image, tmp_path):
    stream = IterableDataset.from_generator(lambda: iter([{"rows": make_rows(image)}] * 2))
    rows = TrainingRows(stream, lambda row, image: row, 4, expressions_per_image=2)
    arguments = {"per_device_train_batch_size": 4, "max_steps": 1, "logging_steps": 1}
    trainer = make_trainer(model, processor, image, tmp_path, rows=rows, **arguments)
    batch = next(iter(trainer.get_train_dataloader()))
    assert (len(batch["pixel_values"]), len(batch["input_ids"]), len(batch["labels"]["boxes"])) == (2, 4, 4)
    trainer.train()
    assert trainer.state.log_history[0]["loss"] > 0


def test_the_log_names_every_loss(model, processor, image, tmp_path):
    trainer = make_trainer(model, processor, image, tmp_path, max_steps=2, logging_steps=1)
    trainer.train()
    entries = [entry for entry in trainer.state.log_history if "loss" in entry]
    parts = ("loss_giou", "loss_l1", "loss_center", "loss_mask_focal", "loss_mask_dice")
    assert len(entries) == 2
    for entry in entries:
        torch.testing.assert_close(sum(entry[part] for part in parts), entry["loss"], atol=1e-3, rtol=1e-3)


def test_evaluation_counts_every_row_once(model, processor, image, tmp_path):
    trainer = make_trainer(model, processor, image, tmp_path, per_device_eval_batch_size=1)
    metrics = trainer.evaluate()
    assert metrics["eval_num_samples"] == 2
    assert {"eval_loss", "eval_box_accuracy", "eval_mask_miou", "eval_mask_oiou"} <= set(metrics)


@pytest.mark.parametrize("part", ["text", "vision"])
def test_a_frozen_encoder_stays_as_it_is_and_language_still_enters(model, processor, image, tmp_path, part):
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    flags = {f"freeze_{part}_encoder": True, "max_steps": 2, "learning_rate": 1e-2, "vision_learning_rate": 1e-2}
    make_trainer(model, processor, image, tmp_path, **flags).train()
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    frozen = {name for name in changed if name.startswith(f"{part}_encoder.") and ".text_guidance." not in name}
    assert not frozen
    assert any(".text_guidance." in name for name in changed)
    assert any(name.startswith("head.") for name in changed)


def test_the_learning_rates_fall_at_each_epoch_as_in_the_paper(model, processor, image, tmp_path):
    # Two rows, one in a batch: an epoch has two steps.
    arguments = {"lr_decay_by": "epoch", "num_train_epochs": 4, "per_device_train_batch_size": 1, "logging_steps": 1}
    trainer = make_trainer(model, processor, image, tmp_path, **arguments)
    rates = []
    trainer.add_callback(Watch(step_begin=lambda: rates.append([g["lr"] for g in trainer.optimizer.param_groups])))
    trainer.train()
    expected = [(1 - epoch / 4) ** 0.9 for epoch in range(4) for _ in range(2)]
    for base, part in zip((5e-6, 1e-5, 2.5e-5), (0, 2, 4), strict=True):
        assert [step[part] for step in rates] == pytest.approx([base * factor for factor in expected])


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_rows(model, processor, image, tmp_path):
    trainer = make_trainer(model, processor, image, tmp_path, max_steps=3)
    trainer.data_collator = SpoiledBatches(trainer.data_collator, {1})
    with pytest.raises(LossNotFiniteError, match=r"step 2: the loss of the rows expression \d .*_steps is 0"):
        trainer.train()
    assert trainer.state.global_step == 1


def test_steps_without_a_finite_loss_are_skipped_up_to_a_number(make_config, processor, image, tmp_path, caplog):
    # No dropout and one batch again and again: a skipped step must leave no trace.
    ends = []
    for spoiled, steps in (({}, 2), ({1, 2}, 4)):
        torch.manual_seed(0)
        model = without_dropout(PLVLModel(make_config()))
        arguments = {"max_steps": steps, "max_skipped_steps": 2, "lr_scheduler_type": "constant", "logging_steps": 1}
        trainer = make_trainer(model, processor, image, tmp_path, lr_scheduler_kwargs={}, **arguments)
        trainer.train_dataset = trainer.train_dataset[:1]
        trainer.data_collator = SpoiledBatches(trainer.data_collator, spoiled)
        ended = trainer.train()
        ends.append(model.state_dict())
    logged = trainer.state.log_history
    assert logged[-2]["skipped_steps"] == 2
    assert ["loss" in entry for entry in logged[:4]] == [True, False, False, True], "a skipped step has no loss"
    losses = [entry["loss"] for entry in logged if "loss" in entry]
    assert logged[-1]["train_loss"] == pytest.approx(sum(losses) / 2, rel=1e-3), "Trainer's counts skipped steps as 0"
    assert ended.training_loss == logged[-1]["train_loss"]
    assert "step skipped, 2 of at most 2" in caplog.text
    for name, tensor in ends[0].items():
        torch.testing.assert_close(ends[1][name], tensor, msg=name)


def test_the_logged_loss_is_the_mean_of_the_steps_that_were_not_skipped(model, processor, image, tmp_path):
    trainer = make_trainer(model, processor, image, tmp_path, max_steps=4, max_skipped_steps=1, logging_steps=4)
    trainer.data_collator = SpoiledBatches(trainer.data_collator, {2})
    trainer.train()
    logged = trainer.state.log_history[0]
    parts = [value for name, value in logged.items() if name.startswith("loss_")]
    assert len(parts) == 5 and logged["loss"] == pytest.approx(sum(parts), rel=1e-4)


def test_a_loss_that_somebody_else_logs_is_left_alone(model, processor, image, tmp_path):
    trainer = make_trainer(model, processor, image, tmp_path)
    trainer.log({"loss": 0.5, "train_loss": 0.25})
    assert (trainer.state.log_history[0]["loss"], trainer.state.log_history[0]["train_loss"]) == (0.5, 0.25)


def test_a_run_that_has_skipped_more_than_half_of_its_steps_ends_in_an_error(model, processor, image, tmp_path):
    trainer = make_trainer(model, processor, image, tmp_path, max_steps=5, max_skipped_steps=4)
    trainer.data_collator = SpoiledBatches(trainer.data_collator, {0, 1, 3})
    with pytest.raises(LossNotFiniteError, match="3 of 5 steps were skipped, since the loss was not finite: .* rate"):
        trainer.train()


@pytest.mark.parametrize(("step", "spoiled_after_it"), [(2, {1}), (4, {}), (5, {})])
def test_steps_that_were_skipped_before_a_run_was_continued_count(
    make_config, processor, image, tmp_path, step, spoiled_after_it
):
    arguments = {"max_steps": 5, "max_skipped_steps": 3, "save_strategy": "steps", "save_steps": 1}
    for checkpoint, spoiled in ((None, {0, 1, 3}), (f"{tmp_path}/checkpoint-{step}", spoiled_after_it)):
        trainer = make_trainer(PLVLModel(make_config()), processor, image, tmp_path, **arguments)
        trainer.data_collator = SpoiledBatches(trainer.data_collator, spoiled)
        with pytest.raises(LossNotFiniteError, match="3 of 5 steps were skipped"):
            trainer.train(checkpoint)


def test_a_run_that_skips_on_after_it_was_continued_keeps_to_its_number(model, processor, image, tmp_path):
    arguments = {"max_steps": 4, "max_skipped_steps": 1, "save_strategy": "steps", "save_steps": 2}
    trainer = make_trainer(model, processor, image, tmp_path, **arguments)
    trainer.data_collator = SpoiledBatches(trainer.data_collator, {0, 2})
    with pytest.raises(LossNotFiniteError, match="step 3"):
        trainer.train()
    trainer = make_trainer(model, processor, image, tmp_path, **arguments)
    trainer.data_collator = SpoiledBatches(trainer.data_collator, {0})
    with pytest.raises(LossNotFiniteError, match="step 3"):
        trainer.train(True)


def test_of_several_bad_batches_a_step_counts_once(model, processor, image, tmp_path):
    arguments = {"max_steps": 3, "max_skipped_steps": 1, "gradient_accumulation_steps": 2, "logging_steps": 1}
    trainer = make_trainer(model, processor, image, tmp_path, per_device_train_batch_size=1, **arguments)
    trainer.data_collator = SpoiledBatches(trainer.data_collator, {2, 3})
    trainer.train()
    assert [entry.get("skipped_steps") for entry in trainer.state.log_history[:3]] == [None, 1, 1]


def test_one_step_too_many_without_a_finite_loss_stops_the_run(model, processor, image, tmp_path):
    trainer = make_trainer(model, processor, image, tmp_path, max_steps=4, max_skipped_steps=1)
    trainer.data_collator = SpoiledBatches(trainer.data_collator, {0, 2})
    with pytest.raises(LossNotFiniteError, match="step 3"):
        trainer.train()


def test_a_run_that_gets_no_better_stops_early(model, processor, image, tmp_path):
    arguments = {"max_steps": 9, "eval_strategy": "steps", "eval_steps": 1, "early_stopping_patience": 2}
    trainer = make_trainer(model, processor, image, tmp_path, **arguments)
    scores = iter([0.1, 0.3, 0.2, 0.3, 0.9])
    trainer.evaluation_loop = lambda *args, **options: EvalLoopOutput(
        None, None, {"eval_box_accuracy": next(scores), "eval_mask_miou": 0.5}, 2
    )
    trainer.train()
    # The second evaluation was the best, and two more did not better it.
    assert trainer.state.global_step == 4


def test_each_evaluation_draws_a_gallery_for_people_and_tensorboard(model, processor, image, tmp_path):
    logs = {"report_to": "tensorboard", "max_steps": 2, "eval_strategy": "steps", "eval_steps": 1, "logging_steps": 1}
    trainer = make_trainer(model, processor, image, tmp_path, **logs)
    trainer.add_callback(DrawGallery(trainer, trainer.eval_dataset))
    trainer.train()
    assert sorted(file.name for file in (tmp_path / "gallery").iterdir()) == ["step_0000001.png", "step_0000002.png"]
    [folder] = {file.parent for file in tmp_path.rglob("events.out.tfevents*")}
    events = EventAccumulator(str(folder)).Reload()
    assert [image.step for image in events.Images("gallery")] == [1, 2]
    assert {"train/loss_giou", "train/loss_mask_dice", "eval/box_accuracy"} <= set(events.Tags()["scalars"])


@pytest.mark.parametrize(
    "way",
    [{"bf16": True}, {"gradient_checkpointing": True}, {"torch_compile": True, "torch_compile_backend": "eager"}],
)
def test_training_takes_transformers_ways_to_save_time_and_memory(model, processor, image, tmp_path, way):
    trainer = make_trainer(model, processor, image, tmp_path, max_steps=2, logging_steps=1, **way)
    before = model.head.center_trunk[0].weight.clone()
    trainer.train()
    assert not torch.equal(model.head.center_trunk[0].weight, before)
    assert trainer.evaluate()["eval_num_samples"] == 2


def test_gradient_checkpointing_does_not_change_the_gradient(make_config, processor, image, tmp_path):
    ends = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = PLVLModel(make_config())
        make_trainer(
            model, processor, image, tmp_path, max_steps=2, gradient_checkpointing=checkpointing, learning_rate=1e-3
        ).train()
        ends.append(model.state_dict())
    for name, tensor in ends[0].items():
        torch.testing.assert_close(ends[1][name], tensor, msg=name)


def test_a_stream_of_unknown_length_is_trained_on_for_a_number_of_steps(model, processor, image, tmp_path):
    trainer = make_trainer(model, processor, image, tmp_path, max_steps=3)
    rows = trainer.train_dataset
    trainer.train_dataset = IterableDataset.from_generator(lambda: iter(rows))
    trainer.train()
    assert trainer.state.global_step == 3


class Watch(TrainerCallback):
    def __init__(self, step_begin):
        self.step_begin = step_begin

    def on_step_begin(self, *args, **kwargs):
        self.step_begin()


class SpoiledBatches:
    """Puts an image that is no number into the batches of the given numbers."""

    def __init__(self, collator, numbers):
        self.collator, self.numbers, self.calls = collator, numbers, 0

    def __call__(self, rows):
        batch = self.collator(rows)
        if self.calls in self.numbers:
            batch["pixel_values"] = batch["pixel_values"] * float("nan")
        self.calls += 1
        return batch


def test_one_process_with_several_gpus_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(PLVLTrainingArguments, "n_gpu", property(lambda self: 4))
    with pytest.raises(ValueError, match="one process sees 4 GPUs: start one process for each"):
        PLVLTrainingArguments(output_dir=str(tmp_path))
