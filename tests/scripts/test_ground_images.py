"""Grounding in any number of images: each row answered once, by any number of processes, however often they end."""

import json
import os
import signal
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow
import pytest
import torch
from PIL import Image
from pyarrow import parquet
from pycocotools import mask as coco_mask
from transformers import AutoModel, AutoProcessor

from plvl.data import image_files
from plvl.modeling_plvl import PLVLModel
from plvl.scripts import ground_images
from small_runs import run_program, start_program

PROGRAM = Path(ground_images.__file__).resolve()
ASKED = ["the red square", "the man in the red shirt", "the blue circle on the left"]


def picture(number) -> Image.Image:
    """No two alike, and not of one size."""
    image = Image.new("RGB", (60 + number, 40 + 2 * number), (30, 10 * number, 90))
    image.paste((220, 40, 40), (10 + number, 5, 30, 25))
    return image


def encoded(number) -> bytes:
    buffer = BytesIO()
    picture(number).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def images(tmp_path):
    """A folder of 11 images, the fourth of which is none."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(11):
        (folder / f"{number:02d}.png").write_bytes(encoded(number) if number != 3 else b"no image")
    return folder


def ground(*arguments):
    ground_images.main([str(argument) for argument in arguments])


def answers_in(folder):
    return parquet.read_table(folder).to_pylist()


def one_by_one(folder, image, expression):
    """What the model answers to one expression about one image."""
    model, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    inputs = processor(images=image, text=expression, return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    return processor.post_process_grounding(outputs, [(image.height, image.width)])[0]


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_each_image_of_a_folder_is_answered_about_as_alone(model_folder, images, tmp_path, batch_size):
    output = tmp_path / "answers"
    arguments = ("--batch_size", batch_size, "--shard_rows", 4, "--expressions", *ASKED)
    ground(images, "--output", output, "--model", model_folder, *arguments)
    answers = answers_in(output)
    assert [(each["row"], each["expression"]) for each in answers] == [(row, x) for row in range(11) for x in ASKED]
    assert [each["file_name"] for each in answers[::3]] == [f"{number:02d}.png" for number in range(11)]
    for answer in (answers[0], answers[13], answers[32]):
        image = picture(answer["row"])
        alone = one_by_one(model_folder, image, answer["expression"])
        assert (answer["width"], answer["height"], answer["error"]) == (*image.size, None)
        np.testing.assert_allclose(answer["boxes"], [alone["box"].tolist()], atol=1e-3)
        assert answer["scores"] == pytest.approx([alone["score"]], abs=1e-5) and answer["present"] is None
        mask = coco_mask.decode(answer["mask"])
        assert (mask.astype(bool) != alone["mask"].numpy()).sum() <= 2
    assert len({json.dumps(answer["boxes"]) for answer in answers}) > 20


def test_an_image_that_cannot_be_read_is_an_answer_that_says_why(model_folder, images, tmp_path, capsys):
    ground(images, "--output", tmp_path / "answers", "--model", model_folder, "--expressions", *ASKED[:2])
    bad = [answer for answer in answers_in(tmp_path / "answers") if answer["error"]]
    assert [(answer["row"], answer["expression"]) for answer in bad] == [(3, expression) for expression in ASKED[:2]]
    assert all("image unreadable" in answer["error"] and answer["boxes"] is None for answer in bad)
    assert "22 answers about 11 rows in 1 shards; 2 of them say why there is none" in capsys.readouterr().out


def test_a_broken_image_whose_name_is_no_utf8_is_an_answer_too(model_folder, images, tmp_path):
    for name, content in ((b"caf\xe9.png", b"no image"), (b"caf\xea.png", encoded(2))):
        (images / os.fsdecode(name)).write_bytes(content)
    ground(images, "--output", tmp_path / "answers", "--model", model_folder, "--expressions", ASKED[0], "no \udce9")
    *_, bad, bad_twice, good, good_image = answers_in(tmp_path / "answers")
    assert bad["file_name"] == bad_twice["file_name"] == r"caf\udce9.png" and r"caf\udce9.png" in bad["error"]
    assert good["file_name"] == r"caf\udcea.png" and good["error"] is None
    assert (good_image["expression"], good_image["error"]) == (r"no \udce9", "expression is no text")


def write_rows(file, rows):
    schema = pyarrow.schema(
        [
            ("image", pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])),
            ("text", pyarrow.list_(pyarrow.string())),
            ("file_name", pyarrow.string()),
        ]
    )
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), file, row_group_size=3)


def test_rows_of_parquet_have_their_own_expressions_and_an_image_is_read_and_embedded_once(
    model_folder, tmp_path, monkeypatch
):
    one, other = ({"bytes": encoded(number), "path": None} for number in (1, 2))
    rows = [
        {"image": one, "text": ASKED[:2], "file_name": "one"},
        {"image": one, "text": ASKED[2:], "file_name": "one again"},
        {"image": other, "text": [ASKED[0], "", None], "file_name": "other"},
        {"image": {"bytes": None, "path": "gone.jpg"}, "text": ASKED[:1], "file_name": None},
        {"image": other, "text": None, "file_name": "other again"},
    ]
    write_rows(tmp_path / "set.parquet", rows)
    read, embedded = [], []
    monkeypatch.setattr(
        image_files,
        "open_image",
        lambda source, open_image=image_files.open_image: read.append(1) or open_image(source),
    )
    embed = PLVLModel.get_image_embeddings
    monkeypatch.setattr(
        PLVLModel, "get_image_embeddings", lambda self, pixels: embedded.append(len(pixels)) or embed(self, pixels)
    )
    ground(tmp_path / "set.parquet", "--output", tmp_path / "answers", "--model", model_folder)
    answers = answers_in(tmp_path / "answers")
    found = [(answer["row"], answer["file_name"], answer["expression"], answer["error"]) for answer in answers]
    assert found[:4] == [
        (0, "one", ASKED[0], None),
        (0, "one", ASKED[1], None),
        (1, "one again", ASKED[2], None),
        (2, "other", ASKED[0], None),
    ]
    empty = "expression is empty"
    assert found[4:6] == [(2, "other", "", empty), (2, "other", None, empty)]
    assert found[6][:3] == (3, "gone.jpg", ASKED[0]) and "image missing" in found[6][3]
    assert found[7] == (4, "other again", None, empty)
    assert len(read) == 4 and sum(embedded) <= 3
    alone = one_by_one(model_folder, picture(1), ASKED[2])
    np.testing.assert_allclose(answers[2]["boxes"], [alone["box"].tolist()], atol=1e-3)


def test_a_model_of_any_number_of_targets_says_how_many_there_are(any_model_folder, images, tmp_path):
    arguments = (images, "--output", tmp_path / "answers", "--model", any_model_folder, "--expressions", ASKED[0])
    ground(*arguments, "--box_threshold", 0.85)
    answer = answers_in(tmp_path / "answers")[0]
    assert answer["present"] == pytest.approx(0.9, abs=1e-4)
    assert len(answer["boxes"]) == len(answer["scores"]) and all(score >= 0.85 for score in answer["scores"])
    with pytest.raises(SystemExit, match="box_threshold was 0.85 and is 0.5"):
        ground(*arguments, "--box_threshold", 0.5)


@pytest.mark.several_processes
def test_a_killed_run_goes_on_in_two_processes_and_no_row_is_lost_or_there_twice(model_folder, images, tmp_path):
    output = tmp_path / "answers"
    arguments = [images, "--output", output, "--model", model_folder, "--shard_rows", 2, "--expressions", *ASKED[:2]]
    killed = run_program("killed_grounding.py", *arguments, check=False)
    assert killed.returncode == -signal.SIGKILL
    there = {file: file.stat().st_mtime_ns for file in output.glob("*.parquet")}
    assert len(there) == 2
    finished = run_program(PROGRAM, *arguments, processes=2)
    assert finished.stdout.count("22 answers about 11 rows in 6 shards; 2 of them say why") == 1
    answers = answers_in(output)
    assert [(each["row"], each["expression"]) for each in answers] == [
        (row, expression) for row in range(11) for expression in ASKED[:2]
    ]
    assert all(file.stat().st_mtime_ns == time for file, time in there.items())
    assert sorted(file.name for file in output.iterdir() if file.suffix != ".parquet") == [
        "_manifest.json",
        "_manifest.lock",
    ]
    ground(images, *arguments[1:])
    alone = tmp_path / "alone"
    ground(images, "--output", alone, *arguments[3:])
    assert [each["mask"] for each in answers] == [each["mask"] for each in answers_in(alone)]


class TakenShards:
    """Shards that others have, until they are there or free: `looks` says of each look what is missing and free."""

    def __init__(self, *looks):
        self.looks, self.asked, self.written = list(looks), [], []

    def missing(self):
        return [number for number in self.looks[0][0] if number not in self.written]

    def claim(self, number):
        self.asked.append(number)
        return nullcontext(number in self.looks[0][1])

    def write(self, number, answers):
        self.written.append(number)

    def file(self, number):
        return Path(f"{number}.parquet")

    def look_again(self, seconds):
        self.looks.pop(0)


def test_processes_begin_with_shards_of_their_own_and_help_with_the_others(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    orders = []
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        shards = TakenShards(([0, 1, 4, 5, 6], []), ([], []))
        monkeypatch.setattr(ground_images.time, "sleep", shards.look_again)
        ground_images.answer_parts(None, shards, None)
        orders.append(shards.asked)
    assert orders == [[0, 4, 6, 1, 5], [1, 5, 0, 4, 6]]


def test_a_process_waits_for_what_others_have_and_takes_what_becomes_free(monkeypatch, caplog):
    source = SimpleNamespace(parts=[SimpleNamespace(num_rows=3)] * 9, rows=lambda part: [])
    shards = TakenShards(([2, 5, 7], []), ([2, 5, 7], []), ([5, 7], [5]), ([5, 7], []), ([5], []))
    monkeypatch.setattr(ground_images.time, "sleep", shards.look_again)
    with caplog.at_level("INFO", "plvl"):
        ground_images.answer_parts(source, shards, SimpleNamespace(answers=lambda rows: rows))
    assert shards.written == [5] and len(shards.looks) == 1
    assert caplog.text.count("waiting for the shards that other processes are at work on") == 1


def test_the_shard_of_a_process_that_dies_is_taken_by_one_that_waits(model_folder, images, tmp_path, monkeypatch):
    output = tmp_path / "answers"
    arguments = [images, "--output", output, "--model", model_folder, "--shard_rows", 6, "--expressions", ASKED[0]]
    holder = start_program("holding_shard.py", output / "_unfinished" / "00001.lock")
    assert holder.stdout.readline() == "held\n"
    looks = []

    def kill_at_the_second_look(seconds):
        looks.append([file.name for file in output.glob("*.parquet")])
        if len(looks) == 2:
            holder.kill()
            holder.wait()

    monkeypatch.setattr(ground_images.time, "sleep", kill_at_the_second_look)
    try:
        ground(*arguments)
    finally:
        holder.kill()
    assert looks == [["answers-00000-of-00002.parquet"]] * 2
    assert [answer["row"] for answer in answers_in(output)] == list(range(11))


def test_a_shard_that_was_removed_is_written_again(model_folder, images, tmp_path, monkeypatch):
    output = tmp_path / "answers"
    arguments = [images, "--output", output, "--model", model_folder, "--shard_rows", 6, "--expressions", ASKED[0]]
    ground(*arguments)
    damaged = output / "answers-00001-of-00002.parquet"
    damaged.write_bytes(b"PAR1")
    with pytest.raises(SystemExit, match="00001-of-00002.parquet is damaged .* remove it and start the same command"):
        ground(*arguments)
    assert not json.loads((output / "_manifest.json").read_text())["complete"]
    damaged.unlink()
    ground(*arguments)
    assert [answer["row"] for answer in answers_in(output)] == list(range(11))
    assert json.loads((output / "_manifest.json").read_text())["complete"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["FOLDER"], "is a folder of images: name with --expressions"),
        (["FOLDER", "--expressions", "the cup", " "], "expression 2 is empty"),
        (["gone", "--expressions", "the cup"], "gone is missing"),
        (["FOLDER", "--expressions", "the cup", "--batch_size", "0"], "--batch_size must be 1 or more, got 0"),
        (["FOLDER", "--expressions", "the cup", "--box_threshold", "0.5"], "this model has one target"),
    ],
)
def test_what_cannot_be_asked_is_refused(model_folder, images, tmp_path, arguments, message):
    arguments = [images if argument == "FOLDER" else argument for argument in arguments]
    with pytest.raises(SystemExit, match=message):
        ground(*arguments, "--output", tmp_path / "answers", "--model", model_folder)


@pytest.mark.parametrize("as_given", [Path, lambda folder: folder / ".." / folder.name, lambda folder: "linked"])
def test_answers_do_not_lie_among_the_images(model_folder, images, tmp_path, as_given, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("linked").symlink_to(images)
    arguments = ("--model", model_folder, "--expressions", ASKED[0])
    with pytest.raises(SystemExit, match="is the folder of the images: name another"):
        ground(images, "--output", as_given(images), *arguments)
    assert len(list(images.iterdir())) == 11
    for _ in range(2):
        ground(images, "--output", images / "answers", *arguments)
    assert len(answers_in(images / "answers")) == 11


def test_another_model_or_other_images_are_not_gone_on_with(model_folder, any_model_folder, images, tmp_path):
    arguments = ("--output", tmp_path / "answers", "--expressions", ASKED[0])
    ground(images, *arguments, "--model", model_folder)
    with pytest.raises(SystemExit, match="answers to something else: model was "):
        ground(images, *arguments, "--model", any_model_folder)
    (images / "10.png").unlink()
    with pytest.raises(SystemExit, match="input was .*'images': 11.* and is .*'images': 10"):
        ground(images, *arguments, "--model", model_folder)


def test_expressions_come_from_the_lines_of_a_file_too(model_folder, images, tmp_path):
    (tmp_path / "words.txt").write_text("the red square\n\nthe café\n", encoding="utf-8")
    arguments = ("--output", tmp_path / "answers", "--model", model_folder)
    ground(images, *arguments, "--expressions_file", tmp_path / "words.txt")
    assert {each["expression"] for each in answers_in(tmp_path / "answers")} == {"the red square", "the café"}
