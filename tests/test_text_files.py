"""Text is read and written as UTF-8, whatever the machine's locale."""

import ast
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Methods of Path; `open` besides, unless its mode is of bytes.
TEXT_METHODS = ("read_text", "write_text")


def modules() -> list[Path]:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    folders = [line.partition("=")[2].strip() for line in setup["options"]["package_dir"].split("\n") if line]
    return [file for folder in folders for file in (ROOT / folder).glob("*.py")]


def without_encoding(source: str) -> list[ast.Call]:
    """Calls that open a file of text and leave its encoding to the machine."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [call for call in calls if _opens_text(call) and "encoding" not in {each.arg for each in call.keywords}]


def _opens_text(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Attribute):
        # `open` is also a method of images, archives and file systems; of a Path where its mode is a word.
        return call.func.attr in TEXT_METHODS
    if not isinstance(call.func, ast.Name) or call.func.id != "open":
        return False
    modes = [*call.args[1:2], *(each.value for each in call.keywords if each.arg == "mode")]
    return not any(isinstance(mode, ast.Constant) and "b" in mode.value for mode in modes)


def test_every_file_of_text_names_its_encoding():
    found = {
        f"{file.relative_to(ROOT)}:{call.lineno}"
        for file in modules()
        for call in without_encoding(file.read_text(encoding="utf-8"))
    }
    assert sorted(found) == []


def test_calls_without_encoding_are_found():
    lines = ["open(a)", 'open(a, "rb")', "a.read_text()", 'a.write_text(b, encoding="utf-8")', 'open(a, mode="w")']
    assert [call.lineno for call in without_encoding("\n".join(lines))] == [1, 3, 5]
