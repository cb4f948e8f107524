"""Runs that are killed, stopped or run out of disk, and go on when the same command is given again."""

import json
import re
import shutil

import pytest
import torch
from transformers import TrainerCallback

from plvl.data.training_rows import load_training_rows
from plvl.processing.word_vocabulary import build_word_vocabulary
from plvl.training import PLVLTrainer
from plvl.training.checkpoint_manifest import write_manifest
from plvl.training.checkpoints import (
    CheckpointNotWrittenError,
    agreed_checkpoint,
    defect_of,
    explained_failure,
    last_good_checkpoint,
    remove_unfinished,
)
from small_runs import random_model, resumable_run, run_program


@pytest.fixture(scope="module")
def whole(refshapes, tmp_path_factory):
    """The folder of a run that was never stopped, and its trainer."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, resumable_run(refshapes, folder)


@pytest.fixture
def stopped(whole, tmp_path):
    """A copy of that run as it was at step 8, in the second epoch's first steps."""
    folder = tmp_path / "stopped"
    shutil.copytree(whole[0] / "checkpoint-8", folder / "checkpoint-8")
    return folder


def interrupt(roots, output, signal: str, step: int, workers: int = 0):
    arguments = roots["image_root"], roots["label_root"], output, signal, step, workers
    return run_program("interrupted_run.py", *arguments, check=False)


def assert_same_weights(trainer, other):
    weights = other.model.state_dict()
    assert trainer.state.global_step == other.state.global_step == 14
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


@pytest.mark.several_processes
def test_a_run_killed_in_mid_epoch_ends_as_one_never_killed(refshapes, whole, tmp_path):
    killed = interrupt(refshapes, tmp_path, "SIGKILL", 10)
    assert killed.returncode == -9
    assert last_good_checkpoint(tmp_path) == str(tmp_path / "checkpoint-8")
    assert_same_weights(resumable_run(refshapes, tmp_path), whole[1])


@pytest.mark.several_processes
def test_a_run_with_data_workers_goes_on_after_sigterm_where_it_was(refshapes, tmp_path):
    straight = resumable_run(refshapes, tmp_path / "straight", workers=2)
    stopped = interrupt(refshapes, tmp_path / "stopped", "SIGTERM", 5, workers=2)
    assert stopped.returncode == 143, stopped.stderr
    assert "SIGTERM: saving step 6 and stopping" in stopped.stderr
    assert last_good_checkpoint(tmp_path / "stopped") == str(tmp_path / "stopped/checkpoint-6")
    assert_same_weights(resumable_run(refshapes, tmp_path / "stopped", workers=2), straight)


def test_a_run_that_goes_on_opens_no_image_it_has_seen(refshapes, whole, stopped):
    trainer = resumable_run(refshapes, stopped)
    assert_same_weights(trainer, whole[1])
    # Of 14 steps of 32 rows, 6 are left; a batch read ahead may come on top.
    opened = int(trainer.train_dataset.check.counts[:, 0].sum())
    assert 6 * 32 <= opened <= 6 * 32 + 16


def test_the_best_models_of_a_run_are_those_of_its_log(whole):
    folder, trainer = whole
    for metric, name in (("eval_box_accuracy", "best_box_accuracy"), ("eval_mask_miou", "best_mask_miou")):
        entries = [entry for entry in trainer.state.log_history if metric in entry]
        assert [entry["step"] for entry in entries][:3] == [4, 8, 12]
        best = max(entries, key=lambda entry: entry[metric])["step"]
        saved = (folder / name / "model.safetensors").read_bytes()
        assert saved == (folder / f"checkpoint-{best}/model.safetensors").read_bytes()
        assert (folder / name / "config.json").exists() and (folder / name / "tokenizer.json").exists()


def zeros_inside(file):
    content = file.read_bytes()
    place = len(content) // 2
    file.write_bytes(content[:place] + bytes(512) + content[place + 512 :])


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def of_an_earlier_version(folder):
    for each in ("manifest.json", "resume_settings.json"):
        (folder / each).unlink()
    state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    del state["stateful_callbacks"]["SkipBadSteps"]
    (folder / "trainer_state.json").write_text(json.dumps(state), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: cut(folder / "model.safetensors"),
        lambda folder: cut(folder / "optimizer.pt"),
        lambda folder: cut(folder / "trainer_state.json"),
        lambda folder: (folder / "trainer_state.json").unlink(),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "rng_state.pth").write_bytes(b""),
        lambda folder: (folder / "rng_state.pth").unlink(),
        lambda folder: (folder / "scheduler.pt").unlink(),
        lambda folder: (folder / "data_position_0.json").unlink(),
        lambda folder: zeros_inside(folder / "model.safetensors"),
        lambda folder: zeros_inside(folder / "optimizer.pt"),
        lambda folder: (folder / "data_position_0.json").write_text(""),
        lambda folder: (folder / "trainer_state.json").write_text("[12]"),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (of_an_earlier_version(folder) / "trainer_state.json").write_text("[12]"),
    ],
    ids=[
        "weights cut",
        "optimizer cut",
        "state cut",
        "no state",
        "no weights",
        "random states empty",
        "no random states",
        "no schedule",
        "no position",
        "zeros in the weights",
        "zeros in the optimizer",
        "position empty",
        "state of another form",
        "no manifest",
        "state of another form, no manifest",
    ],
)
def test_a_half_written_checkpoint_is_passed_over(stopped, damage, caplog):
    later = stopped / "checkpoint-12"
    shutil.copytree(stopped / "checkpoint-8", later)
    state = json.loads((later / "trainer_state.json").read_text(encoding="utf-8")) | {"global_step": 12}
    (later / "trainer_state.json").write_text(json.dumps(state))
    write_manifest(later)
    assert last_good_checkpoint(stopped) == str(later) and defect_of(later) is None
    damage(later)
    assert last_good_checkpoint(stopped) == str(stopped / "checkpoint-8")
    assert "checkpoint-12 is passed over: it is no whole checkpoint" in caplog.text


def test_what_an_earlier_run_left_unfinished_is_cleared_away(refshapes, stopped):
    (stopped / "unfinished/checkpoint-12").mkdir(parents=True)
    resumable_run(refshapes, stopped, max_steps=9)
    assert not (stopped / "unfinished").exists()
    assert (stopped / "checkpoint-9").exists()


def test_a_good_folder_whose_successor_never_got_its_name_comes_back(tmp_path):
    (tmp_path / "unfinished/best_box_accuracy.old").mkdir(parents=True)
    (tmp_path / "unfinished/best_box_accuracy").mkdir()
    remove_unfinished(tmp_path)
    assert (tmp_path / "best_box_accuracy").is_dir()
    assert not (tmp_path / "unfinished").exists()


def test_processes_that_find_different_checkpoints_do_not_start(tmp_path, monkeypatch):
    monkeypatch.setattr("plvl.training.checkpoints.gather_object", lambda found: [*found, "checkpoint-3"])
    with pytest.raises(ValueError, match="find different checkpoints .* must be on a disk that all machines share"):
        agreed_checkpoint(tmp_path)


class FillDisk(TrainerCallback):
    """From a step on no file can grow beyond a few kilobytes, as on a full disk."""

    def __init__(self, resource):
        self.resource = resource

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 10:
            resource = self.resource
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))


def test_a_full_disk_is_an_error_that_names_the_last_good_checkpoint(refshapes, stopped):
    resource = pytest.importorskip("resource")  # Windows has none
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(
            CheckpointNotWrittenError, match="checkpoint-12 could not be written .* MiB were free"
        ) as e:
            resumable_run(refshapes, stopped, callbacks=[FillDisk(resource)], eval_strategy="no")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"last good checkpoint is {stopped}/checkpoint-8" in str(e.value)
    assert last_good_checkpoint(stopped) == str(stopped / "checkpoint-8")
    assert not (stopped / "unfinished").exists() and not (stopped / "checkpoint-12").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"per_device_train_batch_size": 8}, "per_device_train_batch_size was 16 and is 8; its place in the rows is"),
        ({"gradient_accumulation_steps": 4}, "gradient_accumulation_steps was 2 and is 4; its place"),
        ({"seed": 43}, "from: data_seed was 42 and is 43; its place"),
        ({"rows": {"shuffle_buffer": 8}}, "shuffle_buffer_size was 16 and is 8; its place"),
        ({"rows": {"seed": 3}}, "rows_seed was 1 and is 3; its place"),
        ({"rows": {"split": "val"}}, r"cannot be gone on from: rows was 206 and is \d\d, shards was .*; its place"),
        ({"optim": "adafactor"}, "optim was adamw_torch.* and is adafactor; the state of the optimizer"),
        (
            {"learning_rate": 5e-4, "adam_beta2": 0.9},
            "learning_rate was 0.001 and is 0.0005, adam_beta2 was 0.999 and",
        ),
        ({"muon_learning_rate": 1e-3}, "muon_learning_rate was None and is 0.001"),
        ({"freeze_text_encoder": True}, r"freeze_text_encoder was False and is True, trained_tensors was \d+ and is"),
        ({"dataloader_num_workers": 2}, "set dataloader_num_workers as it was"),
        (
            {"model": {"tasks": ["rec"]}},
            r"trained_tensors was 204 and is 198; .*--model_name_or_path .*checkpoint-8 --",
        ),
        (
            {"model": {"head_hidden_channels": 24}},
            r"of another model: \d+ tensors do not fit, such as size mismatch for head.center",
        ),
    ],
)
def test_a_run_of_another_kind_does_not_go_on_from_a_checkpoint(refshapes, stopped, changes, message):
    changes = dict(changes)
    if "model" in changes:
        changes["model"] = random_model(**changes["model"])
    if "rows" in changes:
        order = {"split": "train", "shuffle_buffer": 16, "seed": 1} | changes["rows"]
        changes["rows"] = load_training_rows("refshapes", **refshapes, **order)
    with pytest.raises(ValueError, match=message):
        resumable_run(refshapes, stopped, **changes)
    assert last_good_checkpoint(stopped) == str(stopped / "checkpoint-8")


def test_the_same_order_by_another_name_is_no_other_order(refshapes, stopped):
    file = stopped / "checkpoint-8/resume_settings.json"
    noted_before = json.loads(file.read_text(encoding="utf-8")) | {"seed": 42, "data_seed": None}
    file.write_text(json.dumps(noted_before), encoding="utf-8")
    trainer = resumable_run(refshapes, stopped, max_steps=9, seed=7, data_seed=42, eval_strategy="no")
    assert trainer.state.global_step == 9


def test_only_who_writes_a_checkpoint_clears_away_what_is_unfinished(tmp_path):
    part = tmp_path / "unfinished/checkpoint-4"
    part.mkdir(parents=True)
    for writes in (False, True):
        failure = explained_failure(tmp_path, "checkpoint-4", writes)
        with pytest.raises(CheckpointNotWrittenError, match="-4 could not be written .*: timed out. There"), failure:
            raise OSError("timed out")
        assert part.exists() is not writes


def test_a_machine_with_a_disk_of_its_own_keeps_its_part_of_a_checkpoint(refshapes, tmp_path, monkeypatch):
    """Its first process is the first of the machine, and not of the run."""
    monkeypatch.setattr(PLVLTrainer, "is_world_process_zero", lambda self: False)
    resumable_run(refshapes, tmp_path, max_steps=4, eval_strategy="no")
    assert (tmp_path / "checkpoint-4/model.safetensors").is_file() and not (tmp_path / "unfinished").exists()


def test_at_the_end_of_a_run_no_place_in_the_rows_is_looked_for(refshapes, stopped):
    others = load_training_rows("refshapes", "val", **refshapes)
    assert resumable_run(refshapes, stopped, max_steps=8, rows=others, seed=7).state.global_step == 8
    with pytest.raises(ValueError, match="learning_rate was 0.001 and is 0.1; the state"):
        resumable_run(refshapes, stopped, max_steps=8, learning_rate=0.1)


class Thaw(TrainerCallback):
    def on_step_end(self, args, state, control, model, **kwargs):
        model.head.requires_grad_(state.global_step != 3)


def test_what_a_run_changes_on_its_way_does_not_bar_it(refshapes, tmp_path):
    options = {"callbacks": [Thaw()], "eval_strategy": "no", "save_steps": 3}
    resumable_run(refshapes, tmp_path, max_steps=3, **options)
    assert resumable_run(refshapes, tmp_path, max_steps=4, **options).state.global_step == 4


def test_what_transformers_tidies_away_in_the_end_is_not_called_lost(refshapes, tmp_path, caplog):
    best = {"load_best_model_at_end": True, "metric_for_best_model": "loss", "greater_is_better": True}
    resumable_run(refshapes, tmp_path, max_steps=8, save_total_limit=1, **best)
    assert "is gone" not in caplog.text


def test_a_run_with_other_words_does_not_go_on_from_a_checkpoint(refshapes, stopped, monkeypatch):
    others = build_word_vocabulary(["the left of two quite other words"], vocab_size=99)
    monkeypatch.setattr("small_runs.build_word_vocabulary", lambda texts, vocab_size: others)
    with pytest.raises(
        ValueError, match=r"vocabulary was 9\d tokens, [0-9a-f]{8} and is \d\d tokens, [0-9a-f]{8}; the"
    ):
        resumable_run(refshapes, stopped)


def test_a_checkpoint_of_an_earlier_version_is_gone_on_from_with_a_warning(refshapes, stopped, whole, caplog):
    of_an_earlier_version(stopped / "checkpoint-8")
    assert_same_weights(resumable_run(refshapes, stopped), whole[1])
    assert "checkpoint-8 has no resume_settings.json: whether its run had other arguments is not known" in caplog.text


def test_what_an_earlier_version_noted_beside_the_position_still_counts(refshapes, stopped):
    file = of_an_earlier_version(stopped / "checkpoint-8") / "data_position_0.json"
    position = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(position | {"num_processes": 2, "batch_size": 16, "expressions_per_picture": 4}))
    with pytest.raises(
        ValueError, match="from: processes was 2 and is 1, expressions_per_image was 4 and is 1; its place"
    ):
        resumable_run(refshapes, stopped)


class CutLabels(TrainerCallback):
    def __init__(self, file):
        self.file = file

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 3:
            cut(self.file)


@pytest.mark.parametrize("name", ["instances.json", "refs(unc).p"])
def test_labels_that_are_cut_in_mid_run_end_it_with_their_name(refshapes, tmp_path, name):
    labels = shutil.copytree(refshapes["label_root"], tmp_path / "labels")
    file = labels / "refshapes" / name
    with pytest.raises(ValueError, match=f"{re.escape(str(file))}: cut short"):
        resumable_run(refshapes | {"label_root": labels}, tmp_path / "run", callbacks=[CutLabels(file)])


class RemoveFolder(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 5:
            shutil.rmtree(args.output_dir)


def test_a_folder_that_is_removed_in_mid_run_is_named_and_written_again(refshapes, tmp_path, caplog):
    resumable_run(refshapes, tmp_path / "run", callbacks=[RemoveFolder()], eval_strategy="no", max_steps=9)
    assert f"{tmp_path}/run/checkpoint-4, which this run has written, is gone" in caplog.text
    assert last_good_checkpoint(tmp_path / "run") == str(tmp_path / "run/checkpoint-9")


def test_a_run_of_other_processes_may_begin_the_epoch_again(refshapes, stopped):
    other = {"per_device_train_batch_size": 8, "dataloader_num_workers": 1, "eval_strategy": "no"}
    trainer = resumable_run(refshapes, stopped, ignore_data_skip=True, max_steps=10, **other)
    assert trainer.state.global_step == 10
    assert json.loads((stopped / "checkpoint-10/data_position_0.json").read_text(encoding="utf-8"))["batches"] == 4


def test_a_folder_without_checkpoints_has_no_last_one(tmp_path):
    assert last_good_checkpoint(tmp_path / "nowhere") is None
    (tmp_path / "checkpoint-best").mkdir()
    assert last_good_checkpoint(tmp_path) is None
