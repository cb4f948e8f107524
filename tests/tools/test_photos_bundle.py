"""The bundle of a model of photographs: figures under names of their own, free photographs, and what its card says."""

import json

import pytest
import torch
from PIL import Image

import bundle_checkpoint
import photos_bundle
import recorded_slice
from conftest import small_config
from plvl.checkpoints import CARRIED_CHECKPOINTS
from plvl.modeling_plvl import PLVLModel
from plvl.scripts.demo_page.examples import read_examples
from plvl.scripts.model_loading import knows_drawn_shapes_alone, load_whole
from recorded_slice import check_slice

BACKBONE = {"model_type": "timm_backbone", "backbone": "tf_efficientnet_lite2", "out_indices": [3]}
METRICS = {
    "refcoco/val": {"num_samples": 141, "num_boxes": 141, "num_no_target": 0, "box_accuracy": 0.61, "box_miou": 0.5}
    | {"grec_precision_plain_iou": 0.52},
    "detection/val": {"num_samples": 3000, "num_boxes": 1900, "num_no_target": 700, "box_accuracy": 0.725}
    | {"grec_precision_plain_iou": 0.66, "grec_n_acc": 0.81},
    "refshapes/val": {
        "num_samples": 500,
        "num_boxes": 250,
        "num_no_target": 100,
        "box_accuracy": 0.8,
        "box_miou": 0.7,
    },
}


@pytest.fixture
def trained(processor, tmp_path, monkeypatch):
    """The folder of a small model, with metrics as evaluation leaves them; its slice will have one image made here."""
    monkeypatch.setattr(recorded_slice.record_slice, "__defaults__", (0, (3,)))
    folder = tmp_path / "trained"
    vision = {name: value for name, value in small_config().vision_config.to_dict().items() if name != "model_type"}
    torch.manual_seed(0)
    config = small_config(targets="any", max_targets=3, vision_config=vision | {"backbone_config": BACKBONE})
    PLVLModel(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "metrics.json").write_text(json.dumps(METRICS), encoding="utf-8")
    return folder


@pytest.fixture
def bundle(trained, tmp_path):
    """Bundles the model; gives the folder."""

    def run(*flags):
        output = tmp_path / "checkpoints" / "photos"
        bundle_checkpoint.main(["photos", "--model", str(trained), "--output", str(output), *flags])
        return output

    return run


def test_its_examples_are_the_free_photographs_with_their_licences_and_its_slice_is_of_them(bundle):
    folder = bundle("--half")
    examples = read_examples(folder)
    assert [each.image.name for each in examples] == [
        entry["image"] for entry in json.loads((photos_bundle.PHOTOGRAPHS / "examples.json").read_text("utf-8"))
    ]
    licences = (folder / "examples" / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{each.image.name}` |" in licences for each in examples)
    recorded = json.loads((folder / "slice.json").read_text(encoding="utf-8"))
    asked = [(each.image.name, text) for each in examples for text in each.expressions]
    assert [(each["image"], each["text"]) for each in recorded["examples"]] == asked
    check_slice(folder, *load_whole(folder, dtype=torch.float32))
    assert Image.open(folder / "example.jpg").width >= 480 and not knows_drawn_shapes_alone(folder)


def test_its_figures_are_called_by_no_benchmarks_name(bundle):
    folder = bundle()
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics == {
        "held_out_photographs/refcoco_val": METRICS["refcoco/val"],
        "held_out_photographs/detection_val": METRICS["detection/val"],
        "refshapes/val": METRICS["refshapes/val"],
    }
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| held_out_photographs/refcoco_val | 141 | 61.0 | 50.0 |" in card
    assert "| held_out_photographs/detection_val | 1,900 | 72.5 | – |" in card
    assert "refcoco/val" not in card and "name: refcoco\n" not in card and "testA" not in card
    assert "smallest of the sets has 141 expressions" in card and "off by 4 points or more" in card


def test_its_card_says_data_licences_and_limits(bundle):
    card = (bundle() / "README.md").read_text(encoding="utf-8")
    assert "datasets:\n- coco\n- refcoco\n- refcoco+\n- refcocog\n- refshapes\n" in card
    assert "license: apache-2.0" in card
    for said in (
        "CC BY 4.0",
        "commercial",
        "EfficientNet-Lite2",
        "Apache-2.0",
        "was trained, slowly, in the last",
        "## What it cannot do",
    ):
        assert said in card
    assert "64 × 64 pixels, in cells of 16" in card and "3 boxes at most" in card and "in single precision" in card
    assert "{" not in card.partition("## What it knows")[2]


def test_a_bundle_that_is_bundled_again_keeps_its_names(bundle, trained):
    before = json.loads((bundle() / "metrics.json").read_text(encoding="utf-8"))
    (trained / "metrics.json").write_text(json.dumps(before), encoding="utf-8")
    assert json.loads((bundle("--replace") / "metrics.json").read_text(encoding="utf-8")) == before


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (None, r"metrics\.json missing"),
        ({"refcoco/val": {"box_accuracy": 0.5}}, r"metrics\.json: refcoco/val without the number of expressions"),
        ({"refshapes/val": {"num_samples": 3}}, r"metrics\.json has no split of photographs, but \['refshapes/val'\]"),
    ],
)
def test_figures_without_counts_or_of_no_photographs_are_refused(bundle, trained, metrics, message):
    (trained / "metrics.json").unlink()
    if metrics is not None:
        (trained / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    with pytest.raises(SystemExit, match=message):
        bundle()


def test_more_than_32_megabytes_are_refused(bundle, monkeypatch):
    assert photos_bundle.MOST_BYTES == 32 * 10**6
    monkeypatch.setattr(photos_bundle, "MOST_BYTES", 300_000)
    with pytest.raises(SystemExit, match="at most 300,000 are carried"):
        bundle()


@pytest.mark.parametrize("name", CARRIED_CHECKPOINTS)
def test_each_bundle_is_named_by_the_folder_that_is_carried(name):
    bundle = bundle_checkpoint.BUNDLES[name]
    assert CARRIED_CHECKPOINTS[name].as_posix().endswith(bundle.NAME)
