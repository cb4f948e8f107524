"""What a machine lacks is named, and wheels that were carried there fill it."""

import subprocess
import sys
import zipfile

import pytest

from gpu_check.carried_wheels import install_wheels, missing_packages


def write_distribution(folder, name, version, needs=()):
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Requires-Dist: {need}" for need in needs),
    ]
    (info / "METADATA").write_text("\n".join(lines) + "\n")


def write_wheel(folder, name, version):
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        wheel.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: not-there-either\n",
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


def test_what_is_not_there_or_too_old_is_missing_and_so_is_what_the_others_need(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    needs = [
        "needed-and-absent>=3",
        'for-windows; sys_platform == "win32"',
        'for-extra; extra == "extra"',
        "old-one>=9",
    ]
    write_distribution(tmp_path, "whole_one", "2.0", needs)
    write_distribution(tmp_path, "old_one", "1.0")
    setup = tmp_path / "setup.cfg"
    setup.write_text("[options]\ninstall_requires =\n    absent-one>=1.5\n    old-one>=1.2\n    whole-one>=2\n")
    assert missing_packages(setup) == ["absent-one>=1.5", "needed-and-absent>=3", "old-one>=1.2 (there is 1.0)"]


def test_wheels_are_installed_without_an_index_and_without_what_they_need(tmp_path):
    write_wheel(tmp_path / "wheels", "carried_one", "0.3")
    folder = install_wheels(str(tmp_path / "wheels"), tmp_path / "installed")
    found = subprocess.run(
        [sys.executable, "-c", "import carried_one; print(carried_one.VERSION)"],
        env={"PYTHONPATH": folder},
        capture_output=True,
        text=True,
    )
    assert found.stdout == "0.3\n"


def test_a_folder_without_wheels_and_a_wheel_that_is_none_are_refused(tmp_path):
    with pytest.raises(SystemExit, match="empty: no .whl files"):
        install_wheels(str(tmp_path / "empty"), tmp_path / "installed")
    (tmp_path / "broken-1-py3-none-any.whl").write_text("no wheel")
    with pytest.raises(SystemExit, match="pip could not install"):
        install_wheels(str(tmp_path), tmp_path / "installed")
