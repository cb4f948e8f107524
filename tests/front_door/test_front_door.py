"""What a user gets from `import plvl`, each in an interpreter of its own."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from bundle_checkpoint import BUNDLES
from plvl.checkpoints import CARRIED_CHECKPOINTS

ROOT = Path(__file__).parents[2]


def run(code: str, cwd, **environment) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=os.environ | environment, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def test_importing_plvl_imports_neither_torch_nor_transformers(tmp_path):
    code = "import sys, plvl; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    assert run(code, tmp_path) == "[]"


@pytest.mark.parametrize(
    "imports",
    [
        "import plvl; from transformers import AutoConfig, AutoModel, AutoProcessor, AutoImageProcessor, pipeline",
        "from transformers import AutoConfig, AutoModel, AutoProcessor, AutoImageProcessor, pipeline; import plvl",
        "import plvl; plvl.PLVLModel; from transformers import AutoConfig, AutoModel, AutoProcessor",
    ],
)
def test_auto_classes_and_pipelines_know_plvl_whatever_is_imported_first(imports, tmp_path):
    code = f"""
{imports}
config = AutoConfig.for_model("plvl")
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING
from transformers.models.auto.modeling_auto import MODEL_MAPPING
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
for mapping in (MODEL_MAPPING, PROCESSOR_MAPPING):
    print(mapping[type(config)].__name__)
print("pil" in IMAGE_PROCESSOR_MAPPING[type(config)])
from transformers.pipelines import PIPELINE_REGISTRY
print(PIPELINE_REGISTRY.check_task("visual-grounding")[1]["impl"].__name__)
"""
    answers = ["PLVLModel", "PLVLProcessor", "True", "VisualGroundingPipeline"]
    assert run(code, tmp_path).split() == answers


def test_every_public_name_is_there_and_an_unknown_one_is_an_attribute_error(tmp_path):
    code = """
import plvl
for name in plvl.__all__:
    assert getattr(plvl, name).__name__ == name
try:
    plvl.nothing
except AttributeError as error:
    print(error)
"""
    assert run(code, tmp_path) == "module 'plvl' has no attribute 'nothing'"


def test_a_wheel_in_an_empty_folder_gives_every_room(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    source = tmp_path / "source"
    rooms = ("plvl", "configuration", "modeling_plvl", "processing", "data", "training", "deploy", "scripts")
    source.mkdir()
    # Built from a copy, so that no build folder is left in the checkout.
    for name in (*rooms, "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    # What stands for the carried checkpoints: files in their folders and in a folder of each.
    for folder in CARRIED_CHECKPOINTS.values():
        carried = source / "checkpoints" / folder.name
        (carried / "examples").mkdir(parents=True)
        for file in ("config.json", "model.safetensors", "README.md", "examples/examples.json", "examples/a.jpg"):
            (carried / file).write_text(file)
    for file in (ROOT / "checkpoints").glob("*.py"):
        shutil.copy(file, source / "checkpoints")
    subprocess.run([*build, "--wheel-dir", tmp_path / "wheels", source], check=True)
    [wheel] = (tmp_path / "wheels").glob("plvl-*.whl")
    # What is no stand-in here, and the most that bundling admits of the checkpoints.
    assert wheel.stat().st_size + sum(bundle.MOST_BYTES for bundle in BUNDLES.values()) < 60 * 10**6
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*install, tmp_path / "target", wheel], check=True)

    packages = [file.parent.relative_to(ROOT) for room in rooms[1:] for file in (ROOT / room).rglob("__init__.py")]
    names = [".".join(("plvl", *package.parts)) for package in packages]
    code = f"""
from importlib import import_module
from importlib.resources import files
for name in {names!r}:
    # Where the project is installed as editable, too, what the wheel lacks is found in the checkout.
    assert import_module(name).__file__.startswith({str(tmp_path)!r}), name
print(files("plvl.configuration").joinpath("recipes/quickstart.yaml").is_file())
from plvl.checkpoints import CARRIED_CHECKPOINTS, default_checkpoint
print(default_checkpoint())
for folder in CARRIED_CHECKPOINTS.values():
    print(*sorted(str(file.relative_to(folder)) for file in folder.rglob("*.*")))
"""
    assert run(code, tmp_path, PYTHONPATH=str(tmp_path / "target")).splitlines() == [
        "True",
        "photos",
        *["README.md config.json examples/a.jpg examples/examples.json model.safetensors"] * 2,
    ]
    assert (tmp_path / "target" / "bin" / "plvl").is_file()
    [about] = distributions(path=[str(tmp_path / "target")])
    assert about.metadata["Author"] and about.metadata["Home-page"].startswith("https://")
    assert "Paper, https://arxiv.org/abs/2504.16145" in about.metadata.get_all("Project-URL")
    assert about.metadata["License-Expression"] == "Apache-2.0" or about.metadata["License"] == "Apache-2.0"
    [licence] = [file for file in about.files if file.name == "LICENSE"]
    assert "Apache License" in licence.locate().read_text(encoding="utf-8")
    command = "from plvl.scripts.cli import main; main(['--version'])"
    assert run(command, tmp_path, PYTHONPATH=str(tmp_path / "target")) == f"plvl {about.version}"
    # Recipes and configurations of accelerate are found where the wheel was installed.
    code = """
from plvl.scripts.carried_recipes import ACCELERATE, recipe_names, with_recipe_file
words = with_recipe_file(["refcoco+", "--seed", "3"])
print(words, *recipe_names(), *sorted(file.name for file in ACCELERATE.iterdir()))
"""
    installed = tmp_path / "target/plvl/configuration"
    recipes = sorted(file.stem for file in (ROOT / "configuration/recipes").iterdir())
    accelerate = sorted(file.name for file in (ROOT / "configuration/accelerate").iterdir())
    words = [f"{installed}/recipes/refcoco+.yaml", "--seed", "3"]
    expected = " ".join([str(words), *recipes, *accelerate])
    assert run(code, tmp_path, PYTHONPATH=str(tmp_path / "target")) == expected


def test_a_clone_called_plvl_does_not_hide_the_package_from_a_script_beside_it(tmp_path):
    (tmp_path / "plvl").symlink_to(Path(__file__).parents[2])
    script = tmp_path / "script.py"
    imports = "import plvl\nfrom transformers import AutoConfig\n"
    script.write_text(f"{imports}print(AutoConfig.for_model('plvl').model_type)\n", encoding="utf-8")
    finished = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert finished.stdout == "plvl\n", finished.stderr
