"""Whatever ends a run, ends it: an error anywhere, a signal, a launcher that is gone. No process stays behind."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from PIL import Image
from transformers import TrainerCallback

from plvl.training import evaluation
from plvl.training.checkpoints import last_good_checkpoint
from plvl.training.signals import EXIT_AFTER_SIGTERM, end_on_sigterm
from small_runs import resumable_run, run_program


def failing_run(roots, output, where: str, processes: int = 1):
    """Its end, and the seconds that went by between its error and that."""
    arguments = roots["image_root"], roots["label_root"], output, where
    ended = run_program("failing_run.py", *arguments, processes=processes, check=False)
    return ended, time.time() - float(Path(output, "failed_at").read_text(encoding="utf-8"))


def test_an_error_in_an_evaluation_ends_a_run_whose_data_workers_wait(refshapes, tmp_path):
    ended, seconds = failing_run(refshapes, tmp_path, "evaluation")
    assert ended.returncode == 1
    assert ended.stderr.strip().splitlines()[-1] == "failing_run: broken on purpose"
    assert seconds < 10


@pytest.mark.several_processes
def test_an_error_in_a_data_worker_of_one_process_ends_both(refshapes, tmp_path):
    ended, seconds = failing_run(refshapes, tmp_path, "worker", processes=2)
    assert ended.returncode == 1
    assert "failing_run, process 1: broken on purpose" in ended.stderr.splitlines()
    assert seconds < 20


def test_data_workers_live_however_they_were_started(refshapes, tmp_path):
    """A fork server, from Python 3.14 on the usual way on Linux, is their parent itself."""
    options = {"dataloader_multiprocessing_context": "forkserver", "max_steps": 3, "eval_strategy": "no"}
    trainer = resumable_run(refshapes, tmp_path, workers=1, **options)
    assert trainer.state.global_step == 3
    workers = multiprocessing.active_children()
    assert _until(lambda: not any(each.is_alive() for each in workers), 10), workers


def test_sigterm_does_not_wait_for_the_end_of_an_evaluation(refshapes, tmp_path, monkeypatch):
    forwards = []
    measured = evaluation.grounding_statistics

    def signalled(outputs, labels):
        forwards.append(len(labels["boxes"]))
        if len(forwards) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return measured(outputs, labels)

    before = signal.getsignal(signal.SIGTERM)
    arguments = {"per_device_eval_batch_size": 2, "metric_for_best_model": "box_accuracy"}
    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "grounding_statistics", signalled)
        stopped = resumable_run(refshapes, tmp_path, **arguments)
    assert stopped.interrupted and stopped.state.global_step == 4
    assert len(forwards) == 2, "the evaluation went on after the signal"
    assert last_good_checkpoint(tmp_path) == str(tmp_path / "checkpoint-4")
    assert signal.getsignal(signal.SIGTERM) is before
    # What is evaluated after the training is not ended by the signal of before.
    assert stopped.evaluate()["eval_num_samples"] > 4
    goes_on = resumable_run(refshapes, tmp_path, **arguments)
    assert not goes_on.interrupted and goes_on.state.global_step == 14


def test_an_error_gives_sigterm_its_meaning_back(refshapes, tmp_path):
    class Fail(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            raise ValueError("broken on purpose")

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="broken on purpose"):
        resumable_run(refshapes, tmp_path, callbacks=[Fail()])
    assert signal.getsignal(signal.SIGTERM) is before


def _signals_itself_and_goes_on():
    end_on_sigterm()
    os.kill(os.getpid(), signal.SIGTERM)
    while True:
        try:
            time.sleep(1)
        except BaseException:
            continue


def test_sigterm_ends_what_is_no_training_at_once():
    process = multiprocessing.get_context("fork").Process(target=_signals_itself_and_goes_on)
    process.start()
    process.join(10)
    code = process.exitcode
    process.kill()
    assert code == EXIT_AFTER_SIGTERM == 143


def test_no_process_outlives_its_launcher(tmp_path):
    """An evaluation that would last for minutes goes when SIGKILL takes accelerate's launcher, data workers too."""
    root = Path(__file__).parents[2]
    Image.new("RGB", (30, 20)).save(tmp_path / "one.png")
    row = json.dumps({"file_name": "one.png", "text": "the red star", "bbox": [1, 1, 5, 5]})
    (tmp_path / "val.jsonl").write_text(f"{row}\n" * 50_000)
    flags = {
        "--model_name_or_path": root / "checkpoints/plvl-tiny-refshapes",
        "--dataset": "jsonl",
        "--image_root": tmp_path,
        "--label_root": tmp_path,
        "--output_dir": tmp_path / "out",
        "--do_eval": True,
        "--use_cpu": True,
        "--report_to": "none",
        "--dataloader_num_workers": 1,
        "--gallery_size": 0,
    }
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file"]
    command += [str(root / "configuration/accelerate/cpu.yaml"), str(root / "scripts/run_grounding.py")]
    command += [str(part) for flag in flags.items() for part in flag]
    launcher = psutil.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    started = [launcher]
    try:
        # The launcher's one process, and its data worker; while libraries are imported, there are other children.
        assert _until(lambda: (tmp_path / "out").exists() and any(each.children() for each in launcher.children()), 90)
        started = launcher.children(recursive=True)
        launcher.kill()
        assert _until(lambda: not any(map(_runs, started)), 30), started
    finally:
        for each in filter(_runs, started):
            each.kill()


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _until(holds, seconds: float) -> bool:
    end = time.time() + seconds
    while not holds():
        if time.time() > end:
            return False
        time.sleep(0.1)
    return True
