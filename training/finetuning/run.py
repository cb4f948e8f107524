"""A fine-tuning from labels to a folder with the best model, its card, metrics and a gallery of before and after."""

import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModel, TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from plvl.data.collator import GroundingCollator
from plvl.data.loading import load_grounding_dataset
from plvl.data.sample_validation import sanitize_sample
from plvl.data.source_files import content_digest
from plvl.data.training_rows import load_training_rows
from plvl.modeling_plvl import PLVLModel
from plvl.modeling_plvl.model_card_plvl import SETTINGS, write_model_card
from plvl.processing.augmentation import training_augmentation
from plvl.training.arguments import PLVLTrainingArguments
from plvl.training.callbacks import best_models
from plvl.training.checkpoints import agreed_checkpoint, explained_failure
from plvl.training.evaluation import evaluate_rows, targets_at_most
from plvl.training.finetuning.fine_tuner import FineTuner
from plvl.training.finetuning.low_rank import add_low_rank, write_adapter, write_merged
from plvl.training.finetuning.memory import (
    Memory,
    batch_size_by_trial,
    batch_size_for_cpu,
    batch_sizes,
    keep_less,
    measure_memory,
    trial_step,
)
from plvl.training.finetuning.own_rows import (
    OwnRows,
    defect_lines,
    read_own_rows,
    split_by_image,
    write_rows,
)
from plvl.training.finetuning.plan import Plan, make_plan, what_to_expect
from plvl.training.gallery import draw_before_and_after, one_row_per_image
from plvl.training.recipe import DataArguments, ModelArguments
from plvl.training.results import COLUMNS, COLUMNS_OF_ANY, print_metrics, write_metrics
from plvl.training.run_data import report_cut_expressions
from plvl.training.starting_model import load_or_make_model
from plvl.training.training_settings import training_settings

logger = logging.getLogger(__name__)

# In the output folder: what a stopped run needs, which may be deleted at the end; the two parts of the labels; the
# starting model's metrics.
TRAINING, LABELS, BEFORE = "training", "labels", "before"
REQUEST = "finetuning.json"
VALIDATION = "jsonl/val"
GALLERY_IMAGES = 12
MAX_SKIPPED_STEPS = 10


@dataclass(frozen=True)
class FineTuning:
    """
    What is to be done.

    Attributes:
        images, labels: the folder of images and the file of labels (plvl.data.own_data).
        output: the folder to write.
        start: the folder of the starting model, and
        base: what a person calls it.
        rank: of the additions that are trained alone (LoRA), or None.
        keep_adapter: whether these are written alone, or else added to the weights.
        freeze: whether decoder and head are trained alone.
        averages: whether weights are averaged over the steps.
        gradient_checkpointing: whether activations are computed twice rather than kept.
        num_steps, learning_rate: None for defaults.
        max_skipped: share of the rows that may be left out.
        seed: of the division into training and validation, and of the training.
    """

    images: Path
    labels: Path
    output: Path
    start: Path
    base: str
    rank: int | None = None
    keep_adapter: bool = False
    freeze: bool = False
    averages: bool = False
    gradient_checkpointing: bool = False
    num_steps: int | None = None
    learning_rate: float | None = None
    max_skipped: float = 0.01
    seed: int = 0

    @property
    def way(self) -> str:
        return "lora" if self.rank else "frozen" if self.freeze else "full"

    @property
    def request(self) -> dict:
        """What a stopped run must have been asked for, too, to be gone on with."""
        return {
            "labels": content_digest([self.labels])[:16],
            "model": self.base,
            "trained": self.way,
            "lora": self.rank,
            "ema": self.averages,
            "steps": self.num_steps,
            "learning_rate": self.learning_rate,
            "seed": self.seed,
        }


def fine_tune(asked: FineTuning, say: Callable[[str], None] = print):
    """
    Trains, or goes on where the same command was stopped, and writes the model.

    Args:
        asked ([`FineTuning`]): what is to be done.
        say: is told, line by line, what will be done and how it goes.

    Raises:
        ValueError: the images, labels or the model are not what they should be, or `output` holds another run.
    """
    transformers.set_seed(asked.seed)
    transformers.logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    attention = {"attn_implementation": "eager"} if device == "cpu" else {}
    model, processor = load_or_make_model(ModelArguments(str(asked.start), **attention), None)
    is_one = model.config.targets == "one"
    own = read_own_rows(asked.labels, asked.images, is_one, asked.max_skipped)
    rows = split_by_image(own.rows, asked.seed)
    _keep_request(asked)
    for name, part in zip(("train", "val"), rows, strict=True):
        write_rows(part, asked.output / LABELS / f"{name}.jsonl")
    choose_what_is_trained(model, asked)
    plan = make_plan(rows[0], model.config, asked.way, asked.num_steps, asked.learning_rate)
    checkpoint = agreed_checkpoint(asked.output / TRAINING)
    memory, batch_size = _fit(asked, plan, model, processor, rows[0], device, checkpoint)
    for line in description(asked, own, rows, model, plan, memory, batch_size, device):
        say(line)
    report_cut_expressions(processor, (row["text"] for row in rows[0]))
    trainer = _trainer(asked, plan, model, processor, batch_size, device, checkpoint, say)
    if checkpoint:
        say(f"the run goes on from {checkpoint}")
    trainer.train(resume_from_checkpoint=checkpoint)
    if trainer.interrupted:
        return None
    finish(asked, trainer, own, rows, say)
    return trainer


def _keep_request(asked: FineTuning):
    """Notes what was asked for, or raises ValueError where the output is of another run."""
    file = asked.output / TRAINING / REQUEST
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asked.request, indent=2) + "\n", encoding="utf-8")
        return
    before = json.loads(file.read_text(encoding="utf-8"))
    changed = [
        f"{name} was {before.get(name)} and is {value}"
        for name, value in asked.request.items()
        if before.get(name) != value
    ]
    if changed:
        raise ValueError(
            f"{asked.output} is the output of another fine-tuning: {', '.join(changed)}. Start that as it was to go "
            "on with it, or name another --output"
        )


def choose_what_is_trained(model: PLVLModel, asked: FineTuning):
    """Leaves gradients to what a way of fine-tuning trains."""
    if asked.gradient_checkpointing:
        keep_less(model)
    if asked.rank:
        add_low_rank(model, asked.rank)
    elif asked.freeze:
        model.text_encoder.requires_grad_(False)
        model.vision_encoder.requires_grad_(False)


def _autocast(device: str):
    return torch.autocast(device, torch.bfloat16, enabled=_multiplies_in_bfloat16(device))


def _multiplies_in_bfloat16(device: str) -> bool:
    """Whether that is faster there than in float32."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


def _fit(asked, plan: Plan, model, processor, rows, device: str, checkpoint: str | None) -> tuple[Memory, int]:
    """What is expected of memory, and how many expressions go through the network at once."""
    per_image = plan.expressions_per_image
    first = [sanitize_sample(row) for row in rows[:per_image]]
    group = GroundingCollator(processor, None, per_image, max_targets=targets_at_most(model.config))(first)
    memory = measure_memory(model, group, asked.averages, _autocast("cpu"))
    sizes = batch_sizes(plan.batch_size, per_image)
    if checkpoint:
        # Its place in the rows is one in batches of its size.
        state = TrainerState.load_from_json(str(Path(checkpoint, TRAINER_STATE_NAME)))
        return memory, state.train_batch_size or sizes[0]
    if device == "cpu":
        return memory, batch_size_for_cpu(sizes, per_image, memory)
    model.to(device)
    on_device = {
        name: {key: each.to(device) for key, each in value.items()} if isinstance(value, dict) else value.to(device)
        for name, value in group.items()
    }
    return memory, batch_size_by_trial(sizes, trial_step(model, on_device, per_image, _autocast(device)))


def description(
    asked, own: OwnRows, rows, model, plan: Plan, memory: Memory, batch_size: int, device: str
) -> list[str]:
    """What will be done, for a person to read before it begins."""
    num_images = [len({row["file_name"] for row in part}) for part in rows]
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    total = sum(each.numel() for each in model.parameters())
    what = {"full": "all of it", "lora": f"additions of rank {asked.rank} (LoRA)", "frozen": "decoder and head"}
    passes = plan.batch_size // batch_size
    at_once = f", {batch_size} at a time" if passes > 1 else ""
    free = psutil.virtual_memory().available if device == "cpu" else torch.cuda.mem_get_info()[0]
    process = psutil.Process().memory_info().rss if device == "cpu" else 0
    expected = memory.expected(batch_size // plan.expressions_per_image) + process
    lines = [
        f"images     {sum(num_images):,}: {num_images[0]:,} to train on, {num_images[1]:,} for validation"
        + (f"; {own.num_unlabelled:,} more in {asked.images} have no label" if own.num_unlabelled else ""),
        f"rows       {sum(map(len, rows)):,}: {len(rows[0]):,} to train on, {len(rows[1]):,} for validation",
        *_about_masks(rows, model.config),
        f"model      {asked.base}: {trained:,} parameters trained of {total:,}, {what[asked.way]}"
        + (", averaged over the steps" if asked.averages else ""),
        f"steps      {plan.num_steps:,} of {plan.batch_size} rows{at_once}, each row about {plan.epochs:.0f} times; "
        f"an evaluation after every {plan.eval_steps:,}",
        f"memory     about {expected / 2**30:.1f} GiB of the {'processor' if device == 'cpu' else 'GPU'}'s, of which "
        f"{free / 2**30:.1f} are free",
    ]
    if own.defects:
        lines.append(f"left out   {own.num_defective:,} rows: {'; '.join(defect_lines(own.defects))}")
    if expected - process > free:
        lines.append("           that may not be enough: --gradient_checkpointing or --lora take less")
    if few := what_to_expect(sum(num_images), rows[1]):
        lines.append(few)
    return lines


def _about_masks(rows, config) -> list[str]:
    num_masks = sum(row["segmentation"] is not None for part in rows for row in part)
    if "res" not in config.tasks or num_masks:
        return []
    return ["           none has a mask: the model answers with masks, and these may get worse"]


def _trainer(asked, plan: Plan, model, processor, batch_size, device: str, checkpoint, say) -> FineTuner:
    where = {"image_root": asked.images, "label_root": asked.output / LABELS}
    num_workers = min(max((os.cpu_count() or 1) - 1, 0), 8 if device == "cuda" else 1)
    arguments = PLVLTrainingArguments(
        output_dir=str(asked.output / TRAINING),
        max_steps=plan.num_steps,
        total_train_batch_size=plan.batch_size,
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=max(batch_size, plan.expressions_per_image),
        learning_rate=plan.learning_rate,
        text_learning_rate=plan.text_learning_rate,
        vision_learning_rate=plan.vision_learning_rate,
        freeze_text_encoder=asked.freeze,
        freeze_vision_encoder=asked.freeze,
        lr_scheduler_type="cosine",
        lr_scheduler_kwargs={},
        warmup_steps=max(plan.num_steps // 20, 1),
        max_grad_norm=1.0,
        max_skipped_steps=MAX_SKIPPED_STEPS,
        use_cpu=device == "cpu",
        bf16=_multiplies_in_bfloat16(device),
        eval_strategy="steps",
        eval_steps=plan.eval_steps,
        # Of a run that goes on the log has it.
        eval_on_start=checkpoint is None,
        save_strategy="steps",
        save_steps=plan.eval_steps,
        save_total_limit=1,
        logging_steps=min(10, plan.eval_steps),
        dataloader_num_workers=num_workers,
        dataloader_pin_memory=device == "cuda",
        report_to="none",
        seed=asked.seed,
    )
    return FineTuner(
        model,
        arguments,
        train_dataset=load_training_rows(
            "jsonl",
            **where,
            shuffle_buffer=plan.num_rows,
            seed=asked.seed,
            expressions_per_image=plan.expressions_per_image,
        ),
        eval_dataset=load_grounding_dataset("jsonl", "val", **where),
        processing_class=processor,
        augmentation=training_augmentation(processor.image_processor.size, crop=False, scale=False, color=False),
        averages=asked.averages,
        say=say,
    )


def finish(asked: FineTuning, trainer: FineTuner, own: OwnRows, rows, say):
    """Writes the best model into the output folder, and beside it what a person wants to know of it."""
    first = next(
        iter(name for name in best_models(trainer.model.config).values() if (asked.output / TRAINING / name).is_dir())
    )
    processor = trainer.processing_class
    with explained_failure(asked.output / TRAINING, "the model", True):
        write_best_model(asked, asked.output / TRAINING / first)
        processor.save_pretrained(asked.output)
    # As a user will load it.
    model = AutoModel.from_pretrained(asked.output, dtype=torch.float32).to(trainer.args.device)
    validation = list(load_grounding_dataset("jsonl", "val", asked.images, asked.output / LABELS))
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
    sys.stdout.flush()
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
            return max(entries, key=lambda entry: entry[metric])["step"]
    raise ValueError("no evaluation has a metric by which the best model is known")


def write_best_model(asked: FineTuning, best: Path):
    """Writes what `best`, a folder of the training, holds as a model that `from_pretrained` loads."""
    if asked.rank is None:
        AutoModel.from_pretrained(best).save_pretrained(asked.output)
        return
    start, _ = load_or_make_model(ModelArguments(str(asked.start)), None)
    state = load_file(best / "model.safetensors")
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
        DataArguments(dataset=["jsonl"], augmentation=True, aug_crop=False, aug_scale=False, aug_color=False),
    )
    num_images = len({row["file_name"] for row in rows[0]})
    settings |= {"dataset": f"{num_images} images with {len(rows[0])} expressions", "trained": asked.way}
    if asked.rank:
        settings["lora_rank"] = asked.rank
    if asked.averages:
        settings["averaged_weights"] = True
    settings["best_at_step"] = best_step(trainer)
    (asked.output / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
