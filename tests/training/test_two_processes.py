"""Training and evaluation on two processes (gloo, CPU), beside what one process computes row by row."""

import json

import numpy as np
import pytest
import torch

from plvl.data import decode_segmentation, load_grounding_dataset
from plvl.data.collator import GroundingCollator
from plvl.modeling_plvl import PLVLModel
from small_runs import random_model, run_program, shapes_processor, shapes_trainer

pytestmark = pytest.mark.several_processes


@pytest.fixture(scope="module")
def results(refshapes, tmp_path_factory):
    output = tmp_path_factory.mktemp("two_processes")
    run_program("two_processes.py", refshapes["image_root"], refshapes["label_root"], output, processes=2)
    return json.loads((output / "results.json").read_text(encoding="utf-8")) | {"folder": output}


@pytest.fixture(scope="module")
def straight(refshapes):
    """IoU of each row's box and mask at the network's size and at the image's own, one row after the other."""
    model, processor = random_model().eval(), shapes_processor(refshapes)
    measured = []
    for row in load_grounding_dataset("refshapes", "val", **refshapes):
        batch = GroundingCollator(processor)([row])
        with torch.no_grad():
            outputs = model(**batch)
        [small] = processor.post_process_grounding(outputs)
        [large] = processor.post_process_grounding(outputs, [(row["height"], row["width"])])
        ((x, y, w, h),) = row["boxes"]
        cx, cy, width, height = batch["labels"]["boxes"][0].tolist()
        small_truth = [cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2]
        true_mask = decode_segmentation(row["segmentation"], row["height"], row["width"])
        measured.append(
            {
                "sent_id": row["sent_id"],
                "box": box_iou(small["box"].tolist(), small_truth),
                "native_box": box_iou(large["box"].tolist(), [x, y, x + w, y + h]),
                "mask": overlap(small["mask"].numpy(), batch["labels"]["masks"][0].numpy() > 0),
                "native_mask": overlap(large["mask"].numpy(), true_mask > 0),
            }
        )
    return measured


def box_iou(box, other):
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    both = max(width, 0) * max(height, 0)
    return both / (sum((each[2] - each[0]) * (each[3] - each[1]) for each in (box, other)) - both)


def overlap(mask, other):
    return (mask & other).sum(), (mask | other).sum()


def check(metrics, prefix, rows):
    assert metrics[f"{prefix}num_samples"] == len(rows)
    for size in ("", "native_"):
        boxes = np.array([row[f"{size}box"] for row in rows])
        both, either = np.array([row[f"{size}mask"] for row in rows], float).T
        masks = both / np.maximum(either, 1)
        expected = {
            "box_accuracy": (boxes >= 0.5).mean(),
            "box_miou": boxes.mean(),
            "mask_miou": masks.mean(),
            "mask_oiou": both.sum() / either.sum(),
        }
        expected |= {f"mask_precision@{limit}": (masks >= limit).mean() for limit in (0.5, 0.6, 0.7, 0.8, 0.9)}
        for name, value in expected.items():
            assert metrics[f"{prefix}{size}{name}"] == pytest.approx(value, abs=1e-6), name


def test_two_processes_measure_what_one_measures_row_by_row(results, straight):
    assert len(straight) % 8, "the rows must not fill the batches of both processes"
    assert 0 < np.mean([row["mask"][0] / row["mask"][1] for row in straight]) < 1
    check(results["evaluation"]["stream"], "eval_", straight)


def test_every_row_is_answered_once(results, straight):
    assert sorted(results["evaluation"]["sent_ids"]) == sorted(row["sent_id"] for row in straight)


def test_each_dataset_of_a_mixture_has_its_own_metrics(results, straight):
    metrics = results["evaluation"]["rows"]
    check(metrics, "eval_", straight[:7])
    check(metrics, "eval_even/", straight[:7:2])
    check(metrics, "eval_odd/", straight[1:7:2])


@pytest.mark.parametrize("tasks", ["rec", "res", "rec res"])
def test_processes_train_alike_without_a_search_for_unused_parameters(results, tasks):
    trained = results["training"][tasks]
    assert trained["same"] and trained["changed"] and not trained["searches_unused"]


@pytest.mark.parametrize("tasks", ["rec", "res", "rec res"])
def test_what_two_processes_measure_after_training_holds_for_the_saved_model(results, refshapes, tmp_path, tasks):
    saved = PLVLModel.from_pretrained(results["folder"] / tasks.replace(" ", "_"))
    alone = shapes_trainer(refshapes, tmp_path, model=saved).evaluate()
    measured = {name: value for name, value in results["training"][tasks]["metrics"].items() if "iou" in name}
    assert measured == pytest.approx({name: alone[name] for name in measured}, abs=1e-6)


def test_two_processes_go_on_where_they_stopped(results):
    assert results["resumed"]


def test_a_process_that_stands_still_ends_the_others_in_the_time_that_was_given(refshapes, tmp_path):
    roots = refshapes["image_root"], refshapes["label_root"]
    stopped = run_program("stopped_process.py", *roots, tmp_path, processes=2, check=False)
    assert stopped.returncode
    assert "stands still" in stopped.stdout and "the end" not in stopped.stdout
    assert "stopped_process: another process did not answer within 4 seconds" in stopped.stderr
