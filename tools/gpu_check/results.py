"""What the check has found, as Markdown: figures beside what is to be reached, tables, and what failed."""

from benchmarks.comparisons import markdown_table, table
from benchmarks.measuring import machine_line
from benchmarks.performance_targets import Target, target_row
from gpu_check.parts import PARTS

ALL_AGREE = "values of the original beyond their tolerance, float32, {}"
AGAINST_PLAIN = "against the plain network under bfloat16 autocast"
PEAK = "its peak memory, against the plain network's"
SHARE = "its share of the rate of a large bfloat16 product"
BOX_IOU = "mean IoU of bfloat16's boxes with float32's, checkpoint"
WAITS = "times that it waits for the GPU"


def targets_of_speed(part: str, what: str, bound: float) -> list[Target]:
    return [
        Target(part, "cuda", "speed", f"{what}, {AGAINST_PLAIN}", bound),
        Target(part, "cuda", "memory", PEAK, 0.5, at_most=True),
        Target(part, "cuda", "share", SHARE, unit="%"),
        Target(part, "cuda", "waits", WAITS, 0, at_most=True, unit=""),
        Target(part, "cuda", "plain_waits", "times that the plain one waits for it", unit=""),
    ]


# A target's `subject` is the part that has the figure.
TARGETS = [
    *(
        Target("parity", "cuda", f"{figure}_beyond", ALL_AGREE.format(what), 0, at_most=True, unit="")
        for figure, what in (
            ("with_gradients", "a pass with gradients: outputs, stages, losses"),
            ("gradients", "norms of gradients"),
            ("sdpa", "a pass without gradients, sdpa"),
            ("eager", "a pass without gradients, eager"),
        )
    ),
    Target("parity", "cuda", "shapes_box_iou", f"{BOX_IOU} shapes", 0.99, unit=""),
    # Of several people, say, another one may come first.
    Target("parity", "cuda", "photos_box_iou", f"{BOX_IOU} photos", unit=""),
    *targets_of_speed("inference", "inference, batch 32, bfloat16", 3.0),
    *targets_of_speed("inference_compiled", "inference, batch 32, bfloat16, compiled (reduce-overhead)", 3.0),
    *targets_of_speed("training", "training step, batch 20, bfloat16 autocast", 2.0),
    *targets_of_speed("training_compiled", "the same compiled (reduce-overhead)", 2.0),
    Target("half_precision", "cuda", "skipped", "float16 steps of 50 that are passed over", 0, at_most=True, unit=""),
    Target("half_precision", "cuda", "skipped_from_65536", "the same where the scale begins at 65536", unit=""),
    Target(
        "data_parallel",
        "cuda",
        "loss_difference",
        "how far losses under DDP are from those without, as a share",
        1e-3,
        at_most=True,
        unit="",
    ),
    Target("data_parallel", "cuda", "slowdown", "a step under DDP, in steps without"),
    Target(
        "refshapes",
        "cuda",
        "box_accuracy",
        "RefShapes from nothing in 3 minutes, boxes that are right",
        unit="%",
    ),
    Target("refshapes", "cuda", "steps_a_second", "its steps a second", unit=""),
]


def page(checked: dict) -> str:
    """A section of docs/performance.md from what check_gpu.py has written."""
    parts = checked["parts"]
    rows = [
        target_row(target, parts[target.subject]["figures"].get(target.figure))
        for target in TARGETS
        if target.subject in parts and not checked["tiny"]
    ]
    lines = ["## The check of a GPU"]
    if checked["tiny"]:
        lines.append("Tiny networks: this says whether the check works, and nothing about speed.")
    if checked["machine"]:
        lines.append(machine_line(checked["machine"]))
    lines.append(f"It took {checked['seconds']:.0f} s.")
    if checked["missing"]:
        lines.append(f"Missing: {', '.join(checked['missing'])}.")
    lines += [markdown_table(rows)] if rows else []
    for name, part in parts.items():
        lines.append(f"### {PARTS[name].heading}")
        if part["state"] != "measured":
            lines.append(f"{part['state'].capitalize()}: {part['error']}.")
        lines += [table(comparison) for comparison in part["comparisons"]]
        lines += part["notes"]
    return "\n\n".join(lines) + "\n"
