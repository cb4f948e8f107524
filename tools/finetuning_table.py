"""Fine-tunes the carried checkpoint of shapes on fifty images of shapes that it has never seen, in each way that
`plvl finetune` has, and prints what each way has learned of the new and kept of the old.

python tools/finetuning_table.py --output outputs/finetuning [--ways full lora frozen ...]
"""

import json
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from plvl.checkpoints import CARRIED_CHECKPOINTS
from plvl.data.refshapes import NEW_SHAPES
from plvl.data.refshapes.expressions import make_expressions
from plvl.data.refshapes.refer_set import annotation_of, split_of
from plvl.data.refshapes.rows import object_row, set_image, set_rows
from plvl.data.refshapes.scene import make_scene, rules_of
from plvl.scripts.model_loading import load_whole
from plvl.scripts.program import ArgumentParser, run_as_program
from plvl.training.evaluation import evaluate_rows

SEED = 0
NUM_TRAINING, NUM_TEST = 50, 20
# Images of the new kind, for numbers that are less a matter of chance, and of RefShapes val.
NUM_MORE, NUM_OLD = 60, 60
EXPRESSIONS = 3  # about each new shape at most
WAYS = {
    "full": [],
    "full, EMA": ["--ema"],
    "full, EMA, nothing of the start": ["--ema", "--start_share", "0"],
    "LoRA": ["--lora"],
    "LoRA, EMA": ["--lora", "--ema"],
    "frozen": ["--freeze"],
}


def new_scene(index: int):
    """
    Image `index` of the new kind: a scene of RefShapes of which one shape is a crown instead and one an hourglass, and
    what is said about these two, as pairs of a shape's position and an expression that calls it by its name.
    """
    rng = random.Random(f"crowns and hourglasses {index}")
    while True:
        scene = make_scene(rng, rules_of("train"), 0)
        shapes = list(scene.shapes)
        positions = rng.sample(range(len(shapes)), 2)
        for position, name in zip(positions, NEW_SHAPES, strict=True):
            shapes[position] = replace(shapes[position], name=name)
        bounds = [shapes[position].bounds for position in positions]
        if all(min(x1, y1, scene.width - x2, scene.height - y2) >= 1 for x1, y1, x2, y2 in bounds):
            break
    scene = replace(scene, shapes=tuple(shapes))
    references = []
    for position, name in zip(positions, NEW_SHAPES, strict=True):
        longer = [each.text for each in make_expressions(scene, position, 8, rng) if name in each.text]
        references += [(position, f"the {name}"), *((position, text) for text in longer[: EXPRESSIONS - 1])]
    return scene, references


def new_rows(indices) -> list[dict]:
    """As `set_rows`, of the new kind; each expression names the crown or the hourglass that it means."""
    rows = []
    for index in indices:
        scene, references = new_scene(index)
        image = set_image(scene)
        rows += [object_row(index, scene, image, position, text) for position, text in references]
    return rows


def write_own_data(folder: Path):
    """Images and labels as a user of `plvl finetune` has them."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    lines = []
    for index in range(NUM_TRAINING):
        scene, references = new_scene(index)
        name = f"{index:03d}.png"
        set_image(scene).save(folder / "images" / name)
        for position, text in references:
            annotation = annotation_of(scene, position)
            line = {"file_name": name, "text": text, "bbox": annotation["bbox"]}
            lines.append(line | {"segmentation": annotation["segmentation"]})
    (folder / "labels.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return len(lines)


def old_rows() -> list[dict]:
    """Images of val of RefShapes, of another seed than the checkpoint was trained with."""
    indices = [index for index in range(50 * NUM_OLD) if split_of(index) == "val"][:NUM_OLD]
    return set_rows(SEED + 1, indices)


def measure(folder: Path, sets: dict[str, list[dict]]) -> dict[str, dict[str, float]]:
    model, processor = load_whole(folder, dtype=torch.float32)
    return {name: evaluate_rows(model, processor, rows).metrics() for name, rows in sets.items()}


def line(way: str, metrics: dict, before: dict | None, minutes: float | None) -> str:
    cells = [f"{way:<34}"]
    for name in metrics:
        accuracy = metrics[name]["box_accuracy"]
        change = f"{100 * (accuracy - before[name]['box_accuracy']):+6.1f}" if before else "      "
        cells.append(f"{100 * accuracy:7.1f} % {change}  mIoU {100 * metrics[name]['mask_miou']:5.1f} %")
    return "   ".join(cells) + (f"   {minutes:5.1f} min" if minutes is not None else "")


def main(argv=None):
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of data and models")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="ways to fine-tune")
    arguments, more = parser.parse_known_args(argv)
    data = arguments.output / "data"
    num_rows = write_own_data(data)
    first = 1000  # of no image that is trained on
    sets = {
        "new": new_rows(range(first, first + NUM_TEST)),
        "more": new_rows(range(first + NUM_TEST, first + NUM_TEST + NUM_MORE)),
        "old": old_rows(),
    }
    counts = ", ".join(f"{name}: {len(rows)}" for name, rows in sets.items())
    print(f"{NUM_TRAINING} images with {num_rows} expressions to fine-tune on; expressions to judge by, {counts}")
    before = measure(CARRIED_CHECKPOINTS["shapes"], sets)
    print(line("starting model", before, None, None), flush=True)
    for way in arguments.ways:
        output = arguments.output / way.replace(", ", "_").replace(" ", "_").lower()
        command = [sys.executable, "-m", "plvl.scripts.cli", "finetune", "--images", str(data / "images")]
        command += ["--labels", str(data / "labels.jsonl"), "--output", str(output), "--model", "shapes"]
        command += [*WAYS[way], *more]
        start = time.time()
        subprocess.run(command, check=True)
        minutes = (time.time() - start) / 60
        print(line(way, measure(output, sets), before, minutes), flush=True)


if __name__ == "__main__":
    run_as_program(main)
