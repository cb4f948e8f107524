"""`benchmark.py data`: it measures both ways, and the plain way computes what this project computes."""

import json
import random

import pytest
import torch
from torchvision.ops import box_convert, masks_to_boxes

from plvl.data.collator import GroundingCollator
from plvl.data.loading import load_grounding_dataset, unopened_rows
from plvl.data.refshapes import write_refshapes
from plvl.scripts import benchmark, plain_data


@pytest.fixture
def roots(tmp_path):
    write_refshapes(tmp_path / "refshapes", num_images=8, seed=0)
    return {"image_root": str(tmp_path / "refshapes/images"), "label_root": str(tmp_path / "refshapes/labels")}


def test_both_ways_are_measured_and_written(roots, tmp_path, capsys):
    output = tmp_path / "numbers.json"
    places = [f"--{name}={folder}" for name, folder in roots.items()]
    sizes = ["--size=64", "--batch_size=2", "--batches=2", "--turns=3"]
    benchmark.main(["data", "--dataset=refshapes", *places, *sizes, f"--output={output}"])
    numbers = json.loads(output.read_text())
    speeds = numbers["rows_per_second"]
    for speed in speeds.values():
        assert 0 < speed["slowest"] <= speed["median"] <= speed["fastest"]
    assert numbers["ratio"] == pytest.approx(speeds["plvl"]["median"] / speeds["plain"]["median"])
    assert numbers["rows_per_turn"] == 4
    assert f"{numbers['ratio']:.2f}" in capsys.readouterr().out


def test_without_its_random_changes_the_plain_way_gives_the_batch_of_the_collator(roots, processor, monkeypatch):
    monkeypatch.setattr(random, "random", lambda: 0.99)  # no crop, no colours, no mirroring
    monkeypatch.setattr(random, "choice", max)  # the longest side
    rows = list(unopened_rows("refshapes", "train", **roots)[0].take(4))
    plain = plain_data.plain_batch(rows, processor.tokenizer, size=64, text_length=40)
    batch = GroundingCollator(processor)(list(load_grounding_dataset("refshapes", "train", **roots).take(4)))
    assert torch.equal(plain["input_ids"], batch["input_ids"])
    assert torch.equal(plain["labels"]["has_mask"], batch["labels"]["has_mask"])
    torch.testing.assert_close(plain["labels"]["boxes"], batch["labels"]["boxes"], atol=0.01, rtol=0)
    assert (plain["pixel_values"] - batch["pixel_values"]).abs().mean() < 0.02
    assert (plain["labels"]["masks"] != batch["labels"]["masks"]).float().mean() < 0.01
    assert batch["labels"]["masks"].flatten(1).any(1).all()


def test_the_plain_way_crops_and_mirrors_box_and_mask_with_the_picture(roots, processor, monkeypatch):
    monkeypatch.setattr(random, "random", lambda: 0.1)  # every change is made
    rows = list(unopened_rows("refshapes", "train", **roots)[0].take(10))
    labels = plain_data.plain_batch(rows, processor.tokenizer, size=224, text_length=40)["labels"]
    found = masks_to_boxes(labels["masks"]) + torch.tensor([0, 0, 1, 1])
    torch.testing.assert_close(box_convert(labels["boxes"], "cxcywh", "xyxy") * 224, found, atol=4, rtol=0)
