"""Folders that scripts write appear whole or not at all, and where they cannot be written that is said first."""

import os

import pytest

from plvl.scripts.atomic_directory import (
    RECORD,
    atomic_directory,
    record_files,
    require_new_folder,
    require_own_folder,
)
from plvl.scripts.output_place import output_named, require_writable_folder


def contents(folder):
    return {
        file.relative_to(folder).as_posix(): file.read_text(encoding="utf-8")
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_a_folder_gets_its_name_when_it_is_whole(tmp_path):
    with atomic_directory(tmp_path / "a" / "model") as folder:
        (folder / "config.json").write_text("{}")
        assert not (tmp_path / "a" / "model").exists()
    assert contents(tmp_path) == {"a/model/config.json": "{}"}


def test_a_folder_that_fails_is_gone_and_what_it_was_to_replace_stays(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("old")
    with pytest.raises(ValueError, match="no weights"), atomic_directory(tmp_path / "model", replace=True) as folder:
        (folder / "new").write_text("new")
        raise ValueError("no weights")
    assert contents(tmp_path) == {"model/old": "old"}


def test_a_folder_is_replaced_only_where_it_is_asked_for(tmp_path):
    (tmp_path / "model" / "in").mkdir(parents=True)
    (tmp_path / "model" / "in" / "old").write_text("old")
    with pytest.raises(FileExistsError, match="model is not an empty folder"), atomic_directory(tmp_path / "model"):
        raise AssertionError("the block was entered")
    with atomic_directory(tmp_path / "model", replace=True) as folder:
        (folder / "new").write_text("new")
    assert contents(tmp_path) == {"model/new": "new"}
    assert [each.name for each in tmp_path.iterdir()] == ["model"]


def test_the_old_folder_comes_back_where_the_new_one_cannot_take_its_name(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("old")
    rename = type(tmp_path).rename

    def fail(path, target):
        if path.name == "new":
            raise OSError("the disk is gone")
        return rename(path, target)

    monkeypatch.setattr(type(tmp_path), "rename", fail)
    with pytest.raises(OSError, match="the disk is gone"), atomic_directory(tmp_path / "model", replace=True):
        pass
    assert contents(tmp_path) == {"model/old": "old"}


def test_a_recorded_folder_is_its_own_until_something_is_added_or_changed(tmp_path):
    require_own_folder(tmp_path / "new")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("a")
    with pytest.raises(FileExistsError, match="is not an empty folder"):
        require_own_folder(tmp_path)
    record_files(tmp_path)
    require_own_folder(tmp_path)
    (tmp_path / "in" / "a").write_text("b")
    (tmp_path / "c").write_text("c")
    with pytest.raises(FileExistsError, match=r"holds what was not written there, or was changed: c, in/a$"):
        require_own_folder(tmp_path)


@pytest.mark.parametrize("record", ["{", "[1]"])
def test_a_damaged_record_vouches_for_nothing(tmp_path, record):
    (tmp_path / "a").write_text("a")
    (tmp_path / RECORD).write_text(record)
    with pytest.raises(FileExistsError, match="changed: a$"):
        require_own_folder(tmp_path)


def test_a_place_that_is_none_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    for output in (tmp_path / "file", tmp_path / "file" / "below" / "it"):
        for require in (require_writable_folder, require_new_folder):
            with pytest.raises(NotADirectoryError, match="file is a file, and a folder is to be written$"):
                require(output)
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(PermissionError, match=f"^{tmp_path} cannot be written into$"):
        require_writable_folder(tmp_path / "new" / "model")
    require_writable_folder(tmp_path.parent / "other")


def test_an_error_of_writing_names_the_output_unless_it_names_a_file(tmp_path):
    with pytest.raises(OSError, match=r"^\[Errno 28\] No space left on device: 'out'$"), output_named("out"):
        raise OSError(28, "No space left on device")
    with pytest.raises(FileNotFoundError, match=r"'image\.jpg'$"), output_named("out"):
        raise FileNotFoundError(2, "No such file or directory", "image.jpg")
    with pytest.raises(OSError, match="^it is gone$"), output_named("out"):
        raise OSError("it is gone")
