import subprocess
import sys
from pathlib import Path

import pytest

from plvl.data.refshapes import ALL_KINDS, KINDS
from plvl.scripts.cli import main as plvl
from plvl.scripts.make_refshapes import main


def test_it_writes_the_set_and_tells_what_is_in_it(tmp_path, capsys):
    main(["--output", str(tmp_path), "--num_images", "13", "--seed", "1"])
    printed = capsys.readouterr().out
    assert "13 images" in printed
    for word in ("train", "val", "testA", "testB", *KINDS):
        assert word in printed
    assert "several" not in printed
    assert printed.count('"') == 2 * len(KINDS)  # an example of each kind
    assert (tmp_path / "labels/refshapes/refs(unc).p").is_file()
    assert len(list((tmp_path / "images/mscoco/images/train2014").iterdir())) == 13


def test_it_also_says_none_and_several_and_tells_how_often(tmp_path, capsys):
    rates = ["--none_rate", "0.3", "--several_rate", "0.2"]
    main(["--output", str(tmp_path), "--num_images", "13", "--seed", "1", *rates])
    printed = capsys.readouterr().out.splitlines()
    (heads,) = (line.split() for line in printed if line.split()[0] == "expressions")
    assert heads == ["expressions", *ALL_KINDS, "all"]
    train = dict(zip(heads, next(line.split() for line in printed if line.split()[0] == "train"), strict=True))
    assert int(train["none"]) / int(train["all"]) == pytest.approx(0.3, abs=0.03)
    assert int(train["several"]) / int(train["all"]) == pytest.approx(0.2, abs=0.03)
    assert "".join(printed).count('"') == 2 * len(ALL_KINDS)


def test_it_refuses_rates_that_leave_nothing_else(tmp_path):
    with pytest.raises(SystemExit, match="make_refshapes: none_rate and several_rate must be .*, got 0.5 and 0.5"):
        main(["--output", str(tmp_path / "new"), "--none_rate", "0.5", "--several_rate", "0.5"])


def test_it_runs_as_a_file_and_shows_its_progress(tmp_path):
    script = Path(__file__).parents[2] / "scripts" / "make_refshapes.py"
    command = [sys.executable, str(script), "--output", str(tmp_path), "--num_images", "2"]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert "2/2" in finished.stderr


@pytest.mark.parametrize("num_images", ["0", "-1"])
def test_it_refuses_less_than_one_image(num_images, tmp_path):
    with pytest.raises(SystemExit, match=f"num_images must be at least 1, got {num_images}"):
        main(["--output", str(tmp_path / "new"), "--num_images", num_images])


def test_it_refuses_a_folder_that_holds_something_else(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SystemExit, match=f"{tmp_path} is not empty"):
        main(["--output", str(tmp_path), "--num_images", "1"])


def test_it_refuses_a_file_as_output(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(SystemExit, match=f"^make_refshapes: {path} is a file, and a folder is to be written$"):
        main(["--output", str(path), "--num_images", "1"])
    assert path.read_text(encoding="utf-8") == "mine"


def test_the_command_makes_the_set_that_the_file_makes(tmp_path):
    main(["--output", str(tmp_path / "file"), "--num_images", "3"])
    plvl(["data", "make", "--output", str(tmp_path / "command"), "--num-images", "3"])
    there = [sorted(folder.rglob("*.*")) for folder in (tmp_path / "file", tmp_path / "command")]
    assert there[0] and [file.read_bytes() for file in there[0]] == [file.read_bytes() for file in there[1]]
