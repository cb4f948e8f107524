"""How much the check measures: what a GPU is asked, and a little of everything for a machine without one."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from plvl.configuration import PLVLConfig

RECIPES = Path(__file__).resolve().parents[2] / "configuration" / "recipes"


@dataclass(frozen=True)
class Sizes:
    """
    Args:
        recipe: whose `model_config` the network has; None for the base model.
        inference_batch, training_batch: pairs of an image and an expression.
        turns: of each way that is compared.
        half_precision_steps, data_parallel_steps: of training.
        shapes_recipe: of the training on RefShapes.
        shapes_images: how many images of RefShapes there are.
        shapes_batch: expressions in a step.
        shapes_rehearsal: steps that tell how long one takes.
        shapes_seconds: from the part's beginning to the end of its training.
        shapes_evaluated: expressions of val.
    """

    recipe: str | None
    inference_batch: int
    training_batch: int
    turns: int
    half_precision_steps: int
    data_parallel_steps: int
    shapes_recipe: str
    shapes_images: int
    shapes_batch: int
    shapes_rehearsal: int
    shapes_seconds: float
    shapes_evaluated: int

    @property
    def config(self) -> PLVLConfig:
        if self.recipe is None:
            return PLVLConfig()
        recipe = yaml.safe_load((RECIPES / self.recipe).read_text(encoding="utf-8"))
        return PLVLConfig(**recipe["model_config"])


FULL = Sizes(
    recipe=None,
    inference_batch=32,
    training_batch=20,
    turns=10,
    half_precision_steps=50,
    data_parallel_steps=3,
    shapes_recipe="refshapes_tiny.yaml",
    shapes_images=16_000,
    shapes_batch=192,
    shapes_rehearsal=60,
    shapes_seconds=180,
    shapes_evaluated=2000,
)
TINY = Sizes(
    recipe="quickstart.yaml",
    inference_batch=2,
    training_batch=2,
    turns=1,
    half_precision_steps=3,
    data_parallel_steps=2,
    shapes_recipe="quickstart.yaml",
    shapes_images=60,
    shapes_batch=8,
    shapes_rehearsal=4,
    shapes_seconds=5,
    shapes_evaluated=12,
)
