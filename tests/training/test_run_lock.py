"""Two runs and one output folder."""

import json
import multiprocessing
import os
import signal

import pytest

from plvl.training.run_lock import OutputFolderInUseError, sole_run_in


def hold(folder, held):
    with sole_run_in(folder):
        held.set()
        signal.pause()


@pytest.fixture
def other_run(tmp_path):
    context = multiprocessing.get_context("fork")
    held = context.Event()
    process = context.Process(target=hold, args=(tmp_path, held))
    process.start()
    assert held.wait(60)
    yield process
    process.kill()


def test_the_second_run_in_a_folder_is_refused_and_told_whose_it_is(other_run, tmp_path):
    with (
        pytest.raises(OutputFolderInUseError, match=f"process {other_run.pid} on .*, since 20"),
        sole_run_in(tmp_path, seconds_to_wait=0.1),
    ):
        pass
    assert json.loads((tmp_path / "_run.json").read_text(encoding="utf-8"))["process"] == other_run.pid


def test_a_folder_whose_run_was_killed_is_taken_over(other_run, tmp_path):
    other_run.kill()
    other_run.join()
    with sole_run_in(tmp_path, seconds_to_wait=5):
        assert json.loads((tmp_path / "_run.json").read_text(encoding="utf-8"))["process"] == os.getpid()
    assert not (tmp_path / "_run.json").exists()
