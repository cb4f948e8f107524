"""Single images of COCO, where a set needs few of those in the zip."""

import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from PIL import Image
from tqdm.auto import tqdm

from plvl.data.fetching import download
from plvl.data.fetching.disk import room_running_out
from plvl.data.fetching.download import FetchError
from plvl.data.fetching.sources import coco_address

AT_ONCE = 8
ATTEMPTS = 3
MOST_FAILURES = 20  # after so many there is no use in asking for the rest
_NAMED = 5


def fetch_images(images: dict[str, tuple[int, int]], folder: Path) -> None:
    """Have all of `images`, {name: (height, width)}, in `folder`; each appears there when it is whole.

    Raises:
        FetchError: some could not be fetched; the others are there, and another call fetches what is missing.
        OSError: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    failed: dict[str, str] = {}

    def fetch(name):
        if len(failed) < MOST_FAILURES:
            try:
                _fetch_one(session, name, images[name], folder)
            except (requests.RequestException, ValueError) as error:
                failed[name] = f"{coco_address(name) or name}: {download.in_short(error)}"

    with (
        requests.Session() as session,
        ThreadPoolExecutor(AT_ONCE) as pool,
        tqdm(total=len(images), unit="image", desc="images of COCO") as progress,
    ):
        session.headers.update(download.HEADERS)
        # An error ends the iteration, and with it the rest is not begun.
        for _ in pool.map(fetch, images):
            progress.update()
    if failed:
        _report(failed, images, folder)


def _fetch_one(session, name, size, folder):
    address = coco_address(name)
    if address is None or Path(name).name != name:
        raise ValueError("this is no name of an image of COCO")
    content = _content_of(session, address)
    part = folder / f".{name}.part"
    with room_running_out(folder, name):
        part.write_bytes(content)
    try:
        with Image.open(part) as image:
            found = image.height, image.width
    except OSError as error:
        part.unlink()
        raise ValueError(f"what it gives is no image ({len(content)} bytes)") from error
    if found != size:
        part.unlink()
        raise ValueError(f"the image has {found[1]} x {found[0]} pixels, its labels say {size[1]} x {size[0]}")
    os.replace(part, folder / name)


def _content_of(session, address):
    attempt = 0
    while True:
        attempt += 1
        try:
            response = session.get(address, timeout=download.SECONDS)
            response.raise_for_status()
            return response.content
        except requests.RequestException as error:
            answered = error.response is not None and error.response.status_code not in download.MAY_PASS
            if answered or attempt == ATTEMPTS:
                raise
            time.sleep(download.FIRST_PAUSE * attempt)


def _report(failed: dict[str, str], images: Iterable[str], folder: Path) -> None:
    missing = [name for name in images if not (folder / name).is_file()]
    reasons = "\n".join(f"- {reason}" for reason in list(failed.values())[:_NAMED])
    raise FetchError(
        f"{len(missing)} images could not be fetched, such as:\n{reasons}\n- by hand: put them into {folder}, or "
        f"train2014.zip into the folder downloads of the root, and run the command again. What came is there"
    )
