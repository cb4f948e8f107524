"""A folder of LoRA additions (`plvl finetune --lora --keep_adapter`), with every command that takes a model."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pyarrow import parquet

from low_rank_models import model_with_additions
from plvl.data.refshapes import write_refshapes
from plvl.modeling_plvl import PLVLModel
from plvl.scripts import ground_images
from plvl.scripts.cli import main
from plvl.scripts.demo_page.answers import answer_and_explain
from plvl.scripts.model_loading import load_chosen_model
from plvl.training.finetuning.low_rank import write_adapter, write_merged

pytest.importorskip("peft")
RANK = 3
ROOT = Path(__file__).parents[2]


@pytest.fixture
def learned(model_folder):
    """Weights of the starting model with additions that have learned something."""
    return model_with_additions(model_folder, RANK).state_dict()


@pytest.fixture
def merged(learned, model_folder, processor, tmp_path):
    write_merged(PLVLModel.from_pretrained(model_folder), learned, RANK, tmp_path / "merged")
    processor.save_pretrained(tmp_path / "merged")
    return tmp_path / "merged"


@pytest.fixture
def adapter(learned, model_folder, processor, tmp_path):
    folder = tmp_path / "outputs" / "mine"
    folder.mkdir(parents=True)
    write_adapter(PLVLModel.from_pretrained(model_folder), learned, RANK, folder, str(model_folder))
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def images(image, tmp_path):
    (tmp_path / "images").mkdir()
    image.save(tmp_path / "images" / "one.png")
    return tmp_path / "images"


def run(*words):
    main([str(word) for word in words])


def test_ground_answers_as_the_merged_model(adapter, merged, model_folder, images, tmp_path):
    boxes = {}
    for model in (adapter, merged, model_folder):
        output = tmp_path / f"answers_{model.name}"
        run("ground", images, "--output", output, "--expressions", "the red square", "--model", model)
        boxes[model] = parquet.read_table(output).to_pylist()[0]["boxes"]
    np.testing.assert_allclose(boxes[adapter], boxes[merged], atol=1e-3)
    assert not np.allclose(boxes[adapter], boxes[model_folder], atol=0.1)


@pytest.mark.parametrize("changed", ["additions", "scale", "base", "base configuration"])
def test_answers_of_other_additions_or_another_base_are_not_mixed(adapter, model_folder, changed):
    file, old, new = {
        "additions": (adapter / "adapter_model.safetensors", None, None),
        "scale": (adapter / "adapter_config.json", '"lora_alpha": 6', '"lora_alpha": 9'),
        "base": (model_folder / "model.safetensors", None, None),
        "base configuration": (model_folder / "config.json", '"adapter_size": 8', '"adapter_size": 9'),
    }[changed]
    before = ground_images.model_digest(adapter)
    assert ground_images.model_digest(adapter) == before
    content = file.read_bytes()
    assert old is None or old.encode() in content
    file.write_bytes(content[:-1] + b"!" if old is None else content.replace(old.encode(), new.encode()))
    assert ground_images.model_digest(adapter) != before


def test_predict_answers_as_the_merged_model(adapter, merged, images, tmp_path, capsys):
    answers = []
    for model in (adapter, merged):
        output = tmp_path / "drawn.png"
        run("predict", images / "one.png", "the red square", "--model", model, "--output", output, "--json")
        answers += json.loads(capsys.readouterr().out)["answers"]
    assert answers[0]["score"] == pytest.approx(answers[1]["score"], abs=1e-5)
    assert answers[0]["box"] == answers[1]["box"]


def test_the_demo_explains_it(adapter, merged, image):
    of_adapter, of_merged = (
        answer_and_explain(*load_chosen_model(model, attn_implementation="eager"), image, "the red square")
        for model in (adapter, merged)
    )
    assert of_adapter.heard is not None and np.array_equal(of_adapter.drawing, of_merged.drawing)


@pytest.mark.parametrize("format", ["torch-export", "onnx"])
def test_export_is_given_the_model_with_its_additions(adapter, merged, format, monkeypatch, tmp_path, inputs):
    given = []

    def write_kit(model, processor, folder, *rest):
        given.append(model.eval())
        return {"graphs": {"expressions": {"outputs": ["pred_boxes"]}}}

    monkeypatch.setattr("plvl.deploy.formats.missing_writers", lambda format: [])
    monkeypatch.setattr("plvl.deploy.kit.write_kit", write_kit)
    for model in (adapter, merged):
        run("export", model, "--format", format, "--output", tmp_path / f"kit_{model.name}")
    with torch.no_grad():
        one, other = (model(**inputs).pred_boxes for model in given)
    torch.testing.assert_close(one, other)


def test_publish_says_to_merge_and_the_merged_model_as_documented_is_published(
    adapter, merged, inputs, tmp_path, monkeypatch
):
    sent = tmp_path / "sent"
    with pytest.raises(SystemExit, match=r"mine has additions to the model .*trained, and a whole .* merge the two"):
        run("publish", "--model", adapter, "--repo", "lab/mine", "--dry_run", sent)
    assert not sent.exists()
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/own_data.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    exec(block, {})
    run("publish", "--model", "outputs/merged", "--repo", "lab/mine", "--dry_run", sent)
    with torch.no_grad():
        one, other = (PLVLModel.from_pretrained(folder).eval()(**inputs).pred_boxes for folder in (sent, merged))
    torch.testing.assert_close(one, other)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    write_refshapes(folder, num_images=20, seed=3)
    return ["--dataset", "refshapes", "--image_root", folder / "images", "--label_root", folder / "labels"]


def test_evaluate_measures_the_merged_model(adapter, merged, model_folder, shapes, tmp_path):
    loss = {}
    for model in (adapter, merged, model_folder):
        output = tmp_path / f"evaluated_{model.name}"
        where = ["--model_name_or_path", model, "--output_dir", output, "--eval_splits", "val", "--use_cpu", "true"]
        run("evaluate", *shapes, *where, "--report_to", "none")
        loss[model] = json.loads((output / "metrics.json").read_text(encoding="utf-8"))["refshapes/val"]["loss"]
    assert loss[adapter] == pytest.approx(loss[merged], rel=1e-4) and loss[adapter] != loss[model_folder]


@pytest.mark.parametrize(
    ("command", "broken", "message"),
    [
        ("train", None, "mine has additions to a model, and no model that can be trained: name that which"),
        ("evaluate", "base", r"mine has additions to a model that is not there: .*trained, which its adapter_config"),
        ("evaluate", "name", r"adapter_config.json names no base_model_name_or_path"),
        ("evaluate", "peft", r"are loaded with peft: pip install"),
        ("ground", "base", r"mine has additions to the model .*trained, which is not there"),
        ("ground", "name", r"adapter_config.json names no base_model_name_or_path"),
    ],
)
def test_what_cannot_be_is_said(
    command, broken, message, adapter, model_folder, shapes, images, tmp_path, monkeypatch
):
    if broken == "base":
        shutil.rmtree(model_folder)
    elif broken == "name":
        (adapter / "adapter_config.json").write_text("{}", encoding="utf-8")
    elif broken == "peft":
        monkeypatch.setattr("plvl.training.starting_model.find_spec", lambda name: None)
    words = [*shapes, "--model_name_or_path", adapter, "--output_dir", tmp_path / "out", "--use_cpu", "true"]
    if command == "ground":
        words = [images, "--output", tmp_path / "out", "--expressions", "a cup", "--model", adapter]
    with pytest.raises(SystemExit, match=message):
        run(command, *words)
