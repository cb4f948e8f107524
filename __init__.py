"""Imported where a clone is called plvl and a script beside it imports that: the package is the folder within."""

from pathlib import Path

if __name__ == "plvl":
    __path__ = [str(Path(__file__).parent / "plvl"), str(Path(__file__).parent)]
    from plvl.plvl import __all__, __dir__, __getattr__, __version__  # noqa: F401
