"""Recipes by their names, in the place of their files."""

import os
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from plvl.scripts.carried_recipes import ACCELERATE, RECIPES, recipe_names, with_recipe_file

ROOT = Path(__file__).parents[2]


def test_the_names_are_those_of_the_files():
    assert recipe_names() == sorted(file.stem for file in (ROOT / "configuration/recipes").iterdir())


@pytest.mark.parametrize("name", ["quickstart", "refcoco+"])
def test_a_name_becomes_its_file_and_flags_stay(name):
    words = with_recipe_file([name, "--seed", "3"])
    assert words == [str(RECIPES / f"{name}.yaml"), "--seed", "3"]
    assert Path(words[0]).samefile(ROOT / f"configuration/recipes/{name}.yaml")


@pytest.mark.parametrize("words", [[], ["mine.yaml"], ["a/refcoco.yml", "--seed", "3"], ["--dataset", "refcoco"]])
def test_files_and_flags_are_left_as_they_are(words):
    assert with_recipe_file(words) == words


@pytest.mark.parametrize("name", ["refcoc", "../recipes/refcoco", "no.such"])
def test_another_word_is_refused(name):
    with pytest.raises(ValueError, match=r"^there is no recipe .*Recipes are ablation_.*, refshapes_tiny;"):
        with_recipe_file([name])


def test_a_wheel_carries_recipes_and_configurations_of_accelerate():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    patterns = setup["options.package_data"]["plvl.configuration"].split()
    carried = {file for pattern in patterns for file in (ROOT / "configuration").glob(pattern)}
    for folder in (RECIPES, ACCELERATE):
        assert {file.resolve() for file in folder.iterdir()} <= carried


@pytest.mark.parametrize("program", [["-m", "plvl.scripts.run_grounding"], [str(ROOT / "scripts/run_grounding.py")]])
def test_the_program_takes_a_name_anywhere(tmp_path, program):
    """As accelerate's launcher calls it; the run ends before it begins, for its data are not here."""
    finished = subprocess.run(
        [sys.executable, *program, "quickstart", "--use_cpu", "true"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 1
    assert finished.stderr.startswith("run_grounding: outputs/refshapes/labels/refshapes/refs(unc).p is missing: ")
    assert finished.stderr.endswith("`plvl data make --output outputs/refshapes` makes the set\n")
