"""What the demo shows, and how it starts, without Gradio and a browser (tests/demo_in_browser has those)."""

import json
import pickle
import socket
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from plvl.checkpoints import CARRIED_CHECKPOINTS
from plvl.modeling_plvl import PLVLModel
from plvl.processing.drawing import PREDICTED_COLOUR
from plvl.scripts.cli import main
from plvl.scripts.demo_page.answers import answer_and_explain, word_tiles
from plvl.scripts.demo_page.examples import Example, read_examples
from plvl.scripts.model_loading import load_chosen_model


@pytest.fixture
def listening(model_folder):
    """The model as the demo loads it, and its processor."""
    return load_chosen_model(model_folder, attn_implementation="eager")


def write_examples(folder, entries):
    (folder / "examples").mkdir(exist_ok=True)
    (folder / "examples" / "examples.json").write_text(entries if isinstance(entries, str) else json.dumps(entries))


def test_the_drawing_is_of_the_expression_and_the_image_is_left_alone(listening, image):
    before = np.array(image)
    first, second = (answer_and_explain(*listening, image, text) for text in ("the red square", "the man"))
    assert first.drawing.width == 480 and first.centre.size == (480, 320)
    assert not np.array_equal(np.array(first.drawing)[:320], np.array(second.drawing)[:320])
    assert np.array_equal(np.array(image), before)


def test_the_centre_map_has_its_cross_where_the_model_found_the_centre(listening, image):
    model, processor = listening
    inputs = processor(images=image, text="the red square", return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs.to(model.device)).center_logits[0].cpu()
    row, column = divmod(int(logits.argmax()), logits.shape[1])
    centre = np.array(answer_and_explain(*listening, image, "the red square").centre)
    rows, columns = np.nonzero((centre == 255).all(-1))
    assert rows.mean() == pytest.approx((row + 0.5) * 320 / 4, abs=3)
    assert columns.mean() == pytest.approx((column + 0.5) * 480 / 6, abs=3)


def white(image) -> np.ndarray:
    """Where the crosses are."""
    return (np.array(image) == 255).all(-1)


def test_several_have_a_cross_each_and_what_is_not_found_has_none(any_model_folder, image):
    model, processor = load_chosen_model(any_model_folder, attn_implementation="eager")
    answers = []
    for threshold in (0.4, 1.0):
        processor.box_threshold = threshold
        answers.append(answer_and_explain(model, processor, image, "the red square"))
    several, none = answers
    inputs = processor(images=image, text="the red square", return_tensors="pt")
    with torch.no_grad():
        boxes = model(**inputs.to(model.device)).pred_boxes[0].cpu()
    crosses = white(several.centre)
    for x, y in boxes[:, :2].tolist():
        around = slice(round(320 * y) - 14, round(320 * y) + 15), slice(round(480 * x) - 14, round(480 * x) + 15)
        rows, columns = crosses[around].nonzero()
        assert rows.mean() == pytest.approx(14, abs=1) and columns.mean() == pytest.approx(14, abs=1)
        crosses[around] = False
    assert not crosses.any() and not white(none.centre).any()
    # The legend says so, and nothing is drawn on the image.
    drawn, bare = (np.array(each.drawing) for each in answers)
    assert not np.array_equal(drawn[320:], bare[320:])
    assert (drawn[:320] == PREDICTED_COLOUR).all(-1).any() and not (bare[:320] == PREDICTED_COLOUR).all(-1).any()


def test_what_is_kept_of_a_visitor_is_small(listening):
    large = Image.fromarray(np.random.default_rng(2).integers(0, 256, (900, 1400, 3), dtype=np.uint8))
    heard = answer_and_explain(*listening, large, "the red square").heard
    assert len(pickle.dumps(heard)) < 120_000, "noise is the dearest image"
    assert heard.attention.maps.dtype == np.float16


def test_each_word_has_a_tile_by_block_or_in_the_mean(listening, image):
    answer = answer_and_explain(*listening, image, "the red square")
    first, second, mean = (word_tiles(answer.heard, block) for block in (0, 1, None))
    assert [word for word, _, _ in mean] == ["the", "red", "square"]
    for tiles in zip(first, second, mean, strict=True):
        shares = [share for _, share, _ in tiles]
        assert shares[2] == pytest.approx((shares[0] + shares[1]) / 2, abs=1e-6)
        assert tiles[2][2].size == (320, 213)
    assert 0 < sum(share for _, share, _ in mean) < 1


def test_a_large_image_is_reduced(listening):
    answer = answer_and_explain(*listening, Image.new("RGB", (4000, 1000)), "the red square")
    assert answer.drawing.width == 1280


def test_an_image_as_narrow_as_can_be_is_not_enlarged_without_end(listening):
    answer = answer_and_explain(*listening, Image.new("RGB", (1, 2000)), "the red square")
    sizes = [image.size for image in (answer.drawing, answer.centre)]
    sizes.append(word_tiles(answer.heard, None)[0][2].size)
    assert max(map(max, sizes)) < 1400


def test_a_model_of_masks_alone_has_no_centre_map(make_config, processor, image):
    model = PLVLModel(make_config(tasks=["res"])).eval()
    model.set_attn_implementation("eager")
    answer = answer_and_explain(model, processor, image, "the red square")
    assert answer.centre is None and answer.heard is not None and answer.drawing.width == 480


def test_examples_are_the_images_of_the_models_folder_with_their_expressions(tmp_path, image):
    assert read_examples(tmp_path) == []
    write_examples(tmp_path, [{"image": "a.png", "expressions": ["the red square", "the man"]}])
    image.save(tmp_path / "examples" / "a.png")
    assert read_examples(tmp_path) == [Example(tmp_path / "examples" / "a.png", ["the red square", "the man"])]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("{", r"examples\.json: no JSON"),
        ({}, r"examples\.json: must be a list, got dict$"),
        ([3], r"entry 0 must have an 'image' and a list of 'expressions'$"),
        ([{"image": "a.png", "expressions": []}], "entry 0 must have"),
        ([{"image": "a.png", "expressions": "the man"}], "entry 0 must have"),
        ([{"image": "a.png", "expressions": [" "]}], "entry 0 must have"),
        ([{"image": "a.png", "expressions": ["x"]}], r"entry 0: the image .*a\.png is missing$"),
    ],
)
def test_wrong_examples_are_named_before_the_page_opens(model_folder, entries, message):
    write_examples(model_folder, entries)
    with pytest.raises(ValueError, match=message):
        read_examples(model_folder)


def test_without_gradio_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(SystemExit, match=r"^plvl demo: the page needs Gradio: pip install 'gradio>=[\d.]+'$"):
        main(["demo"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "70000"], "--port must be from 1 to 65535, got 70000"),
        (["--port", "0"], "--port must be from 1 to 65535, got 0"),
        (["--host", "no host"], "--host no host: "),
    ],
)
def test_an_address_that_is_none_is_named(monkeypatch, arguments, message):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    with pytest.raises(SystemExit, match=f"^plvl demo: {message}"):
        main(["demo", *arguments])


def test_a_taken_port_is_said_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    # What comes first after the address is checked.
    monkeypatch.setitem(sys.modules, "plvl.scripts.model_loading", None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit, match=f"^plvl demo: --port {port} of 127.0.0.1 is taken: name another"):
            main(["demo", "--port", str(port)])
    with pytest.raises(SystemExit, match="ModuleNotFoundError: import of plvl.scripts.model_loading halted"):
        main(["demo", "--port", str(port)])


def test_an_address_of_another_machine_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    # 192.0.2.0/24 is for examples alone.
    with pytest.raises(SystemExit, match="^plvl demo: --host 192.0.2.7: Cannot assign requested address"):
        main(["demo", "--host", "192.0.2.7"])


def test_without_a_model_the_error_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setitem(CARRIED_CHECKPOINTS, "photos", tmp_path / "gone")
    with pytest.raises(SystemExit, match=r"^plvl demo: the carried checkpoint photos is not there"):
        main(["demo", "--model", "photos"])
