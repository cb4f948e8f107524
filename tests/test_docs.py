"""docs/architecture.md speaks of what is there."""

import re
from configparser import ConfigParser
from pathlib import Path

import plvl

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
QUOTED = set(re.findall(r"`([^`\n]+)`", PAGE))


def folders_of_packages() -> list[str]:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return [line.partition("=")[2].strip() for line in setup["options"]["package_dir"].split("\n") if line]


def test_every_file_and_folder_on_the_architecture_page_exists():
    paths = {quoted for quoted in QUOTED if re.fullmatch(r"[\w.+-]+/[\w.+/-]*|[\w-]+\.(cfg|md|py|yaml)", quoted)}
    assert len(paths) > 50
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_every_room_is_on_the_architecture_page():
    rooms = {folder.partition("/")[0] for folder in folders_of_packages()}
    assert [room for room in sorted(rooms) if f"`{room}/`" not in PAGE] == []


def test_the_citation_is_of_this_version():
    assert f"\nversion: {plvl.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
