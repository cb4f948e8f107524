"""Grounds the expressions of docs/typed_expressions.json, which a person typed, and writes a page of what came out.

python tools/eval_human_expressions.py --model outputs/refcoco --output docs/typed_expressions.md

The file names a RefShapes seed and, for each expression, the image of that set (`index`, from 0) and which of its
objects is meant (`object`, from 0, in the order of the annotations). The images are made on the spot.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from plvl.data.refshapes import VERSION, make_referred_scene
from plvl.data.refshapes.rows import object_row, set_image
from plvl.scripts.program import ArgumentParser

EXPRESSIONS = "docs/typed_expressions.json"
RIGHT = 0.5  # IoU of a box from which it counts as right

PAGE = """# Expressions that a person typed

{count} expressions that RefShapes' grammar never makes: chatty, elliptic, in an odd order, with words it does not
have. They were written before the first training, by looking at images of val, testA and testB of the set of
seed {seed}, which is not the seed trained on. `{model}` finds {right} of them (a box of IoU 0.5 or more). This page is
written by `tools/eval_human_expressions.py`.

| image | expression | | IoU of the box | IoU of the mask |
| --- | --- | --- | ---: | ---: |
{table}
"""


@dataclass(frozen=True)
class Found:
    """What came out for an expression: IoU of the box, and of the mask, with the true ones, at the image's size."""

    index: int
    split: str
    expression: str
    box_iou: float
    mask_iou: float

    @property
    def is_right(self) -> bool:
        return self.box_iou >= RIGHT


def main(argv=None):
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="shapes", help="as of plvl predict (default: %(default)s)")
    parser.add_argument("--expressions", default=EXPRESSIONS, help=f"the file of expressions (default: {EXPRESSIONS})")
    parser.add_argument("--output", required=True, help="where the page goes, a Markdown file")
    arguments = parser.parse_args(argv)
    try:
        write_page(arguments)
    except (ValueError, OSError) as error:
        sys.exit(f"eval_human_expressions: {error}")


def write_page(arguments):
    # Not at the top: --help need not wait for Transformers.
    from plvl.scripts.model_loading import chosen_folder, load_chosen_model

    typed = read_typed(Path(arguments.expressions))
    folder = chosen_folder(arguments.model)
    found = ground(*load_chosen_model(folder), typed)
    page = PAGE.format(
        count=len(found),
        seed=typed["seed"],
        model=folder.name,
        right=sum(each.is_right for each in found),
        table="\n".join(map(table_row, found)),
    )
    Path(arguments.output).write_text(page, encoding="utf-8")
    print(f"{sum(each.is_right for each in found)} of {len(found)} right: {arguments.output}")


def read_typed(file: Path) -> dict:
    """
    `seed` and `expressions`, a list of {"index", "object", "expression"}.

    Raises:
        ValueError: the file was written for images of another version of RefShapes.
    """
    typed = json.loads(file.read_text(encoding="utf-8"))
    if typed["refshapes_version"] != VERSION:
        raise ValueError(f"{file} is about RefShapes {typed['refshapes_version']}, which is now {VERSION}")
    return typed


def typed_rows(typed: dict) -> list[dict]:
    """A row for each typed expression."""
    rows = []
    for entry in typed["expressions"]:
        scene = make_referred_scene(typed["seed"], entry["index"]).scene
        rows.append(object_row(entry["index"], scene, set_image(scene), entry["object"], entry["expression"]))
    return rows


def ground(model, processor, typed: dict) -> list[Found]:
    """What the model finds for each typed expression."""
    from plvl.training.evaluation import evaluate_rows
    from plvl.training.metrics import NATIVE_STATISTICS

    rows = typed_rows(typed)
    statistics = evaluate_rows(model, processor, rows).statistics["refshapes"][:, -len(NATIVE_STATISTICS) :]
    return [
        Found(row["image_id"] - 1, row["split"], row["text"], float(box_iou), float(both / max(either, 1)))
        for row, (box_iou, both, either) in zip(rows, statistics, strict=True)
    ]


def table_row(found: Found) -> str:
    answer = "right" if found.is_right else "wrong"
    return (
        f"| {found.split} {found.index} | {found.expression} | {answer} | {found.box_iou:.2f} | {found.mask_iou:.2f} |"
    )


if __name__ == "__main__":
    main()
