"""Draws what the training transform does to a dataset's samples, step by step, with boxes and mask.

python scripts/visualize_augmentation.py --dataset refcoco --image_root image_data --label_root mask_data \\
    --split train --num_samples 4 --output sheet.png
"""

import argparse

import torch
from PIL import Image
from torchvision.transforms.v2 import functional as tvF

from plvl.data import load_grounding_dataset
from plvl.data.collator import image_sample
from plvl.data.sample_validation import MAX_SKIPPED
from plvl.processing.augmentation import training_augmentation
from plvl.processing.drawing import TRUE_COLOUR, contact_sheet, draw_grounding
from plvl.scripts.program import ArgumentParser, run_as_program
from plvl.training.gallery import one_row_per_image


def main(argv=None):
    arguments = parse(argv)
    torch.manual_seed(arguments.seed)
    roots = arguments.image_root, arguments.label_root
    dataset = load_grounding_dataset(
        arguments.dataset,
        arguments.split,
        *roots,
        split_by=arguments.split_by,
        shuffle_buffer=arguments.shuffle_buffer,
        seed=arguments.seed,
        max_skipped=arguments.max_skipped,
    )
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


def parse(argv):
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="name of the dataset, see docs/data.md")
    parser.add_argument("--image_root", help="folder of the images")
    parser.add_argument("--label_root", required=True, help="folder of the labels")
    parser.add_argument("--split", default="train", help="the split (default: train)")
    parser.add_argument("--split_by", help="who split a REFER set (unc, umd, google)")
    parser.add_argument("--num_samples", type=int, default=4, help="samples, each of another image (default: 4)")
    parser.add_argument("--output", default="sheet.png", help="where the sheet goes (default: sheet.png)")
    parser.add_argument("--size", type=int, default=448, help="side of the network's square (default: 448)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other samples and draws (default: 0)")
    parser.add_argument("--shuffle_buffer", type=int, default=1000, help="rows to draw from; 0: the first ones")
    parser.add_argument("--max_skipped", type=float, default=MAX_SKIPPED, help="share of bad rows to put up with")
    switch = {"action": argparse.BooleanOptionalAction}
    parser.add_argument("--aug_crop", default=True, **switch, help="cut every other image to a part")
    parser.add_argument("--aug_scale", default=True, **switch, help="draw the size images are resized to")
    parser.add_argument("--aug_color", default=True, **switch, help="change brightness, contrast and saturation")
    parser.add_argument("--aug_blur", default=False, **switch, help="blur every other image")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_as_program(main)
