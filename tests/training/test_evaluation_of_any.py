"""Evaluation of models of any number of targets: what is counted, thresholds, the best models."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoProcessor

from conftest import small_config
from plvl.data.collator import GroundingCollator
from plvl.data.masks import NO_OBJECT, decode_segmentation
from plvl.training.evaluation import evaluate_rows, merge, rows_of_process
from plvl.training.generalized_metrics import choose_thresholds, generalized_metrics, generalized_statistics
from plvl.training.metrics import paired_corner_iou
from plvl.training.thresholds import choose_and_save_thresholds, refuse_thresholds
from small_runs import make_rows, make_trainer, random_model, run_program

METRICS = ("grec_precision", "grec_precision_plain_iou", "grec_n_acc", "grec_t_acc", "gres_giou", "gres_n_acc")


def rows_of_any(image) -> list[dict]:
    """Two rows of one object, the second without a mask, then one of none and one of two objects."""
    one, other = make_rows(image)
    names = {"dataset": "toy", "split": "val", "ref_id": 1}
    none = one | {"text": "the zebra", "sent_id": 2, "boxes": [], "segmentation": NO_OBJECT}
    parts = [[10, 5, 30, 5, 30, 25, 10, 25], [40, 10, 50, 10, 50, 35, 40, 35]]
    several = one | {
        "text": "both squares",
        "sent_id": 3,
        "boxes": [[10, 5, 20, 20], [40, 10, 10, 25]],
        "segmentation": {"polygons": parts, "size": None, "counts": None},
    }
    return [row | names for row in (one, other, none, several)]


@pytest.fixture
def model():
    return random_model(targets="any", max_targets=3).eval()


@pytest.fixture
def rows(image):
    return rows_of_any(image)


@torch.no_grad()
def answers_of(model, processor, rows, **thresholds) -> list[dict]:
    outputs = model(**GroundingCollator(processor, max_targets=3)(rows))
    return processor.post_process_grounding(outputs, [(40, 60)] * len(rows), **thresholds)


def truth_of(row) -> dict:
    corners = [(x, y, x + width, y + height) for x, y, width, height in row["boxes"]]
    return {"boxes": corners, "mask": decode_segmentation(row["segmentation"], 40, 60)}


@pytest.mark.parametrize(("box", "presence"), [(0.0, 0.0), (0.3, 0.2), (0.0, 1.0)])
def test_the_metrics_are_those_of_the_answers_with_the_processors_thresholds(model, processor, rows, box, presence):
    processor.box_threshold, processor.presence_threshold = box, presence
    found = evaluate_rows(model, processor, rows)
    statistics = generalized_statistics(answers_of(model, processor, rows), list(map(truth_of, rows)))
    expected = generalized_metrics(statistics.numpy())
    metrics = found.metrics()
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)
    assert (metrics["num_samples"], metrics["num_no_target"]) == (4, 1)
    assert metrics["grec_n_acc"] == presence or 0 < presence < 1
    for answer, record in zip(answers_of(model, processor, rows), found.answers, strict=True):
        corners = [[x, y, x + width, y + height] for x, y, width, height in record["boxes"]]
        assert np.allclose(np.reshape(corners, (-1, 4)), answer["boxes"].numpy(), atol=1e-4)
        assert record["present"] == pytest.approx(answer["present"]) and len(record["scores"]) == len(corners)
        assert record["mask"]["size"] == [40, 60] and "box" not in record


def test_box_accuracy_is_of_the_highest_peak_whatever_the_thresholds(model, processor, rows):
    everything = answers_of(model, processor, rows, box_threshold=0, presence_threshold=0)
    highest = [answer["boxes"][0] for answer in everything]
    iou = paired_corner_iou(torch.stack(highest[:2]).double(), torch.tensor([[10.0, 5, 30, 25]] * 2).double())
    for threshold in (0.0, 1.0):
        processor.box_threshold = processor.presence_threshold = threshold
        metrics = evaluate_rows(model, processor, rows).metrics()
        assert metrics["num_boxes"] == 2, "the rows of none and of several have no one box"
        assert metrics["native_box_miou"] == pytest.approx(iou.mean().item(), abs=1e-6)
        assert metrics["num_masks"] == 2, "the rows of one and of two objects whose mask is known"


def test_parts_of_processes_are_together_the_whole(model, processor, rows):
    whole = evaluate_rows(model, processor, rows)
    parts = [evaluate_rows(model, processor, list(rows_of_process(rows, number, 2))) for number in range(2)]
    merged = merge(parts, in_turn=True)
    # A loss is averaged over the objects of its batch.
    for name, value in whole.metrics().items():
        assert name == "loss" or merged.metrics()[name] == pytest.approx(value, rel=1e-4), name
    assert [each["sent_id"] for each in merged.answers] == [0, 1, 2, 3]
    assert [len(each["truth_boxes"]) for each in merged.candidates] == [1, 1, 0, 2]
    assert choose_thresholds(merged.candidates)[:2] == choose_thresholds(whole.candidates)[:2]


def test_thresholds_are_chosen_by_a_split_and_kept_with_the_processor(model, processor, image, rows, tmp_path):
    trainer = make_trainer(model, processor, image, tmp_path, rows=rows)
    chosen = choose_and_save_thresholds(trainer, rows, tmp_path / "model")
    processor.box_threshold, processor.presence_threshold = 0.5, 0.5
    kept = AutoProcessor.from_pretrained(tmp_path / "model")
    assert (kept.box_threshold, kept.presence_threshold) == (chosen.box_threshold, chosen.presence_threshold)
    metrics = evaluate_rows(model, kept, rows).metrics()
    assert metrics["grec_precision_plain_iou"] == pytest.approx(chosen.metrics["grec_precision_plain_iou"])
    assert metrics["grec_n_acc"] == pytest.approx(chosen.metrics["grec_n_acc"])


def test_a_model_of_one_target_has_no_thresholds_and_takes_no_such_rows(processor, image, rows, tmp_path):
    trainer = make_trainer(random_model(), processor, image, tmp_path, rows=rows[2:], per_device_train_batch_size=1)
    with pytest.raises(ValueError, match="choose_thresholds is for models of any number of targets"):
        choose_and_save_thresholds(trainer, rows[:2], tmp_path)
    with pytest.raises(ValueError, match="goes by the boxes that are right, and this model has no task rec"):
        refuse_thresholds(small_config(targets="any", tasks=["res"]))
    message = r"toy val, reference 1, expression 2 \(0.jpg\) means no objects, .* `targets: any` learns from such rows"
    with pytest.raises(ValueError, match=message):
        trainer.evaluate(rows[2:3])
    with pytest.raises(ValueError, match="of one. One with `targets: any`"):
        trainer.train()


def test_a_run_learns_all_of_them_and_keeps_its_best_models_by_their_metrics(processor, image, rows, tmp_path):
    model = random_model(targets="any", max_targets=3)
    trainer = make_trainer(
        model, processor, image, tmp_path, rows=rows, eval_strategy="steps", eval_steps=1, max_steps=2, logging_steps=1
    )
    trainer.eval_dataset = rows
    trainer.train()
    losses = {name for entry in trainer.state.log_history for name in entry if name.startswith("loss_")}
    assert {"loss_presence", "loss_giou", "loss_l1", "loss_center", "loss_mask_dice"} <= losses
    folders = {path.name for path in Path(tmp_path).iterdir() if path.name.startswith("best_")}
    assert folders == {"best_grec_precision", "best_gres_giou"}
    evaluated = trainer.evaluate()
    assert {f"eval_{name}" for name in METRICS} <= set(evaluated)


@pytest.mark.several_processes
def test_two_processes_count_each_row_once(tmp_path):
    run_program("two_processes_of_any.py", tmp_path, processes=2)
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    for found in results.values():
        del found["loss"]  # which is averaged over the objects of each batch
    assert results["several"] == pytest.approx(results["alone"], rel=1e-3)
    assert results["several"]["num_samples"] == 5 and results["several"]["num_no_target"] == 2
