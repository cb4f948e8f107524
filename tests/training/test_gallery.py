from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from plvl.data.collator import true_answer
from plvl.data.masks import NO_OBJECT
from plvl.processing.drawing import draw_grounding
from plvl.training import gallery
from plvl.training.gallery import draw_before_and_after, draw_gallery

SIZE = (40, 60)  # height and width


def row(text, box):
    x, y, width, height = box
    mask = np.zeros(SIZE, dtype=np.uint8, order="F")
    mask[y : y + height, x : x + width] = 1
    rle = coco_mask.encode(mask)
    return {
        "image": Image.new("RGB", SIZE[::-1], (30, 60, 90)),
        "text": text,
        "boxes": [[float(number) for number in box]],
        "segmentation": {"size": list(SIZE), "counts": rle["counts"].decode()},
        "height": SIZE[0],
        "width": SIZE[1],
    }


def answer(box):
    x, y, width, height = box
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[y : y + height, x : x + width] = True
    return {"box": torch.tensor([x, y, x + width, y + height], dtype=torch.float32), "mask": mask}


@pytest.fixture
def captions(model, captions_of):
    """What is written above the tiles, in their order, when the rows get these answers."""
    return partial(captions_of, model)


@pytest.fixture
def any_captions(any_model, captions_of):
    return partial(captions_of, any_model)


@pytest.fixture
def captions_of(processor, monkeypatch):
    def draw(model, rows, *answers):
        drawn, given = {}, iter(answers)

        def remember(image, text, *args):
            tile = draw_grounding(image, text, *args)
            drawn[id(tile)] = text
            return tile

        def read(tiles, columns):
            return [drawn[id(tile)] for tile in tiles]

        monkeypatch.setattr(gallery, "draw_grounding", remember)
        monkeypatch.setattr(gallery, "contact_sheet", read)
        monkeypatch.setattr(type(processor), "post_process_grounding", lambda *_: next(given))
        if len(answers) == 2:
            return draw_before_and_after(model, model, processor, rows)
        return draw_gallery(model, processor, rows)

    return draw


def test_right_answers_come_first_and_wrong_ones_say_so(captions):
    boxes = {"a": (2, 3, 20, 10), "b": (30, 5, 12, 22), "c": (8, 20, 16, 15), "d": (40, 2, 9, 9)}
    found = boxes | {"a": (30, 5, 12, 22), "d": (44, 2, 9, 9)}  # another object; too far off
    rows = [row(text, box) for text, box in boxes.items()]
    assert captions(rows, [answer(box) for box in found.values()]) == ["b", "c", "WRONG: a", "WRONG: d"]


def test_a_right_box_with_half_a_mask_is_wrong(captions):
    box = (5, 5, 20, 10)
    half = answer(box) | {"mask": answer((5, 5, 9, 10))["mask"]}
    assert captions([row("a", box), row("b", box)], [half, answer(box)]) == ["b", "WRONG: a"]


def test_a_model_of_masks_alone_is_right_by_its_masks(captions):
    box = (5, 5, 20, 10)
    answers = [{"mask": answer(each)["mask"]} for each in ((40, 5, 10, 10), box)]
    assert captions([row("a", box), row("b", box)], answers) == ["b", "WRONG: a"]


def test_an_object_without_a_mask_is_right_by_its_box(captions):
    box = (5, 5, 20, 10)
    rows = [row(text, box) | {"segmentation": None} for text in "ab"]
    wrong = answer(box) | {"box": torch.tensor([40.0, 5.0, 50.0, 15.0])}
    assert captions(rows, [wrong, answer(box)]) == ["b", "WRONG: a"]


def test_before_and_after_stand_beside_each_other_in_the_order_of_the_rows(captions):
    a, b = (2, 3, 20, 10), (30, 5, 12, 22)
    rows = [row("a", a), row("b", b)]
    before, after = [answer(b), answer(b)], [answer(a), answer(a)]
    assert captions(rows, before, after) == ["before: WRONG: a", "after: a", "before: b", "after: WRONG: b"]


def any_answer(present, *boxes):
    mask = torch.zeros(SIZE, dtype=torch.bool)
    for x, y, width, height in boxes:
        mask[y : y + height, x : x + width] = True
    corners = [[x, y, x + width, y + height] for x, y, width, height in boxes]
    return {
        "present": present,
        "found": bool(boxes),
        "boxes": torch.tensor(corners, dtype=torch.float32).reshape(-1, 4),
        "scores": torch.full((len(boxes),), 0.9),
        "mask": mask,
    }


def test_of_any_number_of_targets_right_is_every_object_and_nothing_else(any_model, any_captions):
    first, second = (2, 3, 20, 10), (30, 5, 12, 22)
    both = row("both", first) | {"boxes": [list(map(float, box)) for box in (first, second)]}
    both |= {"segmentation": None}
    none = row("the zebra", first) | {"boxes": [], "segmentation": NO_OBJECT}
    one = row("one", first)
    unknown = one | {"segmentation": None}
    rows = [both, none, one, both, none, one, one, unknown]
    answers = [
        any_answer(0.875, first, second),
        any_answer(0.07),
        any_answer(0.97, first),
        any_answer(0.97, first),
        any_answer(0.6, second),
        any_answer(0.8),
        any_answer(0.97, first) | {"mask": torch.ones(SIZE, dtype=torch.bool)},
        any_answer(0.97, first, second),
    ]
    assert any_captions(rows, answers) == [
        "both: 2 found (0.88 sure)",
        "the zebra: not found (0.93 sure)",
        "one: 1 found (0.97 sure)",
        "WRONG: both: 1 found (0.97 sure)",
        "WRONG: the zebra: 1 found (0.60 sure)",
        "WRONG: one: not placed, though maybe there (probability 0.80)",
        "WRONG: one: 1 found (0.97 sure)",
        "WRONG: one: 2 found (0.97 sure)",
    ]


def test_every_box_that_is_answered_is_drawn(any_model, processor, monkeypatch):
    boxes = (2, 3, 20, 10), (30, 5, 12, 22)
    answers = [any_answer(0.9, *boxes) | {"mask": torch.zeros(SIZE, dtype=torch.bool)}]
    monkeypatch.setattr(type(processor), "post_process_grounding", lambda *_: answers)
    monkeypatch.setattr(gallery, "contact_sheet", lambda tiles, columns: tiles[0])
    nothing = row("both", boxes[0]) | {"boxes": [], "segmentation": None}
    drawn = np.array(draw_gallery(any_model, processor, [nothing]))[-SIZE[0] :]
    for x, y, width, height in boxes:
        assert (drawn[[y, y + height]][:, [x, x + width]] == gallery.PREDICTED_COLOUR).all()


def test_every_true_box_is_drawn():
    rows = [row("a", (2, 3, 20, 10)), row("b", (30, 5, 12, 22))]
    both = rows[0] | {"boxes": [*rows[0]["boxes"], *rows[1]["boxes"]], "segmentation": None}
    truth = {"colour": (0, 255, 0)} | true_answer(both)
    drawn = np.array(draw_grounding(both["image"], "both", [truth]))[-SIZE[0] :]
    for x, y, width, height in both["boxes"]:
        corners = drawn[[int(y), int(y + height)]][:, [int(x), int(x + width)]]
        assert (corners == (0, 255, 0)).all()
