"""Packages that a machine lacks, and wheels of them that were carried there."""

import configparser
import subprocess
import sys
from importlib import metadata
from pathlib import Path


def missing_packages(setup_cfg: Path) -> list[str]:
    """
    What setup.cfg's `install_requires` asks for and is not there or too old, and what is not there of that which the
    others need in their turn; sorted.
    """
    from packaging.requirements import Requirement  # which Transformers brings

    settings = configparser.ConfigParser()
    settings.read(setup_cfg, encoding="utf-8")
    lines = settings["options"]["install_requires"].splitlines()
    waiting = [(Requirement(line), True) for line in lines if line]
    seen, missing = set(), set()
    while waiting:
        requirement, is_own = waiting.pop(0)
        if requirement.name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(requirement.name)
        try:
            found = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            missing.add(f"{requirement.name}{requirement.specifier}")
            continue
        if is_own and not requirement.specifier.contains(found.version, prereleases=True):
            missing.add(f"{requirement.name}{requirement.specifier} (there is {found.version})")
        waiting += [(Requirement(line), False) for line in found.requires or ()]
    return sorted(missing)


def install_wheels(wheels: str, target: Path) -> str:
    """
    Puts all wheels of a folder into another, without what they need, and gives that folder's path.

    Raises:
        SystemExit: the folder has no wheels, or pip cannot install one of them here.
    """
    files = sorted(map(str, Path(wheels).glob("*.whl")))
    if not files:
        raise SystemExit(f"check_gpu.py: --wheels {wheels}: no .whl files there")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(target)]
    if subprocess.run([*pip, *files]).returncode:
        raise SystemExit(f"check_gpu.py: --wheels {wheels}: pip could not install them (its words stand above)")
    return str(target)
