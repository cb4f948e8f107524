"""The sheet of `plvl data show`: samples of a set, each as it is and after each step of the training transform."""

from itertools import islice

import torch
from PIL import Image
from torchvision.transforms.v2 import functional as tvF

from plvl.data import load_grounding_dataset
from plvl.data.collator import image_sample
from plvl.processing.augmentation import training_augmentation
from plvl.processing.drawing import TRUE_COLOUR, contact_sheet, draw_grounding
from plvl.scripts.data_arguments import place
from plvl.training.gallery import one_row_per_image

LOOKED_AT = 64  # rows, beside the samples: a few boxes do not tell in which form they are written


def draw_sheet(name: str, arguments):
    """Draws the sheet that the arguments of `plvl data show` ask for, and tells what is on it."""
    torch.manual_seed(arguments.seed)
    dataset = load_grounding_dataset(
        name,
        arguments.split,
        *place(arguments),
        split_by=arguments.split_by,
        shuffle_buffer=arguments.shuffle_buffer,
        seed=arguments.seed,
        max_skipped=arguments.max_skipped,
    )
    for _ in islice(dataset, LOOKED_AT):
        pass  # reading says what is wrong
    size = {"height": arguments.size, "width": arguments.size}
    augmentation = training_augmentation(
        size, arguments.aug_crop, arguments.aug_scale, arguments.aug_color, arguments.aug_blur
    )

    tiles = []
    for row in one_row_per_image(dataset, arguments.num_samples):
        tiles += sample_tiles(image_sample([row]), augmentation.transforms)
    contact_sheet(tiles, columns=1 + len(augmentation.transforms)).save(arguments.output)
    print(f"drawn: {arguments.output}, a sample on each line; left as it is, then after each step")
    for step in augmentation.transforms:
        print(f"  {step}")


def sample_tiles(sample, steps) -> list[Image.Image]:
    """The sample as it is and after each of the steps, drawn."""
    tiles = [draw_sample(sample, "as it is")]
    for step in steps:
        before, sample = sample, step(sample)
        unchanged = "" if sample is not before else ", unchanged"
        tiles.append(draw_sample(sample, type(step).__name__ + unchanged))
    return tiles


def draw_sample(sample, title: str) -> Image.Image:
    image = tvF.to_pil_image(sample.image)
    (target,), (mask,) = sample.targets, sample.draw_masks()
    answer = {"colour": TRUE_COLOUR, "boxes": target.boxes, "mask": mask}
    return draw_grounding(image, f"{title} ({image.width} x {image.height}): {target.text}", [answer])
