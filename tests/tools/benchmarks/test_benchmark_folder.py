"""The benchmark of a folder of images: both ways say the same, of images made of noise or of those of a folder."""

import json
from argparse import Namespace

import numpy as np
import pytest
from PIL import Image

from benchmarks import benchmark_folder
from benchmarks.performance_targets import TARGETS
from plvl.scripts.model_loading import load_chosen_model


@pytest.fixture
def photographs(tmp_path):
    return benchmark_folder.noise_photographs(tmp_path / "noise", 3)


def test_noise_has_the_size_of_a_photograph_and_larger_structures_than_a_pixel(photographs):
    assert [file.name for file in photographs] == ["0000.jpg", "0001.jpg", "0002.jpg"]
    first, second = (np.asarray(Image.open(file)).astype(float) for file in photographs[:2])
    assert first.shape == (480, 640, 3) and np.abs(first - second).mean() > 10
    assert np.abs(np.diff(first, axis=0)).mean() < 0.5 * np.abs(first - first.mean()).mean()


@pytest.mark.parametrize("drawn", [False, True])
def test_both_ways_print_the_same_and_write_the_same_drawings(photographs, model_folder, tmp_path, drawn):
    told, drawings = [], []
    for name, way in (("before", benchmark_folder.one_after_another), ("now", benchmark_folder.shared_by_threads)):
        folder = tmp_path / name
        folder.mkdir()
        text = way(*load_chosen_model(model_folder, "cpu"), photographs, str(folder) if drawn else None)
        told.append([line for line in text.splitlines() if not line.startswith("drawn: ")])
        drawings.append([np.asarray(Image.open(file)) for file in sorted(folder.iterdir())])
    if not drawn:
        told = [[json.loads(line) for line in lines] for lines in told]
        for record in told[1]:
            [answer] = record["answers"]
            answer["score"] = pytest.approx(answer["score"], abs=1e-5)
    assert told[0] == told[1] and len(told[0]) == (6 if drawn else 3)
    assert len(drawings[0]) == len(drawings[1]) == (3 if drawn else 0)
    assert all(np.array_equal(*pair) for pair in zip(*drawings, strict=True))


def test_a_folder_is_measured_against_one_image_after_another(photographs, model_folder, capsys):
    arguments = Namespace(images=str(photographs[0].parent), number=2, model=str(model_folder), turns=1)
    numbers = benchmark_folder.measure(arguments)
    assert set(numbers["figures"]) == {target.figure for target in TARGETS if target.subject == "folder"}
    for comparison in numbers["comparisons"]:
        assert comparison["items"] == 2
        assert list(comparison["ways"]) == ["one image after another", "plvl predict"]
    assert "2 images, drawings" in capsys.readouterr().out
