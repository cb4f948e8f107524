"""What users' files call by a name of an earlier version is found by it."""

import importlib
import json
import sys

import pytest

from plvl.configuration.earlier_names import MODULES
from plvl.data.sample_validation import SKIPPED, SampleValidator
from plvl.training.recipe import DataArguments, parse_recipe
from plvl.training.resume_settings import RESUME_SETTINGS, check_resume_settings


@pytest.mark.parametrize("earlier", MODULES)
def test_modules_are_found_with_a_warning(earlier):
    sys.modules.pop(earlier, None)
    name, renamed = MODULES[earlier]
    with pytest.warns(FutureWarning, match=f"{earlier} is called {name} now"):
        module = importlib.import_module(earlier)
    for old, new in renamed.items():
        assert getattr(module, old) is getattr(importlib.import_module(name), new)


def test_a_module_that_never_was_is_none():
    with pytest.raises(ModuleNotFoundError, match="plvl.data.nothing"):
        importlib.import_module("plvl.data.nothing")


@pytest.mark.parametrize("flag", [["--expressions_per_picture", "3"], ["--expressions_per_picture=3"]])
def test_flags_and_keys_of_recipes(tmp_path, flag):
    (tmp_path / "recipe.yaml").write_text("expressions_per_picture: 4\n", encoding="utf-8")
    recipe = str(tmp_path / "recipe.yaml")
    assert parse_recipe(DataArguments, [recipe])[0].expressions_per_image == 4
    assert parse_recipe(DataArguments, [recipe, *flag])[0].expressions_per_image == 3


def test_settings_of_a_checkpoint(tmp_path):
    (tmp_path / RESUME_SETTINGS).write_text(json.dumps({"expressions_per_picture": 4}), encoding="utf-8")
    check_resume_settings(tmp_path, {"expressions_per_image": 4}, ignore_order=False)
    with pytest.raises(ValueError, match="expressions_per_image was 4 and is 2"):
        check_resume_settings(tmp_path, {"expressions_per_image": 2}, ignore_order=False)


def test_what_was_counted_of_a_parquet_set():
    validator = SampleValidator({"refcoco": 100})
    names = [defect.replace("an image", "a picture").replace("image", "picture") for defect in SKIPPED]
    validator.load_state_dict({"refcoco": {"seen": 20} | {name: 1 + place for place, name in enumerate(names)}})
    assert validator.skipped == {defect: 1 + place for place, defect in enumerate(SKIPPED)}
    assert validator.seen == 20
