"""Writes docs/performance.md: what was measured, beside what was to be reached.

The figures come from the JSON of the other subjects, of one CPU machine, one GPU machine or both; what was to be
reached, and the reasons where it was not, from performance_targets.py.
"""

import json
from pathlib import Path

from benchmarks.comparisons import markdown_table, table
from benchmarks.measuring import machine_line
from benchmarks.performance_targets import TARGETS, target_row
from gpu_check.results import page as page_of_check

HEADINGS = {
    "model": "Inference",
    "train": "Training",
    "data": "Data",
    "export": "ONNX",
    "folder": "A folder of images",
}
DEVICES = {"cpu": "On a CPU", "cuda": "On a GPU"}

INTRODUCTION = """\
# Speed and memory

Written by `python tools/benchmark.py report`; `make benchmark` measures everything anew and writes it (JSON of a GPU
machine is given to `report` beside the others).

The base model (217 million parameters, random weights of one seed) at 448 × 448 is measured against a plain network
with the same weights (`tools/benchmarks/plain_model.py`): attention scores with their position bias materialised,
PyTorch's linear layers, position tables resized on every call, eager attention in the text encoder, one sample's heat
map at a time on the CPU, and PyTorch's default AdamW (this project's step has the fused one, as Transformers'
`Trainer`). Tests hold both to the same outputs, losses and gradients. How far bfloat16 moves boxes is also said of the
small trained network in `checkpoints/plvl-tiny-refshapes`, since a box depends on which cell is best, and random
weights hardly prefer one.

- Variants that are compared run in one process, alternating. Times are medians, on a CPU with one thread of the
  seconds that it computes; "speed" is the first line's median over that of the line.
- GFLOP/s: the operations of the plain network's matrix products and convolutions, counted by
  `torch.utils.flop_counter`, over the median; both networks are credited with the same number. "Of the product's" is
  that over what one large matrix product of the same dtype reached in the same turns. On a CPU that is MKL's; linear
  layers in float32 are oneDNN's where there is AVX-512, and may go beyond it.
- Memory is measured in a process for each way. On a CPU it is the resident set (Linux's `VmHWM`) beyond that of a
  process with the libraries loaded; on a GPU what PyTorch's allocator gave out. "Before" is what is held when a pass
  or step begins: weights, inputs, AdamW's moments. What the C library keeps of memory given back differs from run to
  run, so how memory grows with the image is said of the pass's tensors alone, as PyTorch's allocator counts them.

## The check of a GPU: how to run it

`make check-gpu` looks at all that needs a GPU, in at most 8 minutes of one card: whether the original's values come
out in float32, and how far bfloat16 moves boxes; inference of 32 pairs and a training step of 20 against the plain
network under autocast, eager and compiled (`reduce-overhead`), with peak memory, the share of what the card's own
matrix product reaches, and how often the program waits for the card; whether 50 float16 steps with `GradScaler` pass
without one skipped; whether DDP through accelerate gives the same losses; and how much of RefShapes a new network
finds after three minutes. It prints figures beside targets and writes `outputs/benchmarks/gpu_check.json`; `python
tools/benchmark.py report` takes that file beside the others and puts its section on this page.

A copied tree is enough: nothing is installed and nothing downloaded. What of setup.cfg's packages is missing is said
at the start; reference values, speed, float16 and DDP need none of the data sets' libraries, the training on
RefShapes does. Where there is no package index, carry wheels, fetched elsewhere for that machine's Python, and name
their folder:

    python -m pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 \\
        --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 -d wheels \\
        datasets==5.1.0 dill==0.4.0 multiprocess==0.70.18 xxhash pycocotools
    make check-gpu WHEELS=wheels

pip puts them into a temporary folder, without an index and without what they need in their turn; dill and
multiprocess must be of versions that the `datasets` in question admits. A part that fails, hangs or runs out of
memory is reported with its error and what it had measured; the others go on, and the exit status is 1. `--parts` runs
some of them; `--device cpu --tiny` runs everything but what needs CUDA with small networks, to see whether the check
itself works.

## `plvl predict`: its start, many images, compiling

`python tools/benchmark.py folder` lets `plvl predict` over a folder and what it was before (one image after another
through the pipeline, all cores in each step) take turns. What was measured while it was written, on two cores (torch
2.14.1, transformers 5.24.0, the checkpoint `photos`, one expression) that other programs used, too:

- CPU time of one of 16 images of 640 × 480 (medians of 3 turns): as JSON 78 ms before with one thread, now 61 ms with
  one and 75 with two, which work side by side; with drawings 123 ms before, now 90 and 102. Of a drawing of a
  photograph 54 ms were zlib's: at its least effort it is 15 ms, and 317 kB for 288.
- Memory: at most 981, 968 and 967 MiB for folders of 20, 80 and 240 images, with drawings.
- The start, `plvl predict IMAGE "the cat"` in 6 pairs of processes, alternating: 3.43 s of CPU time for 5.43 before
  (0.64; 0.60 to 0.66), in wall time 0.67 in the median (0.60 to 0.82). Python does not look for garbage during the
  imports, which took 2.9 to 3.3 s of CPU time for 3.8 to 3.9. Of the 3.0 s that were found step by step 2.4 are
  imports of PyTorch (0.9), of its `torch._dynamo` (0.65), which torchvision and Transformers ask for, of Transformers
  (0.7), of timm and torchvision; 0.25 are loading the checkpoint.
- `torch.compile` of the network took 85 s of CPU time, and an image then 49 to 56 ms for 52 to 60: at 4 ms gained it
  pays after some 20,000 images. There is no `--compile`.
- Batch norms folded into the convolutions of the backbone would take 8 to 10 ms of the network's 50 to 53. That is not
  done: which norm follows which convolution cannot be told from a backbone's modules.
"""


def add_arguments(parser):
    parser.add_argument("measurements", nargs="+", help="JSON files of the other subjects and check_gpu.py")
    parser.add_argument("--output", default="docs/performance.md", help="the page (default: docs/performance.md)")


def page(arguments) -> str:
    measurements, checks = {}, []
    for path in arguments.measurements:
        numbers = json.loads(Path(path).read_text(encoding="utf-8"))
        if numbers["subject"] == "check_gpu":
            checks.append(page_of_check(numbers))
            continue
        key = numbers["machine"]["device"], numbers["subject"]
        if key in measurements:
            raise SystemExit(f"benchmark.py report: {path} is a second measurement of {key[1]} on {key[0]}")
        measurements[key] = numbers
    sections = [section(device, measurements) for device in DEVICES]
    return "\n".join([INTRODUCTION, *filter(None, sections), *checks])


def section(device: str, measurements: dict) -> str | None:
    """The targets and tables of one kind of device, or None where nothing was measured on it."""
    here = [measurements[device, subject] for subject in HEADINGS if (device, subject) in measurements]
    if not here:
        return None
    figures = {(numbers["subject"], name): value for numbers in here for name, value in numbers["figures"].items()}
    targets = [target for target in TARGETS if target.device == device]
    rows = [target_row(target, figures.get((target.subject, target.figure))) for target in targets]
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
