"""A zip goes into the layout, all of it or nothing, and nowhere else."""

import errno
import os
import shutil
import stat
import zipfile

import pytest

from plvl.data.fetching.unpacking import ArchiveError, move_file, unpack_images, unpack_labels

HOLDS = ("refs(unc).p", "instances.json")


@pytest.fixture
def make_zip(tmp_path):
    def make(entries, name="downloads/a.zip"):
        """{name or ZipInfo: content}."""
        (tmp_path / name).parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for entry, content in entries.items():
                archive.writestr(entry, content)
        return tmp_path / name

    return make


def files_below(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


LABELS = {"refcoco/": "", "refcoco/refs(unc).p": "r", "refcoco/refs(google).p": "g", "refcoco/instances.json": "i"}


def test_the_folder_that_has_what_is_asked_for_becomes_the_sets(make_zip, tmp_path):
    archive = make_zip(
        {f"data/{name}": text for name, text in LABELS.items()} | {"__MACOSX/refcoco/x": "", "r.txt": ""}
    )
    unpack_labels(archive, HOLDS, tmp_path / "labels/refcoco")
    assert files_below(tmp_path / "labels") == {
        "refcoco/refs(unc).p": "r",
        "refcoco/refs(google).p": "g",
        "refcoco/instances.json": "i",
    }
    assert [path.name for path in archive.parent.iterdir()] == ["a.zip"]


def test_what_lies_at_the_top_of_the_zip_is_found_and_what_was_there_stays(make_zip, tmp_path):
    folder = tmp_path / "labels/flickr30k"
    (folder / "Sentences").mkdir(parents=True)
    (folder / "Sentences/1.txt").write_text("mine")
    archive = make_zip({"Sentences/1.txt": "theirs", "Annotations/1.xml": "x", "read.me": "read"})
    unpack_labels(archive, ("Sentences", "Annotations"), folder)
    assert files_below(folder) == {"Sentences/1.txt": "mine", "Annotations/1.xml": "x", "read.me": "read"}


@pytest.mark.parametrize(
    "entries",
    [
        {"refcoco/refs(unc).p": "r"},
        {"a/refs(unc).p": "r", "b/instances.json": "i"},
        {"a/1.jpg": ""},
        LABELS | {f"old/{name}": text for name, text in LABELS.items()},
    ],
)
def test_a_zip_without_what_is_asked_for_leaves_nothing(make_zip, tmp_path, entries):
    archive = make_zip(entries)
    with pytest.raises(ArchiveError, match=r"a\.zip: refs\(unc\)\.p and instances\.json are expected.*there: "):
        unpack_labels(archive, HOLDS, tmp_path / "labels/refcoco")
    assert not (tmp_path / "labels").exists() and [path.name for path in archive.parent.iterdir()] == ["a.zip"]


def test_images_come_to_lie_in_one_folder_by_their_names(make_zip, tmp_path):
    entries = {"train2014/COCO_1.jpg": "1", "more/00/2.JPG": "2", "more/01/3.png": "3", "more/list.txt": "no image"}
    archive = make_zip(entries | {"__MACOSX/train2014/COCO_1.jpg": "x"})
    names = unpack_images(archive, tmp_path / "images/train2014")
    assert names == ["COCO_1.jpg", "2.JPG", "3.png"]
    assert files_below(tmp_path / "images") == {
        "train2014/COCO_1.jpg": "1",
        "train2014/2.JPG": "2",
        "train2014/3.png": "3",
    }
    assert [path.name for path in archive.parent.iterdir()] == ["a.zip"]


def test_images_join_those_that_are_there(make_zip, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "0.jpg").write_text("0")
    unpack_images(make_zip({"a/1.jpg": "1"}), folder)
    assert files_below(folder) == {"0.jpg": "0", "1.jpg": "1"}


def test_two_images_of_one_name_are_refused_by_name_and_nothing_is_unpacked(make_zip, tmp_path):
    archive = make_zip({"a/1.jpg": "1", "b/2.jpg": "2", "b/1.jpg": "another"})
    with pytest.raises(
        ArchiveError, match=r"two images are called 1\.jpg: a/1\.jpg and b/1\.jpg\. Nothing was unpacked"
    ):
        unpack_images(archive, tmp_path / "images")
    assert not (tmp_path / "images").exists()


def test_a_zip_without_images_is_refused(make_zip, tmp_path):
    with pytest.raises(ArchiveError, match="there are no images in it"):
        unpack_images(make_zip(LABELS), tmp_path / "images")


def link(name, target="/etc/passwd"):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return {entry: target}


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"refcoco/../../../escaped.jpg": "x"}, "leads out"),
        ({"../escaped.jpg": "x"}, "leads out"),
        ({"/escaped.jpg": "x"}, "leads out"),
        ({"refcoco\\..\\..\\escaped.jpg": "x"}, "leads out"),
        ({"C:\\escaped.jpg": "x"}, "leads out"),
        ({"C:escaped.jpg": "x"}, "leads out"),
        (link("refcoco/escaped.jpg"), "is a link or a device"),
        (link("refcoco", "/tmp"), "is a link or a device"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_zip_of_which_a_part_would_lie_elsewhere_is_refused_whole(make_zip, tmp_path, entry, why, first):
    archive = make_zip(entry | LABELS | {"1.jpg": ""} if first else LABELS | {"1.jpg": ""} | entry)
    before = sorted(tmp_path.rglob("*"))
    for unpack in (
        lambda: unpack_labels(archive, HOLDS, tmp_path / "labels/refcoco"),
        lambda: unpack_images(archive, tmp_path / "images"),
    ):
        with pytest.raises(ArchiveError, match=f"{why}.*Nothing was unpacked"):
            unpack()
    assert sorted(tmp_path.rglob("*")) == before


def test_an_encrypted_zip_is_refused(make_zip, tmp_path):
    archive = make_zip({"1.jpg": "x"})
    content = bytearray(archive.read_bytes())
    for header, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(header) + place] |= 1
    archive.write_bytes(content)
    with pytest.raises(ArchiveError, match=r"'1\.jpg' is encrypted"):
        unpack_images(archive, tmp_path / "images")


def test_a_zip_that_is_damaged_inside_leaves_nothing(make_zip, tmp_path):
    archive = make_zip({"1.jpg": "first", "2.jpg": "a" * 500})
    content = bytearray(archive.read_bytes())
    content[content.index(b"aaaa") + 100] ^= 1
    archive.write_bytes(content)
    with pytest.raises(ArchiveError, match=r"a\.zip is damaged \(Bad CRC-32 .*\)\. Nothing was unpacked: remove it"):
        unpack_images(archive, tmp_path / "images")
    assert not (tmp_path / "images").exists() and [path.name for path in archive.parent.iterdir()] == ["a.zip"]


def test_what_is_no_zip_is_refused(tmp_path):
    (tmp_path / "a.zip").write_text("<html>")
    with pytest.raises(ArchiveError, match=r"a\.zip is no zip, or cut short"):
        unpack_images(tmp_path / "a.zip", tmp_path / "images")


def test_a_disk_without_room_for_what_is_inside_is_told_before(make_zip, tmp_path, monkeypatch):
    archive = make_zip({"1.jpg": "a" * 3000, "2.jpg": "b" * 4000})
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(0, 0, 6999))
    with pytest.raises(OSError, match=r"a\.zip, to be unpacked, needs 7\.0 kB"):
        unpack_images(archive, tmp_path / "images")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(0, 0, 7000))
    unpack_images(archive, tmp_path / "images")


def test_a_disk_that_fills_up_leaves_nothing_but_the_zip(make_zip, tmp_path, monkeypatch):
    archive = make_zip({"1.jpg": "a" * 3000, "2.jpg": "b" * 4000})

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match=r"is full \(unpacking a\.zip\): make room"):
        unpack_images(archive, tmp_path / "images")
    assert not (tmp_path / "images").exists() and [path.name for path in archive.parent.iterdir()] == ["a.zip"]


def linked(tmp_path, name, target):
    target.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).symlink_to(target)
    return tmp_path / name


@pytest.mark.parametrize(
    ("link", "target"), [("images/train2014", "train2014"), ("images", "images"), ("images", "deep/er")]
)
def test_images_go_to_a_folder_that_is_on_another_disk(make_zip, tmp_path, other_disk, link, target):
    linked(tmp_path, link, other_disk / target)
    archive = make_zip({"a/1.jpg": "1", "b/2.jpg": "2"})
    unpack_images(archive, tmp_path / "images/train2014")
    assert files_below(tmp_path / "images/train2014") == {"1.jpg": "1", "2.jpg": "2"}
    place = (tmp_path / "images/train2014").resolve()
    assert sorted(path.name for path in place.iterdir()) == ["1.jpg", "2.jpg"]
    assert place == other_disk / target / ("" if link.endswith("2014") else "train2014")
    assert [path.name for path in place.parent.iterdir()] == ["train2014"] or place.parent == other_disk / "deep"
    assert [path.name for path in archive.parent.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("link", ["labels/refcoco", "labels"])
def test_labels_go_to_a_folder_that_is_on_another_disk(make_zip, tmp_path, other_disk, link):
    linked(tmp_path, link, other_disk / "there")
    unpack_labels(make_zip(LABELS), HOLDS, tmp_path / "labels/refcoco")
    assert files_below(tmp_path / "labels/refcoco") == {
        "refs(unc).p": "r",
        "refs(google).p": "g",
        "instances.json": "i",
    }
    assert {path.name for path in (other_disk / "there").rglob("*")} <= {
        "refcoco", "refs(unc).p", "refs(google).p", "instances.json"
    }  # fmt: skip


def test_a_folder_where_a_disk_is_mounted_is_unpacked_into(make_zip, tmp_path, other_disk):
    """Its parent is on another disk than it."""
    archive = make_zip({"a/1.jpg": "1"})
    unpack_images(archive, other_disk)
    assert files_below(other_disk) == {"1.jpg": "1"} and [path.name for path in other_disk.iterdir()] == ["1.jpg"]


def test_the_disk_that_a_zip_is_unpacked_on_is_asked_for_room(make_zip, tmp_path, other_disk, free):
    linked(tmp_path, "images", other_disk / "images")
    archive = make_zip({"1.jpg": "a" * 3000, "2.jpg": "b" * 4000})
    free(10**9, other_disk, 6999)
    with pytest.raises(
        OSError, match=r"to be unpacked, needs 7\.0 kB, and the disk of .*other disk.* has 7\.0 kB free"
    ):
        unpack_images(archive, tmp_path / "images/train2014")
    free(0, other_disk, 7000)
    unpack_images(archive, tmp_path / "images/train2014")
    assert len(files_below(other_disk / "images/train2014")) == 2


def test_a_link_to_a_disk_that_is_not_mounted_is_told_and_nothing_is_written(make_zip, tmp_path):
    (tmp_path / "images").symlink_to(tmp_path / "not mounted")
    before = sorted(path.name for path in tmp_path.iterdir())
    archive = make_zip({"1.jpg": "1"})
    with pytest.raises(
        FileNotFoundError, match=r"images is a link to .*not mounted, which is not there: mount its disk"
    ):
        unpack_images(archive, tmp_path / "images/train2014")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "downloads"])


@pytest.mark.parametrize("disk", ["other disk", "same"])
def test_a_file_is_moved_into_a_folder_of_any_disk(tmp_path, other_disk, disk):
    (tmp_path / "grefs.json").write_text("[1]")
    move_file(tmp_path / "grefs.json", tmp_path / disk / "labels/grefcoco")
    assert files_below(tmp_path / disk) == {"labels/grefcoco/grefs.json": "[1]"}
    assert not (tmp_path / "grefs.json").exists()


def test_a_file_that_another_disk_has_no_room_for_stays_and_is_not_there_by_half(tmp_path, other_disk, monkeypatch):
    (tmp_path / "grefs.json").write_text("[1]")

    def full(source, target):
        target.write_text("[")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match=r"is full \(copying grefs\.json\): make room"):
        move_file(tmp_path / "grefs.json", other_disk)
    assert files_below(other_disk) == {} and (tmp_path / "grefs.json").read_text() == "[1]"


def test_a_file_that_may_not_be_moved_is_not_copied(tmp_path, monkeypatch):
    (tmp_path / "grefs.json").write_text("[1]")

    def denied(source, target):
        raise PermissionError(errno.EACCES, "Permission denied", str(source))

    monkeypatch.setattr(os, "replace", denied)
    with pytest.raises(PermissionError):
        move_file(tmp_path / "grefs.json", tmp_path / "labels")
    assert files_below(tmp_path) == {"grefs.json": "[1]"}
