"""One file from the first of several addresses that gives it whole.

It grows as <file>.part, beside which <file>.part.json says what it is a part of, and takes its name when it is whole:
of the length that the server said, and of its kind. A run that was stopped goes on where it was, if the server still
has the same file and can send the rest.
"""

import html
import json
import os
import re
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import requests
from tqdm.auto import tqdm

from plvl.data.fetching.disk import on_one_disk, require_room, room_running_out

SECONDS = (10, 60)  # to connect, and without a byte
# Of attempts in a row that bring nothing: where something has come before, and where nothing has.
ATTEMPTS, ATTEMPTS_AT_FIRST = 5, 2
FIRST_PAUSE = 1.0
BLOCK = 1 << 14  # what of one has come when a connection is cut is lost
HEADERS = {"Accept-Encoding": "identity", "User-Agent": "plvl-data (research data set download)"}
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
MAY_PASS = (408, 429, 500, 502, 503, 504)


class FetchError(OSError):
    """What could not be fetched, with each address and what it gave."""


class RefusedError(Exception):
    """An address that does not give the file: another may."""


class _InterruptedError(Exception):
    """An attempt that failed on its way: the next may not."""


def fetch_file(addresses: Sequence[str], file: Path, goes_to: Path | None = None) -> None:
    """Have `file`, which may be there already, from a run before or brought by hand.

    Args:
        addresses: where it may be had, the first that gives it; one of which a part is there comes before the others.
        file: which is to be there.
        goes_to: the folder that it is unpacked or moved to afterwards; its disk, too, is asked for room.

    Raises:
        FetchError: no address gives it, or what is there is not of its kind.
        OSError: the disk has no room for it.
    """
    if file.is_file():
        if wrong := what_is_wrong(file, file.suffix):
            raise FetchError(f"{file} {wrong}: remove it, or put the right one in its place")
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    # What has come is gone on with: for an address of other bytes it would be thrown away.
    begun = _read_note(_note_of(file)).get("address") if _part_of(file).exists() else None
    tried = []
    for address in sorted(addresses, key=lambda address: address != begun):
        try:
            _fetch_from(address, file, goes_to or file.parent)
            return
        except RefusedError as error:
            tried.append(f"- {address}: {error}")
    raise FetchError(
        f"{file.name} could not be fetched:\n" + "\n".join(tried) + f"\n- by hand: put it at {file} "
        "(from another machine, a mirror or a colleague) and run the command again"
    )


def what_is_wrong(file: Path, suffix: str) -> str | None:
    """Why a file is not what its suffix says (.zip, .json, .txt), or None."""
    with open(file, "rb") as opened:
        start = opened.read(4096)
        opened.seek(max(0, file.stat().st_size - 64))
        end = opened.read().rstrip()
    if not start:
        return "is empty"
    if start.lstrip()[:1] == b"<":
        return f"is {_web_page(start)}"
    if suffix == ".json" and not (start.lstrip().startswith((b"[", b"{")) and end.endswith((b"]", b"}"))):
        return "is no JSON, or cut short"
    if suffix == ".zip":
        try:
            zipfile.ZipFile(file).close()
        except zipfile.BadZipFile as error:
            return f"is no zip, or cut short ({error})"
    return None


def _fetch_from(address, file, goes_to):
    part, note = _part_of(file), _note_of(file)
    found = furthest = _usable_size(address, part, note)
    failures = 0
    while True:
        try:
            length = _receive(address, part, note, file.name, goes_to)
            if length is not None and _size_of(part) != length:
                raise _InterruptedError(f"the connection ended after {_size_of(part)} of {length} bytes")
            break
        except (_InterruptedError, requests.RequestException) as error:
            size = _usable_size(address, part, note)
            if size < found:  # by an earlier run, of what the server has no more
                found = furthest = 0
            failures = 1 if size > furthest else failures + 1
            furthest = max(furthest, size)
            if failures >= (ATTEMPTS if furthest else ATTEMPTS_AT_FIRST):
                raise RefusedError(in_short(error)) from error
            time.sleep(FIRST_PAUSE * 2 ** (failures - 1))
    if wrong := what_is_wrong(part, file.suffix):
        part.unlink()
        note.unlink(missing_ok=True)
        raise RefusedError(f"what it gives {wrong}")
    os.replace(part, file)
    note.unlink(missing_ok=True)


def _receive(address, part, note, name, goes_to):
    """Receives what is missing of a part, or all of it; gives the length of the whole, None where it is not said."""
    before = _read_note(note)
    have = _usable_size(address, part, note)
    if have and have == before["length"]:
        return have
    headers = dict(HEADERS)
    if have:
        headers["Range"] = f"bytes={have}-"
        if before["validator"]:
            headers["If-Range"] = before["validator"]
    with requests.get(address, headers=headers, stream=True, timeout=SECONDS) as response:
        if response.status_code == 416 and have:
            part.unlink()
            raise _InterruptedError(f"the server has less than the {have} bytes that are there; begun again")
        if response.status_code in MAY_PASS:
            raise _InterruptedError(f"{response.status_code} {response.reason}")
        if response.status_code not in (200, 206):
            raise RefusedError(f"{response.status_code} {response.reason}")
        length = _length_of(response)
        if response.status_code == 206:
            said = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            length = int(said[2]) if said else None
            if not said or int(said[1]) != have or length != before["length"]:
                part.unlink(missing_ok=True)
                raise _InterruptedError("the server sends another part than was asked for; begun again")
        else:
            have = 0
            if response.headers.get("Content-Type", "").startswith("text/html"):
                raise RefusedError(f"what it gives is {_web_page(next(response.iter_content(4096), b''))}")
        _require_room(part, length or 0, name, goes_to)
        if not have:
            part.unlink(missing_ok=True)  # before the note says that it is of this address
        _note_what_comes(note, address, response, length)
        with (
            room_running_out(part.parent, name),
            part.open("ab") as opened,
            tqdm(total=length, initial=have, unit="B", unit_scale=True, desc=name) as progress,
        ):
            for block in response.iter_content(BLOCK):
                opened.write(block)
                progress.update(len(block))
    return length


def _require_room(part, length, name, goes_to):
    is_zip = name.endswith(".zip")
    left = max(length - _size_of(part), 0)  # what a part has that is begun again will be free
    if not on_one_disk(goes_to, part.parent):
        require_room(part.parent, left, f"{name}, to be fetched,")
        require_room(goes_to, length, f"{name}, to be {'unpacked' if is_zip else 'copied'},")
        return
    # As much again when it is unpacked, at least.
    require_room(part.parent, left + length * is_zip, f"{name}, to be fetched{' and unpacked' * is_zip},")


def _web_page(start: bytes) -> str:
    """What a page is called, which often says why it came."""
    title = re.search(r"<title[^>]*>(.*?)</title>", start.decode("utf-8", "replace"), re.S | re.I)
    return "a web page" + (f" ({' '.join(html.unescape(title[1]).split())[:100]})" if title else "")


def _length_of(response):
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _note_what_comes(note, address, response, length):
    tag = response.headers.get("ETag", "")
    validator = tag if tag.startswith('"') else response.headers.get("Last-Modified")
    said = {"address": address, "length": length, "validator": validator}
    note.write_text(json.dumps(said), encoding="utf-8")


def _read_note(note):
    try:
        return json.loads(note.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}


def _usable_size(address, part, note):
    """What has come of a file from this address; a part of which the length was not said cannot be gone on with."""
    before = _read_note(note)
    return _size_of(part) if before.get("address") == address and before.get("length") else 0


def _part_of(file):
    return file.with_name(f"{file.name}.part")


def _note_of(file):
    return file.with_name(f"{file.name}.part.json")


def _size_of(file):
    return file.stat().st_size if file.exists() else 0


def in_short(error):
    """Without the connections and objects that requests names around the reason."""
    reason = getattr(error.args[0], "reason", error) if error.args else error
    return re.sub(r"^<.*?>: |^\w+\(.*?\): ", "", str(reason))[:300]
