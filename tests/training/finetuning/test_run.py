"""Whole fine-tunings of a small model, in this process."""

import json
import re
import shutil
from itertools import count
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from plvl.checkpoints import CARRIED_CHECKPOINTS
from plvl.data.loading import load_grounding_dataset
from plvl.modeling_plvl import PLVLModel
from plvl.scripts.model_loading import load_whole
from plvl.training.evaluation import Evaluated, evaluate_rows
from plvl.training.finetuning import plan as plan_module
from plvl.training.finetuning import run as module
from plvl.training.finetuning.fine_tuner import SayProgress
from plvl.training.finetuning.own_rows import read_own_rows
from plvl.training.finetuning.plan import make_plan
from plvl.training.finetuning.request import FineTuning
from plvl.training.finetuning.run import fine_tune


@pytest.fixture(autouse=True)
def improving(monkeypatch):
    """Each evaluation is better than the one before it: a few steps of a small model hardly are."""
    measure, counted = Evaluated.metrics, count(1)

    def metrics(self):
        found = measure(self)
        better = next(counted) / 100
        return found | {name: better for name in ("box_accuracy", "grec_precision_plain_iou") if name in found}

    monkeypatch.setattr(Evaluated, "metrics", metrics)


@pytest.fixture
def tune(own, model_folder, tmp_path):
    """Fine-tunes the small model on six images; gives what was said."""

    def run(output="out", **options):
        said = []
        start = options.pop("start", model_folder)
        asked = {"base": str(start), "num_steps": 3, "learning_rate": 1e-2, "start_share": 0.0}
        fine_tune(FineTuning(own.images, own.labels, tmp_path / output, start, **(asked | options)), said.append)
        return said

    return run


def metrics_of(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["jsonl/val"]


def test_it_says_beforehand_what_it_will_do(tune, own, rewrite):
    Image.new("RGB", (9, 8)).save(own.images / "more.png")
    rewrite([own.lines[0] | {"text": "山"}, *own.lines[1:]])
    said = "\n".join(tune())
    assert "images     6: 5 to train on, 1 for validation; 1 more in " in said
    assert "rows       12: 10 to train on, 2 for validation\n           none has a mask" in said
    total = sum(
        parameter.numel() for parameter in PLVLModel.from_pretrained(own.images.parents[1] / "trained").parameters()
    )
    assert f": {total:,} parameters trained of {total:,}, all of it" in said
    assert "steps      3 of 32 rows, each row about 10 times; an evaluation after every 1" in said
    assert re.search(r"memory     about \d+\.\d GiB of the processor's, of which [\d.]+ are free", said)
    assert re.search(
        r"           \d+ have words that the model cannot read, for it has never seen their char.*: '", said
    )
    assert "6 images are few: 5 to train on" in said
    assert said.index("images   ") < said.index("starting model:") < said.index("step 3 of 3")


def test_a_model_that_is_there_is_not_written_over(tune, model_folder):
    weights = (model_folder / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match="trained has a model, which is not written over: name another --output"):
        tune(model_folder.name)
    assert (model_folder / "model.safetensors").read_bytes() == weights


def test_the_best_model_is_written_with_card_metrics_and_a_gallery(tune, model_folder, own, tmp_path):
    tune()
    out = tmp_path / "out"
    best = load_file(out / "training/best_box_accuracy/model.safetensors")
    model, processor = load_whole(out)
    assert all(torch.equal(value, best[name]) for name, value in model.state_dict().items())
    rows = list(load_grounding_dataset("jsonl", "val", own.images, out / "labels"))
    after, before = metrics_of(out), metrics_of(out / "before")
    assert evaluate_rows(model, processor, rows).metrics()["box_miou"] == after["box_miou"]
    start, _ = load_whole(model_folder)
    assert before["box_miou"] == pytest.approx(evaluate_rows(start, processor, rows).metrics()["box_miou"], abs=0.02)
    assert before["num_samples"] == after["num_samples"] == 2
    assert not any("runtime" in name for name in before)
    settings = json.loads((out / "training_settings.json").read_text(encoding="utf-8"))
    assert settings["dataset"] == "5 images with 10 expressions" and settings["trained"] == "full"
    assert settings["augmentation"] == "mirror, aug_crop, aug_scale, aug_color"
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "](gallery.png)" in card and "| `trained` | full |" in card and str(tmp_path) not in card
    # One image, before and after beside each other.
    width, height = Image.open(out / "gallery.png").size
    assert width > 1.9 * height
    train, validation = (
        {json.loads(line)["file_name"] for line in (out / f"labels/{name}.jsonl").read_text().splitlines()}
        for name in ("train", "val")
    )
    assert len(train) == 5 and len(validation) == 1 and not train & validation


@pytest.mark.parametrize("keep_adapter", [False, True])
def test_low_rank_additions_are_merged_or_kept_apart(keep_adapter, tune, model_folder, tmp_path):
    pytest.importorskip("peft")
    said = "\n".join(tune(rank=2, keep_adapter=keep_adapter))
    assert "additions of rank 2 (LoRA)" in said
    out = tmp_path / "out"
    assert (out / "adapter_config.json").exists() == keep_adapter != (out / "config.json").exists()
    state = load_file(out / "training/best_box_accuracy/model.safetensors")
    start, tuned = PLVLModel.from_pretrained(model_folder), AutoModel.from_pretrained(out)
    name = "decoder.layers.0.fc1"
    added = 2 * state[f"{name}.lora_B.default.weight"] @ state[f"{name}.lora_A.default.weight"]
    layer = tuned.get_submodule(name)
    weight = layer.weight if not keep_adapter else layer.base_layer.weight + layer.get_delta_weight("default")
    torch.testing.assert_close(weight, start.get_submodule(name).weight + added)
    assert metrics_of(out)["num_samples"] == 2


@pytest.mark.parametrize("rank", [None, 2])
def test_a_share_of_the_starting_model_remains_and_can_be_chosen_again(rank, tune, model_folder, tmp_path):
    if rank:
        pytest.importorskip("peft")
    tune(rank=rank, num_steps=2)
    start = load_whole(model_folder)[0].state_dict()
    learned = load_whole(tmp_path / "out")[0].state_dict()
    said = "\n".join(tune(rank=rank, num_steps=2, start_share=0.25))
    assert "step 1" not in said
    settings = json.loads((tmp_path / "out/training_settings.json").read_text(encoding="utf-8"))
    assert settings["start_share"] == 0.25
    moved = 0
    for name, value in load_whole(tmp_path / "out")[0].state_dict().items():
        expected = start[name] + 0.75 * (learned[name] - start[name])
        torch.testing.assert_close(value.float(), expected.float(), atol=1e-5, rtol=1e-4)
        moved += not torch.equal(start[name], learned[name])
    assert moved > 30


def test_frozen_leaves_all_but_decoder_and_head(tune, model_folder, tmp_path):
    tune(freeze=True, num_steps=2)
    start = load_whole(model_folder)[0].state_dict()
    checkpoint = load_file(tmp_path / "out/training/checkpoint-2/model.safetensors")
    changed = {name.partition(".")[0] for name, value in checkpoint.items() if not torch.equal(value, start[name])}
    assert changed == {"decoder", "head"}


def test_less_memory_does_not_change_what_is_learned(tune, tmp_path):
    tune("plain", num_steps=2)
    tune("less", num_steps=2, gradient_checkpointing=True)
    plain, less = (
        load_file(tmp_path / name / "training/checkpoint-2/model.safetensors") for name in ("plain", "less")
    )
    assert all(torch.allclose(value, less[name], atol=1e-3) for name, value in plain.items())


@pytest.mark.parametrize("averages", [False, True])
def test_on_a_gpu_what_is_free_is_asked_before_the_model_takes_its_place_and_a_step_is_tried(
    own, model, processor, tmp_path, monkeypatch, averages
):
    """The device "meta" in the place of a GPU."""
    rows = read_own_rows(own.labels, own.images, True).rows
    plan = make_plan(rows, model.config, "full")
    asked = FineTuning(own.images, own.labels, tmp_path, tmp_path, "base", averages=averages)
    done, autocast = [], torch.autocast
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: done.append("asked") or (7000, 9000))
    monkeypatch.setattr(model, "to", lambda device: done.append(f"to {device}"))
    monkeypatch.setattr(torch, "autocast", lambda device, **how: autocast(device.replace("meta", "cpu"), **how))

    def trial_step(model, group, per_image, averages, context):
        done.append((per_image, group["labels"]["boxes"].device.type, averages))
        return done.append

    monkeypatch.setattr(module, "trial_step", trial_step)
    fit = module._fit(asked, plan, model, processor, rows, "meta", None)
    assert done[:3] == ["asked", "to meta", (2, "meta", averages)] and done[3:] == [32]
    assert (fit.batch_size, fit.free, fit.tried) == (32, 7000, True)
    assert (fit.memory.averages > 0) == averages


def test_a_run_that_was_stopped_goes_on_and_ends_as_if_it_had_not_been(tune, tmp_path, monkeypatch):
    tune("straight", num_steps=4, averages=True)

    def stop(self, args, state, control, **kwargs):
        if state.global_step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(SayProgress, "on_evaluate", stop)
        with pytest.raises(KeyboardInterrupt):
            tune("stopped", num_steps=4, averages=True)
    assert (tmp_path / "stopped/training/checkpoint-2").is_dir() and not (tmp_path / "stopped/config.json").exists()
    said = "\n".join(tune("stopped", num_steps=4, averages=True))
    assert "the run goes on from" in said and "starting model:" not in said
    assert "step 3 of 4: " in said and "step 2 of 4: " not in said
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("straight", "stopped")]
    assert weights[0] == weights[1]
    counted = {"box_accuracy"}  # by the fixture, from one run to the next
    for folder in (".", "before"):
        straight, stopped = (metrics_of(tmp_path / name / folder) for name in ("straight", "stopped"))
        assert {name: value for name, value in straight.items() if name not in counted} == {
            name: value for name, value in stopped.items() if name not in counted
        }


@pytest.mark.parametrize(
    ("device", "cores", "workers"), [("cpu", 1, 0), ("cpu", 9, 1), ("cuda", 4, 3), ("cuda", 64, 8)]
)
def test_data_are_read_by_as_many_processes_as_the_machine_has_cores_for(monkeypatch, device, cores, workers):
    monkeypatch.setattr(module.os, "cpu_count", lambda: cores)
    assert module._num_workers(device, None) == workers


def test_a_run_goes_on_where_there_are_other_numbers_of_cores_and_more_memory(tune, tmp_path, monkeypatch):
    """It is begun by two processes that read data, as with a GPU, and stopped in the midst of an epoch."""

    def stop(self, args, state, control, **kwargs):
        if state.global_step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(plan_module, "BATCH_SIZE", 4)
    with monkeypatch.context() as patched:
        patched.setitem(module.MOST_WORKERS, "cpu", 2)
        patched.setattr(module.os, "cpu_count", lambda: 3)
        patched.setattr(module, "free_memory", lambda: 0)
        assert "4 rows, 2 at a time" in "\n".join(tune("straight"))
        patched.setattr(SayProgress, "on_evaluate", stop)
        with pytest.raises(KeyboardInterrupt):
            tune("stopped")
    monkeypatch.setattr(module.os, "cpu_count", lambda: 1)
    assert "the run goes on from" in "\n".join(tune("stopped"))
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("straight", "stopped")]
    assert weights[0] == weights[1]


def test_a_run_does_not_go_on_with_other_images_or_other_weights_of_the_same_names(tune, own, model_folder, tmp_path):
    start = tmp_path / "start"
    shutil.copytree(model_folder, start)
    tune(num_steps=1, start=start)
    Image.new("RGB", (9, 8)).save(own.images / "more.png")  # which no label is about
    tune(num_steps=1, start=start)
    image = (own.images / "3.png").read_bytes()
    Image.new("RGB", (60, 40), (1, 2, 3)).save(own.images / "3.png")
    with pytest.raises(ValueError, match="is the output of another fine-tuning: images was"):
        tune(num_steps=1, start=start)
    (own.images / "3.png").write_bytes(image)
    state = load_file(start / "model.safetensors")
    save_file({name: value + 1 for name, value in state.items()}, start / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="is the output of another fine-tuning: weights was"):
        tune(num_steps=1, start=start)


def test_a_run_that_has_ended_ends_again_without_training_and_is_not_taken_for_another(tune, own, rewrite, tmp_path):
    tune(num_steps=1)
    weights = (tmp_path / "out/model.safetensors").read_bytes()
    said = "\n".join(tune(num_steps=1))
    assert "step 1" not in said
    assert (tmp_path / "out/model.safetensors").read_bytes() == weights
    others = [({"freeze": True}, "trained was full and is frozen"), ({"seed": 1}, "seed was 0 and is 1")]
    for changed, message in others:
        with pytest.raises(ValueError, match=f"is the output of another fine-tuning: {message}"):
            tune(num_steps=1, **changed)
    rewrite(own.lines[:-1])
    with pytest.raises(ValueError, match="another fine-tuning: labels was"):
        tune(num_steps=1)
    assert len((tmp_path / "out/labels/train.jsonl").read_text(encoding="utf-8").splitlines()) == 10


def test_the_starting_model_is_kept_where_training_only_harms(tune, model_folder, tmp_path, monkeypatch):
    worse = (10.0 - number for number in count())
    monkeypatch.setattr(
        Evaluated, "metrics", lambda self: {"box_accuracy": next(worse), "loss": 1.0, "num_samples": 2}
    )
    said = "\n".join(tune())
    start = load_file(model_folder / "model.safetensors")
    written = load_file(tmp_path / "out/model.safetensors")
    assert all(torch.equal(value, start[name]) for name, value in written.items())
    assert "No evaluation was better than the first" in said


def test_a_model_of_any_number_of_targets_learns_of_none_and_several(tune, own, rewrite, any_model_folder, tmp_path):
    box = own.lines[0]["bbox"]
    others = [
        {"file_name": f"{number}.png", "text": text, "boxes": boxes}
        for number in range(6)
        for text, boxes in (("the moon", []), ("the squares", [box, own.lines[1]["bbox"]]))
    ]
    rewrite([line for pair in zip(own.lines, others, strict=True) for line in pair])
    said = "\n".join(tune(start=any_model_folder, num_steps=2))
    assert "on the validation images all right " in said
    after = metrics_of(tmp_path / "out")
    assert after["num_no_target"] == 1 and "grec_precision_plain_iou" in after
    assert load_whole(tmp_path / "out")[0].config.targets == "any"


def test_the_carried_checkpoint_can_be_fine_tuned(own, tmp_path):
    start = CARRIED_CHECKPOINTS["shapes"]
    fine_tune(FineTuning(own.images, own.labels, tmp_path / "out", start, str(start), num_steps=1), lambda line: None)
    assert load_whole(tmp_path / "out")[0].config.vision_config.image_size == 160
