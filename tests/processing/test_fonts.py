"""Expressions in any script are written with a font that has it, where there is one."""

import subprocess

import pytest
from PIL import ImageFont

from plvl.processing import fonts
from plvl.processing.fonts import font_for


@pytest.fixture(autouse=True)
def forget():
    fonts._candidates.cache_clear()
    fonts._say_what_is_lacking.cache_clear()


def test_latin_is_written_with_pillows_own_font_and_nobody_is_asked(monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)
    assert font_for("the cup on the left", 20).getname() == ImageFont.load_default(20).getname()


def test_a_script_that_it_lacks_is_written_with_a_font_that_the_system_names(monkeypatch):
    asked = []

    def fc_list(command, **options):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="/nowhere/x.ttf: \n/somewhere/greek.ttf: \n")

    class Greek:
        def getmask(self, character):
            return ImageFont.load_default(20).getmask("g" if character != "\U0010fffe" else "-")

    def truetype(name, size):
        if name != "/somewhere/greek.ttf":
            raise OSError(name)
        return Greek()

    monkeypatch.setattr(subprocess, "run", fc_list)
    lacking = "\u4e00"
    with monkeypatch.context() as patch:
        own = ImageFont.load_default(20)
        patch.setattr(ImageFont, "truetype", truetype)
        patch.setattr(ImageFont, "load_default", lambda size: own)
        assert isinstance(font_for(f"the {lacking}", 20), Greek)
    assert asked == [["fc-list", ":charset=4e00", "file"]]


def test_where_there_is_none_the_log_says_once_what_is_lacking(monkeypatch, caplog):
    monkeypatch.setattr(fonts, "_candidates", lambda characters: ("/nowhere.ttf",))
    for _ in range(2):
        font_for("the \u4e00", 20)
    assert caplog.text.count("no font on this system has '\u4e00'") == 1
