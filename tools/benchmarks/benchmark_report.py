"""Writes docs/performance.md: what was measured, beside what was to be reached.

The figures come from the JSON of the other subjects, of one CPU machine, one GPU machine or both; what was to be
reached, and the reasons where it was not, from performance_targets.py.
"""

import json
from pathlib import Path

from benchmarks.comparisons import markdown_table, percent, table
from benchmarks.performance_targets import TARGETS, Target

HEADINGS = {"model": "Inference", "train": "Training", "data": "Data", "export": "ONNX"}
DEVICES = {"cpu": "On a CPU", "cuda": "On a GPU"}

INTRODUCTION = """\
# Speed and memory

Written by `python tools/benchmark.py report`; `make benchmark` measures everything anew and writes it (JSON of a GPU
machine is given to `report` beside the others).

The base model (217 million parameters, random weights of one seed) at 448 × 448 is measured against a plain network
with the same weights (`tools/benchmarks/plain_model.py`): attention scores with their position bias materialised,
position tables resized on every call, eager attention in the text encoder, one sample's heat map at a time on the
CPU, and PyTorch's default AdamW (this project's step has the fused one, as Transformers' `Trainer`). Tests hold both
to the same outputs, losses and gradients. How far bfloat16 moves boxes is also said of the small trained network in
`checkpoints/plvl-tiny-refshapes`, since a box depends on which cell is best, and random weights hardly prefer one.

- Variants that are compared run in one process, alternating. Times are medians; "speed" is the first line's median
  over that of the line.
- GFLOP/s: the operations of the plain network's matrix products and convolutions, counted by
  `torch.utils.flop_counter`, over the median; both networks are credited with the same number. "Of the product's" is
  that over what one large matrix product of the same dtype reached in the same turns.
- Memory is measured in a process for each way. On a CPU it is the resident set (Linux's `VmHWM`) beyond that of a
  process with the libraries loaded; on a GPU what PyTorch's allocator gave out. "Before" is what is held when a pass
  or step begins: weights, inputs, AdamW's moments. What the C library keeps of memory given back differs from run to
  run, so how memory grows with the image is said of the pass's tensors alone, as PyTorch's allocator counts them.
"""


def add_arguments(parser):
    parser.add_argument("measurements", nargs="+", help="JSON files that the other subjects have written")
    parser.add_argument("--output", default="docs/performance.md", help="the page (default: docs/performance.md)")


def page(arguments) -> str:
    measurements = {}
    for path in arguments.measurements:
        numbers = json.loads(Path(path).read_text(encoding="utf-8"))
        key = numbers["machine"]["device"], numbers["subject"]
        if key in measurements:
            raise SystemExit(f"benchmark.py report: {path} is a second measurement of {key[1]} on {key[0]}")
        measurements[key] = numbers
    sections = [section(device, measurements) for device in DEVICES]
    return "\n".join([INTRODUCTION, *filter(None, sections)])


def section(device: str, measurements: dict) -> str | None:
    """The targets and tables of one kind of device, or None where nothing was measured on it."""
    here = [measurements[device, subject] for subject in HEADINGS if (device, subject) in measurements]
    if not here:
        return None
    figures = {(numbers["subject"], name): value for numbers in here for name, value in numbers["figures"].items()}
    rows = [target_row(target, figures) for target in TARGETS if target.device == device]
    parts = [f"## {DEVICES[device]}", markdown_table(rows)]
    machine = None
    for numbers in here:
        parts.append(f"### {HEADINGS[numbers['subject']]}")
        if machine_line(numbers["machine"]) != machine:
            machine = machine_line(numbers["machine"])
            parts.append(machine)
        parts += [table(comparison) for comparison in numbers["comparisons"]]
        parts += numbers["notes"]
    return "\n\n".join(parts) + "\n"


def target_row(target: Target, figures: dict) -> dict[str, str]:
    value = figures.get((target.subject, target.figure))
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


def machine_line(machine: dict) -> str:
    """The machine and the versions, in a line."""
    flags = f" ({', '.join(machine['cpu_flags'])})" if machine["cpu_flags"] else ""
    cpu = f"{machine['cpu']}{flags}, {machine['cores']} cores, {machine['threads']} threads"
    versions = ", ".join(f"{name} {machine[name]}" for name in ("torch", "transformers", "python"))
    return "Measured on " + "; ".join(filter(None, [machine.get("gpu"), cpu, versions])) + "."
