"""The sheet of samples: a line for each, the sample as it is and after each step of the training transform."""

import json

import numpy as np
import pytest
from PIL import Image

from plvl.data.refshapes import write_refshapes
from plvl.processing.drawing import TRUE_COLOUR
from plvl.scripts import visualize_augmentation


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
