import re
from configparser import ConfigParser
from pathlib import Path

import pytest

from plvl.scripts import extras

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("extra", ["demo", "deploy", "onnx"])
def test_what_an_extra_needs_is_installed_by_its_own_name(extra):
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    needed = setup["options.extras_require"][extra].split()
    assert extras.pip_install(extra) == "pip install " + " ".join(f"'{each}'" for each in needed)


def test_only_what_the_extra_asks_for_is_installed(monkeypatch):
    lines = ["torch>=2.11", 'gradio>=6.31; extra == "demo"', "onnx; extra == 'onnx'", 'selenium; extra == "demo-test"']
    monkeypatch.setattr(extras, "requires", lambda name: lines)
    assert extras.pip_install("demo") == "pip install 'gradio>=6.31'"


def test_nobody_is_sent_to_a_package_index_for_the_project():
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("scripts/**/*.py"), ROOT / "Makefile"]
    assert [file for file in files if re.search(r"install[^\n]*plvl\[", file.read_text(encoding="utf-8"))] == []
