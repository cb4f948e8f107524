"""Puts together the folder of a released checkpoint: model, processor, card and, if wanted, the modelling code."""

import json
import re
import shutil
from importlib import import_module
from pathlib import Path

from plvl.configuration import PLVLConfig
from plvl.modeling_plvl.model_card_plvl import PIPELINE_EXAMPLE, model_card, read_metrics
from plvl.scripts.whole_folder import require_new_folder, whole_folder
from plvl.scripts.whole_model import load_whole

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

# A section, up to the next or to the end of the card.
SECTION_WITHOUT_PLVL = re.compile(r"\n*^## Without PLVL installed$.*?(?=\n^## |\Z)", flags=re.MULTILINE | re.DOTALL)
USE_WITHOUT_PLVL = """
## Without PLVL installed

This repository holds the modelling code too. Read it, then let Transformers run it:

```python
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor

processor = AutoProcessor.from_pretrained("{repo_id}", trust_remote_code=True)
model = AutoModel.from_pretrained("{repo_id}", trust_remote_code=True).eval()
image = Image.open("picture.jpg").convert("RGB")
inputs = processor(images=image, text="the man in the red shirt", return_tensors="pt")
with torch.no_grad():
    outputs = model(**inputs)
[answer] = processor.post_process_grounding(outputs, target_sizes=[(image.height, image.width)])
```
"""


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

    Model and processor are loaded and saved anew, so nothing is released that does not load, and nothing that training
    left beside them. The folder's README.md comes along, or else one is written; metrics.json comes along. Where
    something fails, `output` stays as it was.

    Args:
        model_folder: folder of a PLVL model with its processor.
        output: folder to write; new or empty.
        repo_id (`str`): the repository it is for, as `"lab/plvl-refcoco"`; the card's examples name it.
        with_code (`bool`): whether the modelling code comes along, for `trust_remote_code=True` without PLVL.
        license (`str`, *optional*): of the weights, for a new card; without it the card claims none.
        datasets (`list[str]`, *optional*): what the model was trained on, for a new card; by default those of
            metrics.json.

    Returns:
        the files in `output`, sorted.

    Raises:
        ValueError: a part is missing, is no PLVL model, or cannot be loaded whole; or `license` or `datasets` are
            given and the folder has a README.md. The message names folder and part.
        FileExistsError: `output` holds something.
    """
    model_folder, output = Path(model_folder), Path(output)
    require_new_folder(output)
    model, processor = load_whole(model_folder)
    card = card_of(model_folder, model.config, repo_id, license=license, datasets=datasets)
    with whole_folder(output) as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        (folder / "README.md").write_bytes(explain_code(card, repo_id, with_code).encode())
        if (model_folder / "metrics.json").is_file():
            shutil.copyfile(model_folder / "metrics.json", folder / "metrics.json")
        set_auto_maps(folder, with_code)
        if with_code:
            carry_code(folder)
    return sorted(path for path in output.rglob("*") if path.is_file())


def set_auto_maps(folder: Path, with_code: bool):
    """Has config.json and processor_config.json name the code in the folder, or none."""
    maps = {
        "config.json": [((), MODEL_CODE)],
        "processor_config.json": [((), PROCESSOR_CODE), (("image_processor",), IMAGE_PROCESSOR_CODE)],
    }
    for name, entries in maps.items():
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        for keys, auto_map in entries:
            part = content
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
        source = Path(import_module(name).__file__)
        code = source.read_text(encoding="utf-8")
        waiting += [match[2] for match in PROJECT_IMPORT.finditer(code)]
        target = folder / source.name
        if target.exists():
            raise FileExistsError(f"two modules of the code to carry are called {source.name}")
        target.write_text(CODE_NOTICE + PROJECT_IMPORT.sub(r"\1from .\3 import", code), encoding="utf-8")


def card_of(model_folder: Path, config: PLVLConfig, repo_id: str, **facts) -> str:
    """The text of the folder's README.md, what we wrote of it naming the new repository, or else of a new card."""
    readme = model_folder / "README.md"
    metrics = read_metrics(model_folder)
    if not readme.is_file():
        return str(model_card(repo_id, config, metrics, **facts))
    unused = [name for name, value in facts.items() if value]
    if unused:
        raise ValueError(f"{readme} is there and is published as it is: write {' and '.join(unused)} into it yourself")
    text = readme.read_bytes().decode()  # line ends stay as they are
    for example in (PIPELINE_EXAMPLE, USE_WITHOUT_PLVL):
        ours = re.escape(example).replace(re.escape("{repo_id}"), r'[^"\n]+')
        text = re.sub(ours, lambda _, example=example: example.format(repo_id=repo_id), text)
    return text


def explain_code(card: str, repo_id: str, with_code: bool) -> str:
    """The card with a section on how to load the model with the code beside it, or without one if there is no code."""
    if not with_code:
        return SECTION_WITHOUT_PLVL.sub("\n", card)
    if SECTION_WITHOUT_PLVL.search(card):
        return card
    return f"{card.rstrip()}\n{USE_WITHOUT_PLVL.format(repo_id=repo_id)}"
