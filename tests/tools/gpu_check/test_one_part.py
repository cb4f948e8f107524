"""One part's process writes what the part finds as it comes, its error included."""

import json
import math
import sys
import types

import pytest
import torch

from gpu_check import one_part
from gpu_check.parts import Part
from gpu_check.sizes import FULL, TINY


@pytest.fixture
def run_part(monkeypatch, tmp_path):
    def run(measure, *options, device="cpu"):
        module = types.ModuleType("gpu_check.some_part")
        module.measure = measure
        monkeypatch.setitem(sys.modules, "gpu_check.some_part", module)
        monkeypatch.setitem(one_part.PARTS, "parity", Part("some_part:measure", 10, "Some part"))
        file = tmp_path / "found.json"
        status = one_part.main(["parity", device, str(file), *options])
        return status, json.loads(file.read_text())

    return run


def test_what_was_found_before_an_error_stays_and_is_written_at_once(run_part, tmp_path, capsys):
    def measure(device, sizes):
        assert sizes is FULL and device == torch.device("cpu")
        yield {"figures": {"speed": 2.0, "loss": math.nan}, "notes": ["one"]}
        assert json.loads((tmp_path / "found.json").read_text())["figures"] == {"speed": 2.0, "loss": None}
        yield {"figures": {"memory": 0.5}, "comparisons": [{"title": "a"}]}
        raise torch.OutOfMemoryError("all of it is taken")

    status, found = run_part(measure)
    assert status == 1
    assert found.pop("machine")["torch"] == torch.__version__
    assert found == {
        "figures": {"speed": 2.0, "loss": None, "memory": 0.5},
        "comparisons": [{"title": "a"}],
        "notes": ["one"],
        "error": "OutOfMemoryError: all of it is taken",
    }
    assert "one" in capsys.readouterr().out


def test_tiny_sizes_are_asked_for(run_part):
    def measure(device, sizes):
        yield {"figures": {"batch": sizes.inference_batch}}

    status, found = run_part(measure, "--tiny")
    assert (status, found["error"]) == (0, None)
    assert found["figures"] == {"batch": TINY.inference_batch}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(run_part):
    status, found = run_part(lambda device, sizes: [], device="cuda")
    assert (status, found["error"]) == (1, "RuntimeError: needs CUDA: PyTorch finds no GPU here")


def test_the_sizes_are_those_that_were_asked_for():
    assert (FULL.inference_batch, FULL.training_batch, FULL.half_precision_steps) == (32, 20, 50)
    assert FULL.shapes_seconds == 180
    assert FULL.config.vision_config.image_size == 448
    assert TINY.config.vision_config.image_size == 96
