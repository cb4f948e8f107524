"""Each script of examples/ does what its first line says."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from plvl.checkpoints import CARRIED_CHECKPOINTS
from plvl.data.refshapes import write_refshapes

ROOT = Path(__file__).parents[1]


def run(script, *words):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [sys.executable, f"examples/{script}.py", *map(str, words)]
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert finished.returncode == 0, finished.stderr[-2000:]
    return finished.stdout


@pytest.fixture(scope="module")
def refshapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refshapes")
    write_refshapes(folder, num_images=12, seed=3)
    return folder / "images", folder / "labels"


def test_an_image_is_grounded(tmp_path):
    image = tmp_path / "scene.jpg"
    shutil.copy(CARRIED_CHECKPOINTS["shapes"] / "examples/val_refshapes_000004.jpg", image)
    told = run("ground_an_image", image, "the blue moon", "the star")
    assert [line.partition(":")[0] for line in told.splitlines()] == ["the blue moon", "the star"]
    assert Image.open(tmp_path / "scene_mask_2.png").size == Image.open(image).size


def test_a_set_is_trained_on_from_python(refshapes, tmp_path):
    told = run("train_from_python", "refshapes", *refshapes, tmp_path / "out", 2)
    assert "'eval_box_accuracy': " in told
    assert (tmp_path / "out/model.safetensors").is_file()


def test_ones_own_images_are_learned_and_the_model_is_released(refshapes, tmp_path):
    labels = tmp_path / "mine"
    labels.mkdir()
    files = sorted((refshapes[0] / "mscoco/images/train2014").iterdir())
    for split, some in (("train", files[:6]), ("val", files[6:8])):
        lines = [{"file_name": file.name, "text": "a shape", "bbox": [5, 5, 40, 30]} for file in some]
        (labels / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    run("finetune_on_own_images", files[0].parent, labels, tmp_path / "out", "--max_steps", 2, "--use_cpu", "true")
    metrics = json.loads((tmp_path / "out/metrics.json").read_text(encoding="utf-8"))
    assert metrics["jsonl/val"]["num_samples"] == 2
    run("release", tmp_path / "out", "lab/plvl-mine", tmp_path / "upload")
    card = (tmp_path / "upload/README.md").read_text(encoding="utf-8")
    assert "license: apache-2.0" in card and "lab/plvl-mine" in card and "\n- jsonl" not in card
    assert (tmp_path / "upload/modeling_plvl.py").is_file()


def test_the_photographs_are_small_and_each_has_a_licence_and_expressions():
    folder = ROOT / "examples" / "photographs"
    about = (folder / "README.md").read_text(encoding="utf-8")
    entries = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    assert {file.name for file in folder.glob("*.jpg")} == {entry["image"] for entry in entries}
    for entry in entries:
        [row] = [line for line in about.splitlines() if line.startswith(f"| `{entry['image']}` |")]
        assert row.split(" | ")[3] in ("CC0", "public domain") and "scikit-image" in row or "SciPy" in row
        assert 2 <= len(entry["expressions"]) <= 4
        file = folder / entry["image"]
        assert max(Image.open(file).size) <= 640 and file.stat().st_size < 100_000


def test_the_expressions_about_the_photographs_have_boxes_within_them():
    folder = ROOT / "examples" / "photographs"
    entries = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (folder / "free.jsonl").read_text(encoding="utf-8").splitlines()]
    asked = [(entry["image"], expression) for entry in entries for expression in entry["expressions"]]
    assert sorted((row["file_name"], row["text"]) for row in rows) == sorted(asked)
    for row in rows:
        width, height = Image.open(folder / row["file_name"]).size
        assert all(0 <= x < x + w <= width and 0 <= y < y + h <= height for x, y, w, h in row["boxes"])
        assert (len(row["boxes"]) > 1) == row["text"].startswith(("all", "both"))
    last = [(entry["image"], entry["expressions"][-1]) for entry in entries]
    nothing = [(row["file_name"], row["text"]) for row in rows if not row["boxes"]]
    assert sorted(nothing) == sorted((image, text) for image, text in last if "towers" not in text)
