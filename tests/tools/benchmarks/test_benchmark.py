"""`benchmark.py`: each subject is measured and written, and the plain data gives what this project's does."""

import json
import random
from argparse import Namespace

import pytest
import torch
from torchvision.ops import box_convert, masks_to_boxes

import benchmark
from benchmarks import benchmark_deploy, benchmark_export, benchmark_model, benchmark_train, measuring, plain_data
from benchmarks.box_agreement import box_agreement
from benchmarks.performance_targets import TARGETS
from plvl.data.collator import GroundingCollator
from plvl.data.loading import load_grounding_dataset, unopened_rows
from plvl.data.refshapes import write_refshapes
from plvl.processing import PLVLImageProcessor, PLVLProcessor


@pytest.fixture
def small_measurement(monkeypatch):
    """The options of a short measurement, which starts no process and compiles nothing."""
    monkeypatch.setitem(measuring.PRODUCT_SIDE, "cpu", 64)
    for module in (benchmark_model, benchmark_train):
        monkeypatch.setattr(module, "in_own_process", lambda function, *arguments: function(*arguments))
        monkeypatch.setattr(module, "GPU_BATCH", 2)
    monkeypatch.setattr(torch, "compile", lambda network, **modes: network)
    return Namespace(device="cpu", threads=None, turns=1, model=None, random_model=None, images=None)


def test_the_growth_of_memory_is_that_of_tensors_over_that_of_tokens():
    small, large = ({"ways": {"plvl": {"memory": {"tensors": size, "peak": 99}}}} for size in (10, 20))
    assert benchmark_model.memory_growth(small, large, "plvl") == 0.5
    del large["ways"]["plvl"]["memory"]
    assert benchmark_model.memory_growth(small, large, "plvl") is None


def assert_measured(comparisons):
    for comparison in comparisons:
        for way in comparison["ways"].values():
            assert 0 < way["seconds"]["fastest"] <= way["seconds"]["median"] <= way["seconds"]["slowest"]
            if comparison["flops"]:
                assert way["flops_per_second"] == pytest.approx(comparison["flops"] / way["seconds"]["median"])
                # In this process other memory comes and goes: what is held says nothing (test_measuring.py does).
                assert way["memory"]["held"] <= way["memory"]["peak"]


def target_figures(subject, device):
    """The figures that docs/performance.md shows."""
    return {target.figure for target in TARGETS if (target.subject, target.device) == (subject, device)}


def test_inference_is_measured(small_measurement, config, capsys):
    numbers = benchmark_model.measure(small_measurement, config)
    small, large, expressions = numbers["comparisons"]
    assert_measured([small, large, expressions])
    assert list(small["ways"]) == ["plain, float32", "plvl, float32", "plvl, bfloat16"]
    assert (small["title"], large["title"]) == ("forward pass, batch 1, 64 × 64", "forward pass, batch 1, 128 × 128")
    assert large["flops"] > 3 * small["flops"]
    assert list(expressions["ways"]) == ["separate calls", "shared"]
    seconds = {name: way["seconds"]["median"] for name, way in small["ways"].items()}
    assert numbers["figures"]["bfloat16_speed"] == seconds["plain, float32"] / seconds["plvl, bfloat16"]
    assert set(numbers["figures"]) == target_figures("model", "cpu") - {"bfloat16_box_iou", "random_box_iou"}
    printed = capsys.readouterr().out
    assert "forward pass, batch 1, 128 × 128" in printed and "not measured" in printed


def test_a_training_step_is_measured(small_measurement, config):
    numbers = benchmark_train.measure(small_measurement, config)
    [comparison] = numbers["comparisons"]
    assert_measured([comparison])
    memory = [way["memory"]["peak"] for way in comparison["ways"].values()]
    assert numbers["figures"]["memory"] == memory[1] / memory[0]
    assert set(numbers["figures"]) == target_figures("train", "cpu")


def test_what_a_gpu_is_asked_runs(small_measurement, config):
    comparisons, figures = benchmark_model.measure_on_gpu(config, torch.device("cpu"), turns=1)
    assert_measured(comparisons)
    assert "plvl, bfloat16, compiled" in comparisons[0]["ways"]
    assert "plain, bfloat16 autocast" in comparisons[0]["ways"]
    steps, step_figures = benchmark_train.measure_on_gpu(config, torch.device("cpu"), turns=1)
    assert_measured(steps)
    assert [list(step["ways"])[1] for step in steps] == ["plvl, bfloat16 autocast", "plvl, float16 autocast"]
    assert set(figures) == target_figures("model", "cuda") - {"bfloat16_box_iou", "random_box_iou"}
    assert set(step_figures) == target_figures("train", "cuda")
    assert None not in (figures | step_figures).values()


def test_onnx_is_measured(small_measurement, config):
    numbers = benchmark_export.measure(small_measurement, config)
    assert_measured(numbers["comparisons"])
    assert set(numbers["figures"]) == target_figures("export", "cpu")
    assert numbers["figures"]["difference"] < 1e-4


def test_a_missing_onnx_library_is_named(small_measurement, monkeypatch):
    monkeypatch.setattr(benchmark_export, "NEEDED", ("onnx_that_is_not_there",))
    with pytest.raises(SystemExit, match="onnx_that_is_not_there"):
        benchmark_export.measure(small_measurement)


def test_kits_are_measured_beside_pytorch(any_model_folder, image, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark_deploy, "KITS", [("torch-export", "float32")])
    image.save(tmp_path / "one.png")
    examples = [{"image": "one.png", "expressions": ["the red square", "the man"]}]
    (tmp_path / "examples.json").write_text(json.dumps(examples))
    arguments = Namespace(model=str(any_model_folder), images=str(tmp_path), threads=None, turns=1)
    numbers = benchmark_deploy.measure(arguments)
    assert_measured(numbers["comparisons"])
    [kit] = numbers["kits"]
    assert kit["difference"] < 1e-4 and kit["box_iou"] > 0.9999 and kit["bytes"] > 10**5
    assert "2 expressions about 1 images, 2 of them answered" in capsys.readouterr().out


def test_the_boxes_of_the_trained_and_of_the_random_model_are_figures_of_their_own(small_measurement, monkeypatch):
    monkeypatch.setattr(benchmark_model, "measure_on_cpu", lambda *_: ([], {}))
    monkeypatch.setattr(benchmark_model, "compare_boxes", lambda folder, images, _: (folder, f"{folder} on {images}"))
    small_measurement.model, small_measurement.random_model, small_measurement.images = "trained", "new", "images"
    numbers = benchmark_model.measure(small_measurement)
    assert numbers["figures"] == {"bfloat16_box_iou": "trained", "random_box_iou": "new"}
    assert numbers["notes"] == ["trained on images", "new on images"]


@pytest.mark.parametrize("given", ["model", "random_model", "images"])
def test_a_model_without_images_and_images_without_a_model_are_refused(small_measurement, given):
    setattr(small_measurement, given, "folder")
    with pytest.raises(SystemExit, match="goes together"):
        benchmark_model.measure(small_measurement)


def test_boxes_of_bfloat16_are_near_those_of_float32(model_folder, mini_refer):
    images = mini_refer["image_root"].parent
    overlaps = box_agreement(model_folder, images, torch.device("cpu"))
    assert len(overlaps) == 20
    assert all(0 <= overlap <= 1 for overlap in overlaps)
    assert 0.5 < sum(overlaps) / len(overlaps) < 1
    mean, note = benchmark_model.compare_boxes(model_folder, images, torch.device("cpu"))
    assert mean == sum(overlaps) / len(overlaps)
    assert f"mean {mean:.4f}" in note


@pytest.fixture
def roots(tmp_path):
    write_refshapes(tmp_path / "refshapes", num_images=8, seed=0)
    return {"image_root": str(tmp_path / "refshapes/images"), "label_root": str(tmp_path / "refshapes/labels")}


def test_both_ways_of_the_data_are_measured_and_written(roots, tmp_path, capsys):
    output = tmp_path / "numbers.json"
    places = [f"--{name}={folder}" for name, folder in roots.items()]
    sizes = ["--size=64", "--batch_size=2", "--batches=2", "--turns=3"]
    benchmark.main(["data", "--dataset=refshapes", *places, *sizes, f"--output={output}"])
    numbers = json.loads(output.read_text(encoding="utf-8"))
    [comparison] = numbers["comparisons"]
    assert_measured([comparison])
    assert (comparison["items"], comparison["turns"]) == (4, 3)
    plain, plvl = (comparison["ways"][name]["seconds"]["median"] for name in ("plain", "plvl"))
    assert numbers["figures"]["speed"] == pytest.approx(plain / plvl)
    assert f"{plain / plvl:.2f} ×" in capsys.readouterr().out
    assert str(tmp_path) not in output.read_text(encoding="utf-8")


def test_without_its_random_changes_the_plain_way_gives_the_batch_of_the_collator(roots, processor, monkeypatch):
    monkeypatch.setattr(random, "random", lambda: 0.99)  # no crop, no colours, no mirroring
    monkeypatch.setattr(random, "choice", max)  # the longest side
    rows = list(unopened_rows("refshapes", "train", **roots)[0].take(4))
    plain = plain_data.plain_batch(rows, processor.tokenizer, size=64, text_length=40)
    square = PLVLProcessor(PLVLImageProcessor(size={"height": 64, "width": 64}), processor.tokenizer)
    batch = GroundingCollator(square)(list(load_grounding_dataset("refshapes", "train", **roots).take(4)))
    assert torch.equal(plain["input_ids"], batch["input_ids"])
    assert torch.equal(plain["labels"]["has_mask"], batch["labels"]["has_mask"])
    torch.testing.assert_close(plain["labels"]["boxes"], batch["labels"]["boxes"], atol=0.01, rtol=0)
    assert (plain["pixel_values"] - batch["pixel_values"]).abs().mean() < 0.02
    assert (plain["labels"]["masks"] != batch["labels"]["masks"]).float().mean() < 0.01
    assert batch["labels"]["masks"].flatten(1).any(1).all()


def test_the_plain_way_crops_and_mirrors_box_and_mask_with_the_image(roots, processor, monkeypatch):
    monkeypatch.setattr(random, "random", lambda: 0.1)  # every change is made
    rows = list(unopened_rows("refshapes", "train", **roots)[0].take(10))
    labels = plain_data.plain_batch(rows, processor.tokenizer, size=224, text_length=40)["labels"]
    found = masks_to_boxes(labels["masks"]) + torch.tensor([0, 0, 1, 1])
    torch.testing.assert_close(box_convert(labels["boxes"], "cxcywh", "xyxy") * 224, found, atol=4, rtol=0)
