import subprocess
import sys
from pathlib import Path

import pytest

from plvl.data import load_grounding_dataset
from plvl.scripts import make_refshapes, prepare_data

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
