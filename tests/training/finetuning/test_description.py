from types import SimpleNamespace

import pytest

from conftest import EXPRESSIONS
from plvl.data.masks import NO_OBJECT
from plvl.training.finetuning import description as module
from plvl.training.finetuning.description import description, masks_may_get_worse, unreadable
from plvl.training.finetuning.memory import Fit, Memory
from plvl.training.finetuning.own_rows import OwnRows
from plvl.training.finetuning.plan import Plan
from plvl.training.finetuning.request import FineTuning

GIB = 2**30
WARNING = "that may not be enough: --gradient_checkpointing or --lora take less"


@pytest.fixture
def describe(processor, model, tmp_path, monkeypatch):
    """What is said of memory: the process has 5 GiB, the weights 4, and a step about two images takes 6 beside."""
    monkeypatch.setattr(
        module.psutil, "Process", lambda: SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=5 * GIB))
    )

    def lines(device, free, tried=False):
        asked = FineTuning(tmp_path, tmp_path / "labels.jsonl", tmp_path / "out", tmp_path, str(tmp_path))
        rows = [{"file_name": f"{number}.png", "text": EXPRESSIONS[0], "segmentation": None} for number in range(2)]
        memory = Memory(4 * GIB, 1 * GIB, 2 * GIB, 2 * GIB, 1 * GIB)
        fit = Fit(memory, 4, round(free * GIB), tried)
        plan = Plan(10, 1, 8, 2, 1, 1e-3, 1e-3, 1e-3)
        own = OwnRows(rows, {}, 0)
        said = description(asked, own, (rows[:1], rows[1:]), model, processor, plan, fit, device)
        assert any("10 of 8 rows, 4 at a time" in line for line in said)
        return next(line for line in said if line.startswith("memory ")), any(WARNING in line for line in said)

    return lines


def test_on_a_cpu_the_weights_are_in_what_the_process_has_and_the_rest_must_be_free(describe):
    expected = "memory     about 11.0 GiB of the processor's, of which {} are free"
    assert describe("cpu", 6) == (expected.format("6.0"), False)
    assert describe("cpu", 5.9) == (expected.format("5.9"), True)


def test_on_a_gpu_the_weights_too_must_find_room(describe):
    expected = "memory     about 10.0 GiB of the GPU's, of which {} are free"
    assert describe("cuda", 10) == (expected.format("10.0"), False)
    assert describe("cuda", 9.9) == (expected.format("9.9"), True)


def test_a_step_that_has_been_tried_is_not_warned_of(describe):
    assert describe("cuda", 9.9, tried=True)[1] is False


def test_words_that_can_be_spelled_are_read_and_those_of_unknown_characters_are_not(processor):
    known = EXPRESSIONS[0]
    spelled = "".join(known.split())
    assert unreadable([known, spelled, f"{known} 山", known.upper()], processor) == [f"{known} 山"]


def test_rows_that_mean_nothing_teach_no_mask():
    without, nothing = {"segmentation": None}, {"segmentation": dict(NO_OBJECT)}
    polygon = {"segmentation": {"polygons": [[1.0, 2.0, 9.0, 2.0, 5.0, 7.0]], "size": None, "counts": None}}
    assert masks_may_get_worse([without, nothing], ["rec", "res"])
    assert not masks_may_get_worse([without, polygon, nothing], ["rec", "res"])
    assert not masks_may_get_worse([without, nothing], ["rec"])
