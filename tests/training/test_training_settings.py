"""What the card of a model says of its training."""

from types import SimpleNamespace

import pytest

from plvl.training import PLVLTrainingArguments
from plvl.training.recipe import DataArguments, ModelArguments
from plvl.training.training_settings import training_settings


@pytest.fixture
def settings(config, tmp_path):
    """The settings of a run of 70 steps that was told so."""

    def of(model=None, data=None, **arguments):
        args = PLVLTrainingArguments(str(tmp_path / "outputs"), use_cpu=True, report_to="none", **arguments)
        trainer = SimpleNamespace(
            args=args,
            model=SimpleNamespace(config=config),
            accelerator=SimpleNamespace(unwrap_model=lambda model: model),
            state=SimpleNamespace(global_step=70),
        )
        return training_settings(trainer, ModelArguments(**model or {}), DataArguments(**data or {}))

    return of


def test_they_say_what_the_model_learned_from_and_how(settings):
    found = settings(
        {"text_weights": "lab/bert"},
        {"dataset": {"jsonl": 3, "refcoco": 1}, "augmentation": True, "aug_crop": False, "expressions_per_image": 3},
        num_train_epochs=7,
        per_device_train_batch_size=6,
        gradient_accumulation_steps=4,
        freeze_vision_encoder=True,
        seed=0,
        bf16=True,
    )
    expected = {
        "dataset": "jsonl + refcoco, train",
        "text_weights": "lab/bert",
        "augmentation": "mirror, aug_scale, aug_color",
        "expressions_per_image": 3,
        "total_train_batch_size": 24,
        "precision": "bf16",
        "num_train_epochs": 7,
        "freeze_vision_encoder": True,
        "lr_scheduler_type": "polynomial",
        "seed": 0,
        "steps": 70,
    }
    assert {name: found[name] for name in expected} == expected
    assert found["plvl"] and found["torch"]
    assert not {"max_steps", "muon_learning_rate", "freeze_text_encoder", "vision_weights"} & found.keys()


def test_folders_of_the_machine_stay_out(settings, tmp_path):
    (tmp_path / "pretrained").mkdir()
    found = settings({"model_name_or_path": str(tmp_path / "pretrained")}, max_steps=70)
    assert found["model_name_or_path"] == "pretrained" and str(tmp_path) not in str(found)
    assert found["max_steps"] == 70 and "num_train_epochs" not in found and found["precision"] == "float32"
