"""plvl data get and plvl data check, as a person types them."""

import shutil
import subprocess
import sys

import pytest

from breaking_server import cut_after
from fetched_sets import REFER, coco_name, refer_labels, server_of_refcoco
from plvl.data import load_grounding_dataset
from plvl.data.set_check import KNOWN_EXPRESSIONS
from plvl.scripts import data_sets
from plvl.scripts.cli import main


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setitem(KNOWN_EXPRESSIONS, ("refcoco", "unc"), {"train": 4, "val": 4, "testA": 2, "testB": 2})
    with server_of_refcoco(monkeypatch) as server:
        yield server


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


def plvl(line, root):
    main([word.replace("ROOT", str(root)) for word in line.split()])


def ended(line, root):
    """The exit code, or the message."""
    with pytest.raises(SystemExit) as end:
        plvl(line, root)
    return end.value.code


def test_get_fetches_checks_and_says_how_to_use_it(server, root, capsys):
    plvl("data get refcoco --root ROOT", root)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "refcoco train: 4 expressions about 2 images",
        "refcoco val: 4 expressions about 2 images",
        "refcoco testA: 2 expressions about 1 images",
        "refcoco testB: 2 expressions about 1 images",
        f"use it with --image_root {root}/images --label_root {root}/labels",
    ]
    assert len(list(load_grounding_dataset("refcoco", "val", root / "images", root / "labels"))) == 4


def test_get_of_splits_checks_these_alone(server, root, capsys):
    plvl("data get refcoco --root ROOT --splits val testA", root)
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()[:-1]] == [
        "refcoco val",
        "refcoco testA",
    ]


def test_get_of_labels_only_has_no_images_to_check(server, root, capsys):
    plvl("data get refcoco --root ROOT --labels_only", root)
    assert capsys.readouterr().out.splitlines() == [
        f"use it with --image_root {root}/images --label_root {root}/labels"
    ]


def test_a_set_that_came_and_is_not_as_it_is_known_is_a_warning(server, root, capsys):
    server.write_refcoco(splits={1: "train", 2: "train", 3: "val"})
    plvl("data get refcoco --root ROOT", root)
    out = capsys.readouterr().out
    assert "  warning: 2 expressions, and 4 are known" in out
    assert "  warning: there is no split testA, testB of refcoco" in out


def test_without_a_network_the_message_has_each_address_and_what_to_do(server, root):
    server.shutdown()
    server.server_close()
    message = ended("data get refcoco --root ROOT", root)
    assert message.startswith("plvl data get: refcoco.zip could not be fetched:\n- http")
    assert f"by hand: put it at {root}/downloads/refcoco.zip" in message and "jxu124/refcoco" in message


def test_a_disk_without_room_is_one_line_without_a_number_of_the_system(server, root, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(0, 0, 1000))
    message = ended("data get refcoco --root ROOT", root)
    assert message.startswith("plvl data get: refcoco.zip, to be fetched and unpacked, needs ") and "\n" not in message


def test_an_interruption_says_that_it_goes_on(server, root, monkeypatch, capsys):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("plvl.data.fetching.fetch_set.fetch_images", interrupt)
    assert ended("data get refcoco --root ROOT", root) == 130
    told = capsys.readouterr().err.strip().splitlines()
    assert told[-2:] == ["what has come is kept: the same command goes on from here", "plvl data get: interrupted"]


def test_a_run_that_was_killed_goes_on(server, root):
    """Half of the labels' zip came before it was killed."""
    server.breaks[f"{REFER}/refcoco.zip"] = [cut_after(600)] + [cut_after(0)] * 90
    assert "could not be fetched" in ended("data get refcoco --root ROOT", root)
    server.breaks.clear()
    server.asked.clear()
    plvl("data get refcoco --root ROOT", root)
    assert server.asked[0] == (f"{REFER}/refcoco.zip", "bytes=600-")


def test_check_ends_with_one_where_something_is_missing(server, root, capsys):
    plvl("data get refcoco --root ROOT", root)
    (root / "images/mscoco/images/train2014" / coco_name(5)).unlink()
    capsys.readouterr()
    assert ended("data check refcoco --root ROOT", root) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("  PROBLEM: 1 of 2 images are missing, of which 2 expressions speak: refcoco val")
    plvl("data check refcoco --root ROOT --splits train testA", root)


def test_check_of_several_tells_of_each_and_of_leaks(server, root, capsys):
    plvl("data get refcoco --root ROOT", root)
    plus = root / "labels/refcoco+"
    plus.mkdir()
    for name, content in refer_labels(splits={1: "val", 3: "train"}).items():
        (plus / name).write_bytes(content)
    capsys.readouterr()
    line = "data check refcoco refcocog refcoco+ --image_root ROOT/images --label_root ROOT/labels"
    assert ended(line, root) == 1
    out = capsys.readouterr().out
    assert f"refcocog\n  PROBLEM: {root}/labels/refcocog/refs(umd).p is missing: refcocog needs" in out
    assert "refcoco+ val: 2 expressions about 1 images" in out
    assert "  warning: 2 expressions, and 10758 are known" in out
    assert "\n  2 expressions are about images of a validation or test split of the RefCOCO family: in mixtures" in out
    assert out.splitlines()[-2:] == [
        "leak: 1 images of refcoco train (2 expressions) are in refcoco+ val, too (2 expressions)",
        "leak: 1 images of refcoco+ train (2 expressions) are in refcoco val, too (2 expressions)",
    ]


def test_a_root_and_its_folders_are_not_given_both(root):
    message = ended("data check refcoco --root ROOT --label_root there", root)
    assert message == "plvl data check: --root stands for --image_root and --label_root: give it, or them"


def test_check_without_a_folder_says_what_it_needs(root, capsys):
    assert ended("data check refcoco", root) == 1
    assert "PROBLEM: 'refcoco' needs image_root and label_root, got None and None" in capsys.readouterr().out


def test_a_name_that_cannot_be_fetched_is_refused_at_once(root, capsys):
    assert ended("data get refshapes --root ROOT", root) == 2
    assert "invalid choice: 'refshapes' (choose from" in capsys.readouterr().err


def test_a_root_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("mine")
    message = ended("data get refcoco --root ROOT/file/data", tmp_path)
    assert message.endswith("file is a file, and a folder is to be written")


def test_help_is_quick_and_names_the_sets():
    program = (
        "import sys; from plvl.scripts.cli import main\n"
        "try: main(['data', 'get', '--help'])\n"
        "finally: print(sorted(sys.modules))"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "refcoco, refcoco+, refcocog, grefcoco, coco2014, refclef" in " ".join(finished.stdout.split())
    assert "'torch'" not in finished.stdout and "'datasets'" not in finished.stdout


def test_the_script_takes_the_same_words(server, root, capsys):
    data_sets.main(["get", "refcoco", "--root", str(root), "--labels_only"])
    assert (root / "labels/refcoco/instances.json").is_file()
