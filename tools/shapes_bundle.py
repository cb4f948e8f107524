"""What the bundle of the checkpoint of shapes has of its own: figures by kind, examples, words of its card."""

import json
from pathlib import Path

import torch

from eval_by_kind import RESULT as METRICS_BY_KIND
from plvl.data.collator import true_answer
from plvl.data.refshapes.drawing import draw_scene
from plvl.data.refshapes.refer_set import JPEG, ReferredScene, file_name_of, make_referred_scene, split_of
from plvl.data.refshapes.rows import object_row, set_image
from plvl.training.metrics import right_answers

# By this name the card's examples load it, from the project's folder.
NAME = "checkpoints/plvl-tiny-refshapes"
MOST_BYTES = 12_000_000
DATASETS = ["refshapes"]
EXAMPLE_SEED = 0
EXAMPLES = (31, 3, 7, 71, 41, 61)  # images of val, testA and testB

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


def about(metrics: dict[str, dict], config, weights: str) -> str:
    """The card's last sections; `weights` says how many there are."""
    return ABOUT.format(weights=weights, table=table_by_kind(metrics))


def bundled_metrics(model_folder: Path) -> dict[str, dict]:
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
