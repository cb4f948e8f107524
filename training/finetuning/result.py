"""What a fine-tuning leaves: the best model, its card, metrics and a gallery of before and after."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModel

from plvl.data.loading import load_grounding_dataset
from plvl.data.schema import Row
from plvl.modeling_plvl.model_card_plvl import SETTINGS, write_model_card
from plvl.training.callbacks import best_models
from plvl.training.checkpoints import explained_failure
from plvl.training.evaluation import evaluate_rows
from plvl.training.finetuning.fine_tuner import FineTuner
from plvl.training.finetuning.low_rank import weakened, write_adapter, write_merged
from plvl.training.finetuning.request import LABELS, TRAINING, FineTuning
from plvl.training.gallery import draw_before_and_after, one_row_per_image
from plvl.training.recipe import DataArguments, ModelArguments
from plvl.training.results import COLUMNS, COLUMNS_OF_ANY, print_metrics, write_metrics
from plvl.training.starting_model import load_or_make_model
from plvl.training.training_settings import training_settings

BEFORE = "before"  # the folder of the starting model's metrics
VALIDATION = "jsonl/val"
GALLERY_IMAGES = 12


def finish(asked: FineTuning, trainer: FineTuner, rows: tuple[list[Row], list[Row]], say: Callable[[str], None]):
    """
    Writes the best model into the output folder, and beside it what a person wants to know of it.

    Args:
        trainer ([`FineTuner`]): which has trained.
        rows: to train on, and for validation.
    """
    kept = [asked.output / TRAINING / name for name in best_models(trainer.model.config).values()]
    best = next(folder for folder in kept if folder.is_dir())
    processor = trainer.processing_class
    with explained_failure(asked.output / TRAINING, "the model", True):
        write_best_model(asked, best)
        processor.save_pretrained(asked.output)
    # As a user will load it.
    model = AutoModel.from_pretrained(asked.output, dtype=torch.float32).to(trainer.args.device)
    # A stream: images of one's own may be large.
    validation = load_grounding_dataset("jsonl", "val", asked.images, asked.output / LABELS)
    metrics = {
        BEFORE: _metrics_at_start(trainer.state.log_history),
        "after": evaluate_rows(model, processor, validation).metrics(),
    }
    for folder, which in ((asked.output / BEFORE, BEFORE), (asked.output, "after")):
        folder.mkdir(exist_ok=True)
        write_metrics(folder, {VALIDATION: metrics[which]})
    start, _ = load_or_make_model(ModelArguments(str(asked.start)), None)
    pictured = one_row_per_image(validation, GALLERY_IMAGES)
    sheet = draw_before_and_after(start.to(model.device), model, processor, pictured)
    sheet.save(asked.output / "gallery.png")
    _write_settings(asked, trainer, rows)
    write_model_card(
        asked.output,
        asked.output.absolute().name,
        model.config,
        base_model=None if Path(asked.base).exists() else asked.base,
        image=("gallery.png", "Validation images before and after fine-tuning; the truth is green, the answer red"),
    )
    columns = COLUMNS_OF_ANY if model.config.targets == "any" else COLUMNS
    print_metrics(
        "on the validation images", columns, {"starting model": metrics[BEFORE], "fine-tuned": metrics["after"]}
    )
    say(
        f"\n{asked.output}: the best model, metrics.json, gallery.png, README.md (its card). "
        f"{asked.output / TRAINING} may be deleted"
    )
    if best_step(trainer) == 0:
        say(
            "No evaluation was better than the first: what was written is the starting model. More images, another "
            "--learning_rate or more --steps may help"
        )


def best_step(trainer: FineTuner) -> int:
    """The step of the evaluation whose model was kept."""
    for metric in best_models(trainer.model.config):
        entries = [entry for entry in trainer.state.log_history if metric in entry]
        if entries:
            return int(max(entries, key=lambda entry: entry[metric])["step"])
    raise ValueError("no evaluation has a metric by which the best model is known")


def write_best_model(asked: FineTuning, best: Path):
    """
    Writes a model that `from_pretrained` loads, of the best one of the training and the starting model: weights
    between those of both do what was learned nearly as well and forget less (arXiv 2109.01903).

    Args:
        best: the folder of the training's best model.
    """
    start, _ = load_or_make_model(ModelArguments(str(asked.start)), None)
    if asked.rank is None:
        tuned = AutoModel.from_pretrained(best, dtype=torch.float32)
        with torch.no_grad():
            learned = tuned.state_dict()
            for name, value in start.state_dict().items():
                if value.is_floating_point():
                    learned[name].lerp_(value, asked.start_share)
        tuned.save_pretrained(asked.output)
        return
    state = weakened(load_file(best / "model.safetensors"), 1 - asked.start_share)
    if asked.keep_adapter:
        base = str(Path(asked.base).absolute()) if Path(asked.base).exists() else asked.base
        write_adapter(start, state, asked.rank, asked.output, base)
    else:
        write_merged(start, state, asked.rank, asked.output)


def _metrics_at_start(log_history: list[dict]) -> dict[str, float]:
    first = next(entry for entry in log_history if entry["step"] == 0 and "eval_loss" in entry)
    no_metrics = ("runtime", "samples_per_second", "steps_per_second")
    metrics = {name.removeprefix("eval_"): value for name, value in first.items() if name.startswith("eval_")}
    return {name: value for name, value in metrics.items() if name not in no_metrics}


def _write_settings(asked: FineTuning, trainer: FineTuner, rows):
    settings = training_settings(
        trainer,
        ModelArguments(asked.base),
        DataArguments(dataset=["jsonl"], augmentation=True),
    )
    num_images = len({row["file_name"] for row in rows[0]})
    settings |= {"dataset": f"{num_images} images with {len(rows[0])} expressions", "trained": asked.way}
    if asked.rank:
        settings["lora_rank"] = asked.rank
    if asked.averages:
        settings["averaged_weights"] = True
    settings["start_share"] = asked.start_share
    settings["best_at_step"] = best_step(trainer)
    (asked.output / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
