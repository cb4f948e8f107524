"""Prints what training changed: the metrics of two runs of scripts/run_grounding.py side by side.

python tools/before_and_after.py outputs/demo/before outputs/demo
"""

import json
from pathlib import Path

from plvl.scripts.program import ArgumentParser, run_as_program

COLUMNS = {"box accuracy": "box_accuracy", "mask mIoU": "mask_miou"}
WIDTH = 12


def main(argv=None):
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", help="output_dir of the evaluation before training, with its metrics.json")
    parser.add_argument("after", help="the same of the run that trained")
    arguments = parser.parse_args(argv)
    print(table(*(read_metrics(Path(folder)) for folder in (arguments.before, arguments.after))))


def read_metrics(folder: Path) -> dict[str, dict[str, float]]:
    """metrics.json of a run: the metrics by split. ValueError where it is no JSON."""
    file = folder / "metrics.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def table(before: dict[str, dict[str, float]], after: dict[str, dict[str, float]]) -> str:
    """
    A line for each split, in per cent; a metric that a model does not have is a dash.

    Raises:
        ValueError: the two evaluated other splits, or other numbers of expressions of one.
    """
    if before.keys() != after.keys():
        raise ValueError(f"before is about {', '.join(before)}, after about {', '.join(after)}")
    name_width = max(map(len, before), default=0) + 2
    lines = [
        " " * name_width + "".join(f"{head:>{2 * WIDTH}}" for head in COLUMNS),
        " " * name_width + f"{'before':>{WIDTH}}{'after':>{WIDTH}}" * len(COLUMNS),
    ]
    for split, values in before.items():
        counts = values["num_samples"], after[split]["num_samples"]
        if counts[0] != counts[1]:
            raise ValueError(f"{split} had {counts[0]} expressions before and {counts[1]} after")
        pairs = [(values.get(metric), after[split].get(metric)) for metric in COLUMNS.values()]
        cells = [f"{_percent(value):>{WIDTH}}" for pair in pairs for value in pair]
        lines.append(f"{split:<{name_width}}" + "".join(cells))
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


if __name__ == "__main__":
    run_as_program(main)
