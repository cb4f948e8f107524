import re

import pytest

from detection_labels import random_labels, write_labels
from plvl.data.detection import count_kinds
from show_expressions import main


@pytest.fixture
def label_root(tmp_path):
    labels = random_labels(6)
    labels["annotations"] = [each for each in labels["annotations"] if each["image_id"] != 3]
    write_labels(labels, {"image_root": tmp_path / "none", "label_root": tmp_path}, split="val2017")
    (tmp_path / "none").rmdir()
    return tmp_path


def test_examples_counts_and_speed_are_shown(label_root, capsys):
    main([f"--label_root={label_root}", "--split=val", "--number=5", "--expressions={per_image: 6, none_rate: 0}"])
    out = capsys.readouterr().out
    counts = count_kinds("val", label_root, {"per_image": 6, "none_rate": 0})
    assert len(re.findall(r"^0000\d\.jpg +\d  [a-z]", out, re.MULTILINE)) == 5
    for kind in ("attribute", "place", "several"):
        assert int(re.search(rf"^{kind} +([\d,]+)$", out, re.MULTILINE)[1]) == counts[kind]
    total = sum(number for kind, number in counts.items() if not kind.endswith("images"))
    assert f"{total} expressions about 6 images; of 1 nothing is said" in out
    assert re.search(r"^[\d,]+ rows a second$", out, re.MULTILINE)


def test_options_are_those_of_a_recipe(label_root):
    with pytest.raises(ValueError, match="expressions have the options .*, not per_picture"):
        main([f"--label_root={label_root}", "--split=val", "--expressions={per_picture: 6}"])
