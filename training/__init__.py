"""Training and evaluation: the trainer, its arguments and the metrics."""

from plvl.training.arguments import PLVLTrainingArguments
from plvl.training.metrics import grounding_metrics, grounding_statistics
from plvl.training.trainer_plvl import PLVLTrainer

__all__ = ["PLVLTrainer", "PLVLTrainingArguments", "grounding_metrics", "grounding_statistics"]
