import pytest
import torch
from safetensors.torch import load_file

from plvl.training import PLVLTrainingArguments
from plvl.training.finetuning.fine_tuner import AVERAGED_WEIGHTS, FineTuner, SayProgress
from small_runs import make_rows, random_model


@pytest.fixture
def tune(processor, image, tmp_path):
    """Trains a small model for some steps on two rows; gives its trainer."""

    def run(steps=4, said=None, resume=None, **options):
        arguments = {"learning_rate": 1e-2, "max_steps": steps, "per_device_train_batch_size": 2, "logging_steps": 1}
        arguments |= {"lr_scheduler_type": "constant", "lr_scheduler_kwargs": {}, "dataloader_pin_memory": False}
        averages = options.pop("averages", False)
        trainer = FineTuner(
            random_model(),
            PLVLTrainingArguments(
                str(tmp_path / "run"),
                use_cpu=True,
                report_to="none",
                **({"save_strategy": "no"} | arguments | options),
            ),
            train_dataset=make_rows(image),
            eval_dataset=make_rows(image),
            processing_class=processor,
            averages=averages,
            say=(said if said is not None else []).append,
        )
        trainer.train(resume)
        return trainer

    return run


def copies(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_running_statistics_stay_and_weights_do_not(tune):
    before = copies(random_model())
    trainer = tune()
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, before[name]) == ("running_" in name or "num_batches" in name), name


def test_averages_are_evaluated_and_saved_and_training_goes_on_with_the_weights(tune, tmp_path):
    plain, trainer = tune(), tune(averages=True)
    weights = copies(trainer.model)
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, weights[name]), name
    with trainer.averaged_weights():
        averages = copies(trainer.model)
    moved = [name for name in weights if not torch.equal(weights[name], averages[name])]
    assert set(moved) > {name for name in weights if name.endswith("q_proj.weight")}
    trainer.save_model(tmp_path / "saved")
    saved = load_file(tmp_path / "saved/model.safetensors")
    assert all(torch.equal(saved[name], averages[name]) for name in moved)
    assert all(torch.equal(value, weights[name]) for name, value in trainer.model.state_dict().items())
    boxes = trainer.evaluation_pass(trainer.eval_dataset).predicted_boxes
    trainer.model.load_state_dict(averages)
    trainer._averages = None
    assert (boxes == trainer.evaluation_pass(trainer.eval_dataset).predicted_boxes).all()


def test_after_one_step_the_averages_have_nothing_of_the_starting_model(tune):
    trainer = tune(steps=1, averages=True)
    weights = copies(trainer.model)
    with trainer.averaged_weights():
        assert all(torch.equal(value, weights[name]) for name, value in trainer.model.state_dict().items())


def test_a_run_that_goes_on_ends_with_the_averages_of_one_that_never_stopped(tune, tmp_path):
    straight = tune(steps=6, averages=True)
    tune(steps=6, averages=True, save_strategy="steps", save_steps=3)
    checkpoint = tmp_path / "run/checkpoint-3"
    assert (checkpoint / AVERAGED_WEIGHTS).is_file()
    resumed = tune(steps=6, averages=True, save_strategy="steps", save_steps=3, resume=str(checkpoint))
    for trainer in (straight, resumed):
        trainer.weights = copies(trainer.model)
        with trainer.averaged_weights():
            trainer.averages = copies(trainer.model)
    for name in straight.weights:
        assert torch.equal(straight.weights[name], resumed.weights[name]), name
        assert torch.equal(straight.averages[name], resumed.averages[name]), name


def test_after_ten_steps_it_says_how_long_it_will_take_and_at_evaluations_how_it_goes(tune):
    said = []
    tune(steps=16, said=said, eval_strategy="steps", eval_steps=4, eval_on_start=True)
    assert said[0].startswith("starting model: on the validation images box accuracy ")
    timed = [line for line in said if "seconds a step: about 1 minute for the" in line]
    # Of a step after an evaluation the time is not taken.
    assert len(timed) == 1 and "for the 2 steps that are left" in timed[0]
    assert [line.split(":")[0] for line in said if line.startswith("step")] == [
        f"step {step} of 16" for step in (4, 8, 12, 16)
    ]
    assert "mask mIoU" in said[1] and "; loss " in said[1]


def test_minutes_left_are_of_steps_and_evaluations():
    progress = SayProgress(print)
    progress.seconds_per_step = 2.0

    class State:
        max_steps, global_step = 300, 60
        log_history = [{"eval_runtime": 99.0}, {"loss": 1.0}, {"eval_runtime": 30.0}]

    class Arguments:
        eval_steps = 30

    # 240 steps of 2 seconds and 8 evaluations of 30.
    assert progress.minutes_left(Arguments, State) == "12 minutes"
