"""What a run leaves for a person to read: metrics.json, predictions, and a table on the screen."""

import json
from pathlib import Path

COLUMNS = {
    "expressions": "num_samples",
    "with a mask": "num_masks",
    "box accuracy": "box_accuracy",
    "(centre box)": "center_box_accuracy",
    "mask mIoU": "mask_miou",
    "mask oIoU": "mask_oiou",
    "mask P@0.5": "mask_precision@0.5",
}
COLUMNS_OF_ANY = {
    "expressions": "num_samples",
    "of none": "num_no_target",
    "all right": "grec_precision_plain_iou",
    "N-acc": "grec_n_acc",
    "T-acc": "grec_t_acc",
    "gIoU": "gres_giou",
    "cIoU": "gres_ciou",
    "one: box acc.": "box_accuracy",
}


def metrics_by_split(
    evaluated: dict[str, float], dataset: str | list | dict, split: str
) -> dict[str, dict[str, float]]:
    """
    Args:
        evaluated: from `PLVLTrainer.evaluate` with the split as `metric_key_prefix`.
        dataset, split: what was evaluated; the dataset as a recipe names it.

    Returns:
        the metrics under `"<dataset>/<split>"`, those of each dataset of a mixture under a name of their own. Several
        that a recipe names are together `"<dataset>+<dataset>/<split>"`.
    """
    dataset = dataset if isinstance(dataset, str) else "+".join(dataset)
    metrics: dict[str, dict[str, float]] = {f"{dataset}/{split}": {}}
    for name, value in evaluated.items():
        if name.startswith(f"{split}_"):
            member, _, metric = name.removeprefix(f"{split}_").rpartition("/")
            metrics.setdefault(f"{member or dataset}/{split}", {})[metric] = value
    return metrics


def write_metrics(folder, metrics: dict[str, dict[str, float]]):
    Path(folder, "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


def write_predictions(folder, split: str, answers: list[dict]) -> Path:
    """`predictions_<split>.jsonl`: a line for each expression, in the order of their numbers."""
    path = Path(folder, f"predictions_{split}.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    answers = sorted(answers, key=lambda answer: (str(answer["dataset"]), answer["sent_id"] or 0))
    path.write_text("".join(json.dumps(answer) + "\n" for answer in answers), encoding="utf-8")
    return path


def print_summary(log_history: list[dict], metrics: dict[str, dict[str, float]]):
    losses = [(entry["step"], entry["loss"]) for entry in log_history if "loss" in entry]
    if losses:
        print("\nstep        loss")
    for step, loss in losses[:: max(len(losses) // 8, 1)]:
        print(f"{step:>6}  {loss:>8.4f}")
    if any("num_no_target" in each for each in metrics.values()):
        print_metrics("split", COLUMNS_OF_ANY, metrics)
        print(
            "(all right: the boxes answered are those meant, each of an IoU of 0.5 or more; one: box acc.: of "
            "expressions that mean one object, the highest peak's box)"
        )
        return
    print_metrics("split", COLUMNS, metrics)
    print("(centre box: what a box in the middle of each image, of the split's mean size, would get)")


def print_metrics(title: str, columns: dict[str, str], rows: dict[str, dict[str, float]]):
    """
    A table: `title` over the names of the rows, and for each of `columns` (its head: the metric) what a row has of it,
    whole numbers as they are and shares in per cent.
    """
    width = max(20, *(len(name) + 2 for name in (*rows, title)))
    print("\n" + f"{title:<{width}}" + "".join(f"{head:>14}" for head in columns))
    for name, values in rows.items():
        print(f"{name:<{width}}" + "".join(f"{_cell(values, metric):>14}" for metric in columns.values()))


def _cell(values: dict[str, float], metric: str) -> str:
    if metric not in values:
        return "no masks" if metric.startswith("mask_") and values.get("num_masks") == 0 else "-"
    value = values[metric]
    return f"{value:,}" if isinstance(value, int) else f"{100 * value:.1f} %"
