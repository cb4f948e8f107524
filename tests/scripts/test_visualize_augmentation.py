"""The sheet of samples: a line for each, the sample as it is and after each step of the training transform."""

import json

import numpy as np
import pytest
from PIL import Image

from plvl.data.refshapes import write_refshapes
from plvl.processing.drawing import TRUE_COLOUR
from plvl.scripts import visualize_augmentation
from plvl.scripts.cli import main


@pytest.fixture
def own_set(tmp_path):
    """Two images of 10 boxes each, of which each line of the labels says the corners."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    lines = []
    for name in ("a.png", "b.png"):
        Image.new("RGB", (60, 40)).save(tmp_path / "images" / name)
        boxes = [[30 + place, 20, 45 + place, 34] for place in range(10)]
        lines += [json.dumps({"file_name": name, "text": "a cup", "bbox": box}) + "\n" for box in boxes]
    (tmp_path / "labels/train.jsonl").write_text("".join(lines), encoding="utf-8")
    return tmp_path


@pytest.fixture
def roots(tmp_path):
    write_refshapes(tmp_path / "refshapes", num_images=8, seed=0)
    return [
        *("--image_root", str(tmp_path / "refshapes/images")),
        *("--label_root", str(tmp_path / "refshapes/labels")),
    ]


def test_a_sheet_has_a_line_for_each_sample_and_a_column_for_each_step(roots, tmp_path, capsys):
    output = tmp_path / "sheet.png"
    visualize_augmentation.main(["--dataset", "refshapes", *roots, "--num_samples", "2", "--output", str(output)])
    sheet = Image.open(output)
    assert sheet.width == 6 * 320
    assert sheet.height > 2 * 300
    told = capsys.readouterr().out
    for step in ("RandomCrop", "RandomLongSide", "RandomColors", "RandomMirror", "Stretch"):
        assert f"{step}(" in told
    visualize_augmentation.main(
        ["--dataset", "refshapes", *roots, "--num_samples", "1", "--aug_blur", "--output", str(output)]
    )
    assert Image.open(output).width == 7 * 320
    assert "RandomBlur" in capsys.readouterr().out


@pytest.mark.parametrize("boxes", [[], [[4, 6, 10, 20], [30, 3, 20, 12]]])
def test_rows_of_none_and_several_objects_are_drawn(tmp_path, boxes):
    line = {"file_name": "a.png", "text": "the boards", "boxes": boxes}
    (tmp_path / "train.jsonl").write_text(json.dumps(line))
    Image.new("RGB", (60, 40), "teal").save(tmp_path / "a.png")
    roots = ["--image_root", str(tmp_path), "--label_root", str(tmp_path), "--output", str(tmp_path / "sheet.png")]
    visualize_augmentation.main(["--dataset", "jsonl", *roots, "--num_samples", "1"])
    sheet = np.array(Image.open(tmp_path / "sheet.png")).astype(int)
    for place in range(6):
        tile = sheet[:, 320 * place : 320 * (place + 1)]
        assert (np.abs(tile - TRUE_COLOUR).sum(-1) < 60).any() == bool(boxes)


def test_the_command_draws_the_sheet_that_the_file_draws(roots, tmp_path):
    sheets = []
    for number, words in enumerate((["--dataset", "refshapes", *roots], ["refshapes", *roots])):
        sheets.append(tmp_path / f"{number}.png")
        visualize_augmentation.main([*words, "--num_samples", "1", "--output", str(sheets[-1])])
    sheets.append(tmp_path / "root.png")
    words = ["refshapes", "--root", str(tmp_path / "refshapes"), "--num_samples", "1", "--output", str(sheets[-1])]
    main(["data", "show", *words])
    assert len({sheet.read_bytes() for sheet in sheets}) == 1


def test_a_sheet_of_few_samples_warns_where_boxes_look_like_corners(own_set, caplog):
    output = own_set / "sheet.png"
    main(["data", "show", "jsonl", "--root", str(own_set), "--num_samples", "1", "--output", str(output)])
    [warning] = [record.getMessage() for record in caplog.records if "corners" in record.getMessage()]
    assert warning.startswith(
        "jsonl train: of 8 boxes 8 leave their image as x, y, width, height, and none does as x1"
    )
    assert output.is_file()


def test_an_output_that_cannot_be_is_told_before_anything_is_read(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SystemExit, match="^plvl data show: .*file is a file, and a folder is to be written$"):
        main(["data", "show", "refcoco", "--root", "nowhere", "--output", str(tmp_path / "file/sheet.png")])
