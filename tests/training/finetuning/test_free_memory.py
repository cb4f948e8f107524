"""What is free goes by the machine and by each control group that the process is in."""

from types import SimpleNamespace

import pytest

from plvl.training.finetuning import free_memory as module
from plvl.training.finetuning.free_memory import free_memory

V1 = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
V2 = "memory.max", "memory.current", "inactive_file"
UNLIMITED = {V1: 9223372036854771712, V2: "max"}


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """A machine of which 5,000 bytes are free; sets the process's groups and writes groups."""
    own = tmp_path / "own"
    monkeypatch.setattr(module, "_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(module, "_OWN_GROUPS", own)
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: SimpleNamespace(available=5000))

    def write(version, folder, limit, taken=0, files=0):
        place = tmp_path / "cgroup" / ("memory" if version is V1 else "") / folder
        place.mkdir(parents=True, exist_ok=True)
        for name, value in zip(version, (limit, taken), strict=False):
            (place / name).write_text(f"{value}\n")
        (place / "memory.stat").write_text(f"anon 7\n{version[2]} {files}\nslab 9\n")

    return SimpleNamespace(own=lambda *lines: own.write_text("".join(f"{line}\n" for line in lines)), write=write)


@pytest.mark.parametrize(("version", "line"), [(V1, "4:cpu,memory:/a/b"), (V2, "0::/a/b")])
def test_it_is_the_least_that_any_group_above_the_process_has_left(groups, version, line):
    groups.own("9:name=systemd:/x", line, "1:cpu:/y")
    groups.write(version, "", UNLIMITED[version])
    groups.write(version, "a", UNLIMITED[version])
    groups.write(version, "a/b", UNLIMITED[version])
    assert free_memory() == 5000
    groups.write(version, "a", 4000, taken=1000)
    assert free_memory() == 3000
    groups.write(version, "a/b", 3000, taken=700, files=200)
    assert free_memory() == 2500, "what files are kept in is given up when there is need"
    groups.write(version, "", 2600, taken=3000)
    assert free_memory() == 0


@pytest.mark.parametrize(("version", "line"), [(V1, "4:memory:/docker/of-the-host"), (V2, "0::/docker/of-the-host")])
def test_in_a_container_its_own_group_is_the_root(groups, version, line):
    groups.own(line)
    groups.write(version, "", 2000, taken=500)
    assert free_memory() == 1500


def test_a_machine_with_more_groups_than_memory_goes_by_its_memory(groups):
    groups.own("0::/", "5:cpuset:/")
    groups.write(V2, "", 9000)
    groups.write(V1, "", 1)
    assert free_memory() == 5000


def test_where_there_are_no_groups_it_is_what_the_machine_has(groups):
    assert free_memory() == 5000


def test_on_this_machine_it_can_be_read():
    assert free_memory() > 0
