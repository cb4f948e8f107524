import errno
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModel, AutoProcessor, pipeline

from bundle_checkpoint import store_in_half_precision
from plvl.scripts.demo_page.examples import read_examples
from plvl.scripts.publish import main

WITHOUT_PLVL = """
import importlib.abc, json, sys

class NoPLVL(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname.split(".")[0] == "plvl":
            raise ModuleNotFoundError(f"No module named {fullname!r}")

sys.meta_path.insert(0, NoPLVL())

import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoProcessor

image, output, *sources = sys.argv[1:]
image = Image.open(image)
results = {}
for number, source in enumerate(sources):
    model = AutoModel.from_pretrained(source, trust_remote_code=True).eval()
    processor = AutoProcessor.from_pretrained(source, trust_remote_code=True)
    inputs = processor(images=image, text="the red cup", boxes=[[1, 2, 30, 20]], return_tensors="pt")
    with torch.no_grad():
        outputs = model(**{name: inputs[name] for name in ("pixel_values", "input_ids", "attention_mask")})
    [answer] = processor.post_process_grounding(outputs, target_sizes=[(image.height, image.width)])
    pil = AutoImageProcessor.from_pretrained(source, trust_remote_code=True, backend="pil")
    results |= {
        f"{number}_pixels": inputs["pixel_values"],
        f"{number}_pil_pixels": pil(image, return_tensors="pt")["pixel_values"],
        f"{number}_label_box": inputs["labels"]["boxes"],
        f"{number}_box": answer["box"],
        f"{number}_mask": answer["mask"],
        f"{number}_masks": outputs.pred_masks,
    }
np.savez(output, **{name: np.asarray(value) for name, value in results.items()})
assert not any(name.split(".")[0] == "plvl" for name in sys.modules)
print(json.dumps([type(part).__name__ for part in (model, processor, processor.image_processor, pil)]))
"""


@pytest.fixture
def publish(model_folder, tmp_path):
    """Runs the script without sending; gives the folder that would be sent."""

    def run(*flags, model=model_folder, output="upload"):
        folder = tmp_path / output
        main(["--model", str(model), "--repo", "lab/tiny", "--dry_run", str(folder), *flags])
        return folder

    return run


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_only_what_a_model_needs_is_published(publish, model_folder, capsys):
    for leftover in ("optimizer.pt", "training_args.bin", "gallery.png"):
        (model_folder / leftover).write_bytes(b"left by training")
    (model_folder / "checkpoint-5").mkdir()
    folder = publish()
    assert names(folder) == {
        "README.md",
        "config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        ".plvl-written.json",
    }
    printed = capsys.readouterr().out
    assert "model.safetensors" in printed
    assert "nothing was sent" in printed


def test_the_weights_are_published_as_they_were_trained(publish, model_folder, model, processor):
    model.half().save_pretrained(model_folder)
    published, trained = (load_file(folder / "model.safetensors") for folder in (publish(), model_folder))
    assert published.keys() == trained.keys()
    assert all(torch.equal(published[name], trained[name]) for name in trained)
    assert published["head.center.1.bias"].dtype == torch.float16


def test_weights_that_are_computed_in_another_precision_than_stored_stay_as_stored(publish, model_folder):
    store_in_half_precision(model_folder / "model.safetensors")
    folder = publish()
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["dtype"] == "float32"
    published, stored = ((each / "model.safetensors").read_bytes() for each in (folder, model_folder))
    assert published == stored
    assert AutoModel.from_pretrained(folder).dtype == torch.float32


def test_weights_in_several_files_are_published_in_these(publish, model_folder, model):
    (model_folder / "model.safetensors").unlink()
    model.save_pretrained(model_folder, max_shard_size="100KB")
    weights = {file.name for file in model_folder.glob("model*")}
    assert len(weights) > 2 and "model.safetensors.index.json" in weights
    folder = publish()
    assert {file.name for file in folder.glob("model*")} == weights
    assert torch.equal(AutoModel.from_pretrained(folder).head.center[1].bias, model.head.center[1].bias)


def test_metrics_come_along_and_into_the_card(publish, model_folder):
    metrics = {"refcoco/val": {"num_samples": 4, "box_accuracy": 0.75, "mask_miou": 0.5}}
    (model_folder / "metrics.json").write_text(json.dumps(metrics))
    folder = publish()
    assert json.loads((folder / "metrics.json").read_text(encoding="utf-8")) == metrics
    assert "| refcoco/val | 4 | 75.0 | 50.0 |" in (folder / "README.md").read_text(encoding="utf-8")


def test_settings_of_the_training_come_along_and_into_the_card(publish, model_folder):
    (model_folder / "training_settings.json").write_text('{"learning_rate": 0.002}')
    folder = publish()
    assert (folder / "training_settings.json").read_text(encoding="utf-8") == '{"learning_rate": 0.002}'
    assert "| `learning_rate` | 0.002 |" in (folder / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def with_examples(model_folder):
    """The model's folder with two example images, of which the second lies in a folder of its own."""
    examples = model_folder / "examples"
    (examples / "more").mkdir(parents=True)
    Image.new("RGB", (50, 40), (90, 20, 20)).save(examples / "first.png")
    Image.new("RGB", (30, 70)).save(examples / "more" / "second.png")
    (examples / "notes.txt").write_text("of whoever chose them")
    entries = [{"image": "first.png", "expressions": [f"cup {number}" for number in range(6)]}]
    entries.append({"image": "more/second.png", "expressions": ["the cup"]})
    (examples / "examples.json").write_text(json.dumps(entries))
    return model_folder


def test_examples_come_along_and_the_card_shows_the_first_one_answered(publish, with_examples):
    folder = publish()
    carried = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert {"examples/examples.json", "examples/first.png", "examples/more/second.png", "example.jpg"} <= carried
    assert "examples/notes.txt" not in carried
    assert read_examples(folder)[1].expressions == ["the cup"]
    assert "](example.jpg)\n" in (folder / "README.md").read_text(encoding="utf-8")
    # The image of 50 x 40 pixels enlarged ten times, over a legend.
    drawn = Image.open(folder / "example.jpg")
    assert drawn.width == 500 and drawn.height > 400


def test_examples_are_carried_from_their_folder_alone(publish, with_examples, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "private.png")
    entries = [{"image": "../../private.png", "expressions": ["the cup"]}]
    (with_examples / "examples" / "examples.json").write_text(json.dumps(entries))
    with pytest.raises(SystemExit, match=r"examples\.json: .*private\.png is outside the folder"):
        publish()


def test_what_a_card_of_ones_own_shows_comes_along(publish, model_folder, tmp_path):
    for name in ("teaser.png", "docs/result.png", "unused.png", "../elsewhere.png"):
        (model_folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (5, 4)).save(model_folder / name)
    text = '![](teaser.png)\n<img width="50%" src="docs/result.png">\n![x](https://lab.example/a.png)![](../elsewhere.png)\n'
    (model_folder / "README.md").write_text(text)
    folder = publish()
    assert {file.relative_to(folder).as_posix() for file in folder.rglob("*.png")} == {"teaser.png", "docs/result.png"}
    assert (folder / "README.md").read_text(encoding="utf-8") == text


def test_a_readme_of_ones_own_is_published(publish, model_folder):
    (model_folder / "README.md").write_text("---\nlicense: mit\n---\n\nMy own words.\n")
    assert (publish() / "README.md").read_text(encoding="utf-8") == "---\nlicense: mit\n---\n\nMy own words.\n"


def test_with_code_it_loads_where_plvl_is_not_installed(model_folder, model, processor, local_hub, tmp_path):
    folder = tmp_path / "upload"
    main(["--model", str(model_folder), "--repo", "lab/tiny", "--with_code", "--dry_run", str(folder)])
    main(["--model", str(model_folder), "--repo", "lab/tiny", "--with_code"])
    assert local_hub.repositories["lab/tiny"].files.keys() == names(folder) - {".plvl-written.json"}
    file = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(file)

    environment = {
        **os.environ,
        "HF_ENDPOINT": local_hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
        "OMP_NUM_THREADS": "1",
    }
    output = tmp_path / "results.npz"
    command = [sys.executable, "-c", WITHOUT_PLVL, str(file), str(output), str(folder), "lab/tiny"]
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    classes = ["PLVLModel", "PLVLProcessor", "PLVLImageProcessor", "PLVLImageProcessorPil"]
    assert json.loads(finished.stdout) == classes

    image = Image.open(file)
    inputs = processor(images=image, text="the red cup", boxes=[[1, 2, 30, 20]], return_tensors="pt")
    labels = inputs.pop("labels")
    with torch.no_grad():
        outputs = model(**inputs)
    [answer] = processor.post_process_grounding(outputs, target_sizes=[(40, 50)])
    pil = AutoImageProcessor.from_pretrained(folder, backend="pil")
    assert type(pil).__module__ == "plvl.processing.image_processing_plvl"
    expected = {
        "pixels": inputs["pixel_values"],
        "pil_pixels": pil(image, return_tensors="pt")["pixel_values"],
        "label_box": labels["boxes"],
        "box": answer["box"],
        "mask": answer["mask"],
        "masks": outputs.pred_masks,
    }
    results = np.load(output)
    for source in ("0", "1"):
        for name, value in expected.items():
            np.testing.assert_allclose(results[f"{source}_{name}"], value.numpy(), atol=1e-5, err_msg=name)


def test_with_code_plvl_itself_is_used_where_it_is_installed(publish):
    folder = publish("--with_code")
    for options in ({}, {"trust_remote_code": True}):
        assert type(AutoModel.from_pretrained(folder, **options)).__module__ == "plvl.modeling_plvl.modeling_plvl"
        assert type(AutoProcessor.from_pretrained(folder, **options)).__module__ == "plvl.processing.processing_plvl"
    assert pipeline("visual-grounding", model=str(folder), device="cpu").task == "visual-grounding"


def test_the_code_comes_without_the_rooms(publish):
    folder = publish("--with_code")
    modules = {
        "chunked_attention_plvl.py",
        "attention_plvl.py",
        "box_reading_plvl.py",
        "configuration_plvl.py",
        "expression_words.py",
        "image_input.py",
        "image_processing_plvl.py",
        "image_url.py",
        "linear_plvl.py",
        "loss_plvl.py",
        "modeling_plvl.py",
        "position_plvl.py",
        "processing_plvl.py",
        "recomputed_attention_plvl.py",
        "text_encoder_plvl.py",
        "text_guidance_plvl.py",
        "timm_vision_plvl.py",
        "vision_model_plvl.py",
        "vision_plvl.py",
    }
    assert {path.name for path in folder.glob("*.py")} == modules
    for module in folder.glob("*.py"):
        assert not re.search(r"^\s*(from|import) plvl", module.read_text(encoding="utf-8"), re.MULTILINE)
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert readme.count('AutoModel.from_pretrained("lab/tiny", trust_remote_code=True)') == 1


def test_a_model_that_came_with_code_can_be_published_without(publish, model_folder, tmp_path):
    with_code = publish("--with_code").rename(tmp_path / "with_code")
    folder = publish(model=with_code)
    assert not list(folder.glob("*.py"))
    assert "auto_map" not in (folder / "config.json").read_text(encoding="utf-8") + (
        folder / "processor_config.json"
    ).read_text(encoding="utf-8")
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert "trust_remote_code" not in readme and "Without PLVL installed" not in readme
    assert readme == (publish(model=model_folder, output="without") / "README.md").read_text(encoding="utf-8")


def test_words_around_the_section_on_code_stay(publish, model_folder):
    section = "## Without PLVL installed\n\nNeeds trust_remote_code.\n"
    (model_folder / "README.md").write_text(f"My own words.\n\n{section}\n## More\n\nOf them.\n")
    assert (publish() / "README.md").read_text(encoding="utf-8") == "My own words.\n\n## More\n\nOf them.\n"


def test_the_examples_of_a_card_follow_the_model_to_another_repository(publish, tmp_path):
    first = publish("--with_code").rename(tmp_path / "first")
    words = f'{(first / "README.md").read_text(encoding="utf-8")}\nTrained from the model="lab/tiny" of last year.\n'
    (first / "README.md").write_text(words, encoding="utf-8")
    readme = (publish("--with_code", "--repo", "lab/other", model=first) / "README.md").read_text(encoding="utf-8")
    assert readme.count('model="lab/other")') == 1
    assert readme.count('from_pretrained("lab/other", trust_remote_code=True)') == 2
    assert readme.count("lab/tiny") == 1 and readme.endswith('Trained from the model="lab/tiny" of last year.\n')


def test_licence_and_datasets_are_claimed_where_they_are_given(publish, model_folder, tmp_path):
    card = ModelCard.load(publish() / "README.md")
    assert card.data.license is None and "Licence" not in card.text
    folder = publish("--license", "cc-by-nc-4.0", "--datasets", "lab/refcoco", "lab/refcocog", output="licensed")
    card = ModelCard.load(folder / "README.md")
    assert (card.data.license, card.data.datasets) == ("cc-by-nc-4.0", ["lab/refcoco", "lab/refcocog"])


def test_a_card_that_somebody_wrote_takes_no_licence_and_datasets(publish, model_folder):
    (model_folder / "README.md").write_text("My own words.\n")
    with pytest.raises(SystemExit, match=r"README\.md was written by somebody .* write license into it yourself$"):
        publish("--license", "mit")


def test_the_projects_own_card_is_renewed_with_what_was_claimed_in_it(publish, model_folder, tmp_path):
    first = publish("--license", "mit", "--datasets", "lab/refcoco").rename(tmp_path / "first")
    (first / "metrics.json").write_text(json.dumps({"refcoco/val": {"box_accuracy": 0.75}}))
    card = ModelCard.load(publish("--repo", "lab/other", model=first) / "README.md")
    assert "| refcoco/val | 75.0 |" in card.text and 'model="lab/other"' in card.text
    assert (card.data.license, card.data.datasets) == ("mit", ["lab/refcoco"])
    card = ModelCard.load(publish("--license", "bsd", model=first) / "README.md")
    assert card.data.license == "bsd"


@pytest.fixture
def send(model_folder, local_hub):
    """Publishes on the Hub that stands in; gives the repository."""

    def run(*flags):
        main(["--model", str(model_folder), "--repo", "lab/tiny", *flags])
        return local_hub.repositories["lab/tiny"]

    return run


def test_a_card_in_the_repository_that_somebody_wrote_is_kept_unless_it_is_to_be_replaced(send, model_folder, capsys):
    words = "Wörter des Labors.\n".encode("latin-1")  # what is no UTF-8 is somebody's, too
    send().files["README.md"] = words
    (model_folder / "metrics.json").write_text(json.dumps({"refcoco/val": {"box_accuracy": 0.75}}))
    repository = send()
    assert repository.files["README.md"] == words and "metrics.json" in repository.files
    assert (
        "the card of lab/tiny was kept, for somebody wrote it (--replace_card replaces it)" in capsys.readouterr().out
    )
    assert b"| refcoco/val | 75.0 |" in send("--replace_card").files["README.md"]
    assert "was kept" not in capsys.readouterr().out


def test_the_projects_own_card_in_the_repository_is_renewed(send, model_folder, capsys):
    send()
    (model_folder / "metrics.json").write_text(json.dumps({"refcoco/val": {"box_accuracy": 0.75}}))
    assert b"| refcoco/val | 75.0 |" in send().files["README.md"]
    (model_folder / "README.md").write_text("Words of the lab.\n")
    assert send().files["README.md"] == send().files["README.md"] == b"Words of the lab.\n"
    assert "was kept" not in capsys.readouterr().out


def test_where_the_hub_cannot_be_reached_one_line_names_it(send, monkeypatch):
    # A port that nobody listens at, and a name that no server has.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
    for address in (closed, "http://no-such-host.invalid"):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        with pytest.raises(
            SystemExit, match=f"^publish: {address} cannot be reached .*nothing was published"
        ) as ended:
            send()
        assert "--dry_run" in str(ended.value) and "\n" not in str(ended.value)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SystemExit, match="cannot be reached .*offline"):
        send()


def test_nobody_logged_in_is_told_before_anything_is_built(send, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setitem(sys.modules, "plvl.scripts.release_folder", None)
    with pytest.raises(SystemExit, match="^publish: nobody is logged in at the Hub: `hf auth login`"):
        send()


def test_a_dry_run_is_repeated_and_replaces_what_the_first_one_wrote(publish, with_examples):
    folder = publish("--with_code")
    (with_examples / "metrics.json").write_text(json.dumps({"refcoco/val": {"box_accuracy": 0.75}}))
    assert publish() == folder
    assert not list(folder.glob("*.py")) and "| refcoco/val | 75.0 |" in (folder / "README.md").read_text(
        encoding="utf-8"
    )
    assert names(folder.parent) == {"upload", "trained"}


def test_a_dry_run_names_what_it_would_replace_of_others(publish, model_folder):
    folder = publish()
    (folder / "notes").mkdir()
    (folder / "notes" / "mine.txt").write_text("mine")
    (folder / "README.md").write_text("My own words.\n")
    with pytest.raises(SystemExit, match=r"upload holds what was not .* changed: README\.md, notes/mine\.txt$"):
        publish()
    assert (folder / "README.md").read_text(encoding="utf-8") == "My own words.\n"
    with pytest.raises(SystemExit, match="trained is not an empty folder"):
        publish(output=model_folder.name)


def test_a_dry_run_without_room_leaves_the_earlier_one(publish, tmp_path, monkeypatch):
    written = {file: file.read_bytes() for file in publish().iterdir()}

    def no_room(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", no_room)
    with pytest.raises(SystemExit, match=r"^publish: \[Errno 28\] No space left on device: '.*upload'$"):
        publish()
    assert {file: file.read_bytes() for file in (tmp_path / "upload").iterdir()} == written
    assert names(tmp_path) == {"upload", "trained"}


def test_a_failure_while_writing_leaves_nothing(publish, model_folder, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr("plvl.processing.PLVLProcessor.save_pretrained", fail)
    with pytest.raises(SystemExit, match="^publish: no space left on device$"):
        publish()
    assert names(tmp_path) == {"trained"}


def test_a_model_that_came_with_code_can_be_published_with_it_again(publish, tmp_path):
    with_code = publish("--with_code").rename(tmp_path / "with_code")
    again = publish("--with_code", model=with_code)
    assert names(again) == names(with_code)
    for name in names(with_code):
        assert (again / name).read_bytes() == (with_code / name).read_bytes(), name


def test_it_makes_a_repository_and_sends_everything_in_one_commit(model_folder, local_hub, capsys):
    main(["--model", str(model_folder), "--repo", "lab/tiny", "--private", "--license", "apache-2.0"])
    repository = local_hub.repositories["lab/tiny"]
    assert repository.private
    assert repository.commits == ["Upload PLVL model and processor"]
    assert repository.files["model.safetensors"] == (model_folder / "model.safetensors").read_bytes()
    assert ModelCard(repository.files["README.md"].decode()).data.license == "apache-2.0"
    assert f"published: {local_hub.url}/lab/tiny" in capsys.readouterr().out


def test_a_refusal_of_the_hub_is_one_line(model_folder, local_hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    with pytest.raises(SystemExit, match="^publish: .*401") as ended:
        main(["--model", str(model_folder), "--repo", "lab/tiny"])
    assert "\n" not in str(ended.value) and "cannot be reached" not in str(ended.value)
    assert not local_hub.repositories


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        (["config.json"], r"trained is no whole model: it lacks config\.json$"),
        (["model.safetensors"], r"it lacks weights \(model\.safetensors\)$"),
        (["processor_config.json"], r"it lacks a processor \(processor_config\.json\)$"),
        (["tokenizer_config.json"], r"it lacks a tokenizer \(tokenizer_config\.json\)$"),
        (["config.json", "processor_config.json"], r"it lacks config\.json, a processor \(processor_config\.json\)$"),
    ],
)
def test_a_folder_that_lacks_a_part_is_refused(publish, model_folder, tmp_path, removed, message):
    for name in removed:
        (model_folder / name).unlink()
    with pytest.raises(SystemExit, match=message):
        publish()
    assert not (tmp_path / "upload").exists()


def test_weights_that_are_not_whole_are_refused(publish, model_folder):
    weights = load_file(model_folder / "model.safetensors")
    del weights["head.center.1.bias"]
    save_file(weights | {"head.spare": torch.zeros(1)}, model_folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(SystemExit, match=r"missing or left over in its weights: head\.center\.1\.bias, head\.spare$"):
        publish()


def test_weights_of_another_shape_are_refused(publish, model_folder):
    weights = load_file(model_folder / "model.safetensors")
    weights["head.center.1.bias"] = torch.zeros(7)
    save_file(weights, model_folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(SystemExit, match="its weights do not load"):
        publish()


def test_truncated_weights_are_refused(publish, model_folder):
    weights = model_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(SystemExit, match=f"{model_folder} is no whole model: its weights do not load"):
        publish()


def test_a_configuration_that_cannot_be_read_is_named(publish, model_folder):
    (model_folder / "config.json").write_text("{")
    with pytest.raises(SystemExit, match=r"config\.json"):
        publish()


def test_a_configuration_with_a_wrong_value_ends_in_one_line(publish, model_folder):
    content = json.loads((model_folder / "config.json").read_text(encoding="utf-8")) | {"tasks": ["x"]}
    (model_folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(SystemExit, match=r"^publish: .*trained: no configuration of PLVL \(.* got \['x'\]\)$"):
        publish()


def test_a_metric_that_is_no_number_is_named_and_nothing_is_written(publish, model_folder, tmp_path):
    (model_folder / "metrics.json").write_text(json.dumps({"refcoco/val": {"box_accuracy": "high"}}))
    message = r"metrics\.json: box_accuracy of 'refcoco/val' must be a number, got 'high'$"
    with pytest.raises(SystemExit, match=message):
        publish()
    assert not (tmp_path / "upload").exists()


def test_a_model_of_another_type_is_refused(publish, model_folder, model):
    model.text_encoder.save_pretrained(model_folder)
    with pytest.raises(SystemExit, match="trained holds a model of the type 'bert', not PLVL"):
        publish()


def test_no_folder_and_a_bad_name_are_refused(publish, tmp_path):
    with pytest.raises(SystemExit, match="nowhere is no folder"):
        publish(model=tmp_path / "nowhere")
    with pytest.raises(SystemExit, match="lab/tiny/more"):
        publish("--repo", "lab/tiny/more")


def test_nothing_is_written_over(publish, tmp_path):
    notes = tmp_path / "upload" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine")
    with pytest.raises(SystemExit, match="upload is not an empty folder"):
        publish()
    assert names(notes.parent) == {"notes.txt"}


def test_it_runs_as_a_file():
    script = Path(__file__).parents[2] / "scripts" / "publish.py"
    finished = subprocess.run([sys.executable, str(script), "--help"], capture_output=True, text=True)
    assert "--with_code" in finished.stdout, finished.stderr
