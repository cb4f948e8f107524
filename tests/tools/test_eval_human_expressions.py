"""The expressions that a person typed, and the page of what a model finds for them."""

import json
import re
from pathlib import Path

import pytest
import torch

import eval_human_expressions
from eval_human_expressions import Found, read_typed, table_row, typed_rows
from plvl.data.collator import row_truth
from plvl.data.refshapes import make_referred_scene, split_of
from plvl.processing import PLVLProcessor

FILE = Path(__file__).parents[2] / eval_human_expressions.EXPRESSIONS
GRAMMAR_IMAGES = 200  # the whole check was made with 2000
TRAINING_SEED = 0


def words_of(expression):
    return ["^", *re.findall(r"[a-z0-9']+|[^\sa-z0-9]", expression.lower()), "$"]


def pairs_of(expression):
    words = words_of(expression)
    return set(zip(words, words[1:], strict=False))


@pytest.fixture(scope="module")
def typed():
    return read_typed(FILE)


def test_there_are_thirty_about_images_that_nobody_trains_on(typed):
    assert len(typed["expressions"]) == len({entry["expression"] for entry in typed["expressions"]}) == 30
    assert typed["seed"] != TRAINING_SEED
    assert {split_of(entry["index"]) for entry in typed["expressions"]} == {"val", "testA", "testB"}


def test_the_grammar_makes_none_of_them(typed):
    said, pairs = set(), set()
    for index in range(GRAMMAR_IMAGES):
        for _, expressions in make_referred_scene(TRAINING_SEED, index, typo_rate=0.0).references:
            said.update(expression.text for expression in expressions)
            pairs.update(*(pairs_of(expression.text) for expression in expressions))
    assert len(said) > 2000
    for entry in typed["expressions"]:
        assert entry["expression"].lower() not in said
        assert pairs_of(entry["expression"]) - pairs, f"all words of {entry} follow one another in the grammar, too"


def test_each_is_about_an_object_of_its_image(typed):
    meant = {row["text"]: row["category"] for row in typed_rows(typed)}
    assert meant["zebra ring"] == "ring"
    assert meant["hi, could you get me the star"] == "star"
    assert meant["chessboard, the darker one"] == "square"
    assert meant["of the two big flowers the one with stripes"] == "flower"


def test_the_page_has_a_line_for_each_expression(model_folder, tmp_path, capsys):
    page = tmp_path / "page.md"
    eval_human_expressions.main(["--model", str(model_folder), "--expressions", str(FILE), "--output", str(page)])
    lines = [
        line
        for line in page.read_text(encoding="utf-8").splitlines()
        if re.match(r"\| (val|testA|testB) \d+ \|", line)
    ]
    assert len(lines) == 30
    right = sum("| right |" in line for line in lines)
    assert f"finds {right} of them" in page.read_text(encoding="utf-8")
    assert f"{right} of 30 right" in capsys.readouterr().out


def test_true_answers_are_right_for_every_expression(typed, model, processor, monkeypatch):
    truths = iter([row_truth(row) for row in typed_rows(typed)])

    def answer_truly(self, outputs, target_sizes):
        boxes_and_masks = [next(truths) for _ in target_sizes]
        return [
            {"score": 1.0, "box": torch.tensor(box), "mask": torch.tensor(mask) > 0}
            for (box,), mask in boxes_and_masks
        ]

    monkeypatch.setattr(PLVLProcessor, "post_process_grounding", answer_truly)
    found = eval_human_expressions.ground(model, processor, typed)
    assert all(each.is_right and each.mask_iou == 1 for each in found)


def test_a_box_that_half_fits_is_right():
    assert table_row(Found(3, "val", "zebra ring", 0.5, 0.25)) == "| val 3 | zebra ring | right | 0.50 | 0.25 |"
    assert "| wrong | 0.49 |" in table_row(Found(3, "val", "zebra ring", 0.49, 0.25))


def test_expressions_about_images_of_another_version_are_refused(tmp_path, model_folder):
    other = tmp_path / "typed.json"
    other.write_text(json.dumps({"refshapes_version": 1, "seed": 7, "expressions": []}))
    with pytest.raises(SystemExit, match="is about RefShapes 1, which is now 2"):
        eval_human_expressions.main(["--model", str(model_folder), "--expressions", str(other), "--output", "page.md"])
