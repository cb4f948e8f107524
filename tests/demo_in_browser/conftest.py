"""`plvl demo` as a person starts it, with a small model that answers at random, and a page of it in Chromium."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from conftest import EXPRESSIONS
from plvl.checkpoints import CARRIED_CHECKPOINTS, default_checkpoint
from plvl.modeling_plvl import PLVLModel
from plvl.processing import PLVLImageProcessor, PLVLProcessor
from plvl.processing.word_vocabulary import build_word_vocabulary
from plvl.scripts.demo_page.answers import answer_and_explain
from plvl.scripts.demo_page.examples import read_examples
from plvl.scripts.model_loading import load_chosen_model
from small_runs import random_model

PATIENCE = 60  # seconds, for a machine that does other things too
CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,1400",
)
EXAMPLES = {"bright.png": EXPRESSIONS[:2], "dark.png": EXPRESSIONS[1:]}


def noise(seed: int, shade: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 100, (40, 60, 3), dtype=np.uint8)
    return Image.fromarray(values + np.uint8(shade))


@dataclass
class Demo:
    """A running demo: its address, the folder of its model, and the model in this process."""

    url: str
    folder: Path
    model: PLVLModel
    processor: PLVLProcessor

    def drawing_of(self, image: Image.Image, expression: str) -> np.ndarray:
        """What the page should show."""
        return np.array(answer_and_explain(self.model, self.processor, image, expression).drawing)

    def example(self, name: str) -> Image.Image:
        return Image.open(self.folder / "examples" / name)


@contextmanager
def served(folder: Path | None, **environment):
    """`plvl demo` with the model of a folder, or with the one that it uses by itself: its process and its address."""
    command = [str(Path(sys.executable).with_name("plvl")), "demo"]
    command += [] if folder is None else ["--model", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | environment) as process:
        line = process.stdout.readline()
        assert line.startswith("the demo is at http://127.0.0.1:"), line
        yield process, line.split()[4]
        process.terminate()


@pytest.fixture(scope="session")
def serve():
    return served


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    model = random_model()
    model.save_pretrained(folder)
    image_processor = PLVLImageProcessor(size={"height": 64, "width": 64})
    PLVLProcessor(image_processor, build_word_vocabulary(EXPRESSIONS, vocab_size=99)).save_pretrained(folder)
    (folder / "examples").mkdir()
    for number, name in enumerate(EXAMPLES):
        noise(number, shade=150 * (1 - number)).save(folder / "examples" / name)
    entries = [{"image": name, "expressions": expressions} for name, expressions in EXAMPLES.items()]
    (folder / "examples" / "examples.json").write_text(json.dumps(entries))

    with served(folder) as (_, url):
        yield Demo(url, folder, *load_chosen_model(folder, attn_implementation="eager"))


@pytest.fixture
def default_demo():
    """The demo without `--model`: of a carried checkpoint."""
    folder = CARRIED_CHECKPOINTS[default_checkpoint()]
    with served(None) as (_, url):
        yield Demo(url, folder, *load_chosen_model(folder, attn_implementation="eager"))


@pytest.fixture
def browser(tmp_path):
    """Chromium through its driver, both as the system has them: nothing is downloaded."""
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    assert all(programs.values()), f"apt-get install chromium chromium-driver: {programs}"
    options = webdriver.ChromeOptions()
    options.binary_location = programs["chromium"]
    for flag in (*CHROMIUM_FLAGS, f"--user-data-dir={tmp_path / 'chromium'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(programs["chromedriver"]))
    yield driver
    driver.quit()


class Page:
    """The demo's page, by what a person sees and does there."""

    def __init__(self, driver, url: str):
        self.driver, self.url = driver, url
        driver.get(url)

    def wait(self, condition, what: str):
        return WebDriverWait(self.driver, PATIENCE, poll_frequency=0.1).until(lambda _: condition(), what)

    def all(self, selector: str) -> list:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str):
        return self.wait(lambda: next(iter(self.all(selector)), None), f"{selector} is not on the page")

    def source(self, place: str) -> str | None:
        """The address of the image at a place of the page."""
        return self.driver.execute_script("return document.querySelector(arguments[0])?.src", f"{place} img")

    def bring(self, file: Path):
        """Chooses a file as the image, and waits until the page has it."""
        self.one("#image input[type=file]").send_keys(str(file))
        self.wait(lambda: (self.source("#image") or "").endswith(file.name), "the image is not there")

    def image(self, place: str) -> np.ndarray | None:
        """The pixels of the image at a place of the page."""
        source = self.source(place)
        if source is None:
            return None
        with urlopen(source) as response:
            return np.array(Image.open(BytesIO(response.read())).convert("RGB"))

    def wait_for_drawing(self, expected: np.ndarray):
        self.wait(lambda: np.array_equal(self.image("#drawing"), expected), "the drawing is not the one expected")

    def say(self, expression: str):
        field = self.one("#expression textarea, #expression input")
        field.clear()
        field.send_keys(expression)
        return field

    def words(self) -> list[str]:
        return [caption.text for caption in self.all("#words figcaption b")]

    def tiles(self) -> list[str]:
        return [tile.get_attribute("src") for tile in self.all("#words img")]

    def toasts(self) -> list[str]:
        """What the page says of its own accord, over all else."""
        return [toast.text for toast in self.all(".toast-body")]

    def sees(self, place: str) -> bool:
        """Whether a person sees the middle of a place, and its lower end, without scrolling."""
        return self.driver.execute_script(
            "const {top, bottom} = document.querySelector(arguments[0]).getBoundingClientRect();"
            "return (top + bottom) / 2 >= 0 && bottom <= innerHeight + 1",
            place,
        )

    def requested_hosts(self) -> set[str]:
        """Whom the page asked for anything, from its first request on."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]
        # Chromium's own empty first page comes from chrome://.
        return {urlsplit(url).netloc for url in urls if urlsplit(url).scheme in ("http", "https", "ws", "wss")}

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.fixture
def default_page(default_demo, browser):
    page = Page(browser, default_demo.url)
    example = read_examples(default_demo.folder)[0]
    page.wait_for_drawing(default_demo.drawing_of(Image.open(example.image), example.expressions[0]))
    return page


@pytest.fixture
def page(demo, browser):
    page = Page(browser, demo.url)
    page.wait_for_drawing(demo.drawing_of(demo.example("bright.png"), EXAMPLES["bright.png"][0]))
    return page
