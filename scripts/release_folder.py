"""Puts together the folder of a released checkpoint: model, processor, card, examples and, if wanted, the code."""

import json
import re
import shutil
from importlib import import_module
from pathlib import Path

from plvl.checkpoints.model_files import base_model, is_adapter, weight_files
from plvl.modeling_plvl.model_card_plvl import SETTINGS
from plvl.scripts.demo_page.examples import read_examples
from plvl.scripts.model_loading import load_whole
from plvl.scripts.release_card import draw_example, kept_card, new_card, released_card, shown_files

# The code that the Auto classes ask for, in the form of `auto_map`: of config.json, of processor_config.json, and
# of the image processor in the latter (Pillow's first, torchvision's second).
MODEL_CODE = {"AutoConfig": "configuration_plvl.PLVLConfig", "AutoModel": "modeling_plvl.PLVLModel"}
PROCESSOR_CODE = {"AutoProcessor": "processing_plvl.PLVLProcessor"}
IMAGE_PROCESSOR_CODE = {
    "AutoImageProcessor": [
        "image_processing_plvl.PLVLImageProcessorPil",
        "image_processing_plvl.PLVLImageProcessor",
    ]
}
ENTRY_MODULES = (
    "plvl.configuration.configuration_plvl",
    "plvl.modeling_plvl.modeling_plvl",
    "plvl.processing.image_processing_plvl",
    "plvl.processing.processing_plvl",
)
PROJECT_IMPORT = re.compile(r"^(\s*)from (plvl\.\w+\.(\w+)) import", flags=re.MULTILINE)
CODE_NOTICE = (
    "# Part of PLVL (arXiv 2504.16145), Apache License 2.0. All modules of the project that it needs lie here.\n"
)

# What says how the model was made and how good it is.
FIGURES = ("metrics.json", SETTINGS)


def build_release_folder(
    model_folder,
    output,
    repo_id: str,
    with_code: bool = False,
    license: str | None = None,
    datasets: list[str] | None = None,
) -> list[Path]:
    """
    Writes what a repository of the Hub is to hold of a trained model.

    Model and processor are loaded, so nothing is released that does not load, and nothing that training left beside
    them. The weights are the files of the folder, byte for byte. A README.md that somebody wrote comes along, with the
    images of the folder that it shows, or else a card is written; metrics.json, training_settings.json and examples/
    come along.

    Args:
        model_folder: folder of a PLVL model with its processor.
        output: the empty folder to write into.
        repo_id (`str`): the repository it is for, as `"lab/plvl-refcoco"`; the card's examples name it.
        with_code (`bool`): whether the modelling code comes along, for `trust_remote_code=True` without PLVL.
        license (`str`, *optional*): of the weights, for a new card; without it the card claims none.
        datasets (`list[str]`, *optional*): what the model was trained on, for a new card; by default those of
            metrics.json.

    Returns:
        the files in `output`, sorted.

    Raises:
        ValueError: a part is missing or elsewhere (additions to another model), is no PLVL model, or cannot be loaded
            whole; examples/ is not as the demo reads it; or `license` or `datasets` are given and the folder has a
            README.md that somebody wrote. The message names folder and part.
    """
    model_folder, output = Path(model_folder), Path(output)
    if is_adapter(model_folder):
        raise ValueError(
            f"{model_folder} has additions to the model {base_model(model_folder)}, and a whole model is published: "
            "merge the two first, which docs/own_data.md shows, or fine-tune without --keep_adapter"
        )
    card = kept_card(model_folder)
    given = [name for name, value in (("license", license), ("datasets", datasets)) if value]
    if card is not None and given:
        raise ValueError(
            f"{model_folder / 'README.md'} was written by somebody and is published as it is: write "
            f"{' and '.join(given)} into it yourself"
        )
    model, processor = load_whole(model_folder)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(output)
    processor.save_pretrained(output)
    for file in (*weight_files(model_folder), *(model_folder / name for name in FIGURES)):
        if file.is_file():
            shutil.copyfile(file, output / file.name)
    carry_examples(model_folder, output)
    if card is None:
        draw_example(output, model, processor)
        card = new_card(output, model_folder, model.config, repo_id, with_code, license, datasets)
    else:
        card = released_card(card, repo_id, with_code)
        for file in shown_files(card, model_folder):
            copy_into(output, model_folder, file)
    (output / "README.md").write_bytes(card.encode())
    set_auto_maps(output, with_code)
    if with_code:
        carry_code(output)
    return sorted(path for path in output.rglob("*") if path.is_file())


def carry_examples(model_folder: Path, output: Path):
    """
    Copies examples/ of a model's folder as far as the demo reads it.

    Raises:
        ValueError: it is not as the demo reads it, or names an image outside.
    """
    folder = model_folder / "examples"
    for example in read_examples(model_folder):
        if not example.image.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{folder / 'examples.json'}: {example.image} is outside the folder")
        copy_into(output, model_folder, example.image.relative_to(model_folder))
    if (folder / "examples.json").is_file():
        copy_into(output, model_folder, Path("examples", "examples.json"))


def copy_into(output: Path, folder: Path, file: Path):
    """Copies `file` of a folder to the same place in another."""
    (output / file).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / file, output / file)


def set_auto_maps(folder: Path, with_code: bool):
    """Has config.json and processor_config.json name the code in the folder, or none."""
    maps: dict[str, list[tuple[tuple[str, ...], dict]]] = {
        "config.json": [((), MODEL_CODE)],
        "processor_config.json": [((), PROCESSOR_CODE), (("image_processor",), IMAGE_PROCESSOR_CODE)],
    }
    for name, entries in maps.items():
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        for keys, auto_map in entries:
            part: dict = content
            for key in keys:
                part = part[key]
            part.pop("auto_map", None)
            if with_code:
                part["auto_map"] = auto_map
        (folder / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def carry_code(folder: Path):
    """Copies the modules behind the Auto classes, side by side, into the folder; they import each other relatively."""
    waiting, done = list(ENTRY_MODULES), set()
    while waiting:
        name = waiting.pop()
        if name in done:
            continue
        done.add(name)
        source = Path(str(import_module(name).__file__))
        code = source.read_text(encoding="utf-8")
        waiting += [match[2] for match in PROJECT_IMPORT.finditer(code)]
        target = folder / source.name
        if target.exists():
            raise FileExistsError(f"two modules of the code to carry are called {source.name}")
        target.write_text(CODE_NOTICE + PROJECT_IMPORT.sub(r"\1from .\3 import", code), encoding="utf-8")
