import numpy as np
import pytest
import torch
from PIL import Image

from plvl.processing.answer_words import answer_in_words

EMPTY, FULL = Image.new("L", (3, 2)), Image.new("L", (3, 2), 255)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"present": 0.875, "boxes": [[0, 0, 1, 1], [1, 1, 2, 2]]}, "2 found (0.88 sure)"),
        ({"present": 0.97, "boxes": torch.zeros(1, 4), "mask": EMPTY}, "1 found (0.97 sure)"),
        ({"present": 0.07, "boxes": [], "mask": EMPTY}, "not found (0.93 sure)"),
        ({"present": 0.07, "boxes": torch.zeros(0, 4)}, "not found (0.93 sure)"),
        ({"present": 0.4, "boxes": []}, "not placed, though maybe there (probability 0.40)"),
        ({"present": 0.39, "boxes": []}, "not found (0.61 sure)"),
        ({"present": 0.6, "mask": FULL}, "found (0.60 sure)"),
        ({"present": 0.6, "mask": EMPTY}, "not placed, though maybe there (probability 0.60)"),
        ({"present": 0.2, "mask": torch.zeros(2, 3, dtype=torch.bool)}, "not found (0.80 sure)"),
        ({"present": 0.2, "mask": np.eye(2, 3, dtype=bool)}, "found (0.20 sure)"),
    ],
)
def test_an_answer_is_said_with_its_number_and_how_sure_it_is(answer, words):
    assert answer_in_words(answer, presence_threshold=0.4) == words
