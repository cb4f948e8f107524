"""How a model was trained, in a file beside it that its card shows."""

import json
from importlib.metadata import version
from pathlib import Path

from plvl.modeling_plvl.model_card_plvl import SETTINGS
from plvl.training.recipe import DataArguments, ModelArguments

ARGUMENTS = (
    "learning_rate",
    "text_learning_rate",
    "vision_learning_rate",
    "muon_learning_rate",
    "freeze_text_encoder",
    "freeze_vision_encoder",
    "optim",
    "weight_decay",
    "lr_scheduler_type",
    "warmup_steps",
    "max_grad_norm",
    "seed",
)
STARTING_POINTS = ("model_name_or_path", "vision_weights", "text_weights")
AUGMENTATIONS = ("aug_crop", "aug_scale", "aug_color", "aug_blur", "aug_words")
PROGRAMS = ("plvl", "torch", "transformers")


def write_training_settings(trainer, model_args: ModelArguments, data_args: DataArguments):
    """Writes `training_settings.json` into the output folder of a trainer that has trained."""
    if trainer.is_world_process_zero():
        settings = training_settings(trainer, model_args, data_args)
        file = Path(trainer.args.output_dir, SETTINGS)
        file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def training_settings(trainer, model_args: ModelArguments, data_args: DataArguments) -> dict:
    """
    By name what a reader of a model's card wants to know of a run: plain values, without the folders of its machine.
    What was left out or has no effect is not there.
    """
    args = trainer.args
    sets = data_args.dataset if isinstance(data_args.dataset, str) else " + ".join(data_args.dataset)
    settings: dict = {"dataset": f"{sets}, {data_args.train_split}"}
    for name in STARTING_POINTS:
        if given := getattr(model_args, name):
            settings[name] = Path(given).name if Path(given).exists() else given
    settings |= {"loss_alpha": trainer.accelerator.unwrap_model(trainer.model).config.loss_alpha}
    if data_args.augmentation:
        settings["augmentation"] = ", ".join(["mirror", *(each for each in AUGMENTATIONS if getattr(data_args, each))])
    if data_args.expressions_per_image > 1:
        settings["expressions_per_image"] = data_args.expressions_per_image
    batch_size = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    settings |= {"total_train_batch_size": batch_size, "processes": args.world_size}
    settings["precision"] = next((name for name in ("bf16", "fp16") if getattr(args, name)), "float32")
    length = "max_steps" if args.max_steps > 0 else "num_train_epochs"
    for name in (length, *ARGUMENTS):
        value = getattr(args, name)
        if value is not None and value is not False:
            settings[name] = getattr(value, "value", value)
    settings["steps"] = trainer.state.global_step
    return settings | {program: version(program) for program in PROGRAMS}
