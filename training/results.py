"""What a run leaves for a person to read: metrics.json, predictions, and a table on the screen."""

import json
from pathlib import Path

COLUMNS = {
    "expressions": "num_samples",
    "box accuracy": "box_accuracy",
    "(centre box)": "center_box_accuracy",
    "mask mIoU": "mask_miou",
    "mask oIoU": "mask_oiou",
    "mask P@0.5": "mask_precision@0.5",
}


def metrics_by_split(evaluated: dict[str, float], dataset: str, split: str) -> dict[str, dict[str, float]]:
    """
    Args:
        evaluated: from `PLVLTrainer.evaluate` with the split as `metric_key_prefix`.
        dataset, split: what was evaluated.

    Returns:
        the metrics under `"<dataset>/<split>"`, those of each dataset of a mixture under a name of their own.
    """
    metrics = {f"{dataset}/{split}": {}}
    for name, value in evaluated.items():
        if name.startswith(f"{split}_"):
            member, _, metric = name.removeprefix(f"{split}_").rpartition("/")
            metrics.setdefault(f"{member or dataset}/{split}", {})[metric] = value
    return metrics


def write_metrics(folder, metrics: dict[str, dict[str, float]]):
    Path(folder, "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")


def write_predictions(folder, split: str, answers: list[dict]) -> Path:
    """`predictions_<split>.jsonl`: a line for each expression, in the order of their numbers."""
    path = Path(folder, f"predictions_{split}.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    answers = sorted(answers, key=lambda answer: (str(answer["dataset"]), answer["sent_id"] or 0))
    path.write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    return path


def print_summary(log_history: list[dict], metrics: dict[str, dict[str, float]]):
    losses = [(entry["step"], entry["loss"]) for entry in log_history if "loss" in entry]
    if losses:
        print("\nstep        loss")
    for step, loss in losses[:: max(len(losses) // 8, 1)]:
        print(f"{step:>6}  {loss:>8.4f}")
    print("\n" + f"{'split':<20}" + "".join(f"{title:>14}" for title in COLUMNS))
    for split, values in metrics.items():
        cells = [values.get(name) for name in COLUMNS.values()]
        print(f"{split:<20}" + "".join(f"{'-' if cell is None else format(cell, '.4g'):>14}" for cell in cells))
    print("(centre box: what a box in the middle of each picture, of the split's mean size, would get)")
