"""What a fine-tuning is asked for, noted in its output so that the same command goes on with it and no other does."""

import json
from dataclasses import dataclass
from pathlib import Path

from plvl.checkpoints.model_files import weight_files
from plvl.data.schema import Row
from plvl.data.source_files import content_digest

# In the output folder: what a stopped run needs, which may be deleted at the end; the two parts of the labels.
TRAINING, LABELS = "training", "labels"
REQUEST = "finetuning.json"


@dataclass(frozen=True)
class FineTuning:
    """
    What is to be done.

    Attributes:
        images, labels: the folder of images and the file of labels (plvl.data.own_data).
        output: the folder to write.
        start: the folder of the starting model, and
        base: what a person calls it, a folder or a name on the Hub.
        rank: of the additions that are trained alone (LoRA), or None.
        keep_adapter: whether these are written alone, or else added to the weights.
        freeze: whether decoder and head are trained alone.
        averages: whether weights are averaged over the steps.
        gradient_checkpointing: whether activations are computed twice rather than kept.
        num_steps, learning_rate: None for defaults.
        start_share: how much of the result is the starting model's weights; the rest is what was learned.
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
    start_share: float = 0.25
    max_skipped: float = 0.01
    seed: int = 0

    @property
    def way(self) -> str:
        return "lora" if self.rank else "frozen" if self.freeze else "full"


def _request(asked: FineTuning, rows: list[Row]) -> dict:
    """What a stopped run must have been asked for, too, to be gone on with."""
    images = sorted({row["image"]["path"] for row in rows})
    return {
        "labels": content_digest([asked.labels])[:16],
        "images": content_digest(map(Path, images))[:16],
        "model": asked.base,
        "weights": content_digest([asked.start / "config.json", *weight_files(asked.start)])[:16],
        "trained": asked.way,
        "lora": asked.rank,
        "keep_adapter": asked.keep_adapter,
        "ema": asked.averages,
        "steps": asked.num_steps,
        "learning_rate": asked.learning_rate,
        "seed": asked.seed,
    }


def keep_request(asked: FineTuning, rows: list[Row]):
    """
    Notes in the output what is asked for.

    Args:
        rows: of the labels, those that can be used.

    Raises:
        ValueError: it notes something else, and the message says what; or it has a model that is of no fine-tuning.
    """
    file = asked.output / TRAINING / REQUEST
    request = _request(asked, rows)
    if not file.is_file():
        if any((asked.output / name).exists() for name in ("config.json", "adapter_config.json")):
            raise ValueError(f"{asked.output} has a model, which is not written over: name another --output")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(request, indent=2) + "\n", encoding="utf-8")
        return
    before = json.loads(file.read_text(encoding="utf-8"))
    changed = [
        f"{name} was {before.get(name)} and is {value}" for name, value in request.items() if before.get(name) != value
    ]
    if changed:
        raise ValueError(
            f"{asked.output} is the output of another fine-tuning: {', '.join(changed)}. Start that as it was to go "
            "on with it, or name another --output"
        )
