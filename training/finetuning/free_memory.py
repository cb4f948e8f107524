"""Memory that a process on a CPU may still take: of the machine's, and of what its container is allowed."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

_GROUPS, _OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# Of Linux's control groups, second version and first: what is allowed, what is taken, and of this, by memory.stat,
# what files are kept in, which is given up when there is need.
_FILES = {
    "v2": ("memory.max", "memory.current", "inactive_file"),
    "v1": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def free_memory() -> int:
    """In bytes."""
    return min([psutil.virtual_memory().available, *_left_in_groups()])


def _left_in_groups() -> Iterator[int]:
    if not _OWN_GROUPS.is_file():  # no Linux
        return
    for line in _OWN_GROUPS.read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, files = _GROUPS, _FILES["v2"]
        elif "memory" in controllers.split(","):
            root, files = _GROUPS / "memory", _FILES["v1"]
        else:
            continue
        # What a group is allowed is for all groups in it. In a container the path may be the host's, of which only the
        # container's own group is there, as the root.
        group = PurePosixPath(path.lstrip("/"))
        for folder in (group, *group.parents):
            left = _left_in(root / folder, *files)
            if left is not None:
                yield left


def _left_in(group: Path, limit: str, taken: str, kept: str) -> int | None:
    if not (group / limit).is_file():
        return None
    allowed = (group / limit).read_text(encoding="utf-8").strip()
    if allowed == "max":
        return None
    statistics = dict(line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
    used = int((group / taken).read_text(encoding="utf-8")) - int(statistics[kept])
    return max(int(allowed) - used, 0)
