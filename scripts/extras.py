"""What an optional part of the project needs."""

from importlib.metadata import requires

from packaging.requirements import Requirement


def pip_install(extra: str) -> str:
    """
    The command that installs what an extra of setup.cfg asks for, wherever the project came from: no package index has
    the project itself.
    """
    needed = [Requirement(line) for line in requires("plvl") or ()]
    chosen = [each for each in needed if each.marker and each.marker.evaluate({"extra": extra})]
    return "pip install " + " ".join(f"'{each.name}{each.specifier}'" for each in chosen)
