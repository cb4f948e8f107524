"""docs/performance.md is written from what was measured: as it is, beside what was to be reached."""

import json

import pytest

import benchmark
from benchmarks import benchmark_report
from benchmarks.performance_targets import Target


def measurement(subject, device="cpu", **figures):
    machine = {"device": device, "cpu": "A CPU", "cpu_flags": ["avx2"], "cores": 2, "threads": 2}
    machine |= {"torch": "2.15.0", "transformers": "5.23.0", "python": "3.11.7"}
    if device == "cuda":
        machine["gpu"] = "A GPU, 141 GiB"
    ways = {
        "plain, float32": {
            "seconds": {"median": 2.0, "fastest": 1.9, "slowest": 2.1},
            "flops_per_second": 50e9,
            "share_of_product": 0.5,
            "memory": {"held": 2**30, "peak": 2**31},
        },
        "plvl, float32": {
            "seconds": {"median": 0.8, "fastest": 0.75, "slowest": 0.9},
            "flops_per_second": 125e9,
            "share_of_product": 0.96,
            "memory": {"held": 2**30, "peak": 3 * 2**29},
        },
    }
    seconds = {"median": 1.0, "fastest": 1.0, "slowest": 1.0}
    products = {"float32": {"seconds": seconds, "flops_per_second": 130e9}}
    comparison = {"title": f"{subject} on {device}", "flops": 100_000_000_000, "items": 1, "turns": 5}
    comparison |= {"ways": ways, "products": products}
    return {
        "subject": subject,
        "machine": machine,
        "comparisons": [comparison],
        "figures": figures,
        "notes": [f"A note on {subject}."],
    }


@pytest.fixture
def write_page(tmp_path, monkeypatch):
    targets = [
        Target("model", "cpu", "speed", "speed of a pass", 1.15, reason="The machine was asleep."),
        Target("model", "cpu", "memory", "memory of a pass", 0.65, at_most=True, reason="Too many numbers."),
        Target("model", "cpu", "iou", "boxes", 0.99, unit=""),
        Target("train", "cpu", "speed", "speed of a step", 1.3),
        Target("model", "cuda", "share", "share of the product", unit="%"),
    ]
    monkeypatch.setattr(benchmark_report, "TARGETS", targets)

    def write(*measurements):
        paths = []
        for place, numbers in enumerate(measurements):
            paths.append(tmp_path / f"{place}.json")
            paths[-1].write_text(json.dumps(numbers))
        page = tmp_path / "performance.md"
        benchmark.main(["report", *map(str, paths), f"--output={page}"])
        return page.read_text(encoding="utf-8").splitlines()

    return write


def line(page, start):
    [found] = [line for line in page if line.startswith(f"| {start} |")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_figures_stand_beside_what_was_to_be_reached(write_page):
    page = write_page(measurement("model", speed=1.2, memory=0.7, iou=0.9923))
    assert line(page, "speed of a pass") == ["speed of a pass", "≥ 1.150 ×", "1.200 ×", "reached", ""]
    assert line(page, "memory of a pass")[1:] == ["≤ 0.650 ×", "0.700 ×", "not reached", "Too many numbers."]
    assert line(page, "boxes")[1:4] == ["≥ 0.99", "0.9923", "reached"]
    assert line(page, "speed of a step")[1:4] == ["≥ 1.300 ×", "not measured", "–"]


def test_tables_notes_and_machine_come_from_the_measurement(write_page):
    page = write_page(measurement("model", speed=1.2))
    assert line(page, "plvl, float32") == [
        *["plvl, float32", "800 ms", "750 ms to 900 ms", "2.50 ×", "1.25", "125", "96%", "1024 MiB", "1536 MiB"]
    ]
    assert "A note on model." in page
    assert "Measured on A CPU (avx2), 2 cores, 2 threads; torch 2.15.0, transformers 5.23.0, python 3.11.7." in page


def test_a_gpu_has_its_section_only_where_it_was_measured(write_page):
    assert "## On a GPU" not in write_page(measurement("model"))
    page = write_page(measurement("train"), measurement("model", "cuda", share=0.61))
    assert page.index("## On a CPU") < page.index("## On a GPU")
    assert line(page, "share of the product")[1:] == ["–", "61%", "–"]
    assert any(text.startswith("Measured on A GPU, 141 GiB; A CPU") for text in page)
    assert "## On a CPU" not in write_page(measurement("model", "cuda"))


def test_a_figure_without_a_known_reason_says_so(write_page):
    page = write_page(measurement("train", speed=1.0))
    assert line(page, "speed of a step")[3:] == ["not reached", "not found yet"]


def test_a_second_measurement_of_a_subject_is_refused(write_page):
    with pytest.raises(SystemExit, match="second measurement of model on cpu"):
        write_page(measurement("model"), measurement("model"))
