"""What Transformers' Trainer promises holds for PLVLTrainer, or is refused with the reason."""

import inspect
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import Trainer, TrainingArguments

from plvl.processing.augmentation import RandomColors
from plvl.training import PLVLTrainer
from plvl.training.optimization import LEARNING_RATES
from small_runs import make_rows, make_trainer, random_model, shapes_trainer

EACH_STEP = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}


@pytest.fixture
def trainer_of(model, processor, image, tmp_path):
    """A trainer on two rows, with arguments changed."""
    return lambda **arguments: make_trainer(model, processor, image, tmp_path, **arguments)


@pytest.fixture
def scored(monkeypatch):
    """Has each evaluation find the next of some mask mIoUs."""

    def give(trainer, values):
        scores, pass_over = iter(values), trainer.evaluation_loop

        def evaluation_loop(*arguments, metric_key_prefix="eval", **options):
            output = pass_over(*arguments, metric_key_prefix=metric_key_prefix, **options)
            output.metrics[f"{metric_key_prefix}_mask_miou"] = next(scores)
            return output

        trainer.evaluation_loop = evaluation_loop
        return trainer

    return give


def test_overrides_take_the_arguments_of_what_they_override():
    for name, method in vars(PLVLTrainer).items():
        base = getattr(Trainer, name, None)
        if inspect.isfunction(method) and base is not None and name != "__init__":
            parameters = list(inspect.signature(base).parameters)
            assert list(inspect.signature(method).parameters)[: len(parameters)] == parameters, name
    first = list(inspect.signature(Trainer.__init__).parameters)[:7]
    assert list(inspect.signature(PLVLTrainer.__init__).parameters)[:7] == first


# The models that are kept


@pytest.mark.parametrize("limit", [None, 1])
def test_the_final_model_is_the_best_one_where_that_is_asked_for(trainer_of, scored, tmp_path, limit):
    best = {"load_best_model_at_end": True, "metric_for_best_model": "mask_miou", "save_total_limit": limit}
    trainer = scored(trainer_of(max_steps=3, learning_rate=1e-2, **EACH_STEP, **best), [0.1, 0.5, 0.3])
    trainer.train()
    trainer.save_model()
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-2")
    weights = load_file(tmp_path / "model.safetensors")
    of_best = load_file(tmp_path / "checkpoint-2/model.safetensors")
    assert all(torch.equal(weights[name], of_best[name]) for name in weights)
    kept = sorted(folder.name for folder in tmp_path.glob("checkpoint-*"))
    assert kept == (["checkpoint-2"] if limit else ["checkpoint-1", "checkpoint-2", "checkpoint-3"])
    if not limit:
        state = json.loads((tmp_path / "checkpoint-3/trainer_state.json").read_text(encoding="utf-8"))
        assert state["best_model_checkpoint"] == str(tmp_path / "checkpoint-2")
        of_last = load_file(tmp_path / "checkpoint-3/model.safetensors")
        assert not all(torch.equal(weights[name], of_last[name]) for name in weights)


def test_save_strategy_best_saves_the_best_alone(trainer_of, scored, tmp_path):
    arguments = EACH_STEP | {"save_strategy": "best", "metric_for_best_model": "mask_miou"}
    scored(trainer_of(max_steps=4, **arguments), [0.2, 0.1, 0.4, 0.3]).train()
    assert sorted(folder.name for folder in tmp_path.glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-3"]


def test_of_several_evaluation_sets_the_mean_tells_the_best_model(trainer_of, scored, tmp_path):
    trainer = trainer_of(max_steps=6, eval_strategy="steps", eval_steps=1, early_stopping_patience=2)
    trainer.eval_dataset = {"a": trainer.eval_dataset, "b": trainer.eval_dataset[:1]}
    scored(trainer, [0.1, 0.3, 0.5, 0.1, 0.2, 0.1, 0.0, 0.2, 0.9, 0.9])
    trainer.train()
    means = [entry["eval_mask_miou"] for entry in trainer.state.log_history if "eval_mask_miou" in entry]
    assert means == pytest.approx([0.2, 0.3, 0.15, 0.1])
    assert trainer.state.global_step == 4 and (tmp_path / "best_mask_miou").is_dir()
    assert {"eval_a_mask_miou", "eval_b_mask_miou", "eval_mask_miou"} <= set(trainer_metrics(trainer, scored))


def trainer_metrics(trainer, scored):
    return scored(trainer, [0.5, 0.5]).evaluate()


# Learning rates


@pytest.mark.parametrize(
    "schedule",
    [
        {"lr_scheduler_type": "linear"},
        {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1e-6}},
        {
            "lr_scheduler_type": "reduce_lr_on_plateau",
            "eval_strategy": "steps",
            "eval_steps": 1,
            "metric_for_best_model": "mask_miou",
        },
    ],
    ids=lambda schedule: schedule["lr_scheduler_type"],
)
def test_any_schedule_of_transformers_trains(trainer_of, schedule):
    trainer = trainer_of(max_steps=2, **schedule)
    trainer.train()
    assert trainer.state.global_step == 2


def test_without_a_schedule_named_it_is_the_papers(trainer_of):
    trainer = trainer_of(max_steps=4, logging_steps=1)
    trainer.train()
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    first = trainer.optimizer.param_groups[0]["initial_lr"]
    # The rate that is logged is that of the step that was made.
    assert rates == pytest.approx([first * (1 - step / 4) ** 0.9 for step in range(4)])


def wrapped(model):
    outer = torch.nn.Module()
    outer.base_model = torch.nn.Module()
    outer.base_model.model, outer.config = model, model.config
    return outer


@pytest.mark.parametrize("wrap", [lambda model: torch.compile(model, backend="eager"), wrapped])
def test_a_wrapped_model_keeps_its_frozen_part_and_its_rates(model, processor, image, tmp_path, wrap):
    outer = wrap(model)
    trainer = make_trainer(outer, processor, image, tmp_path, freeze_text_encoder=True)
    assert not any(parameter.requires_grad for parameter in model.text_encoder.parameters())
    groups = trainer.create_optimizer().param_groups
    rate_of = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert rate_of[id(model.vision_encoder.layers[0].fc1.weight)] == 1e-5
    assert rate_of[id(model.decoder.layers[0].fc1.weight)] == 2.5e-5


def test_a_model_made_by_the_trainer_has_its_encoder_frozen_too(processor, image, tmp_path):
    args = make_trainer(random_model(), processor, image, tmp_path, max_steps=1, freeze_text_encoder=True).args
    trainer = PLVLTrainer(
        model_init=lambda: random_model(), args=args, processing_class=processor, train_dataset=make_rows(image)
    )
    trainer.train()
    before = random_model().text_encoder.state_dict()
    assert all(torch.equal(each, before[name]) for name, each in trainer.model.text_encoder.state_dict().items())


def test_an_optimizer_of_ones_own_class_gets_the_learning_rates(model, processor, image, tmp_path):
    args = make_trainer(model, processor, image, tmp_path).args
    trainer = PLVLTrainer(
        model,
        args,
        processing_class=processor,
        optimizer_cls_and_kwargs=(torch.optim.SGD, {"lr": 1.0, "momentum": 0.5}),
    )
    optimizer = trainer.create_optimizer()
    assert type(optimizer) is torch.optim.SGD
    assert {group["lr"] for group in optimizer.param_groups} == {2.5e-5, 5e-6, 1e-5}
    assert {group["momentum"] for group in optimizer.param_groups} == {0.5}


def test_an_optimizer_with_groups_of_its_own_is_refused(model, processor, image, tmp_path):
    args = make_trainer(model, processor, image, tmp_path).args
    given = (torch.optim.SGD, {"params": list(model.parameters())})
    trainer = PLVLTrainer(model, args, processing_class=processor, optimizer_cls_and_kwargs=given)
    with pytest.raises(ValueError, match="would lose the encoders' learning rates"):
        trainer.create_optimizer()


# Going on


@pytest.fixture(scope="module")
def saved_run(refshapes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    shapes_trainer(refshapes, folder, max_steps=2, save_strategy="steps", save_steps=1).train()
    return folder


@pytest.mark.parametrize("given", [True, "true", "renamed"])
def test_a_run_goes_on_from_the_last_checkpoint_or_from_one_under_any_name(refshapes, saved_run, tmp_path, given):
    shutil.copytree(saved_run, tmp_path, dirs_exist_ok=True)
    if given == "renamed":
        given = str((tmp_path / "checkpoint-2").rename(tmp_path / "kept"))
    trainer = shapes_trainer(refshapes, tmp_path, max_steps=3)
    trainer.train(resume_from_checkpoint=given)
    assert trainer.state.global_step == 3
    # One step of this call, after the two that were logged before.
    assert [entry["step"] for entry in trainer.state.log_history if "loss" in entry] == [1, 2, 3]


def of_an_earlier_version(checkpoint):
    (checkpoint / "rng_state.pth").unlink()
    (checkpoint / "manifest.json").unlink()
    (checkpoint / "resume_settings.json").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: shutil.rmtree(folder / "checkpoint-2"), "checkpoint-2: there is no such folder"),
        (
            lambda folder: (folder / "checkpoint-2/model.safetensors").unlink(),
            "no whole checkpoint: model.safetensors is missing",
        ),
        (lambda folder: (folder / "checkpoint-2/rng_state.pth").unlink(), "rng_state.pth is missing"),
        (lambda folder: of_an_earlier_version(folder / "checkpoint-2"), "a model without the state of its training"),
    ],
    ids=["not there", "damaged", "no random states", "model only"],
)
def test_a_checkpoint_asked_for_by_name_is_refused_with_the_reason(refshapes, saved_run, tmp_path, damage, message):
    shutil.copytree(saved_run, tmp_path, dirs_exist_ok=True)
    damage(tmp_path)
    trainer = shapes_trainer(refshapes, tmp_path, max_steps=3)
    with pytest.raises(ValueError, match=message):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


def test_true_without_a_checkpoint_is_an_error_and_false_begins(refshapes, tmp_path):
    trainer = shapes_trainer(refshapes, tmp_path, max_steps=1)
    with pytest.raises(ValueError, match="resume_from_checkpoint is True, but .* has no checkpoint to go on from"):
        trainer.train(resume_from_checkpoint=True)
    trainer.train(resume_from_checkpoint="false")
    assert trainer.state.global_step == 1


def test_auto_find_batch_size_comes_down_to_what_fits(refshapes, tmp_path):
    sizes = []

    class Small(type(random_model())):
        def forward(self, pixel_values=None, **others):
            if self.training:
                sizes.append(len(pixel_values))
                if len(pixel_values) > 3:
                    raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return super().forward(pixel_values=pixel_values, **others)

    model = random_model()
    model.__class__ = Small
    options = {"auto_find_batch_size": True, "per_device_train_batch_size": 6, "save_strategy": "steps"}
    trainer = shapes_trainer(refshapes, tmp_path, model=model, max_steps=2, save_steps=2, **options)
    trainer.train()
    assert sizes[0] == 6 and sizes[-2:] == [3, 3]
    again = shapes_trainer(refshapes, tmp_path, model=model, max_steps=3, **options)
    sizes.clear()
    again.train(resume_from_checkpoint=True)
    assert sizes == [3] and again.state.global_step == 3
    alone = shapes_trainer(refshapes, tmp_path, max_steps=4, **options | {"auto_find_batch_size": False})
    with pytest.raises(ValueError, match="auto_find_batch_size was True and is False"):
        alone.train(resume_from_checkpoint=True)


# Arguments and evaluation


def test_plain_arguments_and_none_at_all_are_taken(model, processor, image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert PLVLTrainer(model, processing_class=processor).args.text_learning_rate == 5e-6
    plain = TrainingArguments(str(tmp_path), max_steps=1, learning_rate=1e-3, report_to="none", use_cpu=True)
    trainer = PLVLTrainer(model, plain, processing_class=processor, train_dataset=make_rows(image))
    trainer.train()
    assert {getattr(trainer.args, rate) for rate in LEARNING_RATES.values()} == {1e-3}
    assert trainer.state.global_step == 1


def test_arguments_without_effect_say_so_and_the_usual_ones_do_not(trainer_of, caplog):
    trainer_of()
    assert "has no effect" not in caplog.text
    trainer = trainer_of(bf16_full_eval=True, train_sampling_strategy="group_by_length", eval_accumulation_steps=2)
    for name in ("bf16_full_eval=True", "train_sampling_strategy='group_by_length'", "eval_accumulation_steps=2"):
        assert f"{name} has no effect: " in caplog.text
    assert trainer.place_model_on_device


@pytest.mark.parametrize("name", ["compute_loss_func", "preprocess_logits_for_metrics"])
def test_what_cannot_be_heeded_is_refused_at_the_start(model, processor, name):
    with pytest.raises(ValueError, match=f"PLVLTrainer takes no {name}: "):
        PLVLTrainer(model, processing_class=processor, **{name: lambda *args: None})


def test_compute_metrics_of_boxes_is_refused_for_a_model_without_them(processor, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="this model has no task rec"):
        PLVLTrainer(random_model(tasks=["res"]), processing_class=processor, compute_metrics=lambda given: {})


def test_compute_metrics_gets_boxes_beside_the_projects_metrics(trainer_of):
    trainer = trainer_of()
    trainer.compute_metrics = lambda given: {"largest_error": float(np.abs(given.predictions - given.label_ids).max())}
    metrics = trainer.evaluate()
    assert 0 < metrics["eval_largest_error"] < 1.5 and metrics["eval_num_samples"] == 2


def test_a_list_is_predicted_in_its_order_and_not_augmented(trainer_of, image):
    trainer = trainer_of(per_device_eval_batch_size=1)
    trainer.data_collator.augmentation = RandomColors(p=1.0)
    rows = make_rows(image) + [make_rows(image)[0] | {"boxes": [[0, 0, 60, 40]]}]
    output = trainer.predict(rows)
    assert output.predictions.shape == (3, 4)
    assert output.label_ids[:, 2:] == pytest.approx(np.array([[1 / 3, 1 / 2], [1 / 3, 1 / 2], [1, 1]]), abs=0.01)
    assert output.metrics["test_loss"] == trainer.predict(rows).metrics["test_loss"]
    assert output.metrics["test_num_samples"] == 3 and "test_runtime" in output.metrics


def test_dataloaders_and_their_numbers_are_those_of_the_sets(trainer_of, image):
    trainer = trainer_of(per_device_train_batch_size=3, per_device_eval_batch_size=2)
    trainer.eval_dataset = {"one": make_rows(image), "other": make_rows(image)[:1]}
    assert trainer.num_examples(trainer.get_eval_dataloader("other")) == 1
    assert len(trainer.get_test_dataloader(make_rows(image) * 2)) == 2
    assert trainer.num_examples(trainer.get_train_dataloader()) == 3
