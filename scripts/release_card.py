"""The card of a released checkpoint: one that somebody wrote is kept, another is made of what the folder knows."""

import re
from pathlib import Path

from huggingface_hub import ModelCard

from plvl.modeling_plvl.card_authors_plvl import signed
from plvl.modeling_plvl.model_card_plvl import (
    PIPELINE_EXAMPLE,
    model_card,
    read_metrics,
    read_settings,
    somebody_wrote,
)
from plvl.processing.answer_drawing import draw_answers, drawable_answer
from plvl.processing.image_input import read_image
from plvl.processing.pipeline_plvl import VisualGroundingPipeline
from plvl.scripts.demo_page.examples import Example, read_examples

EXAMPLE_IMAGE = "example.jpg"
EXAMPLE_CAPTION = "Expressions about an image, and what the model finds"
MOST_EXPRESSIONS_DRAWN = 4
# How a card names a file beside it that it shows.
SHOWN_FILE = re.compile(r"""!\[[^\]]*\]\(\s*<?([^)\s>]+)|<img\s[^>]*?src=["']([^"']+)""")
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
image = Image.open("image.jpg").convert("RGB")
inputs = processor(images=image, text="the man in the red shirt", return_tensors="pt")
with torch.no_grad():
    outputs = model(**inputs)
[answer] = processor.post_process_grounding(outputs, target_sizes=[(image.height, image.width)])
```
"""


def kept_card(model_folder: Path) -> str | None:
    """The README.md of a model's folder where somebody wrote it; None where there is none, or this project's own."""
    readme = model_folder / "README.md"
    if not readme.is_file():
        return None
    try:
        text = readme.read_bytes().decode()  # line ends stay as they are
    except UnicodeDecodeError as error:
        raise ValueError(f"{readme} is no UTF-8: {error}") from None
    return text if somebody_wrote(text) else None


def released_card(text: str, repo_id: str, with_code: bool) -> str:
    """A card that somebody wrote, with the examples that this project wrote naming the repository."""
    for example in (PIPELINE_EXAMPLE, USE_WITHOUT_PLVL):
        ours = re.escape(example).replace(re.escape("{repo_id}"), r'[^"\n]+')
        text = re.sub(ours, example.format(repo_id=repo_id).replace("\\", r"\\"), text)
    return explain_code(text, repo_id, with_code)


def new_card(
    folder: Path, model_folder: Path, config, repo_id: str, with_code: bool, license=None, datasets=None
) -> str:
    """
    The card of what lies in `folder`, with its figures, settings and image. What is not given of licence and datasets
    is as the card says that this project wrote into `model_folder`.
    """
    said = ModelCard.load(model_folder / "README.md").data if (model_folder / "README.md").is_file() else None
    card = model_card(
        repo_id,
        config,
        read_metrics(folder),
        license=license or (said and said.license),
        datasets=datasets or (said and said.datasets),
        base_model=said and said.base_model,
        tags=said and said.tags,
        settings=read_settings(folder),
        image=(EXAMPLE_IMAGE, EXAMPLE_CAPTION) if (folder / EXAMPLE_IMAGE).is_file() else None,
    )
    return signed(explain_code(str(card), repo_id, with_code))


def explain_code(card: str, repo_id: str, with_code: bool) -> str:
    """The card with a section on how to load the model with the code beside it, or without one if there is no code."""
    if not with_code:
        return SECTION_WITHOUT_PLVL.sub("\n", card)
    if SECTION_WITHOUT_PLVL.search(card):
        return card
    return f"{card.rstrip()}\n{USE_WITHOUT_PLVL.format(repo_id=repo_id)}"


def shown_files(card: str, folder: Path) -> list[Path]:
    """The files of a folder that its card shows as images, each by its path from the folder."""
    names = [Path(first or second) for first, second in SHOWN_FILE.findall(card)]
    root = folder.resolve()
    files = [(folder / name).resolve() for name in dict.fromkeys(names)]
    return [file.relative_to(root) for file in files if file.is_file() and file.is_relative_to(root)]


def draw_example(folder: Path, model, processor):
    """Draws the first of the examples in `folder` with the model's answers, for the card to show, if there are any."""
    examples = read_examples(folder)
    if examples:
        drawn_answers(examples[0], model, processor).save(folder / EXAMPLE_IMAGE, quality=90)


def drawn_answers(example: Example, model, processor):
    image = read_image(example.image)
    expressions = example.expressions[:MOST_EXPRESSIONS_DRAWN]
    answers = VisualGroundingPipeline(model=model.float(), processor=processor)(image, expressions)
    return draw_answers(image, [drawable_answer(answer, processor.presence_threshold) for answer in answers])
