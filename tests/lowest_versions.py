"""Prints, as constraints for pip, the lowest version that setup.cfg admits of each package it names with one."""

import configparser
import re
from pathlib import Path


def lowest_versions() -> list[str]:
    settings = configparser.ConfigParser()
    settings.read(Path(__file__).parents[1] / "setup.cfg", encoding="utf-8")
    lines = settings["options"]["install_requires"].splitlines()
    return [re.sub(">=", "==", line.strip()) for line in lines if ">=" in line]


if __name__ == "__main__":
    print("\n".join(lowest_versions()))
