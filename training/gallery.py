"""A sheet of images that shows what the model grounds, beside what it should have."""

from collections.abc import Iterator
from itertools import islice

import torch
from PIL import Image

from plvl.data.collator import true_answer
from plvl.processing.answer_words import answer_in_words
from plvl.processing.drawing import PREDICTED_COLOUR, TRUE_COLOUR, contact_sheet, draw_grounding
from plvl.training.generalized_metrics import right_generalized_answers
from plvl.training.metrics import right_answers

WRONG = "WRONG"


def one_row_per_image(dataset, count: int) -> list[dict]:
    """The first row about each of the dataset's first `count` images."""
    seen = set()

    def new_images():
        for row in dataset:
            if row["file_name"] not in seen:
                seen.add(row["file_name"])
                yield row

    return list(islice(new_images(), count))


def draw_gallery(model, processor, rows: list[dict], columns: int = 4) -> Image.Image:
    """
    Grounds each row's expression and draws the true boxes and mask (green) and the predicted ones (red). Right answers
    come first; a wrong one (see [`right_answers`] and [`right_generalized_answers`]) says so. What a model of any
    number of targets found is said in words, too.

    Args:
        model, processor: a [`PLVLModel`] and its [`PLVLProcessor`].
        rows (`list[dict]`): rows of a grounding dataset.
    """
    drawn = list(_drawn_answers(model, processor, rows))
    return contact_sheet([image for wanted in (True, False) for image, right in drawn if right == wanted], columns)


def draw_before_and_after(before, after, processor, rows: list[dict]) -> Image.Image:
    """
    As [`draw_gallery`], in the order of the rows: what a model answered before it was trained on, and beside it what
    it answers after.

    Args:
        before, after ([`PLVLModel`]): of one processor.
    """
    pairs = zip(
        _drawn_answers(before, processor, rows, "before: "),
        _drawn_answers(after, processor, rows, "after: "),
        strict=True,
    )
    return contact_sheet([image for pair in pairs for image, _ in pair], columns=4)


@torch.no_grad()
def _drawn_answers(model, processor, rows: list[dict], title: str = "") -> Iterator[tuple[Image.Image, bool]]:
    """Each row drawn with the model's answer, and whether that is right."""
    model.eval()
    inputs = processor(images=[row["image"] for row in rows], text=[row["text"] for row in rows], return_tensors="pt")
    outputs = model(**inputs.to(model.device))
    answers = processor.post_process_grounding(outputs, [(row["height"], row["width"]) for row in rows])
    truths = list(map(true_answer, rows))
    is_any = model.config.targets == "any"
    are_right = (right_generalized_answers if is_any else right_answers)(answers, truths)
    for row, result, true, is_right in zip(rows, answers, truths, are_right, strict=True):
        truth = {"colour": TRUE_COLOUR} | true
        on_cpu = {name: value.cpu() for name, value in result.items() if torch.is_tensor(value)}
        prediction = {"colour": PREDICTED_COLOUR} | result | on_cpu
        text = title + (row["text"] if is_right else f"{WRONG}: {row['text']}")
        if is_any:
            text += f": {answer_in_words(prediction, processor.presence_threshold)}"
        yield draw_grounding(row["image"], text, [truth, prediction]), bool(is_right)
