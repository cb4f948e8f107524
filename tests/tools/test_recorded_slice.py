"""A checkpoint's slice: what is recorded is found again, and a change shows."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from PIL import Image

import recorded_slice
from plvl.data.refshapes import split_of
from plvl.processing import PLVLImageProcessor, PLVLProcessor
from plvl.processing.word_vocabulary import build_word_vocabulary
from plvl.scripts.model_loading import load_whole
from recorded_slice import SliceDiffersError, check_slice, is_same_answer, record_slice
from small_runs import random_model

INDICES = (3, 16, 31, 46, 53, 66)


@pytest.fixture
def checkpoint(tmp_path):
    """The folder of a model that answers at random, with its slice recorded."""
    tokenizer = build_word_vocabulary(["the red star on the left"], vocab_size=99)
    processor = PLVLProcessor(PLVLImageProcessor(size={"height": 64, "width": 64}), tokenizer)
    model = random_model()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    recorded = record_slice(tmp_path, *load_whole(tmp_path), seed=0, indices=INDICES)
    assert recorded["metrics"]["num_samples"] > 20
    return tmp_path


def test_what_is_recorded_is_found_again(checkpoint):
    recorded = json.loads((checkpoint / "slice.json").read_text(encoding="utf-8"))
    assert (recorded["seed"], recorded["indices"]) == (0, [3, 16, 31, 46, 53, 66])
    assert len(recorded["boxes"]) == recorded["metrics"]["num_samples"]
    assert check_slice(checkpoint, *load_whole(checkpoint)) == pytest.approx(recorded["metrics"], abs=1e-6)


@pytest.mark.parametrize("part", ["text_encoder", "decoder.vision_proj", "head.center_trunk", "head.size"])
def test_a_changed_weight_shows(checkpoint, part):
    model, processor = load_whole(checkpoint)
    largest = max(model.get_submodule(part).parameters(), key=torch.numel)
    with torch.no_grad():
        largest.mul_(-1)
    with pytest.raises(SliceDiffersError):
        check_slice(checkpoint, model, processor)


def test_a_changed_tokenizer_shows(checkpoint):
    model, processor = load_whole(checkpoint)
    processor.tokenizer = build_word_vocabulary(["other words"], vocab_size=99)
    with pytest.raises(SliceDiffersError):
        check_slice(checkpoint, model, processor)


def test_a_slice_of_other_images_is_refused(checkpoint):
    file = checkpoint / "slice.json"
    recorded = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(recorded | {"refshapes_version": 1}))
    with pytest.raises(SliceDiffersError, match="is of RefShapes 1, which is now 2"):
        check_slice(checkpoint, *load_whole(checkpoint))
    # A figure that is missing must not pass.
    file.write_text(json.dumps(recorded | {"metrics": {"num_samples": recorded["metrics"]["num_samples"]}}))
    with pytest.raises(SliceDiffersError):
        check_slice(checkpoint, *load_whole(checkpoint))


@pytest.mark.parametrize(
    ("name", "by", "shows"),
    [("mask_miou", 0.004, False), ("mask_miou", 0.007, True), ("box_accuracy", 0.019, False)]
    + [("box_accuracy", 0.022, True), ("loss", 0.007, True), ("num_samples", 1, True)],
)
def test_figures_may_differ_by_what_rounding_does_and_no_more(checkpoint, name, by, shows):
    file = checkpoint / "slice.json"
    recorded = json.loads(file.read_text(encoding="utf-8"))
    recorded["metrics"][name] += by
    file.write_text(json.dumps(recorded))
    with pytest.raises(SliceDiffersError) if shows else nullcontext():
        check_slice(checkpoint, *load_whole(checkpoint))


@pytest.mark.parametrize(("boxes", "pixels", "shows"), [(1, 40, False), (3, 3, True), (100, 1.5, False)])
def test_one_box_in_fifty_may_be_elsewhere(checkpoint, boxes, pixels, shows):
    file = checkpoint / "slice.json"
    recorded = json.loads(file.read_text(encoding="utf-8"))
    assert 50 <= len(recorded["boxes"]) < 150
    for box in recorded["boxes"][:boxes]:
        box[2] += pixels
    file.write_text(json.dumps(recorded))
    with pytest.raises(SliceDiffersError) if shows else nullcontext():
        check_slice(checkpoint, *load_whole(checkpoint))


def test_the_bundled_slice_is_of_val():
    assert {split_of(index) for index in recorded_slice.INDICES} == {"val"}


@pytest.fixture
def any_checkpoint(any_model_folder):
    """Of a model of any number of targets, with an example that is as no other, and its slice."""
    examples = any_model_folder / "examples"
    examples.mkdir()
    pixels = np.random.default_rng(5).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    pixels[10:30, 40:65] = (220, 40, 40)
    Image.fromarray(pixels).save(examples / "own.png")
    entries = [{"image": "own.png", "expressions": ["the red square", "the man in the red shirt"]}]
    (examples / "examples.json").write_text(json.dumps(entries), encoding="utf-8")
    record_slice(any_model_folder, *load_whole(any_model_folder), seed=0, indices=INDICES[:3])
    return any_model_folder


def recorded_of(folder) -> dict:
    return json.loads((folder / "slice.json").read_text(encoding="utf-8"))


def test_of_any_number_of_targets_everything_that_is_answered_is_recorded_and_found_again(any_checkpoint):
    recorded = recorded_of(any_checkpoint)
    assert len(recorded["answers"]) == recorded["metrics"]["num_samples"] and "boxes" not in recorded
    assert {"loss", "gres_giou", "grec_precision_plain_iou", "mask_miou"} <= recorded["metrics"].keys()
    assert [(each["image"], each["text"]) for each in recorded["examples"]] == [
        ("own.png", "the red square"),
        ("own.png", "the man in the red shirt"),
    ]
    model, processor = load_whole(any_checkpoint)
    image = Image.open(any_checkpoint / "examples" / "own.png")
    with torch.no_grad():
        outputs = model(**processor(images=image, text="the red square", return_tensors="pt"))
    [answer] = processor.post_process_grounding(outputs, [(50, 70)])
    told = recorded["examples"][0]
    assert told["present"] == pytest.approx(answer["present"], abs=1e-4)
    assert told["scores"] == pytest.approx(answer["scores"].tolist(), abs=1e-4) and told["scores"]
    corners = [[x, y, x + width, y + height] for x, y, width, height in told["boxes"]]
    assert np.array(corners) == pytest.approx(answer["boxes"].numpy(), abs=0.02)
    share, x, y = told["mask"]
    rows, columns = answer["mask"].nonzero().T.double()
    assert share == pytest.approx(len(rows) / 3500, abs=1e-4)
    assert [x, y] == pytest.approx([float(columns.mean()), float(rows.mean())], abs=0.01)
    assert check_slice(any_checkpoint, model, processor) == pytest.approx(recorded["metrics"], abs=1e-6)


def test_another_answer_to_an_example_shows_though_no_metric_changes(any_checkpoint):
    file = any_checkpoint / "examples" / "own.png"
    Image.open(file).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(file)
    with pytest.raises(SliceDiffersError, match=r"^2 of the \d+ answers are not those that .* of \{'image'"):
        check_slice(any_checkpoint, *load_whole(any_checkpoint))


@pytest.mark.parametrize("part", ["head.presence", "head.offset", "text_encoder"])
def test_a_changed_weight_of_a_model_of_any_number_shows(any_checkpoint, part):
    model, processor = load_whole(any_checkpoint)
    with torch.no_grad():
        for parameter in model.get_submodule(part).parameters():
            parameter.mul_(-1)
    with pytest.raises(SliceDiffersError):
        check_slice(any_checkpoint, model, processor)


def test_a_changed_threshold_shows(any_checkpoint):
    model, processor = load_whole(any_checkpoint)
    processor.box_threshold = 0.95
    with pytest.raises(SliceDiffersError):
        check_slice(any_checkpoint, model, processor)


def test_an_answer_too_few_shows(any_checkpoint):
    recorded = recorded_of(any_checkpoint)
    (any_checkpoint / "slice.json").write_text(json.dumps(recorded | {"answers": recorded["answers"][:-1]}))
    with pytest.raises(SliceDiffersError, match="answers, but there are"):
        check_slice(any_checkpoint, *load_whole(any_checkpoint))


ANSWER = {
    "image": "cat.jpg",
    "text": "both cats",
    "present": 0.9,
    "scores": [0.8, 0.7],
    "boxes": [[10, 5, 20, 20], [40, 8, 12, 15]],
    "mask": [0.25, 33, 15],
}


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"present": 0.915}, True),
        ({"present": 0.925}, False),
        ({"scores": [0.8, 0.73]}, False),
        ({"scores": [0.8], "boxes": [[10, 5, 20, 20]]}, False),
        ({"boxes": [[10, 5, 20, 21.5], [40, 8, 12, 15]]}, True),
        ({"boxes": [[40, 8, 12, 15], [10, 5, 20, 20]]}, False),
        ({"mask": [0.253, 34, 14]}, True),
        ({"mask": [0.256, 33, 15]}, False),
        ({"mask": [0.25, 33, 18]}, False),
        ({"mask": None}, False),
        ({"text": "the cat"}, False),
        ({"image": "dog.jpg"}, False),
    ],
)
def test_an_answer_is_the_same_but_for_rounding(change, same):
    assert is_same_answer(ANSWER, ANSWER | change) is same
    assert is_same_answer(ANSWER | change, ANSWER) is same


def test_a_loss_above_one_may_differ_by_a_share_of_it(any_checkpoint):
    recorded = recorded_of(any_checkpoint)
    loss = recorded["metrics"]["loss"]
    assert loss > 2
    for by, shows in ((0.004, False), (0.006, True)):
        changed = recorded["metrics"] | {"loss": loss * (1 + by)}
        (any_checkpoint / "slice.json").write_text(json.dumps(recorded | {"metrics": changed}))
        with pytest.raises(SliceDiffersError) if shows else nullcontext():
            check_slice(any_checkpoint, *load_whole(any_checkpoint))
