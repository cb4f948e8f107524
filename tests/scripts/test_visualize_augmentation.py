"""The sheet of samples: a line for each, the sample as it is and after each step of the training transform."""

import pytest
from PIL import Image

from plvl.data.refshapes import write_refshapes
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
