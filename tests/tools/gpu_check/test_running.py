"""The check runs its parts apart from one another: what one does wrong is said of it, and takes nothing else away."""

import json
import os
import sys
import time
from argparse import Namespace

import pytest

import check_gpu
from gpu_check import running
from gpu_check.parts import PARTS, SECONDS, Part

# Stands for gpu_check.one_part in the processes: it needs no PyTorch, and each part ends in a way of its own.
PROGRAM = """
import json, os, pathlib, signal, sys, time
part, device, file = sys.argv[1:4]
found = {"figures": {"speed": 3.5}, "comparisons": [], "notes": [f"{part} on {device}{sys.argv[4:]}"], "error": None}
found["machine"] = {"of": part}
pathlib.Path(file).write_text(json.dumps(found))
if part == "fails":
    pathlib.Path(file).write_text(json.dumps(found | {"error": "ValueError: no"}))
    sys.exit(1)
if part == "hangs":
    child = os.fork()
    if not child:
        time.sleep(2)
        pathlib.Path(file + ".outlived").write_text("")
        sys.exit()
    time.sleep(60)
if part == "crashes":
    os.kill(os.getpid(), signal.SIGSEGV)
"""


@pytest.fixture
def run_check(tmp_path, monkeypatch):
    package = tmp_path / "programs" / "gpu_check"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "one_part.py").write_text(PROGRAM)
    names = ("fails", "hangs", "crashes", "works")
    parts = {name: Part("", 1.0 if name == "hangs" else 30.0, f"What {name}") for name in names}
    monkeypatch.setattr(running, "PARTS", parts)

    def run(names, seconds=100.0, device="cuda", tiny=False):
        output = tmp_path / "new" / "check.json"
        arguments = Namespace(parts=names, seconds=seconds, device=device, tiny=tiny, output=str(output))
        environment = os.environ | {"PYTHONPATH": str(package.parent)}
        checked = running.check(arguments, ["timm>=1"], environment, tmp_path)
        assert json.loads(output.read_text()) == checked
        return checked

    return run


def test_a_part_that_fails_hangs_or_crashes_keeps_what_it_found_and_the_others_go_on(run_check, tmp_path):
    checked = run_check(["fails", "hangs", "crashes", "works"])
    states = {name: (part["state"], part["error"]) for name, part in checked["parts"].items()}
    assert states == {
        "fails": ("failed", "ValueError: no"),
        "hangs": ("failed", "ended after its 1 s"),
        "crashes": ("failed", "ended by SIGSEGV"),
        "works": ("measured", None),
    }
    assert [part["figures"] for part in checked["parts"].values()] == [{"speed": 3.5}] * 4
    assert checked["machine"] == {"of": "fails"}
    assert checked["missing"] == ["timm>=1"]
    time.sleep(2)
    assert not (tmp_path / "hangs.json.outlived").exists()  # what it had started ended with it


def test_parts_for_which_no_time_is_left_are_not_run(run_check):
    parts = run_check(["works"], seconds=0.0)["parts"]
    assert (parts["works"]["state"], parts["works"]["error"]) == ("not run", "no time was left")


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_no_part_takes_more_than_is_left_of_the_whole_time(run_check, monkeypatch, device):
    monkeypatch.setitem(running.PARTS, "hangs", Part("", 30.0, "What hangs"))
    started = time.monotonic()
    assert run_check(["hangs"], seconds=0.6, device=device)["parts"]["hangs"]["error"] == "ended after its 1 s"
    assert time.monotonic() - started < 20


def test_the_limits_of_parts_are_those_of_a_gpu(run_check, monkeypatch):
    monkeypatch.setitem(running.PARTS, "works", Part("", 0.001, "What works"))
    assert run_check(["works"], device="cuda")["parts"]["works"]["state"] == "failed"
    assert run_check(["works"], device="cpu", tiny=True)["parts"]["works"]["notes"] == ["works on cpu['--tiny']"]


def test_the_json_is_written_after_each_part(run_check, monkeypatch):
    written = []
    real = running.write_json
    monkeypatch.setattr(
        running, "write_json", lambda path, content: written.append(list(content["parts"])) or real(path, content)
    )
    run_check(["works", "fails"])
    assert written == [["works"], ["works", "fails"]]


def test_compiling_comes_last_and_has_what_is_left_of_eight_minutes():
    limits = [part.limit for part in PARTS.values()]
    assert SECONDS == 480
    assert list(PARTS)[-2:] == ["inference_compiled", "training_compiled"]
    assert max(limits) < SECONDS


@pytest.fixture
def given(monkeypatch, tmp_path):
    """What `check` is given, in the place of running anything; `state` is that of its part."""
    given = {"state": "measured"}

    def check(arguments, missing, environment, folder):
        given.update(arguments=arguments, missing=missing, environment=environment)
        part = running.empty_findings() | {"state": given["state"], "error": "why", "seconds": 1.0}
        return {"tiny": False, "machine": None, "seconds": 1.0, "missing": missing, "parts": {"parity": part}}

    monkeypatch.setattr(check_gpu, "check", check)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return given


def test_the_program_finds_its_own_tree_and_says_with_its_status_whether_all_was_measured(given, capsys):
    assert check_gpu.main(["--output=numbers.json"]) == 0
    root = str(check_gpu.ROOT)
    assert given["environment"]["PYTHONPATH"].split(os.pathsep)[:3] == [root, f"{root}/tools", f"{root}/tests"]
    assert given["environment"]["HF_HUB_OFFLINE"] == "1"
    assert given["arguments"].device == "cuda"
    assert given["arguments"].parts == list(PARTS)
    assert "written: numbers.json" in capsys.readouterr().out
    given["state"] = "failed"
    assert check_gpu.main([]) == 1
    assert "Failed: why." in capsys.readouterr().out


def test_wheels_come_before_everything_else(given, monkeypatch, tmp_path):
    monkeypatch.setattr(check_gpu, "install_wheels", lambda wheels, target: f"/installed from {wheels}")
    check_gpu.main(["--wheels=carried"])
    assert given["environment"]["PYTHONPATH"].split(os.pathsep)[0] == "/installed from carried"
