import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from conftest import EXPRESSIONS
from PIL import Image
from selenium.webdriver.common.keys import Keys

from plvl.processing.word_attention import WordAttention
from plvl.scripts.demo_page.answers import DemoAnswer
from plvl.scripts.demo_page.page import words_html


def test_the_page_opens_with_an_answered_example_and_asks_nobody_else(page, demo):
    # The fixture waited for the drawing of the first example.
    assert "point with words" in page.one("h1").text
    assert page.one("#expression textarea, #expression input").get_attribute("value") == EXPRESSIONS[0]
    assert len(page.all("#pictures_to_try button img")) == 2
    assert page.image("#centre").shape == (320, 480, 3)
    assert page.words() == EXPRESSIONS[0].split()
    assert page.requested_hosts() == {urlsplit(demo.url).netloc}
    assert page.complaints() == []
    links = [link.get_attribute("href") for link in page.all("a[href]")]
    assert all(link.startswith(demo.url) for link in links), links


def test_an_example_is_chosen_another_expression_typed_and_each_time_the_drawing_changes(page, demo):
    page.all("#pictures_to_try button")[1].click()
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


def test_ones_own_picture_is_answered(page, demo, tmp_path):
    assert page.one("#expressions_to_try").is_displayed()
    own = Image.fromarray(np.random.default_rng(9).integers(0, 256, (50, 50, 3), dtype=np.uint8))
    own.save(tmp_path / "own.png")
    page.one("#picture input[type=file]").send_keys(str(tmp_path / "own.png"))
    page.wait(lambda: np.array_equal(page.image("#picture"), np.array(own)), "the picture is not there")
    page.wait(
        lambda: not any(shown.is_displayed() for shown in page.all("#expressions_to_try")),
        "what is asked about an example is offered for another picture",
    )
    page.say("the red square")
    page.one("#find").click()
    page.wait_for_drawing(demo.drawing_of(own, "the red square"))


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
    page.wait(
        lambda: any("Say what to find" in toast.text for toast in page.all(".toast-body")), "there is no warning"
    )
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
        (folder / "brought.png").write_bytes(b"a visitor's picture")
        process.terminate()
        assert process.wait(60) == 0
    assert not folder.exists()


@pytest.mark.parametrize("block", ["all", 0])
def test_a_word_is_text_on_the_page_whatever_it_is(block):
    tile = Image.new("RGB", (30, 20))
    attention = WordAttention(["<script>", '"&'], np.full((2, 2, 4, 4), 0.25))
    content = words_html(DemoAnswer(tile, tile, attention, tile), block)
    assert "<script>" not in content and "&lt;script&gt;" in content and "&quot;&amp;" in content
    assert content.count("25%") == 2 and "50% went to no word" in content
    assert words_html(None, block) == "" == words_html(DemoAnswer(tile, None, None, tile), block)
