"""What the scripts have in common: flags that are read exactly, and errors of one line."""

import argparse
import difflib
import gc
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXIT_AFTER_SIGINT = 130


class ArgumentParser(argparse.ArgumentParser):
    """
    Takes no beginning of a flag for the flag, and names the nearest one to an unknown one; --image-root is
    --image_root, as it is for Transformers' arguments. Where a command's defaults have
    `words_of_its_own`, these become the words that are no argument here, in their order, for what reads them itself.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{"allow_abbrev": False} | kwargs)

    def parse_args(self, args=None, namespace=None):
        namespace, unknown = self.parse_known_args(args, namespace)
        if "words_of_its_own" in namespace:
            namespace.words_of_its_own = unknown
        elif unknown:
            self.error(unknown_arguments(unknown, self._flags()))
        return namespace

    def parse_known_args(self, args=None, namespace=None):
        words = sys.argv[1:] if args is None else args
        flags = {_with_underscores(flag): flag for flag in self._flags() if flag.startswith("--")}
        return super().parse_known_args([_flag(word, flags) for word in words], namespace)

    def _flags(self) -> list[str]:
        commands = (action.choices for action in self._actions if isinstance(action, argparse._SubParsersAction))
        below = (flag for choices in commands for parser in choices.values() for flag in parser._flags())
        return [*self._option_string_actions, *below]


def _flag(word: str, flags: dict[str, str]) -> str:
    """A word of a command line; of a flag, however it is written, as it is known."""
    name, *value = word.split("=", 1)
    return "=".join([flags.get(_with_underscores(name), name), *value]) if word.startswith("--") else word


def _with_underscores(flag: str) -> str:
    return "--" + flag[2:].replace("-", "_")


def unknown_arguments(unknown: list[str], flags) -> str:
    """Says what of a command line nobody knows, each flag with the one of `flags` that it is most like."""
    words = []
    for word in unknown:
        like = difflib.get_close_matches(word.partition("=")[0], flags, n=1) if word.startswith("-") else []
        words.append(f"{word} (did you mean {like[0]}?)" if like else word)
    return f"unknown arguments: {' '.join(words)}"


def spell_out_what_cannot_be_shown():
    """Has characters that the terminal's encoding lacks written as \\u6708, where Python would end with an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def imports_without_pauses() -> Iterator[None]:
    """
    Around the imports of PyTorch and Transformers: they make a million objects that stay, through which Python
    would look again and again, and in every later collection, for what may go.
    """
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def run_as_program(main, name: str | None = None):
    """
    Runs `main` and ends the program where that fails: an error in one line with exit code 1, an interruption (Ctrl-C)
    with 130. The traceback is shown where Transformers logs at level debug (`TRANSFORMERS_VERBOSITY=debug`).

    Args:
        name: what the line begins with, by default the program's file.
    """
    spell_out_what_cannot_be_shown()
    try:
        main()
    except KeyboardInterrupt:
        _leave_progress_bars()
        print(f"{_name(name)}: interrupted", file=sys.stderr)
        sys.exit(EXIT_AFTER_SIGINT)
    except Exception as error:
        if logging.getLogger("transformers").getEffectiveLevel() <= logging.DEBUG:
            raise
        _leave_progress_bars()
        sys.exit(f"{_name(name)}: {error_text(error)}")


def run_command(docstring: str, add_arguments, run, name: str, argv: list[str] | None):
    """
    What a command's file does when it is called by itself, without `plvl`.

    Args:
        docstring: of the file; its first line is the description.
        add_arguments, run: the file's functions of these names.
        name: what an error begins with.
        argv: the words; None for those of the command line.
    """
    parser = ArgumentParser(description=docstring.splitlines()[0])
    add_arguments(parser)
    arguments = parser.parse_args(argv)
    run_as_program(lambda: run(arguments), name)


def show_progress():
    """What the project's modules say of their progress goes to stderr; of several processes, the first one's."""
    shown = logging.getLogger("plvl")
    shown.setLevel(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING)
    if not shown.handlers:
        shown.addHandler(logging.StreamHandler())


def error_text(error: Exception) -> str:
    """
    What an error says, in one line, but for a list whose lines begin with "- ". Kinds that are no complaint about what
    was given are named. Of an error in a data worker, what that worker said.
    """
    kind, text = type(error).__name__, str(error)
    if isinstance(error, OSError) and error.strerror and not error.filename:
        text = error.strerror  # without the number of the system
    if caught := re.match(r"Caught (\w+) in DataLoader worker process", text):
        # torch puts the worker's traceback before the error.
        kind = caught[1]
        text = re.split(rf"\n(?:\w+\.)*{kind}(?:: |$)", text)[-1]
    text = re.sub(r"\s*\n(?!- )\s*", " ", text.strip())
    if waited := re.search(r"Timed out waiting (\d+)ms", text):  # torch's, of the processes of a run on CPUs
        seconds = int(waited[1]) // 1000
        return f"another process did not answer within {seconds} seconds (ddp_timeout): it stands still, or is gone"
    if re.search(r"gloo.*(Connection closed|Connection reset|Broken pipe)", text):
        return "another process is gone: its connection was closed. What that process or its host says tells why"
    if isinstance(error, (ValueError, OSError)) or type(error).__module__.startswith("plvl."):
        return text
    return f"{kind}: {text} (TRANSFORMERS_VERBOSITY=debug shows where)"


def _leave_progress_bars():
    """The next line begins on a line of its own."""
    if "tqdm" in sys.modules:
        for bar in list(sys.modules["tqdm"].tqdm._instances):
            bar.close()


def _name(name: str | None) -> str:
    process = int(os.environ.get("RANK", 0))
    return (name or Path(sys.argv[0]).stem) + (f", process {process}" if process else "")
