import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset
from transformers.utils import logging

import plvl
from plvl.checkpoints import CARRIED_CHECKPOINTS, default_checkpoint
from plvl.configuration import PLVLConfig
from plvl.modeling_plvl import PLVLModel

EXPRESSIONS = ["the man in red", "The left cup", "the blue cup on the right"]


def make_image(seed=0, width=50, height=40):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


@pytest.fixture
def pipe(model_folder):
    return pipeline("visual-grounding", model=str(model_folder), device="cpu")


@pytest.fixture
def count_embedded(pipe, monkeypatch):
    """A list that gets, each time images are embedded, how many."""
    counts, embed = [], pipe.model.get_image_embeddings
    monkeypatch.setattr(pipe.model, "get_image_embeddings", lambda pixels: counts.append(len(pixels)) or embed(pixels))
    return counts


def same(first, second):
    return (
        first["label"] == second["label"]
        and first["score"] == pytest.approx(second["score"], abs=1e-5)
        and all(abs(first["box"][side] - second["box"][side]) <= 1 for side in ("xmin", "ymin", "xmax", "ymax"))
        and first["mask"].size == second["mask"].size
        and np.mean(np.array(first["mask"]) != np.array(second["mask"])) < 0.01
    )


def test_one_expression_gives_what_model_and_processor_give(pipe, model, processor):
    answer = pipe(make_image(), "the man in red")
    with torch.no_grad():
        outputs = model(**processor(images=make_image(), text="the man in red", return_tensors="pt"))
    [expected] = processor.post_process_grounding(outputs, target_sizes=[(40, 50)])
    assert list(answer) == ["label", "score", "box", "mask"]
    assert answer["label"] == "the man in red"
    assert isinstance(answer["score"], float)
    assert answer["score"] == pytest.approx(expected["score"], abs=1e-5)
    assert all(isinstance(side, int) for side in answer["box"].values())
    sides = [answer["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")]
    assert sides == pytest.approx(expected["box"].tolist(), abs=0.51)
    assert answer["mask"].mode == "L"
    assert answer["mask"].size == (50, 40)
    assert set(np.unique(answer["mask"])) <= {0, 255}
    assert np.mean((np.array(answer["mask"]) > 0) != expected["mask"].numpy()) < 0.01


def test_expressions_of_one_image_are_answered_apart(pipe):
    answers = pipe(make_image(), EXPRESSIONS)
    assert [answer["label"] for answer in answers] == EXPRESSIONS
    assert not same(answers[0] | {"label": ""}, answers[1] | {"label": ""})
    assert all(same(answer, pipe(make_image(), answer["label"])) for answer in answers)


@pytest.fixture
def count_encoded(pipe, monkeypatch):
    """A list that gets, each time expressions are encoded, how many."""
    counts, encode = [], pipe.model.get_text_features
    monkeypatch.setattr(
        pipe.model, "get_text_features", lambda ids, mask: counts.append(len(ids)) or encode(ids, mask)
    )
    return counts


@pytest.mark.parametrize("batch_size", [None, 2, 8])
def test_many_expressions_embed_their_image_once(pipe, count_embedded, batch_size):
    pipe(make_image(), EXPRESSIONS, batch_size=batch_size)
    assert count_embedded == [1]


def test_a_path_a_url_and_an_image_are_the_same(pipe, tmp_path):
    image, path = make_image(), tmp_path / "image.png"
    image.save(path)
    expected = pipe(image, "the red cup")
    assert same(pipe(str(path), "the red cup"), expected)
    assert same(pipe(path, "the red cup"), expected)
    with serve(path.read_bytes()) as url:
        assert same(pipe(url, "the red cup", timeout=10), expected)


def test_an_image_turned_by_its_exif_orientation_is_turned_upright(pipe):
    upright, buffer = make_image(), BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the image must be turned by 90 degrees clockwise
    upright.rotate(90, expand=True).save(buffer, "png", exif=exif)
    assert same(pipe(Image.open(buffer), "the red cup"), pipe(upright, "the red cup"))


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_a_list_of_pairs_is_answered_in_order_and_in_batches(pipe, count_embedded, batch_size):
    pairs = [
        {"image": make_image(0), "text": "the man in red"},
        {"image": make_image(1, width=70), "text": EXPRESSIONS},
        (make_image(2), "the cup"),
    ]
    answers = pipe(pairs, batch_size=batch_size)
    assert count_embedded == {1: [1, 1, 1], 2: [2, 1], 3: [3]}[batch_size]
    assert same(answers[0], pipe(make_image(0), "the man in red"))
    assert [answer["mask"].size for answer in answers[1]] == [(70, 40)] * 3
    assert all(same(*both) for both in zip(answers[1], pipe(make_image(1, width=70), EXPRESSIONS), strict=True))
    assert same(answers[2], pipe(make_image(2), "the cup"))


def test_no_more_expressions_than_the_batch_size_go_through_the_network_at_once(pipe):
    rows = []
    pipe.model.decoder.register_forward_hook(lambda module, args, output: rows.append(len(output)))
    pipe([(make_image(0), EXPRESSIONS), (make_image(1), EXPRESSIONS)], batch_size=2)
    assert rows == [2, 1, 2, 1]
    rows.clear()
    pipe([(make_image(seed), "the cup") for seed in range(5)], batch_size=2)
    assert rows == [2, 2, 1], "one expression about each of several images"


def test_a_generator_is_answered_as_it_goes(pipe):
    read = []

    def pairs():
        for seed in range(3):
            read.append(seed)
            yield {"image": make_image(seed), "text": "the cup"}

    answers = iter(pipe(pairs()))
    assert same(next(answers), pipe(make_image(0), "the cup"))
    assert read == [0]
    assert same(next(answers), pipe(make_image(1), "the cup"))


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_an_expression_about_several_images_is_encoded_once(pipe, count_encoded, batch_size):
    images = [make_image(seed) for seed in range(4)]
    together = pipe(images, EXPRESSIONS, batch_size=batch_size)
    assert sum(count_encoded) == len(EXPRESSIONS)
    alone = [pipe(image, EXPRESSIONS, batch_size=batch_size) for image in images]
    assert all(same(*both) for pair in zip(together, alone, strict=True) for both in zip(*pair, strict=True))
    pairs = [(image, [EXPRESSIONS[place % 3], "a hat"]) for place, image in enumerate(images)]
    count_encoded.clear()
    list(pipe(iter_of(pairs), batch_size=batch_size))
    assert sum(count_encoded) == 4


def test_a_model_that_was_trained_between_two_calls_answers_anew(pipe):
    before = pipe(make_image(), EXPRESSIONS[0])
    with torch.no_grad():
        pipe.model.text_encoder.embeddings.word_embeddings.weight.mul_(-3)
    after = pipe(make_image(), EXPRESSIONS[0])
    assert not same(after, before) and abs(after["score"] - before["score"]) > 1e-4


def test_more_expressions_than_images_may_be_answered_at_once(pipe, count_embedded):
    rows = []
    pipe.model.decoder.register_forward_hook(lambda module, args, output: rows.append(len(output)))
    pipe([(make_image(0), EXPRESSIONS), (make_image(1), EXPRESSIONS)], expressions_at_once=2)
    assert (count_embedded, rows) == ([1, 1], [2, 1, 2, 1])


def test_the_mask_threshold_is_passed_on(pipe):
    low, high = (
        np.mean(np.array(pipe(make_image(), "the cup", mask_threshold=value)["mask"]) > 0) for value in (0.0, 1.0)
    )
    assert (low, high) == (1, 0)


def test_a_model_of_one_task_gives_the_answers_it_has(config, processor):
    answers = {}
    for task in ("rec", "res"):
        model = PLVLModel(PLVLConfig(**config.to_dict() | {"tasks": [task]}))
        pipe = pipeline("visual-grounding", model=model, processor=processor, device="cpu")
        answers[task] = pipe([(make_image(), "the cup"), (make_image(1), "the cup")], batch_size=2)[1]
    assert list(answers["rec"]) == ["label", "score", "box"]
    assert list(answers["res"]) == ["label", "score", "mask"]
    assert answers["res"]["score"] is None


@pytest.fixture
def any_pipe(any_model_folder):
    return pipeline("visual-grounding", model=str(any_model_folder), device="cpu")


def test_a_model_of_any_number_of_targets_answers_with_boxes_scores_and_one_mask(any_pipe, any_model, processor):
    answers = any_pipe(make_image(), EXPRESSIONS, box_threshold=0.3, batch_size=2)
    with torch.no_grad():
        outputs = any_model(**processor(images=make_image(), text=EXPRESSIONS, return_tensors="pt"))
    expected = processor.post_process_grounding(outputs, [(40, 50)], box_threshold=0.3)
    assert sum(len(each["boxes"]) for each in expected) > len(EXPRESSIONS), "there are several"
    for text, answer, each in zip(EXPRESSIONS, answers, expected, strict=True):
        assert list(answer) == ["label", "present", "boxes", "scores", "mask"]
        assert answer["label"] == text and answer["present"] == pytest.approx(0.9)
        assert isinstance(answer["present"], float) and all(isinstance(score, float) for score in answer["scores"])
        assert answer["scores"] == pytest.approx(each["scores"].tolist(), abs=1e-5)
        assert all(list(box) == ["xmin", "ymin", "xmax", "ymax"] for box in answer["boxes"])
        sides = [side for box in answer["boxes"] for side in box.values()]
        assert all(isinstance(side, int) for side in sides)
        assert sides == pytest.approx(each["boxes"].flatten().tolist(), abs=0.51)
        assert answer["mask"].mode == "L" and answer["mask"].size == (50, 40)
        assert np.mean((np.array(answer["mask"]) > 0) != each["mask"].numpy()) < 0.01


def test_what_is_not_found_has_no_boxes_and_an_empty_mask(any_pipe):
    for thresholds in ({"presence_threshold": 0.95}, {"box_threshold": 0.99}):
        answer = any_pipe(make_image(), "the zebra", **thresholds)
        assert (answer["boxes"], answer["scores"]) == ([], []) and answer["mask"].getbbox() is None
        assert answer["present"] == pytest.approx(0.9) and answer["mask"].size == (50, 40)


def test_thresholds_are_the_processors_unless_the_call_or_the_pipeline_names_them(any_pipe, any_model, processor):
    every = any_pipe(make_image(), "the cup", box_threshold=0, presence_threshold=0)["scores"]
    assert len(every) > 1
    # Of the processor it was saved with.
    assert any_pipe(make_image(), "the cup")["scores"] == [score for score in every if score >= 0.5]
    own = pipeline(
        "visual-grounding", model=any_model, processor=processor, box_threshold=every[0] - 1e-3, device="cpu"
    )
    assert own(make_image(), "the cup")["scores"] == pytest.approx(every[:1])
    assert len(own(make_image(), "the cup", box_threshold=0)["scores"]) == len(every)


def test_several_images_in_a_batch_are_answered_apart(any_pipe):
    pairs = [(make_image(seed, width=50 + 20 * seed), EXPRESSIONS[seed]) for seed in range(3)]
    answers = any_pipe(pairs, batch_size=2, box_threshold=0.3)
    for (image, text), answer in zip(pairs, answers, strict=True):
        alone = any_pipe(image, text, box_threshold=0.3)
        assert answer["scores"] == pytest.approx(alone["scores"], abs=1e-5) and answer["mask"].size == image.size


def test_a_model_of_any_number_of_targets_and_one_task_gives_the_answers_it_has(make_config, processor):
    names = {"rec": ["label", "present", "boxes", "scores"], "res": ["label", "present", "mask"]}
    for task, expected in names.items():
        model = PLVLModel(make_config(tasks=[task], targets="any", max_targets=3))
        pipe = pipeline("visual-grounding", model=model, processor=processor, device="cpu")
        assert list(pipe([(make_image(), "the cup"), (make_image(1), "the cup")], batch_size=2)[1]) == expected


def test_a_model_of_one_target_refuses_thresholds_of_boxes(pipe):
    with pytest.raises(ValueError, match="^box_threshold: a model of one target has no such threshold$"):
        pipe(make_image(), "the cup", box_threshold=0.3)


def test_a_model_in_training_answers_as_in_evaluation(model, processor, pipe):
    in_training = pipeline("visual-grounding", model=model.train(), processor=processor, device="cpu")
    assert same(in_training(make_image(), "the cup"), pipe(make_image(), "the cup"))


def test_a_model_in_half_precision_answers(model_folder):
    pipe = pipeline("visual-grounding", model=str(model_folder), dtype=torch.bfloat16, device="cpu")
    assert pipe.model.dtype == torch.bfloat16
    assert set(pipe(make_image(), "the cup")["box"]) == {"xmin", "ymin", "xmax", "ymax"}


def test_a_saved_pipeline_is_a_model_folder_again(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "saved")
    assert not list((tmp_path / "saved").glob("*.py"))
    again = pipeline("visual-grounding", model=str(tmp_path / "saved"), device="cpu")
    assert same(again(make_image(), "the cup"), pipe(make_image(), "the cup"))


@pytest.mark.parametrize("with_text", [False, True])
def test_a_list_a_generator_and_any_set_are_the_same(pipe, with_text):
    rows = [{"image": make_image(seed), "text": "the red cup", "other": seed} for seed in (0, 1)]
    cached = Dataset.from_list(rows)
    pairs = [{"image": row["image"], "text": row["text"]} for row in rows]
    images = [row["image"] for row in rows]
    given = [pairs, iter_of(pairs), cached, cached.to_iterable_dataset()]
    if with_text:
        given = [images, iter_of(images), cached, cached.to_iterable_dataset(), KeyDataset(cached, "image")]
    for each in given:
        answers = list(pipe(each, "the left cup") if with_text else pipe(each))
        for answer, image in zip(answers, images, strict=True):
            assert same(answer, pipe(image, "the left cup" if with_text else "the red cup"))


def iter_of(items):
    yield from items


def test_without_a_model_it_is_the_carried_one_that_commands_use_and_says_so(caplog):
    logging.get_logger("transformers").addHandler(caplog.handler)
    caplog.set_level("WARNING", logger="transformers")
    pipe = pipeline("visual-grounding", device="cpu")
    folder = CARRIED_CHECKPOINTS[default_checkpoint()]
    assert pipe.model.name_or_path == str(folder)
    assert f"No model was supplied, defaulted to {folder}" in caplog.text


def test_no_pairs_give_no_answers(pipe):
    assert pipe([]) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((make_image(),), "this has no text: <PIL"),
        (({"image": make_image()},), "this has no text: {'image'"),
        (({"text": "the cup"},), "this has no image: {'text'"),
        (([{"image": None}], ["the cup"]), "this has no image"),
        ((make_image(), []), "list of expressions about an image is empty"),
        ((make_image(), ["the cup", " "]), "expression 1 is empty: ' '"),
        ((make_image(), ["the cup \ud83d"]), r"expression 0 has half a character, .*: 'the cup \\ud83d'"),
        (("nowhere.png", "the cup"), "nowhere.png"),
    ],
)
def test_what_cannot_be_answered_is_named(pipe, arguments, message):
    with pytest.raises(ValueError, match=message):
        pipe(*arguments)


def test_a_misspelt_option_is_refused(pipe):
    with pytest.raises(TypeError, match="mask_treshold"):
        pipe(make_image(), "the cup", mask_treshold=0.3)


def test_another_model_is_refused(model, processor):
    with pytest.raises(ValueError, match="got BertModel and PLVLProcessor"):
        pipeline("visual-grounding", model=model.text_encoder, processor=processor, device="cpu")


def test_registering_does_not_import_the_pipelines():
    check = "import plvl, transformers, sys; print(sorted({'torch', 'transformers.pipelines'} & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert finished.stdout.strip() == "[]", finished.stderr


def test_the_front_door_names_it():
    assert plvl.VisualGroundingPipeline.__module__ == "plvl.processing.pipeline_plvl"


class serve:
    """A server on the loopback address that answers every request with the given bytes; gives its URL."""

    def __init__(self, content: bytes):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}/image.png"

    def __exit__(self, *args):
        self.server.shutdown()
        self.server.server_close()
