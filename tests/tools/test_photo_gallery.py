"""The free photographs with a checkpoint's answers, on one sheet."""

from PIL import Image

import photo_gallery
from plvl.checkpoints import CARRIED_CHECKPOINTS


def test_each_expression_gets_a_picture_and_what_is_about_nothing_is_counted(tmp_path, capsys):
    photo_gallery.main(["--model", str(CARRIED_CHECKPOINTS["photos"]), "--output", str(tmp_path / "sheet.jpg")])
    assert "19 expressions, 6 about nothing" in capsys.readouterr().out
    width, height = Image.open(tmp_path / "sheet.jpg").size
    assert width == 1600 and height > 4 * 200  # five columns, four rows
