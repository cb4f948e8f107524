"""`plvl predict` over a folder of images, against one image after another, as it was before: images a second.

Both ways take turns in one process with one loaded model and all cores, and read, answer, draw and write: once what
--json prints, once the drawings. The images are noise with something of a photograph's spectrum, JPEG files of
640 x 480, or those of a folder that is named.
"""

import io
import tempfile
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.comparisons import compare, print_table, speed
from benchmarks.measuring import describe_machine
from plvl.checkpoints import CARRIED_CHECKPOINTS
from plvl.processing.answer_drawing import draw_answers, drawable_answer
from plvl.processing.pipeline_plvl import VisualGroundingPipeline
from plvl.scripts.image_inputs import find_images, read_named_image
from plvl.scripts.many_images import ImageAnswerer, told_in_order
from plvl.scripts.model_loading import load_chosen_model
from plvl.scripts.told_answers import AnswerTeller, Place

WIDTH, HEIGHT = 640, 480
EXPRESSION = "the person"
BEFORE, NOW = "one image after another", "plvl predict"


def add_arguments(parser):
    parser.add_argument("--images", help="folder of images (default: made of noise)")
    parser.add_argument("--number", type=int, default=500, help="how many of them (default: 500)")
    parser.add_argument("--model", default=str(CARRIED_CHECKPOINTS["photos"]), help="folder of a PLVL model")
    parser.add_argument("--turns", type=int, default=3, help="turns of each way (default: 3)")


def measure(arguments) -> dict:
    device = torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.images:
            files = list(find_images(arguments.images)[1])[: arguments.number]
        else:
            files = noise_photographs(Path(folder, "images"), arguments.number)
        comparisons = {}
        for name, drawings, what in (("json", None, "boxes and masks as JSON"), ("drawn", folder, "drawings")):
            ways = {
                BEFORE: partial(one_after_another, *load_chosen_model(Path(arguments.model), "cpu"), files, drawings),
                NOW: partial(shared_by_threads, *load_chosen_model(Path(arguments.model), "cpu"), files, drawings),
            }
            title = f"{len(files)} images, {what}"
            comparisons[name] = compare(title, ways, arguments.turns, device, items=len(files), warm_up=0)
            print_table(comparisons[name])
    figures = {f"{name}_speed": speed(comparison, NOW) for name, comparison in comparisons.items()}
    return {
        "machine": describe_machine(device),
        "comparisons": list(comparisons.values()),
        "figures": figures,
        "notes": [],
    }


def noise_photographs(folder: Path, number: int) -> list[Path]:
    """JPEG files whose larger structures are the stronger, as those of photographs are."""
    folder.mkdir()
    random = np.random.default_rng(0)
    files = [folder / f"{index:04}.jpg" for index in range(number)]
    for file in files:
        pixels = np.zeros((HEIGHT, WIDTH, 3))
        for cell in (160, 40, 10, 2):
            coarse = random.normal(size=(HEIGHT // cell, WIDTH // cell, 3)) * 25
            image = Image.fromarray((128 + coarse).clip(0, 255).astype(np.uint8))
            pixels += np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), dtype=float) - 128
        Image.fromarray((128 + pixels).clip(0, 255).astype(np.uint8)).save(file, quality=90)
    return files


def one_after_another(model, processor, files: list[Path], drawings: str | None) -> str:
    """What `plvl predict` did before: one image through the pipeline at a time, all cores in each step; the lines."""
    pipe = VisualGroundingPipeline(model=model, processor=processor, device=model.device)
    teller = AnswerTeller(drawings is None, None, processor.presence_threshold)
    with redirect_stdout(io.StringIO()) as printed:
        for file in files:
            image = read_named_image(file)
            [answers] = pipe([image], [EXPRESSION], expressions_at_once=16)
            told = teller.tell(Place(file, None, {}), image, answers)
            print(*told.out, sep="\n")
            if drawings:
                drawable = [drawable_answer(answer, processor.presence_threshold) for answer in answers]
                draw_answers(image, drawable).save(Path(drawings, file.stem + ".png"))
    return printed.getvalue()


def shared_by_threads(model, processor, files: list[Path], drawings: str | None) -> str:
    """What it does now; the lines."""
    answerer = ImageAnswerer(model, processor, [EXPRESSION], {})
    teller = AnswerTeller(drawings is None, None, processor.presence_threshold)
    places = [Place(file, Path(drawings, file.stem + ".png") if drawings else None, {}) for file in files]
    with redirect_stdout(io.StringIO()) as printed:
        for _, told in told_in_order(places, answerer, teller, several=True):
            print(*told.out, sep="\n")
    return printed.getvalue()
