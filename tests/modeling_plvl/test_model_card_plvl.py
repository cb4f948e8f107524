import json

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.errors import EntryNotFoundError
from PIL import Image
from transformers.utils.hub import create_and_tag_model_card

from plvl.configuration import PLVLConfig
from plvl.modeling_plvl.model_card_plvl import is_placeholder, model_card, write_model_card

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
    assert "|  | box accuracy at IoU 0.5 | mask mIoU | mask oIoU |" in lines
    assert "| refcoco/val | 75.12 | 50.00 | 25.00 |" in lines
    assert "| refcoco+/testA | 50.00 | – | – |" in lines


def test_a_split_without_its_dataset_is_named_as_it_is(config):
    card = model_card("lab/tiny", config, {"val": {"box_accuracy": 0.5}}, datasets="mixed_coco")
    assert card.data.datasets == ["mixed_coco"]
    assert card.data.eval_results[0].dataset_split == "val"
    assert "| val | 50.00 |" in card.text


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
    Image.new("RGB", (50, 40)).save(tmp_path / "picture.jpg")
    monkeypatch.chdir(tmp_path)
    example = model_card(str(model_folder), config).text.split("```python")[1].split("```")[0]
    names = {}
    exec(example, names)
    assert names["answer"]["mask"].size == (50, 40)
    assert len(names["answers"]) == 2


@pytest.mark.parametrize("content", ["{", "[]", '{"val": 0.5}', '{"val": {"box_accuracy": null}}'])
def test_metrics_that_are_none_are_named(config, tmp_path, content):
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(
        ValueError, match=r"metrics\.json( is no JSON| must hold metrics by split|: box_accuracy of 'val')"
    ):
        write_model_card(tmp_path, "lab/tiny", config)


def test_transformers_own_card_is_known_from_a_written_one(config, monkeypatch):
    def there_is_none(*args, **kwargs):
        raise EntryNotFoundError("no README.md")

    monkeypatch.setattr(ModelCard, "load", there_is_none)
    assert is_placeholder(create_and_tag_model_card("lab/tiny", ["plvl"]))
    assert not is_placeholder(model_card("lab/tiny", config))
