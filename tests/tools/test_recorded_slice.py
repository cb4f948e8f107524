"""A checkpoint's slice: what is recorded is found again, and a change shows."""

import json
from contextlib import nullcontext

import pytest
import torch

import recorded_slice
from plvl.data.refshapes import split_of
from plvl.processing import PLVLImageProcessor, PLVLProcessor
from plvl.processing.word_vocabulary import build_word_vocabulary
from plvl.scripts.model_loading import load_whole
from recorded_slice import SliceDiffersError, check_slice, record_slice
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
