import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from plvl.data import load_grounding_dataset
from plvl.scripts import make_refshapes, prepare_data
from plvl.scripts.cli import main

SCRIPT = Path(__file__).parents[2] / "scripts" / "prepare_data.py"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    make_refshapes.main(["--output", str(folder), "--num_images", "13"])
    return {"image_root": folder / "images", "label_root": folder / "labels"}


def prepare(roots, output, *splits):
    options = [f"--{key}={value}" for key, value in roots.items()]
    command = [sys.executable, str(SCRIPT), "refshapes", "--split", *splits, f"--output={output}", *options]
    return subprocess.run(command, capture_output=True, text=True)


def test_several_splits_are_written_in_one_call_with_a_progress_bar_each(shapes, tmp_path):
    finished = prepare(shapes, tmp_path / "out", "train", "val")
    assert finished.returncode == 0, finished.stderr
    for split in ("train", "val"):
        before = list(load_grounding_dataset("refshapes", split, **shapes))
        after = list(load_grounding_dataset("parquet", split, label_root=tmp_path / "out"))
        assert [row["text"] for row in after] == [row["text"] for row in before]
        assert f"{split}: {len(before)} rows in 1 shards" in finished.stdout
        assert f"out {split}: 100%" in finished.stderr and f"{len(before)}/{len(before)}" in finished.stderr


def test_an_output_that_is_a_file_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "file").write_text("mine")
    roots = ["--image_root", "nowhere", "--label_root", "nowhere"]
    with pytest.raises(NotADirectoryError, match="file is a file, and a folder is to be written"):
        prepare_data.main(["refshapes", "--split", "val", *roots, "--output", str(tmp_path / "file" / "out")])


def test_what_goes_wrong_is_the_exit_status(shapes, tmp_path):
    finished = prepare(shapes, tmp_path / "out", "val", "testC")
    assert finished.returncode != 0
    assert "no split 'testC'; it has" in finished.stderr
    assert (tmp_path / "out/val.manifest.json").is_file(), "the split before it is lost"


def test_the_command_takes_the_root_of_both_folders_and_several_splits(shapes, tmp_path, capsys):
    root = shapes["image_root"].parent
    main(["data", "prepare", "refshapes", "--splits", "val", "testA", "--root", str(root), "--output", str(tmp_path)])
    told = capsys.readouterr().out
    for split in ("val", "testA"):
        before = list(load_grounding_dataset("refshapes", split, **shapes))
        assert f"{split}: {len(before)} rows in 1 shards" in told
        assert len(list(load_grounding_dataset("parquet", split, label_root=tmp_path))) == len(before)


def test_a_root_beside_its_folders_is_refused(shapes, tmp_path):
    roots = ["--root", "here", "--label_root", str(shapes["label_root"])]
    message = "^plvl data prepare: --root stands for --image_root and --label_root: give it, or them$"
    with pytest.raises(SystemExit, match=message):
        main(["data", "prepare", "refshapes", "--splits", "val", *roots, "--output", str(tmp_path / "out")])


def test_boxes_that_look_like_corners_are_told_with_the_numbers_of_the_split(tmp_path, capsys):
    (tmp_path / "labels").mkdir()
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    drawn = random.Random(0)
    corners = [[x := drawn.randrange(40), y := drawn.randrange(30), x + 15, y + 9] for _ in range(25)]
    leaving = sum(2 * x + 15 > 61 or 2 * y + 9 > 41 for x, y, *_ in corners)
    for split, boxes in (("train", corners), ("val", [[x, y, 15, 9] for x, y, *_ in corners])):
        lines = (json.dumps({"file_name": "a.png", "text": "a cup", "bbox": box}) + "\n" for box in boxes)
        (tmp_path / f"labels/{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    roots = ["--image_root", str(tmp_path), "--label_root", str(tmp_path / "labels")]
    main(["data", "prepare", "jsonl", "--splits", "train", "val", *roots, "--output", str(tmp_path / "out")])
    [told] = [line for line in capsys.readouterr().err.splitlines() if "corners?" in line and "25 boxes" in line]
    assert told.startswith(
        f"jsonl train: of 25 boxes {leaving} leave their image as x, y, width, height, and none does"
    )
