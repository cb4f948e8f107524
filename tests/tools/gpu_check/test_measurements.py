"""What each part measures, at tiny sizes on a CPU; of what needs CUDA, the reckoning."""

import dataclasses
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import measuring
from gpu_check import half_precision, parity, refshapes_training, speed
from gpu_check.sizes import TINY
from reference_values import Row

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
ROOT = Path(__file__).parents[3]


def merged(findings) -> dict:
    found = {"figures": {}, "comparisons": [], "notes": []}
    for each in findings:
        found["figures"] |= each.get("figures", {})
        found["comparisons"] += each.get("comparisons", [])
        found["notes"] += each.get("notes", [])
    return found


@pytest.fixture
def small_product(monkeypatch):
    monkeypatch.setitem(measuring.PRODUCT_SIDE, "cpu", 64)


@pytest.mark.parametrize(
    ("measure", "title", "ours"),
    [
        ("inference", "forward pass, batch 2, 96 × 96", "plvl, bfloat16"),
        ("inference_compiled", "forward pass, batch 2, 96 × 96", "plvl, bfloat16, compiled (reduce-overhead)"),
        ("training", "training step, batch 2, 96 × 96", "plvl, bfloat16 autocast"),
        (
            "training_compiled",
            "training step, batch 2, 96 × 96",
            "plvl, bfloat16 autocast, compiled (reduce-overhead)",
        ),
    ],
)
def test_this_network_is_measured_against_the_plain_one(small_product, monkeypatch, measure, title, ours):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda network, **how: compiled.append(how) or network)
    found = merged(getattr(speed, measure)(CPU, TINY))
    [comparison] = found["comparisons"]
    assert (comparison["title"], comparison["items"]) == (title, 2)
    assert list(comparison["ways"]) == ["plain, bfloat16 autocast", ours]
    plain, way = comparison["ways"].values()
    assert found["figures"]["speed"] == plain["seconds"]["median"] / way["seconds"]["median"]
    assert found["figures"]["share"] == way["share_of_product"] > 0
    assert "needs CUDA" in found["notes"][-1]
    assert compiled == [{"mode": "reduce-overhead", "fullgraph": True}] * ("compiled" in ours)


def test_with_cuda_memory_and_waits_are_figures_too(monkeypatch):
    seconds = {"seconds": {"median": 1.0}, "share_of_product": 0.5}
    monkeypatch.setattr(
        speed,
        "compare",
        lambda title, ways, *_, **__: {"title": title, "ways": {name: dict(seconds) for name in ways}},
    )
    monkeypatch.setattr(speed, "print_table", lambda comparison: None)
    memory = iter([{"held": 10, "peak": 80}, {"held": 10, "peak": 20}])
    monkeypatch.setattr(speed, "made_and_called", lambda make, inputs, device: (make, next(memory)))
    monkeypatch.setattr(speed, "synchronisations", lambda way: way)
    makers = {speed.PLAIN: ["a.py:1"], speed.TRAINING: ["b.py:7", "b.py:7", "c.py:9"]}
    found = merged(speed.against_plain("step", makers, {}, 1, 2, CUDA, TINY))
    assert found["figures"] == {"speed": 1.0, "share": 0.5, "memory": 0.25, "waits": 3, "plain_waits": 1}
    assert found["notes"][2:] == [f"step, {speed.TRAINING.name} waits in {place}." for place in ("b.py:7", "c.py:9")]


def test_memory_is_the_most_from_the_making_of_a_way_to_its_last_first_call(monkeypatch):
    state = {"allocated": 100, "peak": 1000, "calls": 0}

    def make():
        state["allocated"] += 40
        state["peak"] = max(state["peak"], state["allocated"])

        def way(extra):
            state["calls"] += 1
            if state["calls"] == 2:  # a graph is recorded
                state["peak"] = max(state["peak"], state["allocated"] + extra)
                state["allocated"] += 5

        return way

    monkeypatch.setattr(speed, "finish", lambda device: None)
    monkeypatch.setattr(speed, "held_memory", lambda device: state["allocated"])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: state.update(peak=state["allocated"]))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: state["peak"])
    _, memory = speed.made_and_called(make, {"extra": 70}, CUDA)
    assert memory == {"held": 45, "peak": 110}
    assert state["calls"] == speed.FIRST_CALLS >= 3


def test_each_wait_for_the_gpu_is_counted_and_nothing_else(monkeypatch):
    modes = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)

    def way():
        for _ in range(2):
            warnings.warn("called a synchronizing CUDA operation (Triggered internally)", stacklevel=1)
        warnings.warn("something else", stacklevel=1)

    [first, second] = speed.synchronisations(way)
    assert first == second and first.startswith("test_measurements.py:")
    assert modes == ["warn", "default"]


def test_steps_that_the_scaler_passes_over_are_counted(monkeypatch):
    sizes = dataclasses.replace(TINY, half_precision_steps=4)
    skipped, losses = half_precision.train(256.0, CPU, sizes)
    assert (skipped, len(losses)) == (0, 4)
    assert losses[-1] < losses[0]
    # Gradients of float16 overflow under a scale like this until it has been halved often enough.
    skipped, _ = half_precision.train(2.0**40, CPU, sizes)
    assert skipped == 4
    scales = []
    monkeypatch.setattr(
        half_precision, "train", lambda scale, *_: scales.append(scale) or (len(scales), [1.0, float("nan")])
    )
    found = merged(half_precision.half_precision(CPU, TINY))
    assert scales == [256.0, 65536.0]
    assert found["figures"] == {"skipped": 1, "not_finite": 1, "skipped_from_65536": 2, "not_finite_from_65536": 1}


def test_the_worst_of_the_values_beyond_their_tolerance_are_said():
    rows = [Row(f"row {i}", "absolute", 1e-4, difference) for i, difference in enumerate((1e-5, 3e-4, 2e-3))]
    found = parity.reference_rows("with gradients", rows)
    assert found["figures"] == {"with_gradients_rows": 3, "with_gradients_beyond": 2}
    assert found["notes"] == ["row 2: 2.0e-03 absolute, tolerance 0.0001", "row 1: 3.0e-04 absolute, tolerance 0.0001"]


def test_reference_and_carried_checkpoints_are_looked_at(monkeypatch, model, inputs, capsys):
    agreeing = [Row("row", "absolute", 1.0, 0.0)]
    network = SimpleNamespace(model=model, inputs=inputs)
    for name in ("outputs", "hidden_stages", "losses", "gradient_norms"):
        setattr(network, name, lambda *attention: agreeing)
    monkeypatch.setattr(parity.reference_values, "ReferenceNetwork", lambda device: network)
    only_shapes = {"shapes": parity.CARRIED_CHECKPOINTS["shapes"], "other": Path("not there")}
    monkeypatch.setattr(parity, "CARRIED_CHECKPOINTS", only_shapes)
    monkeypatch.setattr(parity, "read_examples", lambda folder: examples(folder)[:1])
    before = torch.backends.cudnn.allow_tf32
    found = merged(parity.parity(CPU, TINY))
    assert not torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = before
    beyond = {name: value for name, value in found["figures"].items() if name.endswith("_beyond")}
    assert beyond == dict.fromkeys(("with_gradients_beyond", "gradients_beyond", "sdpa_beyond", "eager_beyond"), 0)
    assert found["figures"]["with_gradients_rows"] == 3
    assert 0.9 < found["figures"]["shapes_box_iou"] < 1
    assert found["figures"]["shapes_asked"] > 1
    assert "bfloat16 changes what the reference weights give" in found["notes"][0]


examples = parity.read_examples


def test_answers_of_any_number_are_compared_where_something_is_found_in_both(any_model):
    any_model.head.presence.bias.data.fill_(-3.0)
    pixels, ids = torch.zeros(1, 3, 64, 64), torch.full((1, 7), 6)
    output = any_model(pixel_values=pixels, input_ids=ids)
    assert not parity.is_found(output)
    output.presence_logits = torch.tensor([0.5])
    assert parity.is_found(output)
    output.presence_logits = None
    assert parity.is_found(output)
    output.pred_boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1]]])
    torch.testing.assert_close(parity.first_box(output), torch.tensor([[0.4, 0.3, 0.6, 0.7]]))


def test_a_data_parallel_network_gives_the_losses_of_one_alone(tmp_path):
    """In a process of its own: a process group and accelerate's state are the whole process's."""
    places = os.pathsep.join(str(ROOT / folder) for folder in ("", "tools", "tests"))
    command = [
        sys.executable,
        "-m",
        "gpu_check.one_part",
        "data_parallel",
        "cpu",
        str(tmp_path / "found.json"),
        "--tiny",
    ]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": places}, check=True, capture_output=True)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["figures"]["loss_difference"] < 1e-5
    assert found["figures"]["slowdown"] > 0
    assert "DDP over gloo in one process: losses of 2 steps" in found["notes"][0]


def test_a_network_learns_refshapes_from_nothing():
    sizes = dataclasses.replace(TINY, shapes_images=30, shapes_rehearsal=3, shapes_seconds=3)
    found = merged(refshapes_training.refshapes_training(CPU, sizes))
    figures = found["figures"]
    assert figures["num_samples"] == 12
    assert figures["steps"] >= 1
    assert figures["steps_a_second"] > 0
    assert 0 <= figures["box_accuracy"] <= 1 and 0 < figures["mask_miou"] < 1
    assert "12 expressions of val" in found["notes"][-1]


def test_a_training_ends_at_its_deadline_and_its_later_steps_tell_how_long_one_takes(monkeypatch):
    clock, control = refshapes_training.Clock(deadline=10.0), SimpleNamespace(should_training_stop=False)
    for now in (1.0, 5.0, 6.0, 7.5, 9.0):
        monkeypatch.setattr(refshapes_training.time, "monotonic", lambda now=now: now)
        clock.on_step_end(None, None, control)
    assert not control.should_training_stop
    assert clock.seconds_a_step() == 1.5
    monkeypatch.setattr(refshapes_training.time, "monotonic", lambda: 10.1)
    clock.on_step_end(None, None, control)
    assert control.should_training_stop
