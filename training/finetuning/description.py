"""What a fine-tuning will do, for a person to read before it begins."""

from pathlib import Path

import psutil

from plvl.data.masks import NO_OBJECT
from plvl.data.schema import Row
from plvl.training.finetuning.memory import Fit
from plvl.training.finetuning.own_rows import OwnRows, defect_lines
from plvl.training.finetuning.plan import Plan, what_to_expect
from plvl.training.finetuning.request import FineTuning

NO_MASK = "           none has a mask: the model answers with masks, and these may get worse"


def description(
    asked: FineTuning,
    own: OwnRows,
    rows: tuple[list[Row], list[Row]],
    model,
    processor,
    plan: Plan,
    fit: Fit,
    device: str,
) -> list[str]:
    """
    Lines of text.

    Args:
        rows: to train on, and for validation.
        model, processor: a [`PLVLModel`], with gradients where it is trained, and its [`PLVLProcessor`].
        fit ([`Fit`]): what it takes of memory.
        device: "cpu" or "cuda".
    """
    num_images = [len({row["file_name"] for row in part}) for part in rows]
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    total = sum(each.numel() for each in model.parameters())
    what = {"full": "all of it", "lora": f"additions of rank {asked.rank} (LoRA)", "frozen": "decoder and head"}
    at_once = f", {fit.batch_size} at a time" if fit.batch_size < plan.batch_size else ""
    to_come = fit.memory.beside_weights(fit.batch_size // plan.expressions_per_image)
    if device == "cpu":
        expected = psutil.Process().memory_info().rss + to_come  # the weights are in what the process has
    else:
        expected = to_come = fit.memory.weights + to_come
    called = Path(asked.base).name if Path(asked.base).exists() else asked.base
    lines = [
        f"images     {sum(num_images):,}: {num_images[0]:,} to train on, {num_images[1]:,} for validation"
        + (f"; {own.num_unlabelled:,} more in {asked.images} have no label" if own.num_unlabelled else ""),
        f"rows       {sum(map(len, rows)):,}: {len(rows[0]):,} to train on, {len(rows[1]):,} for validation",
        *([NO_MASK] if masks_may_get_worse([*rows[0], *rows[1]], model.config.tasks) else []),
        *_about_characters(rows, processor),
        f"model      {called}: {trained:,} parameters trained of {total:,}, {what[asked.way]}"
        + (", averaged over the steps" if asked.averages else ""),
        f"steps      {plan.num_steps:,} of {plan.batch_size} rows{at_once}, each row about {plan.epochs:.0f} times; "
        f"an evaluation after every {plan.eval_steps:,}",
        f"memory     about {expected / 2**30:.1f} GiB of the {'processor' if device == 'cpu' else 'GPU'}'s, of which "
        f"{fit.free / 2**30:.1f} are free",
    ]
    if own.defects:
        lines.append(f"left out   {own.num_defective:,} rows: {'; '.join(defect_lines(own.defects))}")
    if to_come > fit.free and not fit.tried:
        lines.append("           that may not be enough: --gradient_checkpointing or --lora take less")
    if few := what_to_expect(sum(num_images), rows[1]):
        lines.append(few)
    return lines


def masks_may_get_worse(rows: list[Row], tasks: list[str]) -> bool:
    """Whether a model of masks would learn from no mask of an object; of rows that mean nothing it is empty."""
    return "res" in tasks and all(row["segmentation"] in (None, NO_OBJECT) for row in rows)


def _about_characters(rows, processor) -> list[str]:
    unread = unreadable([row["text"] for part in rows for row in part], processor)
    if not unread:
        return []
    return [
        f"           {len(unread):,} have words that the model cannot read, for it has never seen their characters: "
        f"{unread[0]!r}"
    ]


def unreadable(texts: list[str], processor) -> list[str]:
    """
    Those with a word that the tokenizer has nothing for. It spells a word that it does not know; words with a
    character that it does not know are all the same to it.
    """
    unknown = processor.tokenizer.unk_token_id
    encoded = processor.tokenizer([processor.normalize_text(text) for text in texts])["input_ids"]
    return [text for text, ids in zip(texts, encoded, strict=True) if unknown in ids]
