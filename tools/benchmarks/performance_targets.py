"""What speed and memory are to reach, and why a figure was not reached: docs/performance.md takes both from here."""

from dataclasses import dataclass

from benchmarks.comparisons import percent


@dataclass(frozen=True)
class Target:
    """
    Args:
        subject, device: of the measurement that has the figure.
        figure: its name there.
        what: what it says.
        bound: what it is to reach, from below or, with `at_most`, from above; None where nothing was set.
        unit: "×" for ratios, "%" for shares, "" for plain numbers.
        reason: what was found out about a figure that is not reached; shown only then.
    """

    subject: str
    device: str
    figure: str
    what: str
    bound: float | None = None
    at_most: bool = False
    unit: str = "×"
    reason: str = ""

    def reached(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound


def target_row(target: Target, value: float | None) -> dict[str, str]:
    """A line of the table of targets; `value` is None where nothing was measured."""
    row = {"figure": target.what, "to reach": "–", "measured": "not measured", "reached": "–", "why not": ""}
    if target.bound is not None:
        row["to reach"] = ("≤ " if target.at_most else "≥ ") + shown(target.bound, target.unit)
    if value is not None:
        row["measured"] = shown(value, target.unit)
        if target.bound is not None:
            reached = target.reached(value)
            row["reached"] = "reached" if reached else "not reached"
            row["why not"] = "" if reached else target.reason or "not found yet"
    return row


def shown(value: float, unit: str) -> str:
    if unit == "%":
        return percent(value)
    return f"{value:.3f} {unit}" if unit else f"{value:.4g}"


IOU = "mean IoU of bfloat16's boxes with float32's, real images, {}"
TRAINED, RANDOM = (
    IOU.format("the checkpoint that the project carries"),
    IOU.format("the base model with random weights"),
)
GROWTH = "growth of what a pass's tensors take from 448 × 448 to 896 × 896, over the growth of the number of tokens"
STEP = "training step, batch 20, {} autocast, against the plain network"

DEPENDS_ON_PROCESSOR = (
    "It depends on the processor: oneDNN's products of float32 were 2.1 × MKL's on an AMD Zen 5, and on "
    "another machine, measured earlier, only 1.05 to 1.1 ×."
)
TARGETS = [
    Target(
        "model",
        "cpu",
        "float32_speed",
        "batch 1, float32, against the plain network",
        1.25,
        reason=DEPENDS_ON_PROCESSOR,
    ),
    Target(
        "model",
        "cpu",
        "bfloat16_speed",
        "batch 1, bfloat16, against the plain network in float32",
        2.3,
        reason="It varies from one measurement to the next: 2.07, 2.35, 2.25 and 2.34 × were found, where a large "
        "bfloat16 product gained 2.12, 2.35, 2.47 and 2.43 × over one in float32.",
    ),
    Target("model", "cpu", "bfloat16_box_iou", TRAINED, 0.99, unit=""),
    Target(
        "model",
        "cpu",
        "random_box_iou",
        RANDOM,
        0.99,
        unit="",
        reason="The best cells of random weights are nearly alike: in bfloat16 a box of 20 goes to another cell, and "
        "others shift a little; the median is 0.996.",
    ),
    Target(
        "model",
        "cpu",
        "shared_image_speed",
        "16 expressions about one image, against 16 calls, float32",
        1.15,
        reason="A batch's states outgrow what the C library's allocator keeps: their pages are fetched anew in each "
        "block, and the faster the products are, the more that weighs. Both ways are faster than they were.",
    ),
    Target(
        "model",
        "cpu",
        "memory_growth",
        GROWTH,
        1.0,
        at_most=True,
    ),
    Target(
        "train",
        "cpu",
        "speed",
        "training step, batch 2, float32, against the plain network",
        1.25,
        reason=DEPENDS_ON_PROCESSOR,
    ),
    Target(
        "train",
        "cpu",
        "bfloat16_speed",
        "the same step under bfloat16 autocast, against the plain network in float32",
    ),
    Target("train", "cpu", "memory", "its peak memory, against the plain network's"),
    Target("train", "cpu", "own_memory", "the same beyond weights and AdamW's moments", 0.7, at_most=True),
    Target("data", "cpu", "speed", "rows through the training transform, against the plain way"),
    Target(
        "export", "cpu", "difference", "largest difference of an output of onnxruntime", 1e-4, at_most=True, unit=""
    ),
    Target("export", "cpu", "speed", "onnxruntime, batch 1, float32, against PyTorch"),
    Target(
        "folder",
        "cpu",
        "json_speed",
        "plvl predict --json over a folder, against one image after another",
        2.0,
        reason="Before, all cores worked at each image's network already: the two ways spend as much CPU time there.",
    ),
    Target("folder", "cpu", "drawn_speed", "the same with drawings", 2.0),
    Target("model", "cuda", "compiled_speed", "batch 32, bfloat16, compiled, against the plain under autocast", 3.0),
    Target("model", "cuda", "compiled_memory", "its peak memory, against the plain network's", 0.5, at_most=True),
    Target("model", "cuda", "compiled_share", "its share of the rate of a large bfloat16 product", unit="%"),
    Target("model", "cuda", "bfloat16_box_iou", TRAINED, 0.99, unit=""),
    Target("model", "cuda", "random_box_iou", RANDOM, 0.99, unit=""),
    Target("model", "cuda", "shared_image_speed", "16 expressions about one image, against 16 calls, bfloat16"),
    Target("model", "cuda", "memory_growth", GROWTH, 1.0, at_most=True),
    Target("train", "cuda", "bfloat16_speed", STEP.format("bfloat16"), 2.0),
    Target("train", "cuda", "bfloat16_memory", "its peak memory, against the plain network's", 0.5, at_most=True),
    Target("train", "cuda", "bfloat16_share", "its share of the rate of a large bfloat16 product", unit="%"),
    Target("train", "cuda", "bfloat16_compiled_speed", "the same step compiled, against the plain network"),
    Target("train", "cuda", "float16_speed", STEP.format("float16"), 2.0),
    Target("train", "cuda", "float16_memory", "its peak memory, against the plain network's", 0.5, at_most=True),
    Target("train", "cuda", "float16_share", "its share of the rate of a large float16 product", unit="%"),
]
