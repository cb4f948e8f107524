"""
Makes Transformers' own test mixins importable as `transformers_tests.test_modeling_common` and so on.

They come from the source distribution of the installed release, which `make test-transformers` unpacks into build/.
It carries the files of Transformers' tests/ folder, but not its subfolders: the few names that the mixins import
from there are stood in for below.
"""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import transformers
from PIL import Image

SOURCES = Path(__file__).parents[2] / "build" / f"transformers-{transformers.__version__}"


class NoFurtherTests:
    """In place of a mixin of a subfolder: tests that the distribution does not carry."""


def stand_in(name: str, **contents):
    module = ModuleType(name)
    vars(module).update(contents)
    sys.modules[name] = module


def made_up_image(url: str) -> Image.Image:
    """In place of a photograph on the Hub: soft patches of colour, 640 × 480."""
    coarse = np.random.default_rng(0).integers(0, 256, (15, 20, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)


def pytest_configure(config):
    if not (SOURCES / "tests").is_dir():
        raise pytest.UsageError(f"{SOURCES} is not there: run `make test-transformers`, which downloads it")
    config.addinivalue_line("filterwarnings", "ignore::pytest.PytestUnknownMarkWarning")

    # The configuration tests execute this file, which the distribution leaves out; Transformers' own is empty.
    (SOURCES / "tests" / "__init__.py").touch()
    # Not under its own name, tests, which is also what our folder is called.
    stand_in("transformers_tests", __path__=[str(SOURCES / "tests")])
    stand_in("transformers_tests.exporters.test_export", ExportTesterMixin=NoFurtherTests)
    stand_in("transformers_tests.generation.test_utils", GenerationTesterMixin=type("GenerationTesterMixin", (), {}))
    # Attributes of every configuration, with values that are not the defaults.
    common_attributes = {
        "return_dict": False,
        "output_hidden_states": True,
        "dtype": "float16",
        "chunk_size_feed_forward": 5,
        "architectures": ["BertModel"],
        "id2label": {0: "label"},
        "label2id": {"label": "0"},
        "problem_type": "regression",
    }
    stand_in("transformers_tests.utils.test_configuration_utils", config_common_kwargs=common_attributes)
    stand_in("fetch_hub_objects_for_ci", url_to_local_path=made_up_image)
