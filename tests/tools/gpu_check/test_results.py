"""What the check has found stands beside what is to be reached, alone and on docs/performance.md."""

import json

import benchmark
from gpu_check.parts import PARTS
from gpu_check.results import TARGETS, page

SECONDS = {"median": 2.0, "fastest": 1.0, "slowest": 3.0}
MACHINE = {"device": "cuda", "cpu": "A CPU", "cpu_flags": [], "cores": 2, "threads": 2, "gpu": "A GPU, 80 GiB"}
MACHINE |= {"torch": "2.11.0", "transformers": "5.17.0", "python": "3.12.3"}


def part(state="measured", error=None, **figures):
    ways = {"plain": {"seconds": SECONDS}, "plvl": {"seconds": SECONDS}}
    comparison = {"title": "A pass", "turns": 3, "items": 4, "ways": ways, "products": {}}
    found = {"figures": figures, "comparisons": [comparison], "notes": ["It was so."]}
    return found | {"state": state, "error": error, "seconds": 9.0}


def checked(**parts):
    return {
        "subject": "check_gpu",
        "device": "cuda",
        "tiny": False,
        "missing": ["datasets>=5.1"],
        "seconds": 99.6,
        "machine": MACHINE,
        "parts": parts,
    }


def cells(text, start):
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith(f"| {start}")
    ]


def test_figures_stand_beside_their_targets():
    text = page(checked(inference=part(speed=3.2, memory=0.61, waits=0), training=part("failed", "out of memory")))
    [inference] = cells(text, "inference, batch 32, bfloat16, against")
    assert inference[1:4] == ["≥ 3.000 ×", "3.200 ×", "reached"]
    memory, of_training = cells(text, "its peak memory")
    assert memory[1:4] == ["≤ 0.500 ×", "0.610 ×", "not reached"]
    assert of_training[1:4] == ["≤ 0.500 ×", "not measured", "–"]
    assert cells(text, "training step, batch 20")[0][1] == "≥ 2.000 ×"
    assert cells(text, "times that it waits for the GPU")[0][1:4] == ["≤ 0", "0", "reached"]
    assert cells(text, "float16") == []  # that part was not asked for


def test_a_failed_part_says_why_and_shows_what_it_had():
    text = page(checked(training=part("failed", "out of memory")))
    section = text[text.index("### A training step") :]
    assert "Failed: out of memory." in section
    assert "| A pass (3 turns) |" in section and "It was so." in section
    assert "Missing: datasets>=5.1." in text and "It took 100 s." in text
    assert "Measured on A GPU, 80 GiB; A CPU" in text


def test_nothing_is_held_against_tiny_networks():
    text = page(checked(parity=part(sdpa_beyond=0)) | {"tiny": True})
    assert "Tiny networks" in text and "It was so." in text
    assert "to reach" not in text


def test_every_target_is_of_a_part():
    assert {target.subject for target in TARGETS} == set(PARTS)


def test_the_page_of_performance_takes_the_check_in(tmp_path):
    file, output = tmp_path / "gpu_check.json", tmp_path / "performance.md"
    file.write_text(json.dumps(checked(inference=part(speed=3.2))))
    benchmark.main(["report", str(file), f"--output={output}"])
    written = output.read_text(encoding="utf-8")
    assert written.startswith("# Speed and memory")
    assert written.endswith(page(checked(inference=part(speed=3.2))))
    assert "## On a CPU" not in written
