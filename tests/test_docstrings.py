"""The examples in docstrings do what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

EXAMPLES = {
    "plvl.configuration.configuration_plvl": ["PLVLConfig"],
    "plvl.modeling_plvl.modeling_plvl": ["PLVLModel"],
    "plvl.processing.processing_plvl": ["PLVLProcessor"],
    "plvl.processing.pipeline_plvl": ["VisualGroundingPipeline"],
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run_and_give_what_they_show(name, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[1])
    found = [test for test in doctest.DocTestFinder().find(importlib.import_module(name)) if test.examples]
    assert [test.name.removeprefix(f"{name}.") for test in found] == EXAMPLES[name]
    for test in found:
        assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test).failed == 0
