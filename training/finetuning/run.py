"""A fine-tuning from labels to the best model, or on from where the same command was stopped."""

import os
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from plvl.data.collator import GroundingCollator
from plvl.data.loading import load_grounding_dataset
from plvl.data.sample_validation import sanitize_sample
from plvl.data.training_rows import load_training_rows
from plvl.modeling_plvl import PLVLModel
from plvl.processing.augmentation import training_augmentation
from plvl.training.arguments import PLVLTrainingArguments
from plvl.training.checkpoints import agreed_checkpoint
from plvl.training.evaluation import targets_at_most
from plvl.training.finetuning.description import description
from plvl.training.finetuning.fine_tuner import FineTuner
from plvl.training.finetuning.free_memory import free_memory
from plvl.training.finetuning.low_rank import add_low_rank
from plvl.training.finetuning.memory import (
    Fit,
    batch_size_by_trial,
    batch_size_for_cpu,
    batch_sizes,
    keep_less,
    measure_memory,
    trial_step,
)
from plvl.training.finetuning.own_rows import read_own_rows, split_by_image, write_rows
from plvl.training.finetuning.plan import Plan, make_plan
from plvl.training.finetuning.request import LABELS, TRAINING, FineTuning, keep_request
from plvl.training.finetuning.result import finish
from plvl.training.recipe import ModelArguments
from plvl.training.resumable_batches import BatchesPosition
from plvl.training.run_data import report_cut_expressions
from plvl.training.starting_model import load_or_make_model

MAX_SKIPPED_STEPS = 10
MOST_WORKERS = {"cpu": 1, "cuda": 8}


def fine_tune(asked: FineTuning, say: Callable[[str], None] = print) -> FineTuner | None:
    """
    Trains, or goes on where the same command was stopped, and writes the model.

    Args:
        asked ([`FineTuning`]): what is to be done.
        say: is told, line by line, what will be done and how it goes.

    Returns:
        the trainer; None where a signal has stopped the run, which the same command continues.

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
    keep_request(asked, own.rows)
    for name, part in zip(("train", "val"), rows, strict=True):
        write_rows(part, asked.output / LABELS / f"{name}.jsonl")
    choose_what_is_trained(model, asked)
    plan = make_plan(rows[0], model.config, asked.way, asked.num_steps, asked.learning_rate)
    checkpoint = agreed_checkpoint(asked.output / TRAINING)
    fit = _fit(asked, plan, model, processor, rows[0], device, checkpoint)
    for line in description(asked, own, rows, model, processor, plan, fit, device):
        say(line)
    report_cut_expressions(processor, (row["text"] for row in rows[0]))
    trainer = _trainer(asked, plan, model, processor, fit.batch_size, device, checkpoint, say)
    if checkpoint:
        say(f"the run goes on from {checkpoint}")
    trainer.train(resume_from_checkpoint=checkpoint)
    if trainer.interrupted:
        return None
    finish(asked, trainer, rows, say)
    return trainer


def choose_what_is_trained(model: PLVLModel, asked: FineTuning):
    """Leaves gradients to what a way of fine-tuning trains."""
    if asked.gradient_checkpointing:
        keep_less(model)
    if asked.rank:
        add_low_rank(model, asked.rank)
    elif asked.freeze:
        model.text_encoder.requires_grad_(False)
        model.vision_encoder.requires_grad_(False)


def _multiplies_in_bfloat16(device: str) -> bool:
    """Whether that is faster there than in float32."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


def _fit(asked, plan: Plan, model, processor, rows, device: str, checkpoint: str | None) -> Fit:
    per_image = plan.expressions_per_image
    first = [sanitize_sample(row) for row in rows[:per_image]]
    group = GroundingCollator(processor, None, per_image, max_targets=targets_at_most(model.config))(first)
    precision = {"dtype": torch.bfloat16, "enabled": _multiplies_in_bfloat16(device)}
    memory = measure_memory(model, group, asked.averages, torch.autocast("cpu", **precision))
    free = free_memory() if device == "cpu" else torch.cuda.mem_get_info()[0]
    sizes = batch_sizes(plan.batch_size, per_image)
    if checkpoint:
        # Its place in the rows is one in batches of its size.
        state = TrainerState.load_from_json(str(Path(checkpoint, TRAINER_STATE_NAME)))
        return Fit(memory, state.train_batch_size or sizes[0], free)
    if device == "cpu":
        return Fit(memory, batch_size_for_cpu(sizes, per_image, memory, free), free)
    model.to(device)
    on_device = {
        name: {key: each.to(device) for key, each in value.items()} if isinstance(value, dict) else value.to(device)
        for name, value in group.items()
    }
    step = trial_step(model, on_device, per_image, asked.averages, torch.autocast(device, **precision))
    return Fit(memory, batch_size_by_trial(sizes, step), free, tried=True)


def _num_workers(device: str, checkpoint: str | None) -> int:
    """How many processes read data: as many as in the run that goes on, on whatever machine that was."""
    if checkpoint:
        # Its place in the rows is one of each reader.
        return len(BatchesPosition.load(checkpoint, 0).rows_read)
    return min(max((os.cpu_count() or 1) - 1, 0), MOST_WORKERS[device])


def _trainer(asked, plan: Plan, model, processor, batch_size, device: str, checkpoint, say) -> FineTuner:
    where = {"image_root": asked.images, "label_root": asked.output / LABELS}
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
        dataloader_num_workers=_num_workers(device, checkpoint),
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
        augmentation=training_augmentation(processor.image_processor.size),
        averages=asked.averages,
        say=say,
    )
