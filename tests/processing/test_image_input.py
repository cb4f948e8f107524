"""A file gives one image, whoever reads it."""

import base64
import struct
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from threading import Thread
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from transformers import pipeline

from odd_exif import odd_exif
from plvl.data.image_files import open_image
from plvl.processing import image_input
from plvl.processing.image_input import read_image
from plvl.processing.image_url import read_url
from plvl.scripts.image_inputs import read_named_image

SHAPE = (30, 50)


def pixels():
    return np.random.default_rng(0).integers(1, 255, (*SHAPE, 3), dtype=np.uint8)


def oriented(image):
    """As a camera held upright writes it: lying, with a note to turn it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return image.rotate(90, expand=True), {"exif": exif}


GREY = pixels()[..., 0]
# name: (image as stored, options of its saving, the RGB image that it is)
KINDS = {
    "16 bits": (Image.fromarray(GREY.astype(np.uint16) * 257), {}, GREY),
    "float of 0 to 1": (Image.fromarray(GREY.astype(np.float32) / 255), {"format": "tiff"}, GREY),
    "float of 0 to 255": (Image.fromarray(GREY.astype(np.float32)), {"format": "tiff"}, GREY),
    "EXIF orientation": (*oriented(Image.fromarray(pixels())), pixels()),
    "palette": (Image.fromarray(GREY // 64).convert("P"), {"transparency": 1}, GREY // 64),
    "grey and alpha": (Image.merge("LA", [Image.fromarray(GREY)] * 2), {}, GREY),
    "black and white": (Image.fromarray(GREY > 90), {}, (GREY > 90) * np.uint8(255)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_entrance_gives_the_same_image(kind, processor, model_folder, tmp_path):
    stored, options, expected = KINDS[kind]
    path = tmp_path / ("image.tiff" if options.get("format") == "tiff" else "image.png")
    stored.save(path, **options)
    expected = Image.fromarray(expected).convert("RGB")
    ways = {
        "loader": open_image({"path": str(path)}),
        "command": read_named_image(path),
        "path": read_image(str(path)).convert("RGB"),
        "PIL": read_image(Image.open(path)).convert("RGB"),
    }
    for way, image in ways.items():
        assert np.array_equal(np.asarray(image), np.asarray(expected)), way
    wanted = processor(images=expected, return_tensors="pt")["pixel_values"]
    for given in (path, str(path), Image.open(path)):
        assert torch.equal(processor(images=given, return_tensors="pt")["pixel_values"], wanted)
    pipe = pipeline("visual-grounding", model=str(model_folder), device="cpu")
    assert torch.equal(pipe.preprocess({"image": path, "text": "a cup"})["pixel_values"], wanted)


DEPTHS = [np.uint8, lambda values: values.astype(np.uint16) * 257, lambda values: values.astype(np.float32) / 255]


@pytest.mark.parametrize("scale", DEPTHS)
@pytest.mark.parametrize("make", [np.asarray, lambda values: torch.from_numpy(values).permute(2, 0, 1)])
def test_arrays_and_tensors_of_any_depth_are_the_image(processor, scale, make):
    wanted = processor(images=Image.fromarray(pixels()), return_tensors="pt")["pixel_values"]
    given = processor(images=make(scale(pixels())), return_tensors="pt")["pixel_values"]
    # Of bytes, resizing gives bytes.
    torch.testing.assert_close(given, wanted, atol=0.02, rtol=0)


def text_of(file):
    return base64.b64encode(file.read_bytes()).decode()


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("format", ["png", "jpeg"])
def test_damaged_exif_changes_nothing_but_that_it_is_left_out(orientation, format, tmp_path):
    file, sound = tmp_path / "odd.file", tmp_path / f"sound.{format}"
    Image.fromarray(pixels()).save(file, format, exif=odd_exif(orientation))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels()).save(sound, format, exif=exif)
    if 2 <= orientation <= 8:
        with pytest.raises(struct.error):
            ImageOps.exif_transpose(Image.open(file))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(sound)))
    ways = {
        "loader": open_image({"path": str(file)}),
        "bytes": open_image({"path": None, "bytes": file.read_bytes()}),
        "path": read_image(file),
        "PIL": read_image(Image.open(file)),
        "base64": read_image(text_of(file)),
        "data": read_image(f"data:image/{format};base64,{text_of(file)}"),
    }
    for way, image in ways.items():
        assert np.array_equal(np.asarray(image), expected), way
        assert np.array_equal(np.asarray(read_image(image)), expected), f"{way}: turned once more"


def test_an_orientation_that_cannot_be_read_is_none(tmp_path):
    notes = PngInfo()
    notes.add_text("Raw profile type exif", "\nexif\n 10\nno numbers")
    Image.fromarray(pixels()).save(tmp_path / "image.png", pnginfo=notes)
    with pytest.raises(ValueError, match="non-hexadecimal"):
        Image.open(tmp_path / "image.png").getexif()
    for image in (read_image(tmp_path / "image.png"), open_image({"path": str(tmp_path / "image.png")})):
        assert np.array_equal(np.asarray(image), pixels())


def test_xmp_turns_an_image_as_exif_does_and_once(tmp_path):
    Image.fromarray(pixels()).save(tmp_path / "image.jpg", xmp=b'<x tiff:Orientation="6">', quality=95)
    image = read_image(tmp_path / "image.jpg")
    assert image.size == read_image(image).size == SHAPE


def test_text_is_an_image_by_what_it_says_in_base64_or_an_error_that_lists_what_it_may_be(tmp_path):
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / "image.png")
    assert np.array_equal(np.asarray(read_image(text_of(tmp_path / "image.png"))), GREY)
    for text in ("nowhere.png", "data:image/png;base64,aGVsbG8=", "\udcff"):
        with pytest.raises(ValueError, match="Must be a valid URL starting with .* or a base64 encoded string"):
            read_image(text)
    (tmp_path / "half.png").write_bytes((tmp_path / "image.png").read_bytes()[:-300])
    with pytest.raises(ValueError, match="the image in base64 cannot be read: "):
        read_image(text_of(tmp_path / "half.png"))


def test_no_images_are_an_error_and_not_the_end_of_an_iteration(processor):
    with pytest.raises(ValueError, match="the list of images is empty"):
        list(map(processor.image_processor, [[]]))


def test_what_is_no_image_is_named(tmp_path):
    (tmp_path / "page.png").write_text("<html>")
    (tmp_path / "photo.heic").write_text("none")
    with pytest.raises(ValueError, match=r"page\.png is no image that can be read$"):
        read_image(tmp_path / "page.png")
    with pytest.raises(ValueError, match=r"photo\.heic is no image that can be read: `pip install pillow-heif`"):
        read_image(tmp_path / "photo.heic")
    with pytest.raises(ValueError, match="nowhere.png cannot be read: .*No such file"):
        read_image(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match="an image must be a path, .* got int"):
        read_image(7)


def test_heic_is_read_where_pillow_heif_is_installed(monkeypatch):
    registered = []
    module = ModuleType("pillow_heif")
    module.register_heif_opener = lambda: registered.append(True)
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: module)
    source = image_input.__spec__.loader.get_code(image_input.__name__)
    exec(source, {"__name__": "again"})
    assert registered == [True]


@pytest.fixture
def server():
    """A loopback server whose paths say how it answers; gives its address."""
    image = BytesIO()
    Image.fromarray(pixels()).save(image, "png")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(404 if self.path == "/missing" else 200)
            self.send_header("Content-Type", "text/html" if self.path == "/page" else "image/png")
            self.end_headers()
            blocks = {
                "/image": [image.getvalue()],
                "/page": [b"<html>no image</html>"],
                "/endless": [bytes(1 << 20)] * 300,
            }
            for block in blocks.get(self.path, [b"."] * 100):
                try:
                    self.wfile.write(block)
                except OSError:
                    return
                if self.path == "/drips":
                    time.sleep(0.1)

        def log_message(self, *args):
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.daemon_threads = True
    Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()


def test_a_url_gives_the_image_and_what_is_none_is_said(server):
    assert np.array_equal(np.asarray(read_image(f"{server}/image")), pixels())
    with pytest.raises(ValueError, match=r"/page \(text/html, 21 bytes\) is no image that can be read"):
        read_image(f"{server}/page")
    with pytest.raises(ValueError, match="/missing: .*Not Found"):
        read_image(f"{server}/missing")


def test_a_url_is_read_no_longer_and_no_more_of_it_than_allowed(server):
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"/drips: not read whole in 0\.5 s"):
        read_image(f"{server}/drips", timeout=0.5)
    assert time.monotonic() - start < 5
    with pytest.raises(ValueError, match="/endless: more than 2 MB"):
        read_url(f"{server}/endless", most_bytes=2 << 20)
