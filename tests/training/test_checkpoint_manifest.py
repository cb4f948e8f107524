"""What a checkpoint's manifest notices."""

import pytest

from plvl.training.checkpoint_manifest import deviation_from_manifest, write_manifest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "model.safetensors").write_bytes(bytes(range(1, 200)) * 40)
    (tmp_path / "inner/rng_state_1.pth").write_bytes(b"random")
    write_manifest(tmp_path)
    return tmp_path


def test_a_folder_as_it_was_written_deviates_in_nothing(folder):
    (folder / "notes.txt").write_text("of a person, later")
    write_manifest(folder)
    (folder / "more.txt").write_text("after that")
    assert deviation_from_manifest(folder) is None


def zeros_inside(file):
    content = file.read_bytes()
    file.write_bytes(content[:500] + bytes(100) + content[600:])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "inner/rng_state_1.pth").unlink(), "inner/rng_state_1.pth is missing"),
        (
            lambda folder: (folder / "inner/rng_state_1.pth").write_bytes(b"rando"),
            "has 5 bytes and was written with 6",
        ),
        (lambda folder: zeros_inside(folder / "model.safetensors"), "model.safetensors has other content"),
        (lambda folder: (folder / "manifest.json").write_text('{"model'), "manifest.json cannot be read"),
        (lambda folder: (folder / "manifest.json").write_text('{"model.safetensors": 1}'), "manifest.json cannot be"),
    ],
    ids=["missing", "shorter", "zeros inside", "manifest cut", "manifest of another form"],
)
def test_what_is_lost_or_changed_is_named(folder, damage, said):
    damage(folder)
    assert said in deviation_from_manifest(folder)
