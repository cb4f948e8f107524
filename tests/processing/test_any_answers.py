"""Answers of a model of any number of targets: boxes over a threshold, or nothing found."""

import pytest
import torch
from transformers import AutoProcessor

from conftest import small_config
from plvl.modeling_plvl import PLVLModel, PLVLOutput
from plvl.processing import PLVLProcessor
from plvl.training.generalized_metrics import choose_thresholds, generalized_metrics, generalized_statistics

PRESENT = [0.9, 0.8, 0.25]
SCORES = [[0.875, 0.5, 0.125], [0.4, 0.3, 0.0], [0.75, 0.625, 0.5]]
SIZE = (40, 80)  # height and width


def outputs_of_three(**changes):
    """Of expressions with two boxes of a score of 0.5, with none, and with three where nothing is present."""
    boxes = torch.tensor([[0.125, 0.25, 0.5, 0.5], [0.5, 0.5, 0.25, 0.5], [0.75, 0.75, 0.125, 0.25]])
    pred_masks = torch.full((3, 6, 8), -3.0)
    pred_masks[:, :2, 4:] = 3.0
    fields = {
        "pred_boxes": boxes.repeat(3, 1, 1),
        "pred_scores": torch.tensor(SCORES),
        "presence_logits": torch.tensor(PRESENT).logit(),
        "pred_masks": pred_masks,
        "center_logits": torch.zeros(3, 2, 4),
        "last_hidden_state": torch.zeros(3, 8, 5),
    }
    return PLVLOutput(**fields | changes)


def found(answers) -> list[bool]:
    return [answer["found"] for answer in answers]


def test_boxes_of_the_threshold_or_more_come_in_the_images_pixels_the_best_first(processor):
    answer, _, _ = processor.post_process_grounding(outputs_of_three(), [SIZE] * 3)
    assert list(answer) == ["present", "found", "boxes", "scores", "mask"]
    assert answer["present"] == pytest.approx(0.9) and answer["found"] is True
    assert answer["boxes"].tolist() == [[0, 0, 30, 20], [30, 10, 50, 30]]  # the first is cut at the left border
    assert answer["scores"].tolist() == [0.875, 0.5]
    assert answer["mask"].shape == SIZE and answer["mask"].dtype == torch.bool
    assert answer["mask"][:12, 42:].all() and not answer["mask"][15:].any() and not answer["mask"][:, :38].any()


def test_without_a_box_of_the_threshold_and_without_presence_nothing_is_found(processor):
    answers = processor.post_process_grounding(outputs_of_three(), [SIZE] * 3)
    assert found(answers) == [True, False, False]
    assert [answer["present"] for answer in answers] == pytest.approx(PRESENT)
    for answer in answers[1:]:
        assert answer["boxes"].shape == (0, 4) and answer["scores"].shape == (0,)
        assert answer["mask"].shape == SIZE and answer["mask"].dtype == torch.bool and not answer["mask"].any()


def test_without_sizes_boxes_are_shares_and_masks_of_the_networks_size_also_where_nothing_is_found(processor):
    answers = processor.post_process_grounding(outputs_of_three())
    assert answers[0]["boxes"].tolist() == [[0, 0, 0.375, 0.5], [0.375, 0.25, 0.625, 0.75]]
    assert [tuple(answer["mask"].shape) for answer in answers] == [(6, 8)] * 3


def test_both_thresholds_are_inclusive_and_can_be_given(processor):
    outputs = outputs_of_three(presence_logits=torch.zeros(3))  # a probability of one half

    def counts(**thresholds):
        answers = processor.post_process_grounding(outputs, [SIZE] * 3, **thresholds)
        assert found(answers) == [len(answer["boxes"]) > 0 for answer in answers]
        return [len(answer["boxes"]) for answer in answers]

    assert counts() == [2, 0, 3]
    assert counts(box_threshold=0.75) == [1, 0, 1] and counts(box_threshold=0.3) == [2, 2, 3]
    assert counts(presence_threshold=0.5) == [2, 0, 3] and counts(presence_threshold=0.51) == [0, 0, 0]
    assert counts(box_threshold=1.0) == [0, 0, 0] and counts(box_threshold=0.125, presence_threshold=0.1) == [3, 2, 3]


def test_thresholds_of_0_give_every_peak(processor):
    answers = processor.post_process_grounding(outputs_of_three(), [SIZE] * 3, box_threshold=0, presence_threshold=0)
    # A score of 0 is that of no peak.
    kept = [[0.875, 0.5, 0.125], [0.4, 0.3], [0.75, 0.625, 0.5]]
    for answer, scores in zip(answers, kept, strict=True):
        assert answer["found"] and answer["scores"].tolist() == pytest.approx(scores)
        assert answer["mask"].any()
    assert answers[2]["boxes"].tolist() == [[0, 0, 30, 20], [30, 10, 50, 30], [55, 25, 65, 35]]
    [nothing] = processor.post_process_grounding(
        outputs_of_three(pred_scores=torch.zeros(3, 3)), [SIZE] * 3, box_threshold=0, presence_threshold=0
    )[:1]
    assert not nothing["found"] and not len(nothing["boxes"])


def test_thresholds_are_the_processors_own_and_saved(processor, tmp_path):
    own = PLVLProcessor(processor.image_processor, processor.tokenizer, box_threshold=0.75, presence_threshold=0.2)
    assert (processor.box_threshold, processor.presence_threshold) == (0.5, 0.5)
    own.save_pretrained(tmp_path / "made")
    own.box_threshold = 0.625  # as an evaluation sets it
    own.save_pretrained(tmp_path / "set")
    for name, box_threshold, counts in (("made", 0.75, [1, 0, 1]), ("set", 0.625, [1, 0, 2])):
        loaded = AutoProcessor.from_pretrained(tmp_path / name)
        assert (loaded.box_threshold, loaded.presence_threshold) == (box_threshold, 0.2)
        answers = loaded.post_process_grounding(outputs_of_three(), [SIZE] * 3)
        assert [len(answer["boxes"]) for answer in answers] == counts


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_dict_of_outputs_in_half_precision_is_answered(processor, dtype):
    outputs = {name: value.to(dtype) for name, value in outputs_of_three().items()}
    answers = processor.post_process_grounding(outputs, torch.tensor([SIZE] * 3))
    assert found(answers) == [True, False, False]
    assert answers[0]["boxes"].dtype == answers[0]["scores"].dtype == torch.float32
    assert answers[0]["boxes"].tolist() == [[0, 0, 30, 20], [30, 10, 50, 30]]


def test_one_size_serves_all_expressions_about_an_image(processor):
    answers = processor.post_process_grounding(outputs_of_three(), [SIZE])
    assert [tuple(answer["mask"].shape) for answer in answers] == [SIZE] * 3


def test_a_model_of_one_task_answers_what_it_has(processor):
    masks = processor.post_process_grounding(
        outputs_of_three(pred_boxes=None, pred_scores=None, center_logits=None), [SIZE] * 3
    )
    assert [list(answer) for answer in masks] == [["present", "found", "mask"]] * 3
    # By presence alone.
    assert found(masks) == [True, True, False] == [bool(answer["mask"].any()) for answer in masks]
    boxes = processor.post_process_grounding(outputs_of_three(pred_masks=None), [SIZE] * 3)
    assert [list(answer) for answer in boxes] == [["present", "found", "boxes", "scores"]] * 3


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ({"box_threshold": 1.5}, "box_threshold must be from 0 to 1, got 1.5"),
        ({"presence_threshold": -0.1}, "presence_threshold must be from 0 to 1, got -0.1"),
        ({"presence_threshold": float("nan")}, "presence_threshold must be from 0 to 1, got nan"),
    ],
)
def test_what_is_no_threshold_is_refused(processor, thresholds, message):
    with pytest.raises(ValueError, match=message):
        processor.post_process_grounding(outputs_of_three(), **thresholds)


@torch.no_grad()
@pytest.mark.parametrize("tasks", [["rec", "res"], ["res"]])
def test_a_model_of_one_target_answers_as_ever_and_has_no_thresholds(processor, image, tasks):
    model = PLVLModel(small_config(tasks=tasks)).eval()
    outputs = model(**processor(images=image, text="the man", return_tensors="pt"))
    [answer] = processor.post_process_grounding(outputs, [SIZE])
    assert list(answer) == ["score", "box", "mask"] if "rec" in tasks else ["mask"]
    with pytest.raises(ValueError, match="^box_threshold: a model of one target has no such threshold$"):
        processor.post_process_grounding(outputs, [SIZE], box_threshold=0.5)
    with pytest.raises(ValueError, match="^box_threshold and presence_threshold: a model of one target"):
        processor.post_process_grounding(outputs, [SIZE], box_threshold=0.5, presence_threshold=0.5)


def test_chosen_thresholds_give_the_metrics_that_they_were_chosen_for(processor):
    truths = [{"boxes": [[0, 0, 30, 20], [30, 10, 50, 30]]}, {"boxes": []}, {"boxes": [[0, 0, 30, 20]]}]
    candidates = processor.post_process_grounding(
        outputs_of_three(pred_masks=None), [SIZE] * 3, box_threshold=0, presence_threshold=0
    )
    rows = [
        {name: answer[name] for name in ("present", "boxes", "scores")} | {"truth_boxes": truth["boxes"]}
        for answer, truth in zip(candidates, truths, strict=True)
    ]
    box_threshold, presence_threshold, chosen = choose_thresholds(rows)
    answers = processor.post_process_grounding(
        outputs_of_three(pred_masks=None),
        [SIZE] * 3,
        box_threshold=box_threshold,
        presence_threshold=presence_threshold,
    )
    metrics = generalized_metrics(generalized_statistics(answers, truths).numpy())
    assert metrics["grec_precision_plain_iou"] == chosen["grec_precision_plain_iou"] == 2 / 3
    assert metrics["grec_n_acc"] == chosen["grec_n_acc"] == 1
