"""Makes the checkpoint that the project carries of a model trained on RefShapes.

python tools/bundle_checkpoint.py --model outputs/plvl-tiny-refshapes --output checkpoints/plvl-tiny-refshapes

Beside what a release has (model, processor, card) the folder has metrics.json with the figures by kind of expression,
slice.json, which a test checks (recorded_slice), and examples/, which the demo shows.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from eval_by_kind import RESULT as METRICS_BY_KIND
from plvl.data.collator import true_answer
from plvl.data.refshapes.drawing import draw_scene
from plvl.data.refshapes.refer_set import JPEG, ReferredScene, file_name_of, make_referred_scene, split_of
from plvl.data.refshapes.rows import object_row, set_image
from plvl.modeling_plvl.model_card_plvl import model_card, read_metrics, read_settings
from plvl.scripts.atomic_directory import atomic_directory
from plvl.scripts.model_loading import load_whole
from plvl.scripts.program import ArgumentParser, run_as_program
from plvl.scripts.release_card import EXAMPLE_CAPTION, EXAMPLE_IMAGE, draw_example
from plvl.scripts.release_folder import build_release_folder
from plvl.training.metrics import right_answers
from recorded_slice import check_slice, record_slice

MOST_BYTES = 12_000_000
EXAMPLE_SEED = 0
EXAMPLES = (31, 3, 7, 71, 41, 61)  # images of val, testA and testB
# By this name the card's examples load it, from the project's folder.
NAME = "checkpoints/plvl-tiny-refshapes"

ABOUT = """
## What it knows

Images of coloured shapes on a background, as in `examples/`, and what a person may call one of them: by its looks,
its place, the order, a comparison, what is near it, or what it is not. It has never seen a photograph. It was trained
from nothing on RefShapes, which PLVL makes from a seed (docs/refshapes.md there, with what the splits are);
`make reproduce-tiny` trains it again. val is drawn like what it was trained on, testA asks for combinations of
attributes that training never showed, testB has larger scenes and other backgrounds.

{weights}

## By kind of expression

In per cent, at the images' own size:

{table}
"""
FULL = "It has {parameters:,} parameters, in single precision."
HALF = "It has {parameters:,} parameters, stored in half precision and computed in single."


class TooLargeError(ValueError):
    """The folder would be larger than the project wants to carry."""


def main(argv=None):
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", required=True, help=f"folder of the model, with metrics.json and {METRICS_BY_KIND} in it"
    )
    parser.add_argument("--output", required=True, help="folder to write; new or empty, unless --replace")
    parser.add_argument("--replace", action="store_true", help="put the new folder in the place of an old one")
    parser.add_argument("--half", action="store_true", help="store the weights in half precision")
    arguments = parser.parse_args(argv)
    try:
        write_bundle(Path(arguments.model), Path(arguments.output), arguments.replace, arguments.half)
    except (ValueError, OSError) as error:
        sys.exit(f"bundle_checkpoint: {error}")


def write_bundle(model_folder: Path, output: Path, replace: bool, half: bool):
    """Puts the folder in its place, whole; where something fails, `output` stays as it was."""
    with atomic_directory(output, replace) as folder:
        recorded = fill_bundle(model_folder, folder, half)
        size = check_size(folder)
    print(f"{output}: {size:,} bytes; on the slice of {recorded['num_samples']} expressions {recorded}")


def fill_bundle(model_folder: Path, folder: Path, half: bool) -> dict[str, float]:
    """
    Writes everything into the empty `folder`.

    Returns:
        the metrics of the slice.

    Raises:
        ValueError: the model is not whole, its metrics are missing, or half precision changes its answers.
    """
    metrics = metrics_with_kinds(model_folder)
    build_release_folder(model_folder, folder, NAME)
    if half:
        store_in_half_precision(folder / "model.safetensors")
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    model, processor = load_whole(folder, dtype=torch.float32)
    shutil.rmtree(folder / "examples", ignore_errors=True)  # where a bundle is bundled again
    write_examples(folder / "examples", model, processor)
    recorded = record_slice(folder, model, processor)
    if half:
        check_slice(folder, *load_whole(model_folder, dtype=torch.float32))
    draw_example(folder, model, processor)
    (folder / "README.md").write_text(bundle_card(folder, model, half), encoding="utf-8")
    return recorded["metrics"]


def bundle_card(folder: Path, model, half: bool) -> str:
    """The card of what else is in the folder."""
    metrics = read_metrics(folder)
    card = model_card(
        NAME,
        model.config,
        metrics,
        datasets="refshapes",
        license="apache-2.0",
        settings=read_settings(folder),
        image=(EXAMPLE_IMAGE, EXAMPLE_CAPTION),
    )
    weights = (HALF if half else FULL).format(parameters=sum(each.numel() for each in model.parameters()))
    return f"{str(card).rstrip()}\n{ABOUT.format(weights=weights, table=table_by_kind(metrics))}"


def metrics_with_kinds(model_folder: Path) -> dict[str, dict]:
    """What metrics.json says of each split, with `by_kind` and `by_difficulty`."""
    files = [model_folder / name for name in ("metrics.json", METRICS_BY_KIND)]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise ValueError(
            f"{' and '.join(missing)} missing: run_grounding.py with do_eval and do_predict writes the first, then "
            "eval_by_kind.py the second"
        )
    metrics, kinds = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    if metrics.keys() != kinds.keys():
        raise ValueError(f"{files[0]} is about {sorted(metrics)}, {files[1]} about {sorted(kinds)}")
    return {
        split: values | {name: kinds[split][name] for name in ("by_kind", "by_difficulty")}
        for split, values in metrics.items()
    }


def store_in_half_precision(file: Path):
    """Halves a file of weights; config.json still says float32, in which `from_pretrained` will load them."""
    tensors = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in load_file(file).items()
    }
    save_file(tensors, file, metadata={"format": "pt"})


def write_examples(folder: Path, model, processor):
    """
    Images, each with an expression about every object that the set refers to, as the demo reads them. What the model
    answers right comes first: of an object's expressions, of an image's, and the images with most of it.
    """
    folder.mkdir()
    entries = []
    for index in EXAMPLES:
        referred = make_referred_scene(EXAMPLE_SEED, index, typo_rate=0.0)
        name = f"{split_of(index)}_{file_name_of(index)}"
        draw_scene(referred.scene).save(folder / name, **JPEG)
        wrong = wrong_expressions(model, processor, index, referred)
        chosen = [min((said.text for said in about), key=wrong.__contains__) for _, about in referred.references]
        chosen.sort(key=wrong.__contains__)
        share_wrong = sum(text in wrong for text in chosen) / len(chosen)
        entries.append((share_wrong, {"image": name, "expressions": chosen}))
    entries = [entry for _, entry in sorted(entries, key=lambda each: each[0])]
    (folder / "examples.json").write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")


@torch.no_grad()
def wrong_expressions(model, processor, index: int, referred: ReferredScene) -> set[str]:
    """Of the expressions about an image those that the model answers with a wrong box or mask."""
    image, size = set_image(referred.scene), (referred.scene.height, referred.scene.width)
    rows = [
        object_row(index, referred.scene, image, position, said.text)
        for position, about in referred.references
        for said in about
    ]
    texts = [row["text"] for row in rows]
    outputs = model(**processor(images=image, text=texts, return_tensors="pt"))
    answers = processor.post_process_grounding(outputs, target_sizes=[size] * len(rows))
    truths = list(map(true_answer, rows))
    right = right_answers(answers, truths)
    return {text for text, is_right in zip(texts, right, strict=True) if not is_right}


def table_by_kind(metrics: dict[str, dict]) -> str:
    """Box accuracy and mask mIoU of each kind, with two columns for each split."""
    titles = {"box_accuracy": "box accuracy", "mask_miou": "mask mIoU"}
    columns = [(split, name) for split in metrics for name in titles]
    kinds = list(dict.fromkeys(kind for values in metrics.values() for kind in values["by_kind"]))
    rows = [["", *(f"{split.rpartition('/')[2]}: {titles[name]}" for split, name in columns)]]
    rows.append(["---", *("---:" for _ in columns)])
    for kind in kinds:
        found = (metrics[split]["by_kind"].get(kind, {}).get(name) for split, name in columns)
        rows.append([kind, *("–" if value is None else f"{100 * value:.1f}" for value in found)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def check_size(folder: Path) -> int:
    """The bytes of all files in a folder; TooLargeError where they are more than the project carries."""
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    total = sum(sizes.values())
    if total > MOST_BYTES:
        largest = max(sizes, key=sizes.get)
        raise TooLargeError(
            f"the checkpoint would have {total:,} bytes, {sizes[largest]:,} of them in {largest}; at most "
            f"{MOST_BYTES:,} are carried: make the network smaller, or store it with --half"
        )
    return total


if __name__ == "__main__":
    run_as_program(main)
