import json

import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor

from plvl.data.refshapes import write_refshapes
from plvl.modeling_plvl.model_card_plvl import read_settings
from plvl.scripts import predict, run_grounding

RECIPE = "configuration/recipes/quickstart.yaml"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of the quickstart recipe, cut to two steps on a few images: its folder and the data's."""
    folder = tmp_path_factory.mktemp("quickstart")
    write_refshapes(folder / "refshapes", num_images=50, seed=3)
    flags = {
        "--image_root": folder / "refshapes/images",
        "--label_root": folder / "refshapes/labels",
        "--output_dir": folder / "model",
        "--max_steps": 2,
        "--logging_steps": 1,
        "--per_device_train_batch_size": 4,
        "--dataloader_num_workers": 0,
        "--gallery_size": 2,
        "--use_cpu": True,
    }
    run_grounding.main([RECIPE, *(str(part) for flag in flags.items() for part in flag)])
    return folder


def test_a_run_leaves_metrics_a_gallery_and_a_model_that_loads(trained):
    metrics = json.loads((trained / "model/metrics.json").read_text(encoding="utf-8"))
    assert set(metrics) == {"refshapes/val", "refshapes/testA", "refshapes/testB"}
    for values in metrics.values():
        assert values["num_samples"] > 0
        assert {"box_accuracy", "center_box_accuracy", "mask_miou", "mask_oiou", "loss"} <= set(values)
        assert values["num_masks"] == values["num_boxes"] == values["num_samples"]
    assert Image.open(trained / "model/gallery.png").width > 0
    model = AutoModel.from_pretrained(trained / "model").eval()
    processor = AutoProcessor.from_pretrained(trained / "model")
    inputs = processor(images=Image.new("RGB", (80, 60)), text="the red star", return_tensors="pt")
    with torch.no_grad():
        assert model(**inputs).pred_masks.shape == (1, 96, 96)


def test_a_run_leaves_the_settings_of_its_training_for_the_card(trained):
    settings = json.loads((trained / "model/training_settings.json").read_text(encoding="utf-8"))
    assert settings["dataset"] == "refshapes, train" and settings["steps"] == settings["max_steps"] == 2
    assert (settings["total_train_batch_size"], settings["processes"], settings["seed"]) == (4, 1, 0)
    assert str(trained) not in json.dumps(settings)
    assert read_settings(trained / "model") == settings


def test_a_trained_model_is_trained_on(trained, tmp_path, capsys):
    flags = ["--model_name_or_path", str(trained / "model"), "--output_dir", str(tmp_path), "--max_steps", "1"]
    data = ["--image_root", str(trained / "refshapes/images"), "--label_root", str(trained / "refshapes/labels")]
    run_grounding.main([RECIPE, *flags, *data, "--eval_splits", "testB", "--dataloader_num_workers", "0"])
    assert set(json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))) == {"refshapes/testB"}
    assert "centre box" in capsys.readouterr().out


def test_predict_draws_the_expression_box_and_mask_on_a_photograph(trained, mini_refer, tmp_path, capsys):
    photograph = next((mini_refer["image_root"] / "mscoco/images/train2014").glob("*.jpg"))
    output = tmp_path / "out.png"
    predict.main([str(photograph), "the gray horse", "--model", str(trained / "model"), "--output", str(output)])
    drawn, original = Image.open(output), Image.open(photograph)
    assert drawn.width == original.width and drawn.height > original.height
    assert "box: x" in capsys.readouterr().out
