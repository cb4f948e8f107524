"""What a run must have in common with the one whose checkpoint it goes on from, in a file of the checkpoint."""

import hashlib
import json
import logging
from pathlib import Path

from plvl.configuration.earlier_names import current_arguments
from plvl.data.authors_pth import PTH_SETS
from plvl.data.training_rows import TrainingRows
from plvl.training.resumable_batches import BatchesPosition, expressions_per_image, number_of_rows

logger = logging.getLogger(__name__)

RESUME_SETTINGS = "resume_settings.json"

# With another value a checkpoint's place in the rows is one in another order, in which some never come.
ORDER = (
    "processes",
    "per_device_train_batch_size",
    "auto_find_batch_size",
    "gradient_accumulation_steps",
    "data_seed",
    "rows",
    "rows_seed",
    "shards",
    "shuffle_buffer_size",
    "expressions_per_image",
)
# The state of the optimizer brings its own of these, or is of other parameters; the model is of other words.
STATE = (
    "optim",
    "optim_args",
    "learning_rate",
    "text_learning_rate",
    "vision_learning_rate",
    "muon_learning_rate",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "freeze_text_encoder",
    "freeze_vision_encoder",
    "trained_tensors",
    "vocabulary",
)

# How earlier versions called what they noted beside the position of the rows.
_BESIDE_THE_POSITION = {
    "processes": "num_processes",
    "per_device_train_batch_size": "batch_size",
    "expressions_per_image": "expressions_per_picture",
}
# Sets whose rows versions that noted no shards divided otherwise.
_DIVIDED_OTHERWISE = {"jsonl", *PTH_SETS}


def settings_to_resume(trainer) -> dict:
    """What a run must have in common with `trainer`'s to go on from its checkpoints: plain values by name."""
    args, rows, optimizer = trainer.args, trainer.train_dataset, trainer.given_optimizer
    ordered = isinstance(rows, TrainingRows)
    tokenizer = getattr(trainer.processing_class, "tokenizer", None)
    settings = {name: getattr(args, name) for name in (*ORDER, *STATE) if hasattr(args, name)}
    return settings | {
        "optim": getattr(optimizer, "__name__", type(optimizer).__name__)
        if optimizer
        else str(getattr(args.optim, "value", args.optim)),
        "data_seed": args.seed if args.data_seed is None else args.data_seed,
        "processes": args.world_size,
        "rows": number_of_rows(rows),
        "rows_seed": rows.seed if ordered else None,
        "shards": rows.shards if ordered else None,
        "shuffle_buffer_size": rows.shuffle_buffer if ordered else None,
        "expressions_per_image": expressions_per_image(rows),
        "trained_tensors": sum(parameter.requires_grad for parameter in trainer.model.parameters()),
        "vocabulary": tokenizer and vocabulary_of(tokenizer),
    }


def vocabulary_of(tokenizer) -> str:
    """What tells vocabularies apart, as "1,024 tokens, 5f0c9a3e"."""
    entries = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    digest = hashlib.sha256(json.dumps(entries).encode("ascii")).hexdigest()
    return f"{len(entries):,} tokens, {digest[:8]}"


def write_resume_settings(checkpoint, settings: dict):
    Path(checkpoint, RESUME_SETTINGS).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def _settings_of_an_earlier_version(checkpoint) -> dict:
    """What stood beside the position of the rows."""
    position = BatchesPosition.file(checkpoint, 0)
    stored = json.loads(position.read_text(encoding="utf-8")) if position.is_file() else {}
    return {name: stored[old] for name, old in _BESIDE_THE_POSITION.items() if old in stored}


def check_resume_settings(checkpoint, now: dict, ignore_order: bool):
    """
    Args:
        checkpoint: whose settings are compared with `now`.
        now (`dict`): the settings of this run, by the names of `ORDER` and `STATE`.
        ignore_order (`bool`): whether the run begins its epoch anew, so that `ORDER` does not matter.

    Raises:
        ValueError: some differ; the message says what each was and is, and what to do.
    """
    file = Path(checkpoint, RESUME_SETTINGS)
    if file.is_file():
        then = json.loads(file.read_text(encoding="utf-8"))
        if "data_seed" in then and then["data_seed"] is None:  # earlier versions noted both seeds as they were given
            then["data_seed"] = then["seed"]
    else:
        logger.warning("%s has no %s: whether its run had other arguments is not known", checkpoint, RESUME_SETTINGS)
        then = _settings_of_an_earlier_version(checkpoint)
    then = current_arguments(then)
    # What one of two versions does not note is not compared.
    changed = [name for name in (*ORDER, *STATE) if name in then and then[name] != now.get(name)]
    if "shards" not in then and _DIVIDED_OTHERWISE & set(now.get("shards") or ()):
        then["shards"] = "those of an earlier version"
        changed.append("shards")
    of_state = [name for name in changed if name in STATE]
    if not of_state and (ignore_order or not changed):
        return
    differences = ", ".join(f"{name} was {then[name]} and is {now.get(name)}" for name in changed)
    if of_state:
        reason = "the state of the optimizer and the model are of what was"
        remedy = f"train its model in a run of its own (--model_name_or_path {checkpoint} --output_dir ANOTHER)"
    else:
        reason = "its place in the rows is one in another order"
        remedy = "begin that epoch again (--ignore_data_skip true)"
    raise ValueError(
        f"{checkpoint} cannot be gone on from: {differences}; {reason}. Start the run as it was, or {remedy}"
    )
