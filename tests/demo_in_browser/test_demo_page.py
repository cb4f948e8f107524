import struct
import subprocess
import sys
import time
import zlib
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from gradio import State
from PIL import Image
from selenium.webdriver.common.keys import Keys

from conftest import EXPRESSIONS
from plvl.checkpoints import default_checkpoint
from plvl.processing.word_attention import WordAttention
from plvl.scripts.demo_page.answers import words_heard
from plvl.scripts.demo_page.page import build_page, launch_options, words_html
from plvl.scripts.model_loading import chosen_folder, load_chosen_model

PHOTOGRAPHS = Path(__file__).parents[2] / "examples" / "photographs"


def test_the_page_opens_with_an_answered_example_and_asks_nobody_else(page, demo):
    # The fixture waited for the drawing of the first example.
    assert "point with words" in page.one("h1").text
    assert page.one("#expression textarea, #expression input").get_attribute("value") == EXPRESSIONS[0]
    assert len(page.all("#images_to_try button img")) == 2
    assert page.image("#centre").shape == (320, 480, 3)
    assert page.words() == EXPRESSIONS[0].split()
    assert page.requested_hosts() == {urlsplit(demo.url).netloc}
    assert page.complaints() == []
    links = [link.get_attribute("href") for link in page.all("a[href]")]
    assert all(link.startswith(demo.url) for link in links), links


def test_an_example_is_chosen_another_expression_typed_and_each_time_the_drawing_changes(page, demo):
    page.all("#images_to_try button")[1].click()
    dark = demo.example("dark.png")
    page.wait_for_drawing(demo.drawing_of(dark, EXPRESSIONS[1]))
    centre = page.image("#centre")

    page.say("the man on the left").send_keys(Keys.ENTER)
    page.wait_for_drawing(demo.drawing_of(dark, "the man on the left"))
    page.wait(lambda: page.words() == ["the", "man", "on", "the", "left"], "the words are not those that were typed")
    assert not np.array_equal(page.image("#centre"), centre)

    page.all("#expressions_to_try button")[1].click()
    page.wait_for_drawing(demo.drawing_of(dark, EXPRESSIONS[2]))
    assert page.requested_hosts() == {urlsplit(demo.url).netloc}
    assert page.complaints() == []


def test_ones_own_image_is_answered(page, demo, tmp_path):
    assert page.one("#expressions_to_try").is_displayed()
    own = Image.fromarray(np.random.default_rng(9).integers(0, 256, (50, 50, 3), dtype=np.uint8))
    own.save(tmp_path / "own.png")
    page.one("#image input[type=file]").send_keys(str(tmp_path / "own.png"))
    page.wait(lambda: np.array_equal(page.image("#image"), np.array(own)), "the image is not there")
    page.wait(
        lambda: not any(shown.is_displayed() for shown in page.all("#expressions_to_try")),
        "what is asked about an example is offered for another image",
    )
    page.say("the red square")
    page.one("#find").click()
    page.wait_for_drawing(demo.drawing_of(own, "the red square"))


def test_a_photograph_is_answered_by_the_model_that_is_carried(default_page, default_demo):
    page = default_page
    assert ("not photographs" in page.one("body").text) == (default_checkpoint() == "shapes")
    photograph = PHOTOGRAPHS / "cat.jpg"
    page.bring(photograph)
    for expression in ("the cat", "the dog"):
        page.say(expression)
        page.one("#find").click()
        page.wait_for_drawing(default_demo.drawing_of(Image.open(photograph), expression))
    page.wait(lambda: page.words() == ["the", "dog"], "the words are not those that were typed")
    assert page.complaints() == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("cut.png", "cut", "Image unreadable: cut.png: "),
        ("notes.jpg", "text", "Image unreadable: notes.jpg: "),
        ("wall.png", "bomb", "Image too large: wall.png: "),
    ],
)
def test_an_image_that_cannot_be_used_is_named_with_the_reason(page, demo, tmp_path, name, content, said):
    before = page.image("#drawing")
    (tmp_path / name).write_bytes(damaged(content))
    page.bring(tmp_path / name)
    page.say("the red square")
    page.one("#find").click()
    page.wait(lambda: any(said in toast for toast in page.toasts()), f"{said} is not said")
    assert not any(str(tmp_path) in toast or "plvl-demo-" in toast for toast in page.toasts())
    assert np.array_equal(page.image("#drawing"), before)


def damaged(content: str) -> bytes:
    whole = BytesIO()
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(whole, "PNG")
    if content == "cut":
        return whole.getvalue()[:2000]
    if content == "text":
        return b"not an image"
    # The header alone says how large it is, and is believed.
    size = struct.pack(">II", 30_000, 30_000)
    header = b"IHDR" + size + whole.getvalue()[24:29]
    return whole.getvalue()[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole.getvalue()[33:]


def test_an_image_on_its_side_is_answered_upright(page, demo, tmp_path):
    own = Image.fromarray(np.random.default_rng(9).integers(0, 256, (30, 50, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    own.save(tmp_path / "own.png", exif=exif)
    page.bring(tmp_path / "own.png")
    page.say("the red square")
    page.one("#find").click()
    page.wait_for_drawing(demo.drawing_of(own.transpose(Image.Transpose.ROTATE_270), "the red square"))


def test_on_a_phone_the_page_scrolls_to_the_answer(page, demo):
    page.driver.set_window_size(500, 800)
    page.driver.execute_script("scrollTo(0, 0)")
    page.wait(lambda: not page.sees("#drawing"), "the answer is seen on a phone without scrolling")
    page.say("the man on the left").send_keys(Keys.ENTER)
    page.wait_for_drawing(demo.drawing_of(demo.example("bright.png"), "the man on the left"))
    page.wait(lambda: page.sees("#drawing"), "the answer is not seen")

    page.driver.execute_script("scrollTo(0, 0)")
    page.wait(lambda: not page.sees("#drawing"), "the page is not at its top")
    page.all("#images_to_try button")[1].click()
    page.wait_for_drawing(demo.drawing_of(demo.example("dark.png"), EXPRESSIONS[1]))
    page.wait(lambda: page.sees("#drawing"), "the answer is not seen")


def test_where_the_answer_is_seen_the_page_stays(page, demo):
    page.wait(lambda: page.sees("#drawing"), "the answer is not seen on a large screen")
    page.say("the man on the left").send_keys(Keys.ENTER)
    page.wait_for_drawing(demo.drawing_of(demo.example("bright.png"), "the man on the left"))
    time.sleep(1)
    assert page.driver.execute_script("return scrollY") == 0


def test_the_words_are_shown_block_by_block(page):
    choices = page.all("#block label")
    assert [choice.text for choice in choices if choice.text] == ["all together", "block 2", "block 3"]
    seen = [page.tiles()]
    for choice in [choice for choice in choices if choice.text][1:]:
        choice.click()
        page.wait(lambda: page.tiles() not in seen and len(page.tiles()) == 3, "the tiles did not change")
        seen.append(page.tiles())


def test_an_empty_expression_is_asked_for_and_the_drawing_stays(page):
    before = page.image("#drawing")
    page.say(" ").send_keys(Keys.ENTER)
    page.wait(lambda: any("Say what to find" in toast for toast in page.toasts()), "there is no warning")
    assert np.array_equal(page.image("#drawing"), before)


def test_a_taken_port_ends_in_one_line(demo):
    command = [Path(sys.executable).with_name("plvl"), "demo", "--model", demo.folder]
    port = str(urlsplit(demo.url).port)
    finished = subprocess.run([*command, "--port", port], capture_output=True, text=True, timeout=240)
    assert finished.returncode == 1
    assert finished.stderr.startswith("plvl demo: ") and port in finished.stderr
    assert len(finished.stderr.splitlines()) == 1


def test_what_visitors_brought_goes_when_the_demo_is_ended(serve, demo, tmp_path):
    with serve(demo.folder, TMPDIR=str(tmp_path)) as (process, _):
        [folder] = tmp_path.glob("plvl-demo-*")
        (folder / "brought.png").write_bytes(b"a visitor's image")
        process.terminate()
        assert process.wait(60) == 0
    assert not folder.exists()


def test_of_200_visitors_at_most_something_is_kept_and_for_half_an_hour():
    model, processor = load_chosen_model(chosen_folder("shapes"), attn_implementation="eager")
    page = build_page(model, processor, examples=[], knows_shapes_alone=True)
    [heard] = [block for block in page.blocks.values() if isinstance(block, State)]
    assert heard.time_to_live == 1800
    every, age = page.delete_cache
    assert age == 1800 and every <= 600, "temporary files"
    assert launch_options()["state_session_capacity"] == 200


@pytest.mark.parametrize("block", ["all", 0])
def test_a_word_is_text_on_the_page_whatever_it_is(block):
    tile = Image.new("RGB", (30, 20))
    attention = WordAttention(["<script>", '"&'], np.full((2, 2, 4, 4), 0.25))
    content = words_html(words_heard(tile, attention), block)
    assert "<script>" not in content and "&lt;script&gt;" in content and "&quot;&amp;" in content
    assert content.count("25%") == 2 and "50% went to no word" in content
    assert words_html(words_heard(tile, None), block) == ""
