"""The model card (README.md) of a PLVL checkpoint: what the Hub reads of it, its numbers, how to use and cite it."""

import json
from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

TASK_NAMES = {"rec": "referring-expression-comprehension", "res": "referring-expression-segmentation"}
ANSWERS = {"rec": "a box", "res": "a mask"}
# By the names in metrics.json: whose task a metric measures, and its title.
METRICS = {
    "box_accuracy": ("rec", "box accuracy at IoU 0.5"),
    "box_miou": ("rec", "box mIoU"),
    "mask_miou": ("res", "mask mIoU"),
    "mask_oiou": ("res", "mask oIoU"),
}
# How Transformers describes a model that nobody has described.
PLACEHOLDER = (
    "This is the model card of a 🤗 transformers model that has been pushed on the Hub. "
    "This model card has been automatically generated."
)

# How the card loads the model; a release under another name finds it by these words.
PIPELINE_EXAMPLE = """import plvl  # makes the model known to Transformers
from transformers import pipeline

pipe = pipeline("visual-grounding", model="{repo_id}")
"""
LICENCE = """
## Licence

{license}
"""

BODY = """# {name}

PLVL (Progressive Language-guided Visual Learning, [arXiv 2504.16145](https://arxiv.org/abs/2504.16145)) is given a
picture and an expression, such as "the man in the red shirt", and answers with {answers}.
The expression enters the vision encoder block by block. Pictures are seen at {image_size} × {image_size} pixels;
the text encoder is of the type {text_encoder}.
{results}
## How to use

With PLVL installed:

```python
{pipeline_example}answer = pipe("picture.jpg", "the man in the red shirt")
{use_answer}
answers = pipe("picture.jpg", ["the man in the red shirt", "the left cup"])  # the picture is embedded once
```

`AutoModel` and `AutoProcessor` load it too; `processor.post_process_grounding` turns outputs into pixels.
{license}
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
) -> ModelCard:
    """
    Args:
        repo_id (`str`): where the model is or will be, as `"lab/plvl-refcoco"`.
        config ([`PLVLConfig`]): of the model.
        metrics (`dict`, *optional*): what metrics.json holds: by `"<dataset>/<split>"` the metrics by name, in 0..1.
        datasets (*optional*): names of what it was trained on; defaults to the datasets of `metrics`.
        base_model (`str`, *optional*): Hub name of the model it was trained from.
        license (`str`, *optional*): of the weights, by the Hub's name for it, as `"apache-2.0"`; the card claims none
            unless it is given.
        tags (*optional*): more tags for the Hub.
    """
    metrics = metrics or {}
    name = repo_id.split("/")[-1]
    eval_results = _eval_results(metrics)
    data = ModelCardData(
        language="en",
        license=license,
        library_name="transformers",
        pipeline_tag="image-segmentation" if "res" in config.tasks else "zero-shot-object-detection",
        tags=["plvl", "visual-grounding", *(TASK_NAMES[task] for task in config.tasks), *_names(tags)],
        datasets=_names(datasets) or _datasets_of(metrics) or None,
        base_model=base_model,
        metrics=list(dict.fromkeys(result.metric_type for result in eval_results)) or None,
        model_name=name if eval_results else None,
        eval_results=eval_results or None,
    )
    fields = [
        f'answer["{name}"]'
        for task, names in (("rec", ("score", "box")), ("res", ("mask",)))
        if task in config.tasks
        for name in names
    ]
    body = BODY.format(
        name=name,
        pipeline_example=PIPELINE_EXAMPLE.format(repo_id=repo_id),
        answers=" and ".join(ANSWERS[task] for task in ANSWERS if task in config.tasks),
        image_size=config.vision_config.image_size,
        text_encoder=config.text_config.model_type,
        results=_results_table(metrics),
        use_answer=", ".join(fields),
        license=LICENCE.format(license=license) if license else "",
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}")


def write_model_card(folder, repo_id: str, config, **facts) -> Path:
    """
    Writes `README.md` into the folder of a model, with the numbers of its `metrics.json` if it has one.

    Args:
        folder: of the model; what it has for a README.md is replaced.
        repo_id, config, facts: as for [`model_card`].

    Returns:
        the path of the README.md.

    Raises:
        ValueError: metrics.json does not hold metrics by split; the message names the file.
    """
    readme = Path(folder) / "README.md"
    model_card(repo_id, config, read_metrics(folder), **facts).save(readme)
    return readme


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
        for name in METRICS:
            if name in values and not isinstance(values[name], int | float):
                raise ValueError(f"{path}: {name} of {split!r} must be a number, got {values[name]!r}")
    return metrics


def is_placeholder(card: ModelCard) -> bool:
    """Whether nobody has written a word of this card: its text is Transformers' own."""
    return card.text.strip() == ModelCard.from_template(card.data, model_description=PLACEHOLDER).text.strip()


class ModelCardMixin:
    """Has `push_to_hub` of a model write its card, where the repository has none or Transformers' placeholder."""

    model_tags = ["plvl", "visual-grounding"]

    # Transformers' private method, the last step of a push; tried with the releases 5.17.0 and 5.23.0.
    def _upload_modified_files(self, working_dir, repo_id, *args, **kwargs):
        readme = Path(working_dir) / "README.md"
        if is_placeholder(ModelCard.load(readme)):
            model_card(repo_id, self.config).save(readme)
        return super()._upload_modified_files(working_dir, repo_id, *args, **kwargs)


def _names(given: str | Iterable[str] | None) -> list[str]:
    return [given] if isinstance(given, str) else list(given or ())


def _datasets_of(metrics: dict) -> list[str]:
    return list(dict.fromkeys(key.rpartition("/")[0] for key in metrics if "/" in key))


def _eval_results(metrics: dict[str, dict[str, float]]) -> list[EvalResult]:
    results = []
    for key, values in metrics.items():
        dataset, _, split = key.rpartition("/")
        for name, (task, title) in METRICS.items():
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
    columns = [name for name in METRICS if any(name in values for values in metrics.values())]
    if not columns:
        return ""
    rows = [["", *(METRICS[name][1] for name in columns)], ["---", *("---:" for _ in columns)]]
    for key, values in metrics.items():
        rows.append([key, *(f"{100 * values[name]:.2f}" if name in values else "–" for name in columns)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"\n## Results\n\nIn per cent, over all expressions of each split:\n\n{table}\n"


__all__ = ["ModelCardMixin", "is_placeholder", "model_card", "read_metrics", "write_model_card"]
