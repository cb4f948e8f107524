"""plvl data colors: labels are written again with the colours of their objects."""

import json

import pytest

from detection_labels import random_labels, write_labels
from plvl.scripts.cli import main


@pytest.fixture
def roots(tmp_path):
    """Three grey photographs, the brightness of which grows with their numbers, and one that is not there."""
    roots = {"image_root": tmp_path / "images", "label_root": tmp_path / "labels"}
    write_labels(random_labels(4), roots, files=True)
    (roots["image_root"] / "00003.jpg").unlink()
    return roots


def test_it_says_how_many_objects_have_a_color_and_which_images_cannot_be_used(roots, tmp_path, capsys):
    labels, output = roots["label_root"] / "instances_train.json", tmp_path / "colors" / "instances_train.json"
    main(["data", "colors", str(labels), "--image_root", str(roots["image_root"]), "--output", str(output)])
    written = json.loads(output.read_text(encoding="utf-8"))
    colors = [(each["image_id"], each["colors"]) for each in written["annotations"]]
    assert {(number, *found) for number, found in colors} == {(1, "black"), (2, "gray"), (3,), (4, "gray")}
    known = sum(bool(found) for _, found in colors)
    said = capsys.readouterr()
    assert said.out == f"{output}: {known} of {len(colors)} objects have a colour for certain\n"
    assert "1 images cannot be used (image missing: " in said.err and "00003.jpg" in said.err


def test_what_cannot_be_written_or_read_is_one_line(roots, tmp_path):
    labels = roots["label_root"] / "instances_train.json"
    rest = ["--image_root", str(roots["image_root"]), "--output"]
    for words, message in (
        (
            [str(labels), *rest, str(tmp_path)],
            f"plvl data colors: {tmp_path} is a folder, and a file is to be written",
        ),
        ([str(labels), *rest, str(labels / "x.json")], f"plvl data colors: {labels} is a file, and a folder is to be"),
        ([f"{labels}.gone", *rest, str(tmp_path / "x.json")], "plvl data colors: "),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["data", "colors", *words])
        assert str(ended.value).startswith(message) and "\n" not in str(ended.value)
    assert not (tmp_path / "x.json").exists()
