"""The new kind of images by which `plvl finetune` is measured."""

import json

import finetuning_table
from plvl.data.own_data import open_labels
from plvl.data.refshapes import NEW_SHAPES


def test_an_expression_about_a_new_image_names_the_new_shape_that_it_means():
    for index in range(4):
        scene, references = finetuning_table.new_scene(index)
        assert {scene.shapes[position].name for position, _ in references} == set(NEW_SHAPES)
        for position, text in references:
            assert scene.shapes[position].name in text
        assert sum(shape.name in NEW_SHAPES for shape in scene.shapes) == 2


def test_images_to_train_on_and_to_judge_by_are_others_and_are_the_same_each_time(tmp_path, monkeypatch):
    monkeypatch.setattr(finetuning_table, "NUM_TRAINING", 3)
    num_rows = finetuning_table.write_own_data(tmp_path)
    source = open_labels("jsonl", "labels", tmp_path / "labels.jsonl", tmp_path / "images")
    assert source.num_rows == num_rows and len(list((tmp_path / "images").iterdir())) == 3
    lines = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = finetuning_table.new_rows([0, 1000])
    about_first = [line for line in lines if line["file_name"] == "000.png"]
    assert [(row["text"], list(row["boxes"][0])) for row in rows[: len(about_first)]] == [
        (line["text"], line["bbox"]) for line in about_first
    ]
    boxes = [line["bbox"] for line in lines]
    assert all(list(row["boxes"][0]) not in boxes for row in rows[len(about_first) :])
