"""A sheet of pictures that shows what the model grounds, beside what it should have."""

from itertools import islice

import torch
from PIL import Image

from plvl.data.collator import row_truth
from plvl.processing.drawing import PREDICTED_COLOUR, TRUE_COLOUR, contact_sheet, draw_grounding


def one_row_per_picture(dataset, count: int) -> list[dict]:
    """The first row about each of the dataset's first `count` pictures."""
    seen = set()

    def new_pictures():
        for row in dataset:
            if row["file_name"] not in seen:
                seen.add(row["file_name"])
                yield row

    return list(islice(new_pictures(), count))


@torch.no_grad()
def draw_gallery(model, processor, rows: list[dict], columns: int = 4) -> Image.Image:
    """
    Grounds each row's expression and draws the true box and mask (green) and the predicted ones (red).

    Args:
        model, processor: a [`PLVLModel`] and its [`PLVLProcessor`].
        rows (`list[dict]`): rows of a grounding dataset.
    """
    model.eval()
    inputs = processor(images=[row["image"] for row in rows], text=[row["text"] for row in rows], return_tensors="pt")
    outputs = model(**inputs.to(model.device))
    sizes = [(row["height"], row["width"]) for row in rows]
    tiles = []
    for row, result in zip(rows, processor.post_process_grounding(outputs, sizes), strict=True):
        true_box, true_mask = row_truth(row)
        truth = {"colour": TRUE_COLOUR, "box": true_box, "mask": true_mask}
        prediction = {
            "colour": PREDICTED_COLOUR,
            "box": result.get("box"),
            "mask": None if "mask" not in result else result["mask"].cpu(),
        }
        tiles.append(draw_grounding(row["image"], row["text"], [truth, prediction]))
    return contact_sheet(tiles, columns)
