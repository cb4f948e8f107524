"""The model card (README.md) of a PLVL checkpoint: what the Hub reads of it, its numbers, how to use and cite it."""

import json
import logging
import shutil
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData, hf_hub_download
from huggingface_hub.errors import RemoteEntryNotFoundError

from plvl.modeling_plvl.card_authors_plvl import is_as_written, signed

logger = logging.getLogger(__name__)

TASK_NAMES = {"rec": "referring-expression-comprehension", "res": "referring-expression-segmentation"}
# By the number of targets that a model has, what its tasks answer, and under which names.
ANSWERS = {
    "one": {"rec": "a box", "res": "a mask"},
    "any": {"rec": "a box for each object", "res": "a mask of all objects"},
}
FIELDS = {
    "one": {"rec": ("score", "box"), "res": ("mask",)},
    "any": {"rec": ("boxes", "scores"), "res": ("mask",)},
}
HOW_MANY = ", be it none, one or several"
# By the names in metrics.json: whose task a metric measures, and its title.
METRICS = {
    "box_accuracy": ("rec", "box accuracy at IoU 0.5"),
    "box_miou": ("rec", "box mIoU"),
    "mask_miou": ("res", "mask mIoU"),
    "mask_oiou": ("res", "mask oIoU"),
}
# Of models of any number of targets, in the place of these.
METRICS_OF_ANY = {
    "grec_precision_plain_iou": ("rec", "GREC precision at F1 = 1, IoU 0.5"),
    "grec_precision": ("rec", "GREC precision at F1 = 1, generalised IoU 0.5"),
    "grec_n_acc": ("rec", "GREC N-acc"),
    "grec_t_acc": ("rec", "GREC T-acc"),
    "gres_giou": ("res", "GRES gIoU"),
    "gres_ciou": ("res", "GRES cIoU"),
}
COUNTS = {"num_samples": "expressions", "num_masks": "with a mask"}
# How Transformers describes a model that nobody has described.
PLACEHOLDER = (
    "This is the model card of a 🤗 transformers model that has been pushed on the Hub. "
    "This model card has been automatically generated."
)

PAPER = "https://arxiv.org/abs/2504.16145"
# Beside a trained model: the arguments of its training that a reader of its card wants to know.
# Readers of anyone's data, of which a card cannot say whose they are.
NO_DATASETS = ("jsonl", "parquet")
SETTINGS = "training_settings.json"

# How the card loads the model; a release under another name finds it by these words.
PIPELINE_EXAMPLE = """import plvl  # makes the model known to Transformers
from transformers import pipeline

pipe = pipeline("visual-grounding", model="{repo_id}")
"""
LICENCE = """
## Licence

{license}
"""
IMAGE = """
![{caption}]({file})
"""
FROM_SOURCE = """pip install "plvl @ git+{source}"
"""
FROM_CHECKOUT = """pip install .             # in a checkout of the project
pip install plvl-*.whl    # or elsewhere, from the wheel that `pip wheel --no-deps .` makes there
"""

BODY = """# {name}

PLVL (Progressive Language-guided Visual Learning, [arXiv 2504.16145](https://arxiv.org/abs/2504.16145)) is given an
image and an expression, such as "the man in the red shirt", and answers with {answers}.
The vision encoder attends to the expression block by block. Images are seen at {image_size} × {image_size} pixels;
the text encoder is of the type {text_encoder}.
{image}{results}
## How to use

It needs the project [PLVL]({project}), which is on no package index:

```bash
{install}```

```python
{pipeline_example}answer = pipe("image.jpg", "the man in the red shirt")
{use_answer}
answers = pipe("image.jpg", ["the man in the red shirt", "the left cup"])  # the image is embedded once
```

`AutoModel` and `AutoProcessor` load it too; `processor.post_process_grounding` turns outputs into pixels.
{training}{license}
## Citation

```bibtex
@misc{{wang2025progressivelanguageguidedvisuallearning,
      title={{Progressive Language-guided Visual Learning for Multi-Task Visual Grounding}},
      author={{Jingchao Wang and Hong Wang and Wenlong Zhang and Kunhua Ji and Dingjiang Huang and Yefeng Zheng}},
      year={{2025}},
      eprint={{2504.16145}},
      archivePrefix={{arXiv}},
      primaryClass={{cs.CV}},
      url={{https://arxiv.org/abs/2504.16145}},
}}
```
"""


def model_card(
    repo_id: str,
    config,
    metrics: dict[str, dict[str, float]] | None = None,
    datasets: str | Iterable[str] | None = None,
    base_model: str | None = None,
    license: str | None = None,
    tags: str | Iterable[str] | None = None,
    settings: dict | None = None,
    image: tuple[str, str] | None = None,
) -> ModelCard:
    """
    Args:
        repo_id (`str`): where the model is or will be, as `"lab/plvl-refcoco"`.
        config ([`PLVLConfig`]): of the model.
        metrics (`dict`, *optional*): what metrics.json holds: by `"<dataset>/<split>"` the metrics by name, in 0..1.
        datasets (*optional*): names of what it was trained on; defaults to the datasets of `metrics`. What is
            read of one's own files has no name.
        base_model (`str`, *optional*): Hub name of the model it was trained from.
        license (`str`, *optional*): of the weights, by the Hub's name for it, as `"apache-2.0"`; the card claims none
            unless it is given.
        tags (*optional*): more tags for the Hub.
        settings (`dict`, *optional*): what training_settings.json holds: how it was trained, by name.
        image (`tuple[str, str]`, *optional*): a file beside the card and what is to be seen on it.
    """
    metrics = metrics or {}
    name = repo_id.split("/")[-1]
    eval_results = _eval_results(metrics)
    data = ModelCardData(
        language="en",
        license=license,
        library_name="transformers",
        pipeline_tag="image-segmentation" if "res" in config.tasks else "zero-shot-object-detection",
        tags=list(
            dict.fromkeys(["plvl", "visual-grounding", *map(TASK_NAMES.__getitem__, config.tasks), *_names(tags)])
        ),
        datasets=[name for name in _names(datasets) or _datasets_of(metrics) if name not in NO_DATASETS] or None,
        base_model=base_model,
        metrics=list(dict.fromkeys(result.metric_type for result in eval_results)) or None,
        model_name=name if eval_results else None,
        eval_results=eval_results or None,
    )
    answers, fields_of_task, is_any = ANSWERS[config.targets], FIELDS[config.targets], config.targets == "any"
    fields = [name for task in fields_of_task if task in config.tasks for name in fields_of_task[task]]
    project, install = _project()
    body = BODY.format(
        name=name,
        project=project,
        install=install,
        image=IMAGE.format(file=image[0], caption=image[1]) if image else "",
        training=_settings_table(settings),
        pipeline_example=PIPELINE_EXAMPLE.format(repo_id=repo_id),
        answers=" and ".join(answers[task] for task in answers if task in config.tasks) + HOW_MANY * is_any,
        image_size=config.vision_config.image_size,
        text_encoder=config.text_config.model_type,
        results=_results_table(metrics),
        use_answer=", ".join(f'answer["{name}"]' for name in ["present"] * is_any + fields),
        license=LICENCE.format(license=license) if license else "",
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}")


def write_model_card(folder, repo_id: str, config, **facts) -> Path:
    """
    Writes `README.md` into the folder of a model, with what its `metrics.json` and `training_settings.json` say, if it
    has them. A README.md that somebody wrote is kept, and a line in the log says so.

    Args:
        folder: of the model.
        repo_id, config, facts: as for [`model_card`].

    Returns:
        the path of the README.md.

    Raises:
        ValueError: metrics.json does not hold metrics by split, or training_settings.json no settings by name; the
            message names the file.
    """
    readme = Path(folder) / "README.md"
    if readme.is_file() and somebody_wrote(card_text(readme)):
        logger.warning("%s is kept as somebody wrote it; remove it to have a new card", readme)
        return readme
    card = model_card(repo_id, config, read_metrics(folder), settings=read_settings(folder), **facts)
    readme.write_bytes(signed(str(card)).encode())
    return readme


def keep_card_of_hub(folder, repo_id: str, token: str | None = None):
    """Brings the card that somebody wrote in a repository of the Hub into a folder that has none of a person's."""
    readme = Path(folder) / "README.md"
    if readme.is_file() and somebody_wrote(card_text(readme)):
        return
    card = card_on_hub(repo_id, token)
    if card is not None and somebody_wrote(card_text(card)):
        shutil.copyfile(card, readme)


def card_on_hub(repo_id: str, token: str | None = None) -> Path | None:
    """A copy of the card that a repository of the Hub has; None without one."""
    try:
        return Path(hf_hub_download(repo_id, "README.md", token=token))
    except RemoteEntryNotFoundError:
        return None


def read_metrics(folder) -> dict[str, dict[str, float]] | None:
    """
    What the metrics.json of a model's folder holds: by `"<dataset>/<split>"` the metrics by name; None without one.

    Raises:
        ValueError: it does not hold metrics by split, or one of the card's metrics is no number; the message names
            the file, the split and the metric.
    """
    path = Path(folder) / "metrics.json"
    if not path.is_file():
        return None
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(metrics, dict) or not all(isinstance(values, dict) for values in metrics.values()):
        raise ValueError(f"{path} must hold metrics by split, as {{'refcoco/val': {{'box_accuracy': 0.5}}}}")
    for split, values in metrics.items():
        for name in (*COUNTS, *metrics_of(values)):
            if name in values and not isinstance(values[name], int | float):
                raise ValueError(f"{path}: {name} of {split!r} must be a number, got {values[name]!r}")
    return metrics


def metrics_of(values: dict) -> dict[str, tuple[str, str]]:
    """`METRICS`, or `METRICS_OF_ANY` where a split's numbers are of a model of any number of targets."""
    return METRICS_OF_ANY if "num_no_target" in values else METRICS


def read_settings(folder) -> dict | None:
    """
    What the training_settings.json of a model's folder holds: how it was trained, by name; None without one.

    Raises:
        ValueError: it is not that; the message names the file.
    """
    path = Path(folder) / SETTINGS
    if not path.is_file():
        return None
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(settings, dict) or any(isinstance(value, dict | list) for value in settings.values()):
        raise ValueError(f"{path} must hold a value by each name, as {{'learning_rate': 1e-05}}")
    return settings


def card_text(file: Path) -> str:
    """The text of a card with its line ends; what is no UTF-8 is somebody's, whatever it says."""
    return file.read_bytes().decode(errors="replace")


def somebody_wrote(text: str) -> bool:
    """Whether a person had a hand in a card: it is neither as this project wrote it nor Transformers' placeholder."""
    return not is_as_written(text) and not (PLACEHOLDER in text and is_placeholder(ModelCard(text)))


def is_placeholder(card: ModelCard) -> bool:
    """Whether nobody has written a word of this card: its text is Transformers' own."""
    return (
        card.text.strip()
        == ModelCard.from_template(ModelCardData(**card.data.to_dict()), model_description=PLACEHOLDER).text.strip()
    )


def _names(given: str | Iterable[str] | None) -> list[str]:
    return [given] if isinstance(given, str) else list(given or ())


def _datasets_of(metrics: dict) -> list[str]:
    return list(dict.fromkeys(key.rpartition("/")[0] for key in metrics if "/" in key))


def _eval_results(metrics: dict[str, dict[str, float]]) -> list[EvalResult]:
    results = []
    for key, values in metrics.items():
        dataset, _, split = key.rpartition("/")
        for name, (task, title) in metrics_of(values).items():
            if name in values:
                result = EvalResult(
                    task_type=TASK_NAMES[task],
                    dataset_type=dataset or split,
                    dataset_name=dataset or split,
                    dataset_split=split,
                    metric_type=name,
                    metric_name=title,
                    metric_value=values[name],
                )
                results.append(result)
    return results


def _results_table(metrics: dict[str, dict[str, float]]) -> str:
    """A table in per cent, with the columns that any split has a number for; "" without numbers."""
    titles = METRICS | METRICS_OF_ANY
    shown = [
        name for name in titles if any(name in set(metrics_of(values)) & set(values) for values in metrics.values())
    ]
    if not shown:
        return ""
    counted = [name for name in COUNTS if any(name in values for values in metrics.values())]
    heads = [*(COUNTS[name] for name in counted), *(titles[name][1] for name in shown)]
    rows = [["", *heads], ["---", *("---:" for _ in heads)]]
    for key, values in metrics.items():
        cells = [f"{values[name]:,}" if name in values else "–" for name in counted]
        rows.append([key, *cells, *(_percent(values, name) for name in shown)])
    masks = "; those of masks over the expressions that have one" if "num_masks" in counted else ""
    return f"\n## Results\n\nIn per cent, over all expressions of each split{masks}:\n\n{_table(rows)}\n"


def _percent(values: dict[str, float], name: str) -> str:
    if name in values:
        return f"{100 * values[name]:.1f}"
    return "no masks" if (METRICS | METRICS_OF_ANY)[name][0] == "res" and values.get("num_masks") == 0 else "–"


def _settings_table(settings: dict | None) -> str:
    if not settings:
        return ""
    rows = [["argument", "value"], ["---", "---"], *([f"`{name}`", str(value)] for name, value in settings.items())]
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return f"\n## Training\n\n{_table(rows)}\n"


def _table(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _project() -> tuple[str, str]:
    """The project's address, of its package's metadata, and the lines that install it."""
    try:
        about = metadata("plvl")
    except PackageNotFoundError:  # the code came with a model
        return PAPER, FROM_CHECKOUT
    urls = dict(entry.split(", ", 1) for entry in about.get_all("Project-URL", []))
    if "Source" in urls:
        return urls["Source"], FROM_SOURCE.format(source=urls["Source"])
    return about["Home-page"] or PAPER, FROM_CHECKOUT


__all__ = [
    "SETTINGS",
    "card_on_hub",
    "card_text",
    "is_placeholder",
    "keep_card_of_hub",
    "model_card",
    "read_metrics",
    "read_settings",
    "somebody_wrote",
    "write_model_card",
]
