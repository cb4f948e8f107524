import json
from email import message_from_string
from importlib.metadata import PackageNotFoundError

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.errors import EntryNotFoundError
from PIL import Image
from transformers.utils.hub import create_and_tag_model_card

from plvl.configuration import PLVLConfig
from plvl.modeling_plvl import model_card_plvl
from plvl.modeling_plvl.card_authors_plvl import is_as_written, signed
from plvl.modeling_plvl.model_card_plvl import is_placeholder, model_card, somebody_wrote, write_model_card

METRICS = {
    "refcoco/val": {"num_samples": 8, "box_accuracy": 0.7512, "mask_miou": 0.5, "mask_oiou": 0.25, "runtime": 3.0},
    "refcoco+/testA": {"box_accuracy": 0.5},
}


def test_the_hub_reads_tasks_datasets_numbers_and_licence(config):
    data = model_card("lab/tiny", config, METRICS, base_model="lab/pretrained", license="mit").data
    assert data.library_name == "transformers"
    assert data.pipeline_tag == "image-segmentation"
    assert {"referring-expression-comprehension", "referring-expression-segmentation"} <= set(data.tags)
    assert data.datasets == ["refcoco", "refcoco+"]
    assert data.base_model == "lab/pretrained"
    assert data.license == "mit"
    results = {(r.dataset_name, r.dataset_split, r.metric_type): r.metric_value for r in data.eval_results}
    assert results == {
        ("refcoco", "val", "box_accuracy"): 0.7512,
        ("refcoco", "val", "mask_miou"): 0.5,
        ("refcoco", "val", "mask_oiou"): 0.25,
        ("refcoco+", "testA", "box_accuracy"): 0.5,
    }


def test_a_card_claims_no_licence_that_nobody_gave(config):
    card = model_card("lab/tiny", config)
    assert card.data.license is None
    assert "Licence" not in card.text
    assert "## Licence\n\nmit\n\n## Citation" in model_card("lab/tiny", config, license="mit").text


def test_the_card_survives_being_written_and_read(config, tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS))
    path = write_model_card(tmp_path, "lab/tiny", config)
    assert path == tmp_path / "README.md"
    assert ModelCard.load(path).data.to_dict() == model_card("lab/tiny", config, METRICS).data.to_dict()


def test_numbers_stand_in_a_table_in_per_cent(config):
    lines = model_card("lab/tiny", config, METRICS).text.splitlines()
    assert "|  | expressions | box accuracy at IoU 0.5 | mask mIoU | mask oIoU |" in lines
    assert "| refcoco/val | 8 | 75.1 | 50.0 | 25.0 |" in lines
    assert "| refcoco+/testA | – | 50.0 | – | – |" in lines


def test_the_table_says_how_many_expressions_have_a_mask(config):
    metrics = {
        "jsonl/val": {"num_samples": 1200, "num_masks": 300, "box_accuracy": 0.5, "mask_miou": 0.25},
        "flickr30k/val": {"num_samples": 1000, "num_masks": 0, "box_accuracy": 0.125},
    }
    text = model_card("lab/tiny", config, metrics).text
    assert "over all expressions of each split; those of masks over the expressions that have one:" in text
    assert "| jsonl/val | 1,200 | 300 | 50.0 | 25.0 |" in text
    assert "| flickr30k/val | 1,000 | 0 | 12.5 | no masks |" in text
    assert "that have one" not in model_card("lab/tiny", config, METRICS).text


def test_a_split_without_its_dataset_is_named_as_it_is(config):
    card = model_card("lab/tiny", config, {"val": {"box_accuracy": 0.5}}, datasets="mixed_coco")
    assert card.data.datasets == ["mixed_coco"]
    assert card.data.eval_results[0].dataset_split == "val"
    assert "| val | 50.0 |" in card.text


def test_without_numbers_there_is_no_table(config, tmp_path):
    card = ModelCard.load(write_model_card(tmp_path, "lab/tiny", config))
    assert "Results" not in card.text
    assert card.data.eval_results is None


@pytest.mark.parametrize(
    ("tasks", "tag", "answers", "line"),
    [
        (["rec"], "zero-shot-object-detection", "with a box.", 'answer["score"], answer["box"]'),
        (["res"], "image-segmentation", "with a mask.", 'answer["mask"]'),
        (
            ["rec", "res"],
            "image-segmentation",
            "with a box and a mask.",
            'answer["score"], answer["box"], answer["mask"]',
        ),
    ],
)
def test_the_card_speaks_of_the_models_tasks(config, tasks, tag, answers, line):
    card = model_card("lab/tiny", PLVLConfig(**config.to_dict() | {"tasks": tasks}))
    assert card.data.pipeline_tag == tag
    assert answers in card.text
    assert line in card.text.splitlines()


def test_the_example_on_the_card_runs(model_folder, config, tmp_path, monkeypatch):
    Image.new("RGB", (50, 40)).save(tmp_path / "image.jpg")
    monkeypatch.chdir(tmp_path)
    example = model_card(str(model_folder), config).text.split("```python")[1].split("```")[0]
    names = {}
    exec(example, names)
    assert names["answer"]["mask"].size == (50, 40)
    assert len(names["answers"]) == 2


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"val": 0.5}', '{"val": {"box_accuracy": null}}', '{"val": {"num_samples": "many"}}']
)
def test_metrics_that_are_none_are_named(config, tmp_path, content):
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(ValueError, match=r"metrics\.json( is no JSON| must hold metrics by split|: \w+ of 'val')"):
        write_model_card(tmp_path, "lab/tiny", config)


def project(monkeypatch, *lines):
    """Has the package's metadata say so."""
    monkeypatch.setattr(model_card_plvl, "metadata", lambda name: message_from_string("\n".join(lines)))


def test_the_card_links_the_project_and_installs_it_from_where_its_package_says(config, monkeypatch):
    project(monkeypatch, "Home-page: https://lab.example/paper", "Project-URL: Paper, https://lab.example/paper")
    text = model_card("lab/tiny", config).text
    assert "[PLVL](https://lab.example/paper)" in text
    assert "\npip install .  " in text and "git+" not in text
    project(monkeypatch, "Home-page: https://lab.example/paper", "Project-URL: Source, https://lab.example/plvl")
    text = model_card("lab/tiny", config).text
    assert "[PLVL](https://lab.example/plvl)" in text
    assert '```bash\npip install "plvl @ git+https://lab.example/plvl"\n```' in text


def test_code_that_came_with_a_model_writes_a_card_without_the_package(config, monkeypatch):
    def there_is_none(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(model_card_plvl, "metadata", there_is_none)
    assert "[PLVL](https://arxiv.org/abs/2504.16145)" in model_card("lab/tiny", config).text


def test_image_and_settings_of_the_training_are_on_the_card(config, tmp_path):
    settings = {"dataset": "refcoco, train", "learning_rate": 2e-05, "optim": "a|b"}
    (tmp_path / "training_settings.json").write_text(json.dumps(settings))
    text = write_model_card(tmp_path, "lab/tiny", config, image=("seen.jpg", "What it sees")).read_text(
        encoding="utf-8"
    )
    assert "\n![What it sees](seen.jpg)\n" in text
    for line in (
        "## Training",
        "| `learning_rate` | 2e-05 |",
        "| `optim` | a\\|b |",
        "| `dataset` | refcoco, train |",
    ):
        assert line in text.splitlines()
    assert "Training" not in model_card("lab/tiny", config).text and "![" not in model_card("lab/tiny", config).text


@pytest.mark.parametrize("content", ["{", "[1]", '{"learning_rate": {"text": 1}}'])
def test_settings_that_are_none_are_named(config, tmp_path, content):
    (tmp_path / "training_settings.json").write_text(content)
    with pytest.raises(ValueError, match=r"training_settings\.json (is no JSON|must hold a value by each name)"):
        write_model_card(tmp_path, "lab/tiny", config)


def test_a_card_is_its_own_until_somebody_changes_a_letter(config):
    card = signed(str(model_card("lab/tiny", config)))
    assert is_as_written(card) and signed(card) == card
    for changed in (card.replace("a box", "a Box"), f"{card}\nMore.\n", card.replace("language: en", "license: mit")):
        assert not is_as_written(changed) and somebody_wrote(changed)
    assert not somebody_wrote(card)
    assert somebody_wrote(str(model_card("lab/tiny", config))) and somebody_wrote("Words.")


def test_a_card_that_somebody_wrote_is_kept_and_the_projects_own_is_renewed(config, tmp_path, caplog):
    readme = write_model_card(tmp_path, "lab/tiny", config)
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS))
    write_model_card(tmp_path, "lab/tiny", config)
    renewed = readme.read_text(encoding="utf-8")
    assert "| refcoco/val | 8 | 75.1 | 50.0 | 25.0 |" in renewed and not caplog.records
    readme.write_text(renewed.replace("# tiny", "# Ours"), encoding="utf-8")
    (tmp_path / "metrics.json").unlink()
    assert write_model_card(tmp_path, "lab/tiny", config) == readme
    assert readme.read_text(encoding="utf-8") == renewed.replace("# tiny", "# Ours")
    assert "README.md is kept as somebody wrote it" in caplog.text


def test_transformers_own_card_is_known_from_a_written_one(config, monkeypatch):
    def there_is_none(*args, **kwargs):
        raise EntryNotFoundError("no README.md")

    monkeypatch.setattr(ModelCard, "load", there_is_none)
    placeholder = create_and_tag_model_card("lab/tiny", ["plvl"])
    assert is_placeholder(placeholder) and not somebody_wrote(str(placeholder))
    assert not is_placeholder(model_card("lab/tiny", config))


def test_a_card_of_any_number_of_targets_says_what_it_answers_and_how(make_config):
    said = {
        ("rec", "res"): "a box for each object and a mask of all objects, be it none, one or several.",
        ("res",): "a mask of all objects, be it none, one or several.",
    }
    for tasks, answers in said.items():
        text = model_card("lab/tiny", make_config(targets="any", tasks=list(tasks))).text
        assert f"and answers with {answers}" in " ".join(text.split())
        boxes = ', answer["boxes"], answer["scores"]' if "rec" in tasks else ""
        assert f'answer["present"]{boxes}, answer["mask"]\n' in text
