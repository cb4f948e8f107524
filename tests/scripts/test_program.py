"""What all scripts have in common: exact flags, and errors of one line."""

import logging
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from plvl.scripts.program import ArgumentParser, error_text, run_as_program

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def parser():
    parser = ArgumentParser(prog="plvl")
    parser.add_argument("--label_root")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("draw").add_argument("--columns", type=int)
    return parser


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("--label_roo=there", "unknown arguments: --label_roo=there (did you mean --label_root?)"),
        ("draw --colums=3", "unknown arguments: --colums=3 (did you mean --columns?)"),
        ("draw --zzz", "unknown arguments: --zzz"),
    ],
)
def test_a_flag_that_is_only_nearly_one_is_refused_with_the_one_that_is_meant(parser, capsys, line, complaint):
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(line.split())
    assert ended.value.code == 2
    assert capsys.readouterr().err.strip().endswith(complaint)


def test_every_script_reads_its_flags_exactly():
    own = {"program.py"}
    for script in SCRIPTS.rglob("*.py"):
        assert script.name in own or "argparse.ArgumentParser(" not in script.read_text(encoding="utf-8"), script


def ended_by(error: BaseException):
    def main():
        raise error

    with pytest.raises(SystemExit) as ended:
        run_as_program(main)
    return ended.value.code


def test_an_error_is_one_line_and_an_interruption_another(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/somewhere/scripts/visualize_augmentation.py"])
    assert ended_by(ValueError("no row\n   has a box")) == "visualize_augmentation: no row has a box"
    assert (
        ended_by(FileNotFoundError(2, "No such file", "a.json"))
        == "visualize_augmentation: [Errno 2] No such file: 'a.json'"
    )
    assert ended_by(KeyError("bbox")).startswith("visualize_augmentation: KeyError: 'bbox' (")
    assert ended_by(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "visualize_augmentation: interrupted\n"
    monkeypatch.setenv("RANK", "1")
    assert ended_by(ValueError("no row")) == "visualize_augmentation, process 1: no row"


def test_the_traceback_is_shown_at_level_debug(monkeypatch):
    def main():
        raise ValueError("no row")

    monkeypatch.setattr(logging.getLogger("transformers"), "level", logging.DEBUG)
    with pytest.raises(ValueError, match="no row"):
        run_as_program(main)


class Broken(torch.utils.data.Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, place):
        raise ValueError("labels.json, entry 3: no box\nat all")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            "[pair.cc:561] gloo/transport/tcp: Connection closed by peer [10.0.0.7]:13706. GLHF!",
            "another process is gone: its connection was closed. What that process or its host says tells why",
        ),
        (
            "[unbound_buffer.cc:81] Timed out waiting 8000ms for recv operation to complete",
            "another process did not answer within 8 seconds (ddp_timeout): it stands still, or is gone",
        ),
        ("a book is closed", "RuntimeError: a book is closed (TRANSFORMERS_VERBOSITY=debug shows where)"),
    ],
)
def test_what_becomes_of_another_process_is_told_in_words(error, said):
    assert error_text(RuntimeError(error)) == said


def test_an_error_in_a_data_worker_is_told_as_it_was_there():
    with pytest.raises(ValueError) as raised:
        list(DataLoader(Broken(), num_workers=1))
    assert error_text(raised.value) == "labels.json, entry 3: no box at all"
