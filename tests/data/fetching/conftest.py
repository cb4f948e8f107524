import errno
import os
import shutil
from pathlib import Path

import pytest

from fetched_sets import server_of_refcoco
from plvl.data.fetching import download


@pytest.fixture
def server(monkeypatch):
    with server_of_refcoco(monkeypatch) as server:
        yield server


@pytest.fixture
def other_disk(tmp_path, monkeypatch):
    """A folder as on a disk of its own: no file is renamed from there or to it."""
    disk = tmp_path / "other disk"
    disk.mkdir()

    def is_there(path):
        return Path(path).parent.resolve().is_relative_to(disk) or Path(path).resolve().is_relative_to(disk)

    def within_a_disk(rename):
        def checked(source, target, **options):
            if is_there(source) != is_there(target):
                raise OSError(errno.EXDEV, "Invalid cross-device link", str(source), None, str(target))
            return rename(source, target, **options)

        return checked

    for name in ("replace", "rename"):
        monkeypatch.setattr(os, name, within_a_disk(getattr(os, name)))
    monkeypatch.setattr(download, "on_one_disk", lambda *folders: is_there(folders[0]) == is_there(folders[1]))
    return disk


@pytest.fixture
def free(monkeypatch):
    """Sets how many bytes are free: by default, and in a folder and what is below it."""

    def has(default, folder=None, there=None):
        def usage(place):
            inside = folder is not None and Path(place).resolve().is_relative_to(folder)
            return shutil._ntuple_diskusage(10**12, 0, there if inside else default)

        monkeypatch.setattr(shutil, "disk_usage", usage)

    return has
