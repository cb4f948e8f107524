"""What users' files call by a name of an earlier version is found by it."""

import importlib
import json
import sys

import pytest

from plvl.configuration.earlier_names import MODULES
from plvl.data.sample_validation import SKIPPED, SampleValidator
from plvl.scripts import export_onnx
from plvl.scripts.demo_page.examples import read_examples
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


@pytest.mark.parametrize("rows", ["jsonl", "unc"])
def test_rows_that_an_earlier_version_divided_otherwise_are_not_gone_on_from(tmp_path, rows):
    (tmp_path / RESUME_SETTINGS).write_text("{}", encoding="utf-8")
    now = {"shards": {rows: "150 shards, 5f0c9a3e"}}
    with pytest.raises(ValueError, match="shards was those of an earlier version and is .*--ignore_data_skip true"):
        check_resume_settings(tmp_path, now, ignore_order=False)
    check_resume_settings(tmp_path, now, ignore_order=True)
    check_resume_settings(tmp_path, {"shards": {"refcoco": "240 shards, 5f0c9a3e"}}, ignore_order=False)


def test_the_image_of_an_example(tmp_path):
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples/a.jpg").write_bytes(b"")
    for key in ("image", "picture"):
        entries = [{key: "a.jpg", "expressions": ["a cup"]}]
        (tmp_path / "examples/examples.json").write_text(json.dumps(entries), encoding="utf-8")
        assert read_examples(tmp_path)[0].image == tmp_path / "examples/a.jpg"


def test_the_size_of_an_exported_model(monkeypatch):
    given = []
    monkeypatch.setattr(export_onnx, "export", lambda arguments: given.append(arguments.image_size) or ())
    export_onnx.main(["--model", "m", "--picture_size", "64", "96"])
    assert given == [[64, 96]]


def test_what_was_counted_of_a_parquet_set():
    validator = SampleValidator({"refcoco": 100})
    names = [defect.replace("an image", "a picture").replace("image", "picture") for defect in SKIPPED]
    validator.load_state_dict({"refcoco": {"seen": 20} | {name: 1 + place for place, name in enumerate(names)}})
    assert validator.skipped == {defect: 1 + place for place, defect in enumerate(SKIPPED)}
    assert validator.seen == 20
