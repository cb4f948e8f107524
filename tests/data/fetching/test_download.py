"""A file is there whole or not at all, whatever servers do."""

import errno
import hashlib
import io
import json
import shutil
import zipfile

import pytest

from breaking_server import PAGE, breaking_server, cut_after, page, without_ranges
from plvl.data.fetching import disk, download
from plvl.data.fetching.download import FetchError, fetch_file

FIRST, SECOND = "first.org/data/a.zip", "second.org/mirror/a.zip"


def zip_of(content, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, text in content.items():
            archive.writestr(name, text)
    return file.getvalue()


ZIP = zip_of({"a.txt": "7" * 5000, "b/c.txt": "8" * 3000})


@pytest.fixture
def server(monkeypatch):
    with breaking_server(monkeypatch) as server:
        server.files[FIRST] = server.files[SECOND] = ZIP
        yield server


@pytest.fixture
def fetch(server, tmp_path):
    """Fetches a.zip from both addresses; gives what is then there."""

    def fetch(*addresses, name="a.zip"):
        file = tmp_path / "downloads" / name
        fetch_file([f"{server.url}/{address}" for address in addresses or (FIRST, SECOND)], file)
        assert sorted(path.name for path in file.parent.iterdir()) == [name], "something is left beside it"
        return file.read_bytes()

    return fetch


def test_the_first_address_is_asked_first_and_the_mirror_where_it_has_nothing(server, fetch):
    assert fetch() == ZIP
    assert server.asked == [(FIRST, None)]


@pytest.mark.parametrize("status", [404, 403, 410])
def test_what_a_server_does_not_have_is_asked_of_the_mirror_at_once(server, fetch, status):
    server.breaks[FIRST] = [status] * 9
    assert fetch() == ZIP
    assert [address for address, _ in server.asked] == [FIRST, SECOND]


def test_a_server_that_is_busy_is_asked_again(server, fetch):
    server.breaks[FIRST] = [503]
    assert fetch() == ZIP
    assert [address for address, _ in server.asked] == [FIRST, FIRST]


def test_a_connection_that_is_cut_goes_on_from_there(server, fetch):
    server.breaks[FIRST] = [cut_after(1000), cut_after(500), cut_after(2000)]
    assert fetch() == ZIP
    assert server.asked == [(FIRST, None), (FIRST, "bytes=1000-"), (FIRST, "bytes=1500-"), (FIRST, "bytes=3500-")]


def test_a_connection_that_is_cut_again_and_again_but_brings_something_is_not_given_up(server, fetch):
    server.breaks[FIRST] = [cut_after(100)] * (4 * download.ATTEMPTS)
    assert fetch(FIRST) == ZIP


def test_a_server_that_brings_nothing_more_is_given_up_for_the_mirror(server, fetch):
    server.breaks[FIRST] = [cut_after(1000)] + [cut_after(0)] * 50
    assert fetch() == ZIP
    assert [address for address, _ in server.asked] == [FIRST] * (1 + download.ATTEMPTS - 1) + [SECOND]


def test_a_server_that_begins_again_each_time_and_never_ends_is_given_up(server, fetch):
    def cut(handler, content):
        handler.answer(content, sent=2000)

    server.breaks[FIRST] = [cut] * 50
    assert fetch() == ZIP
    assert len(server.asked) == download.ATTEMPTS + 1


def interrupted(server, tmp_path, number):
    """Where a run leaves its part when the connection is gone for good."""
    server.breaks[FIRST] = [cut_after(number)] + [cut_after(0)] * 50
    with pytest.raises(FetchError):
        fetch_file([f"{server.url}/{FIRST}"], tmp_path / "downloads/a.zip")
    server.breaks.clear()
    server.asked.clear()
    part = tmp_path / "downloads/a.zip.part"
    assert part.stat().st_size == number and not (tmp_path / "downloads/a.zip").exists()
    return part


def test_the_next_run_goes_on_where_the_last_was_stopped(server, fetch, tmp_path):
    interrupted(server, tmp_path, 4000)
    assert fetch(FIRST) == ZIP
    assert server.asked == [(FIRST, "bytes=4000-")]


def test_a_server_that_knows_no_range_begins_again(server, fetch, tmp_path):
    interrupted(server, tmp_path, 4000)
    server.breaks[FIRST] = [without_ranges]
    assert fetch(FIRST) == ZIP


def test_a_file_that_has_changed_on_the_server_begins_again(server, fetch, tmp_path):
    interrupted(server, tmp_path, 4000)
    server.files[FIRST] = zip_of({"a.txt": "9" * 6000})
    assert fetch(FIRST) == server.files[FIRST]


@pytest.mark.parametrize("length", [len(ZIP) + 50, len(ZIP) - 50])
def test_a_range_of_another_file_is_not_glued_on(server, fetch, tmp_path, length):
    """As of a server that gives no ETag, and whose file has another length."""
    part = interrupted(server, tmp_path, 4000)
    note = part.with_name("a.zip.part.json")
    note.write_text(json.dumps(json.loads(note.read_text()) | {"length": length, "validator": None}))
    assert fetch(FIRST) == ZIP
    assert server.asked == [(FIRST, "bytes=4000-"), (FIRST, None)]


def test_a_range_that_begins_elsewhere_is_not_glued_on(server, fetch, tmp_path):
    interrupted(server, tmp_path, 4000)

    def elsewhere(handler, content):
        where = f"bytes 4100-{len(content) - 1}/{len(content)}"
        handler.answer(content[4100:], 206, {"Content-Range": where})

    server.breaks[FIRST] = [elsewhere]
    assert fetch(FIRST) == ZIP


def test_a_part_that_is_longer_than_the_servers_file_begins_again(server, fetch, tmp_path):
    part = interrupted(server, tmp_path, 4000)
    part.write_bytes(b"7" * (len(ZIP) + 1))
    server.breaks[FIRST] = [416]
    assert fetch(FIRST) == ZIP
    assert server.asked == [(FIRST, f"bytes={len(ZIP) + 1}-"), (FIRST, None)]


def test_a_part_that_is_whole_is_not_asked_for(server, fetch, tmp_path):
    part = interrupted(server, tmp_path, 4000)
    part.write_bytes(ZIP)
    assert fetch() == ZIP
    assert server.asked == []


def test_a_part_from_another_address_begins_again(server, fetch, tmp_path):
    interrupted(server, tmp_path, 4000)
    assert fetch(SECOND) == ZIP
    assert server.asked == [(SECOND, None)]


def test_what_came_from_a_mirror_is_gone_on_with_although_the_first_address_is_there_again(server, fetch, tmp_path):
    server.breaks = {FIRST: [404] * 9, SECOND: [cut_after(6000)] + [cut_after(0)] * 50}
    with pytest.raises(FetchError):
        fetch()
    server.breaks.clear()
    server.asked.clear()
    assert fetch() == ZIP
    assert server.asked == [(SECOND, "bytes=6000-")]


def test_where_a_mirror_that_began_is_gone_the_first_address_begins_again(server, fetch, tmp_path):
    server.breaks = {FIRST: [404] * 9, SECOND: [cut_after(6000)] + [cut_after(0)] * 50}
    with pytest.raises(FetchError):
        fetch()
    server.breaks = {SECOND: [404] * 9}
    server.asked.clear()
    assert fetch() == ZIP
    assert server.asked == [(SECOND, "bytes=6000-"), (FIRST, None)]


def test_what_one_address_brought_does_not_count_against_another(server, fetch):
    """The mirror loses each connection after 100 bytes, and is not given up before it has as many as the first."""
    server.breaks = {FIRST: [cut_after(6000)] + [cut_after(0)] * 50, SECOND: [503] + [cut_after(100)] * 30}
    assert fetch() == ZIP
    assert server.asked[-2:] == [(SECOND, "bytes=2900-"), (SECOND, "bytes=3000-")]


def test_what_came_of_a_file_that_has_changed_since_does_not_count_against_the_new_one(server, fetch, tmp_path):
    interrupted(server, tmp_path, 4000)
    server.files[FIRST] = zip_of({"a.txt": "9" * 6000})
    server.breaks[FIRST] = [changed_and_cut(300)] + [cut_after(100)] * 20
    assert fetch(FIRST) == server.files[FIRST]


def changed_and_cut(number):
    """The whole file, whatever range is asked for, and the connection ends after so many bytes."""

    def cut(handler, content):
        handler.answer(content, headers={"ETag": f'"{hashlib.sha1(content).hexdigest()}"'}, sent=number)

    return cut


def test_where_there_is_no_room_to_begin_again_a_part_is_not_taken_for_one_of_the_new_file(
    server, fetch, tmp_path, monkeypatch
):
    old = server.files[FIRST]
    interrupted(server, tmp_path, 4000)
    server.files[FIRST] = zip_of({"a.txt": "9" * 6000})
    with monkeypatch.context() as patched, pytest.raises(OSError, match=r"has 9 bytes free"):
        patched.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10**6, 10**6, 9))
        fetch(FIRST)
    assert (tmp_path / "downloads/a.zip.part").read_bytes() == old[:4000]
    assert fetch(FIRST) == server.files[FIRST]


def test_a_part_that_is_begun_again_makes_room_for_itself(server, fetch, tmp_path, free):
    interrupted(server, tmp_path, 4000)
    free(2 * len(ZIP) - 4000)
    assert fetch(SECOND) == ZIP


def test_a_page_in_the_place_of_a_zip_is_refused_in_words(server, fetch, tmp_path):
    server.breaks[FIRST] = [page]
    assert fetch() == ZIP
    (tmp_path / "downloads/a.zip").unlink()
    server.breaks[FIRST] = [page]
    with pytest.raises(FetchError, match=r"- http.*first\.org.*: what it gives is a web page \(503 & moved\)\n"):
        fetch(FIRST)
    assert list((tmp_path / "downloads").iterdir()) == []


def test_a_page_that_says_it_is_a_zip_is_refused_too_and_leaves_nothing(server, fetch, tmp_path):
    server.files[FIRST] = PAGE
    with pytest.raises(FetchError, match=r"what it gives is a web page \(503 & moved\)"):
        fetch(FIRST)
    assert list((tmp_path / "downloads").iterdir()) == []


def test_a_page_does_not_cost_what_came_before(server, fetch, tmp_path):
    interrupted(server, tmp_path, 4000)
    server.breaks[FIRST] = [page]
    with pytest.raises(FetchError):
        fetch(FIRST)
    assert fetch(FIRST) == ZIP
    assert server.asked[-1] == (FIRST, "bytes=4000-")


@pytest.mark.parametrize("length", ["3000", None])
def test_a_server_that_says_a_wrong_length_or_none_gives_no_half_zip(server, fetch, length):
    """It sends 3,000 bytes and means them to be all."""

    def too_little(handler, content):
        handler.answer(content[:3000], headers={"Content-Length": length})

    server.breaks[FIRST] = [too_little]
    assert fetch() == ZIP
    assert [address for address, _ in server.asked] == [FIRST, SECOND]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.json", b'[{"ref_id": 1}, {"ref_', "is no JSON, or cut short"),
        ("a.json", b"hello]", "is no JSON, or cut short"),
        ("a.txt", PAGE, "is a web page"),
        ("a.zip", b"", "is empty"),
        ("a.zip", ZIP[:-30], r"is no zip, or cut short \(File is not a zip file\)"),
    ],
)
def test_what_is_not_of_its_kind_is_refused(server, fetch, tmp_path, name, content, complaint):
    server.files[FIRST] = content
    with pytest.raises(FetchError, match=complaint):
        fetch(FIRST, name=name)
    (tmp_path / "downloads" / name).write_bytes(content)
    with pytest.raises(FetchError, match=rf"downloads/{name} {complaint}.*: remove it, or put the right one"):
        fetch(FIRST, name=name)


@pytest.mark.parametrize(("name", "content"), [("a.json", b'\n[{"id": 1}]\n'), ("b.txt", b"36979\n1000092795\n")])
def test_json_and_text_are_taken(server, fetch, name, content):
    server.files[FIRST] = content
    assert fetch(FIRST, name=name) == content


def test_a_file_that_was_brought_by_hand_is_taken(server, fetch, tmp_path):
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads/a.zip").write_bytes(ZIP)
    assert fetch() == ZIP and server.asked == []


def test_without_a_network_each_address_is_named_with_its_reason_and_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "FIRST_PAUSE", 0.001)
    addresses = ["http://127.0.0.1:9/a.zip", "https://no-such-host.invalid/b/a.zip"]
    with pytest.raises(FetchError) as raised:
        fetch_file(addresses, tmp_path / "downloads/a.zip")
    lines = str(raised.value).split("\n")
    assert lines[0] == "a.zip could not be fetched:" and len(lines) == 4
    assert lines[1].startswith("- http://127.0.0.1:9/a.zip: ") and "refused" in lines[1]
    assert lines[2].startswith("- https://no-such-host.invalid/b/a.zip: ") and "resol" in lines[2]
    assert lines[3].startswith(f"- by hand: put it at {tmp_path / 'downloads/a.zip'} ")
    assert " object at 0x" not in str(raised.value) and "HTTPConnectionPool" not in str(raised.value)


def test_a_disk_without_room_is_told_before_anything_is_written(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10**6, 10**6 - 9000, 9000))
    with pytest.raises(OSError, match=r"a\.zip, to be fetched and unpacked, needs 16\.4 kB, and .* has 9\.0 kB free"):
        fetch_file([f"{server.url}/{FIRST}", f"{server.url}/{SECOND}"], tmp_path / "downloads/a.zip")
    assert list((tmp_path / "downloads").iterdir()) == []
    assert len(server.asked) == 1, "a mirror would not make room"


def test_each_disk_is_asked_for_what_comes_to_it(server, tmp_path, other_disk, free):
    def fetch_zip():
        fetch_file([f"{server.url}/{FIRST}"], tmp_path / "downloads/a.zip", other_disk / "images")

    free(len(ZIP) - 1, other_disk, 10**9)
    with pytest.raises(OSError, match=r"a\.zip, to be fetched, needs 8\.2 kB, and the disk of .*downloads has"):
        fetch_zip()
    free(10**9, other_disk, len(ZIP) - 1)
    with pytest.raises(OSError, match=r"a\.zip, to be unpacked, needs 8\.2 kB, and the disk of .*other disk has"):
        fetch_zip()
    free(len(ZIP), other_disk, len(ZIP))
    fetch_zip()


def test_a_folder_that_is_to_come_is_on_the_disk_of_the_one_above_it(tmp_path):
    assert disk.on_one_disk(tmp_path / "labels/refcoco", tmp_path / "images")
    (tmp_path / "images").symlink_to("/dev")
    assert not disk.on_one_disk(tmp_path / "labels/refcoco", tmp_path / "images/mscoco/images")


def test_a_file_that_will_be_copied_to_another_disk_needs_room_there_and_one_that_is_moved_does_not(
    server, tmp_path, other_disk, free
):
    free(10**9, other_disk, 100)
    with pytest.raises(OSError, match=r"a\.txt, to be copied, needs "):
        fetch_file([f"{server.url}/{FIRST}"], tmp_path / "downloads/a.txt", other_disk / "labels")
    free(len(ZIP))
    fetch_file([f"{server.url}/{FIRST}"], tmp_path / "downloads/a.txt", tmp_path / "labels")


def test_what_is_left_of_a_download_is_what_the_disk_is_asked_for(server, fetch, tmp_path, monkeypatch):
    interrupted(server, tmp_path, 4000)
    needed = len(ZIP) - 4000 + len(ZIP)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10**6, 0, needed))
    assert fetch() == ZIP


def test_a_disk_that_is_full_all_the_same_keeps_what_came(server, fetch, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    server.breaks[FIRST] = [cut_after(4000)]
    monkeypatch.setattr(
        download.tqdm, "update", lambda self, n: full() if self.n + n > 4000 else setattr(self, "n", n)
    )
    with pytest.raises(OSError, match=r"is full \(a\.zip\): make room\. What is there stays"):
        fetch_file([f"{server.url}/{FIRST}"], tmp_path / "downloads/a.zip")
    monkeypatch.undo()
    assert (tmp_path / "downloads/a.zip.part").stat().st_size >= 4000
    assert fetch() == ZIP


def test_bytes_are_said_as_a_person_reads_them():
    assert [disk.in_words(size) for size in (13.5e9, 2e6, 1500, 12)] == ["13.5 GB", "2.0 MB", "1.5 kB", "12 bytes"]
