"""What a training run can be told: Transformers' arguments and PLVL's own."""

from dataclasses import dataclass, field

from transformers import TrainingArguments


@dataclass
class PLVLTrainingArguments(TrainingArguments):
    """[`transformers.TrainingArguments`] with the learning rates and schedule of arXiv 2504.16145 as defaults."""

    learning_rate: float = field(default=2.5e-5, metadata={"help": "For all but the two encoders."})
    text_learning_rate: float = field(default=5e-6, metadata={"help": "For the text encoder."})
    vision_learning_rate: float = field(default=1e-5, metadata={"help": "For the vision encoder."})
    weight_decay: float = field(default=1e-4, metadata={"help": "AdamW's weight decay."})
    max_grad_norm: float = field(default=0.0, metadata={"help": "Clips the gradient's norm; 0 does not."})
    lr_scheduler_type: str = field(default="polynomial", metadata={"help": "The schedule of the learning rates."})
    lr_scheduler_kwargs: dict | str | None = field(
        default_factory=lambda: {"power": 0.9, "lr_end": 0.0}, metadata={"help": "Its parameters, as JSON."}
    )
    # Rows keep their columns until the collator has read them.
    remove_unused_columns: bool = field(default=False, metadata={"help": "Must stay False."})
