"""What a fine-tuning does with so many rows: how many steps, of how large batches, at what rates."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from plvl.configuration import PLVLConfig
from plvl.data.schema import Row

BATCH_SIZE = 32
MOST_EXPRESSIONS_PER_IMAGE = 4
# Share of the rows that may come twice in a pass to fill up the rows about their images.
MOST_REPEATED = 0.1
EPOCHS = 20
FEWEST_STEPS, MOST_STEPS = 300, 2000
EVALUATIONS = 10
# Of the checkpoint with which they were tried; a step moves a wider network's outputs as far at a rate that is as many
# times smaller.
WIDTH = 128
LEARNING_RATES = {"full": 3e-4, "lora": 1e-3, "frozen": 5e-4}
# Of a full fine-tuning, as shares of the rate.
TEXT_SHARE, VISION_SHARE = 1.0, 0.2
# Numbers of a few images say little.
FEW_IMAGES = 20


@dataclass(frozen=True)
class Plan:
    """
    Attributes:
        num_steps, eval_steps: of the optimizer; between evaluations.
        batch_size: expressions in a step, of which those about one image share it `expressions_per_image` at a time.
        num_rows: to train on.
        learning_rate, text_learning_rate, vision_learning_rate: of the rest of the network and of the encoders.
    """

    num_steps: int
    eval_steps: int
    batch_size: int
    expressions_per_image: int
    num_rows: int
    learning_rate: float
    text_learning_rate: float
    vision_learning_rate: float

    @property
    def epochs(self) -> float:
        return self.num_steps * self.batch_size / self.num_rows


def make_plan(
    rows: list[Row], config: PLVLConfig, way: str, num_steps: int | None = None, learning_rate: float | None = None
) -> Plan:
    """
    Args:
        rows: to train on.
        config ([`PLVLConfig`]): of the model.
        way: what is trained: "full" for all of it, "lora" for low-rank additions, "frozen" for decoder and head.
        num_steps, learning_rate: where the defaults are not wanted.
    """
    per_image = expressions_per_image(Counter(row["file_name"] for row in rows).values())
    batch_size = per_image * (BATCH_SIZE // per_image)
    if num_steps is None:
        num_steps = min(max(EPOCHS * len(rows) // batch_size, FEWEST_STEPS), MOST_STEPS)
    rate = learning_rate or LEARNING_RATES[way] * WIDTH / config.decoder_hidden_size
    text_share, vision_share = (TEXT_SHARE, VISION_SHARE) if way == "full" else (1.0, 1.0)
    return Plan(
        num_steps,
        max(num_steps // EVALUATIONS, 1),
        batch_size,
        per_image,
        len(rows),
        rate,
        text_share * rate,
        vision_share * rate,
    )


def expressions_per_image(counts: Collection[int]) -> int:
    """
    How many expressions about an image go through the network together: as many as hardly make any come twice.

    Args:
        counts: of the expressions about each image.
    """
    for size in range(MOST_EXPRESSIONS_PER_IMAGE, 1, -1):
        if sum(-count % size for count in counts) <= MOST_REPEATED * sum(counts):
            return size
    return 1


def what_to_expect(num_images: int, validation: list[Row]) -> str | None:
    """A warning where images are so few that the numbers of a run say little."""
    if num_images >= FEW_IMAGES:
        return None
    num_held_out = len({row["file_name"] for row in validation})
    points = 100 / len(validation)
    return (
        f"{num_images} images are few: {num_images - num_held_out} to train on, which the model will soon know by "
        f"heart, and {num_held_out} for validation, where one expression more that is right is worth {points:.0f} "
        "points. Expect it to learn new words for what it sees already, and little of how new things look; judge it "
        f"by images that it has not seen. From {FEW_IMAGES} images on the numbers begin to mean something"
    )
