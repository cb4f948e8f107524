"""Single images of COCO: each is whole or not there, and what fails is told at the end."""

import errno
import threading
from pathlib import Path

import pytest

from breaking_server import cut_after, page
from fetched_sets import COCO, coco_name, jpeg
from plvl.data.fetching import coco_images
from plvl.data.fetching.coco_images import fetch_images
from plvl.data.fetching.download import FetchError
from plvl.data.fetching.sources import coco_address

WANTED = {coco_name(number): (30 + number, 40) for number in (1, 2, 3)}


def address(number):
    return f"{COCO}/train2014/{coco_name(number)}"


def test_each_image_comes_whole(server, tmp_path):
    server.breaks[address(2)] = [503, cut_after(200)]
    fetch_images(WANTED, tmp_path / "images")
    found = {path.name: path.read_bytes() for path in (tmp_path / "images").iterdir()}
    assert found == {coco_name(number): jpeg(number) for number in (1, 2, 3)}


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ([404], "404 Client Error: Not Found"),
        ([page], r"what it gives is no image \(\d+ bytes\)"),
        ([503] * 9, "503 Server Error"),
        ([lambda handler, content: handler.answer(jpeg(5))], "the image has 40 x 35 pixels, its labels say 40 x 32"),
        ([lambda handler, content: handler.answer(content[:20])], "what it gives is no image"),
    ],
)
def test_what_fails_is_named_and_the_others_are_there(server, tmp_path, broken, complaint):
    server.breaks[address(2)] = broken
    with pytest.raises(
        FetchError, match=rf"^1 images could not be fetched, such as:\n- http.*{coco_name(2)}: {complaint}"
    ):
        fetch_images(WANTED, tmp_path / "images")
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == [coco_name(1), coco_name(3)]


def test_where_nothing_comes_the_rest_is_not_asked_for(server, tmp_path, monkeypatch):
    monkeypatch.setattr(coco_images, "MOST_FAILURES", 2)
    monkeypatch.setattr(coco_images, "AT_ONCE", 1)
    server.files.clear()
    with pytest.raises(
        FetchError, match=r"^9 images could not be fetched.*\n.*\n- .*\n- by hand: put them into .*images"
    ):
        fetch_images({coco_name(number): (30, 40) for number in range(9)}, tmp_path / "images")
    assert len(server.asked) == 2


@pytest.mark.parametrize("name", ["refshapes_1.jpg", "../COCO_train2014_000000000001.jpg", "COCO_train2014_/../1.jpg"])
def test_a_name_that_is_none_of_cocos_is_not_asked_for(server, tmp_path, name):
    with pytest.raises(FetchError, match="this is no name of an image of COCO"):
        fetch_images({name: (31, 40)}, tmp_path / "images")
    assert server.asked == []


def test_a_full_disk_ends_it_at_once(server, tmp_path, monkeypatch):
    monkeypatch.setattr(coco_images, "AT_ONCE", 1)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"the disk of .* is full"):
        fetch_images({coco_name(number): (30 + number, 40) for number in range(1, 7)}, tmp_path / "images")
    assert len(server.asked) < 6


def test_several_are_on_their_way_at_once(server, tmp_path):
    together = threading.Barrier(3, timeout=20)

    def wait(handler, content):
        together.wait()
        handler.answer(content)

    for number in (1, 2, 3):
        server.breaks[address(number)] = [wait]
    fetch_images(WANTED, tmp_path / "images")
    assert len(server.asked) == 3


def test_an_image_is_where_its_year_is():
    assert coco_address(coco_name(9)) == f"http://images.cocodataset.org/train2014/{coco_name(9)}"
    assert coco_address("COCO_val2014_000000000009.jpg").endswith("/val2014/COCO_val2014_000000000009.jpg")
    assert coco_address("000000000009.jpg") is None
