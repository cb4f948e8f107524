"""What an evaluation counts, on one process and several, and what it measures with."""

import time

import numpy as np
import pytest
import torch
from PIL import Image

from plvl.data.collator import GroundingCollator, row_truth
from plvl.data.masks import encode_mask
from plvl.training.evaluation import Evaluated, answer_record, counted_batches, evaluate_batches, evaluate_rows, merge
from plvl.training.metrics import answer_statistics, grounding_metrics
from small_runs import make_rows, make_trainer, random_model


def evaluated(loss_sum, *centres) -> Evaluated:
    boxes = np.array([[centre, 0.5, 0.2, 0.4] for centre in centres])
    statistics = {"": np.array([[1, 0, 0, 0, *box] for box in boxes])}
    return Evaluated(statistics, loss_sum, boxes, boxes + 1, [{"sent_id": centre} for centre in centres])


def test_the_loss_of_several_processes_is_the_mean_over_all_their_samples():
    merged = merge([evaluated(3.0, 0.1, 0.3), evaluated(5.0, 0.2)], in_turn=True)
    assert merged.metrics()["loss"] == pytest.approx(8 / 3)


def test_answers_and_boxes_come_in_the_order_of_the_rows():
    parts = [evaluated(1.0, 0.1, 0.3), evaluated(1.0, 0.2)]
    for in_turn, order in ((True, [0.1, 0.2, 0.3]), (False, [0.1, 0.3, 0.2])):
        merged = merge(parts, in_turn)
        assert [answer["sent_id"] for answer in merged.answers] == order
        assert merged.predicted_boxes[:, 0].tolist() == order
        assert np.allclose(merged.true_boxes, merged.predicted_boxes + 1)


def test_a_process_that_is_done_repeats_its_last_batch_and_does_not_count_it():
    others = iter([True, True, True, False])
    assert list(counted_batches(["a", "b"], lambda here: here or next(others))) == [
        ("a", True),
        ("b", True),
        *[("b", False)] * 3,
    ]
    with pytest.raises(ValueError, match="fewer rows to evaluate than processes"):
        list(counted_batches([], lambda here: True))


def test_an_expression_that_comes_again_in_an_evaluation_is_encoded_once(processor, image, tmp_path, monkeypatch):
    model = random_model()
    rows = [row | {"text": text} for text in ("a man", "a man", "the left") for row in make_rows(image)]
    trainer = make_trainer(model, processor, image, tmp_path, rows=rows, per_device_eval_batch_size=2)
    encoded, encode = [], model.get_text_features
    monkeypatch.setattr(model, "get_text_features", lambda ids, mask: encoded.append(len(ids)) or encode(ids, mask))
    found = trainer.evaluation_pass(rows, keep_answers=True)
    assert encoded == [1, 1]
    alone = [trainer.evaluation_pass([row], keep_answers=True).answers[0] for row in rows]
    assert [each["score"] for each in found.answers] == pytest.approx([each["score"] for each in alone], abs=1e-6)
    assert found.answers[0]["score"] != found.answers[-1]["score"]
    # Weights that were trained in between are those of the next pass.
    with torch.no_grad():
        model.text_encoder.embeddings.word_embeddings.weight.mul_(-3)
    again = trainer.evaluation_pass(rows, keep_answers=True)
    assert abs(again.answers[0]["score"] - found.answers[0]["score"]) > 1e-5


def test_a_repeated_batch_is_in_no_number(processor, image, tmp_path):
    trainer = make_trainer(random_model(), processor, image, tmp_path)
    trainer.model.eval()
    [batch] = trainer.get_test_dataloader(make_rows(image))
    once, twice = (
        evaluate_batches([(batch, True), (batch, False)][:number], trainer._ground, processor, True)
        for number in (1, 2)
    )
    assert twice.metrics() == once.metrics() and len(twice.answers) == len(twice.predicted_boxes) == 2


def test_an_object_that_vanishes_at_the_networks_size_counts_everywhere(processor):
    """One pixel of 600 x 400 is none of 96 x 64."""
    row = make_rows(Image.new("RGB", (600, 400)))[0] | {"height": 400, "width": 600}
    everywhere, model = {"polygons": [[0, 0, 600, 0, 600, 400, 0, 400]], "size": None, "counts": None}, random_model()
    torch.nn.init.constant_(model.head.mask[-1].bias, 9.0)
    speck = {"polygons": [[301, 201, 302, 201, 302, 202, 301, 202]], "size": None, "counts": None}
    rows = [row | {"segmentation": everywhere}, row | {"segmentation": speck, "boxes": [[301, 201, 1, 1]]}]
    assert GroundingCollator(processor)(rows)["labels"]["has_mask"].tolist() == [True, False]
    found = evaluate_rows(model, processor, rows)
    truths = [{"box": row["boxes"][0], "mask": encode_mask(row_truth(row)[1])} for row in rows]
    metrics = found.metrics()
    again = grounding_metrics(answer_statistics(found.answers, truths))
    assert metrics["num_masks"] == again["num_masks"] == 2
    for name in ("mask_miou", "mask_oiou"):
        assert metrics[f"native_{name}"] == pytest.approx(again[name], abs=1e-9) and metrics[f"native_{name}"] > 0


def test_an_evaluation_in_mid_training_is_without_dropout_and_of_running_means(processor, image, tmp_path):
    model = random_model(decoder_dropout=0.5)
    trainer = make_trainer(model, processor, image, tmp_path, per_device_eval_batch_size=1)
    model.train()
    first, second = trainer.evaluate(), trainer.evaluate(make_rows(image)[::-1])
    assert first["eval_loss"] == pytest.approx(second["eval_loss"], rel=1e-5)
    assert first["eval_box_miou"] == pytest.approx(second["eval_box_miou"], rel=1e-5)


def test_the_speed_is_that_of_the_time_since_the_start(processor, image, tmp_path):
    trainer = make_trainer(random_model(), processor, image, tmp_path)
    metrics = trainer.report(evaluated(1.0, 0.1, 0.3, 0.2), "val", time.time() - 20)
    assert metrics["val_runtime"] == pytest.approx(20, abs=2)
    assert metrics["val_samples_per_second"] == pytest.approx(3 / 20, abs=0.02)


def test_an_answers_record_has_the_rows_names_and_the_box_in_pixels():
    row = {"dataset": "refcoco", "split": "val", "file_name": "1.jpg", "image_id": 1, "ref_id": 2, "sent_id": 3}
    mask = torch.zeros(6, 4, dtype=torch.bool)
    mask[1:3, 1] = True
    answer = {"box": torch.tensor([1.0, 2.0, 5.0, 9.0]), "score": torch.tensor(0.25), "mask": mask}
    record = answer_record(row | {"text": "the cup", "more": 1}, answer)
    assert record.pop("mask")["size"] == [6, 4]
    assert record == row | {"text": "the cup", "score": 0.25, "box": [1.0, 2.0, 4.0, 7.0]}
    assert "box" not in answer_record(row, {"mask": mask})


def test_evaluating_rows_leaves_no_gradients(processor, image):
    model = random_model()
    evaluate_rows(model, processor, make_rows(image))
    assert not model.training and all(parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled()
