"""The command `plvl finetune`, from its arguments to a process that is killed."""

import json
import os
import signal
import subprocess
import sys

import pytest
from PIL import Image

from plvl.checkpoints import CARRIED_CHECKPOINTS
from plvl.scripts.cli import main


@pytest.fixture
def own(tmp_path):
    """A folder of ten images with a square each, and a file of labels about them."""
    images = tmp_path / "images"
    images.mkdir()
    lines = []
    for number in range(10):
        image = Image.new("RGB", (60, 40), (30, 60 + 5 * number, 90))
        box = [5 + 2 * number, 8, 12, 15]
        image.paste((220, 40, 40), (box[0], box[1], box[0] + box[2], box[1] + box[3]))
        image.save(images / f"{number}.png")
        lines.append({"file_name": f"{number}.png", "text": "the red square", "bbox": box})
    labels = tmp_path / "labels.jsonl"
    labels.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return images, labels


def words(own, output, model, *more):
    images, labels = own
    named = {"images": images, "labels": labels, "output": output, "model": model}
    return [
        "finetune",
        *(str(word) for name, value in named.items() for word in (f"--{name}", value)),
        *map(str, more),
    ]


def program(arguments, **options):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "plvl.scripts.cli", *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda given: given | {"images": given["images"] / "no"}, r"--images .*no: there is no such folder"),
        (lambda given: given | {"labels": given["labels"].with_name("no.jsonl")}, r"--labels .*no.jsonl: there is no"),
        (lambda given: given | {"labels": given["images"] / "0.png"}, r"0.png: JSON Lines \(.jsonl\) or COCO form"),
        (lambda given: given | {"output": given["labels"]}, "labels.jsonl is a file, and a folder is to be written"),
        (lambda given: given | {"keep_adapter": None}, "--keep_adapter goes with --lora"),
        (lambda given: given | {"lora": 0}, "--lora must be positive, got 0"),
        (lambda given: given | {"steps": 0}, "--steps must be positive, got 0"),
        (lambda given: given | {"learning_rate": -1e-4}, "--learning_rate must be positive, got -0.0001"),
        (lambda given: given | {"max_skipped": 2}, "--max_skipped is a share from 0 to 1, got 2"),
    ],
)
def test_what_is_wrong_with_the_arguments_is_said_in_a_line(change, message, own, tmp_path):
    given = change({"images": own[0], "labels": own[1], "output": tmp_path / "out"})
    arguments = [str(word) for name, value in given.items() for word in (f"--{name}", value) if word is not None]
    with pytest.raises(SystemExit, match=message):
        main(["finetune", *arguments])
    assert not (tmp_path / "out").exists()


def test_lora_and_freeze_exclude_one_another(own, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(words(own, tmp_path / "out", "x", "--lora", "--freeze"))
    assert "not allowed with argument" in capsys.readouterr().err


def test_lora_without_peft_says_how_to_install_it(own, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="--lora needs peft: pip install"):
        main(words(own, tmp_path / "out", "x", "--lora"))


def test_an_adapter_is_no_model_to_start_from(own, tmp_path, processor):
    processor.save_pretrained(tmp_path / "adapter")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / "adapter" / name).write_text("{}", encoding="utf-8")
    with pytest.raises(SystemExit, match="adapter has additions to a model .*, and no model that can be trained"):
        main(words(own, tmp_path / "out", tmp_path / "adapter"))


@pytest.mark.parametrize(("named", "base"), [("shapes", None), ("lab/model", "lab/model")])
def test_only_a_model_of_the_hub_is_called_by_its_name(named, base, own, tmp_path, monkeypatch):
    """A card and an adapter name it where others shall find it."""
    folder, asked = CARRIED_CHECKPOINTS["shapes"], []
    monkeypatch.setattr("plvl.scripts.model_loading.snapshot_download", lambda *_, **__: str(folder))
    monkeypatch.setattr("plvl.training.finetuning.run.fine_tune", lambda given, say: asked.append(given) or True)
    main(words(own, tmp_path / "out", named))
    assert (asked[0].start, asked[0].base) == (folder, base or str(folder))


def test_missing_images_end_it_before_anything_is_trained(own, model_folder, tmp_path):
    (own[0] / "3.png").unlink()
    run = program(words(own, tmp_path / "out", model_folder))
    _, told = run.communicate(timeout=300)
    assert run.returncode == 1
    assert "plvl finetune: 1 of the 10 expressions of " in told
    assert "\n- image missing: 1, such as jsonl labels" in told
    assert "Traceback" not in told and not (tmp_path / "out/training").exists()


@pytest.mark.several_processes
def test_a_command_that_was_killed_goes_on_when_it_is_given_again(own, model_folder, tmp_path):
    arguments = words(own, tmp_path / "out", model_folder, "--steps", 30, "--learning_rate", 0.01)
    run = program(arguments, start_new_session=True)
    said = []
    for line in run.stdout:
        said.append(line)
        if line.startswith("step 6 of 30"):
            os.killpg(run.pid, signal.SIGKILL)
            break
    run.communicate(timeout=60)
    assert run.returncode == -signal.SIGKILL, "".join(said)
    again = program(arguments)
    told, errors = again.communicate(timeout=600)
    assert again.returncode == 0, errors[-2000:]
    assert "10 images are few: 8 to train on" in "".join(said)
    assert "the run goes on from" in told and "step 30 of 30" in told
    assert "starting model" in told and "fine-tuned" in told  # the table
    assert {"README.md", "gallery.png", "metrics.json", "model.safetensors", "before", "labels"} <= {
        file.name for file in (tmp_path / "out").iterdir()
    }
    main(["predict", str(own[0] / "0.png"), "the red square", "--model", str(tmp_path / "out"), "--json"])
