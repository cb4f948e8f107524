"""What the benchmarks measure with: ways take turns, rates come from counted operations, memory is a process's own."""

import importlib
import sys
import time

import pytest
import torch

from benchmarks import measuring
from benchmarks.benchmarked_models import BenchmarkedModel, plain_flops, random_inputs, random_labels
from benchmarks.comparisons import compare, memory_ratio, speed, table
from benchmarks.measuring import describe_machine, take_turns
from benchmarks.peak_memory import held_memory, in_own_process, peak_memory, tensor_memory

CPU = torch.device("cpu")


class Clock:
    """Time that passes only when somebody says so."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now

    def way(self, costs, called=lambda: None):
        costs = iter(costs)

        def run():
            called()
            self.now += next(costs)

        return run


@pytest.mark.parametrize(("threads", "slept"), [(1, False), (2, True)])
def test_a_single_thread_is_timed_by_what_it_computes(threads, slept):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        seconds = take_turns({"asleep": lambda: time.sleep(0.05)}, turns=1, device=CPU, warm_up=0)
    finally:
        torch.set_num_threads(before)
    assert (seconds["asleep"]["median"] >= 0.05) == slept


def test_ways_take_turns_and_the_median_counts():
    clock, calls = Clock(), []
    ways = {
        "slow": clock.way([50, 9, 5, 7], lambda: calls.append("slow")),
        "fast": clock.way([50, 1, 3, 2], lambda: calls.append("fast")),
    }
    seconds = take_turns(ways, turns=3, device=CPU, warm_up=1, clock=clock)
    assert calls == ["slow", "fast"] * 4
    assert seconds["slow"] == {"median": 7, "fastest": 5, "slowest": 9}
    assert seconds["fast"] == {"median": 2, "fastest": 1, "slowest": 3}


def test_rates_are_counted_operations_over_the_median(monkeypatch):
    monkeypatch.setitem(measuring.PRODUCT_SIDE, "cpu", 16)
    clock = Clock()
    ways = {"plain": clock.way([2.0] * 4), "plvl": clock.way([1.0] * 4)}
    # A product of no time at all would divide by zero: this clock is kept going by the reading.
    ticking = iter(range(1, 10**6))
    comparison = compare(
        "a pass",
        ways,
        turns=3,
        device=CPU,
        flops=6_000_000_000,
        dtypes=dict.fromkeys(ways, torch.float32),
        items=4,
        clock=lambda: clock() + 1e-9 * next(ticking),
    )
    assert speed(comparison, "plvl") == pytest.approx(2)
    assert comparison["ways"]["plvl"]["flops_per_second"] == pytest.approx(6e9)
    product = comparison["products"]["float32"]["flops_per_second"]
    assert product == pytest.approx(2 * 16**3 / 1e-9, rel=1e-3)
    assert comparison["ways"]["plvl"]["share_of_product"] == pytest.approx(6e9 / product)
    line = next(line for line in table(comparison).splitlines() if "plvl" in line)
    assert "| 1.00 s |" in line and "| 2.00 × | 4 | 6 |" in line


def test_memory_is_compared_with_and_without_what_is_held():
    ways = {"plain": {"memory": {"held": 10, "peak": 30}}, "plvl": {"memory": {"held": 10, "peak": 15}}}
    assert memory_ratio({"ways": ways}, "plvl") == 0.5
    assert memory_ratio({"ways": ways}, "plvl", beyond_held=True) == 0.25
    del ways["plain"]["memory"]
    assert memory_ratio({"ways": ways}, "plvl") is None


def hold_and_need(held: int, needed: int) -> tuple[int, int, set[str]]:
    """What the system says of both, and which of the data sets' libraries the network's benchmarks import."""
    for subject in ("model", "train"):
        importlib.import_module(f"benchmarks.benchmark_{subject}")
    before = held_memory(CPU)
    kept = torch.ones(held, dtype=torch.uint8)
    after = held_memory(CPU)
    peak = peak_memory(lambda: kept[0] + torch.ones(needed, dtype=torch.uint8)[0], CPU)
    return after - before, peak - after, {"datasets", "pycocotools", "onnx", "onnxruntime"} & set(sys.modules)


@pytest.mark.skipif(sys.platform != "linux", reason="a process's memory is read from Linux's /proc")
def test_a_process_of_its_own_tells_its_memory_and_needs_no_library_of_the_data():
    held, needed, libraries = in_own_process(hold_and_need, 50 << 20, 200 << 20)
    assert held == pytest.approx(50 << 20, rel=0.1)
    assert needed == pytest.approx(200 << 20, rel=0.1)
    assert libraries == set()


def test_the_tensors_of_a_way_are_counted_while_they_live():
    size, kept = 1 << 20, []

    def ones():
        return torch.ones(size, dtype=torch.uint8)

    assert tensor_memory(lambda: kept.append(ones()), CPU) == pytest.approx(size, rel=0.01)
    assert tensor_memory(lambda: ones() + ones(), CPU) == pytest.approx(3 * size, rel=0.01)
    assert tensor_memory(lambda: [ones().max() for _ in range(3)], CPU) == pytest.approx(size, rel=0.01)


def test_contestants_have_the_same_weights(config):
    networks = [BenchmarkedModel(plain=plain).network(config, CPU) for plain in (True, False)]
    tables = [[*network.parameters()] for network in networks]
    assert sum(map(torch.numel, tables[0])) == sum(map(torch.numel, tables[1]))
    plain, plvl = networks
    torch.testing.assert_close(plain.head.state_dict(), plvl.head.state_dict(), atol=0, rtol=0)
    assert plvl.text_encoder.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("plain", [True, False])
def test_a_step_trains(config, plain, monkeypatch):
    inputs = random_inputs(config, 2, CPU) | {"labels": random_labels(config, 2, CPU)}
    model = BenchmarkedModel(plain=plain)
    network = model.network(config, CPU)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    monkeypatch.setattr(BenchmarkedModel, "network", lambda *_: network)
    model.training_step(config, CPU)(**inputs)
    changed = [not torch.equal(*pair) for pair in zip(before, network.parameters(), strict=True)]
    assert all(changed)


def test_operations_of_a_backward_pass_are_about_twice_the_forward_pass_s(config):
    forward, step = plain_flops(config, 2), plain_flops(config, 2, training=True)
    assert 2.8 * forward < step < 3 * forward
    assert plain_flops(config, 4) == 2 * forward


def test_made_up_labels_fit_together(config):
    labels = random_labels(config, 5, CPU)
    area = labels["boxes"][:, 2] * labels["boxes"][:, 3]
    torch.testing.assert_close(labels["masks"].mean((1, 2)), area, atol=0.03, rtol=0)
    assert (labels["boxes"][:, :2] - labels["boxes"][:, 2:] / 2).min() >= 0
    assert (labels["boxes"][:, :2] + labels["boxes"][:, 2:] / 2).max() <= 1


def test_the_machine_has_no_name_and_no_path():
    machine = describe_machine(CPU)
    assert {"cpu", "cores", "threads", "torch", "cpu_flags"} <= set(machine)
    assert "/" not in str(machine)
