"""Grounds an expression in a picture: python scripts/predict.py PICTURE "EXPRESSION" --model DIR --output out.png"""

import argparse

import torch
from transformers.image_utils import load_image

from plvl.modeling_plvl import PLVLModel
from plvl.processing import PLVLProcessor
from plvl.processing.drawing import PREDICTED_COLOUR, draw_grounding


@torch.no_grad()
def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", help="a picture file or URL")
    parser.add_argument("expression", help="what to find in it")
    parser.add_argument("--model", required=True, help="folder or Hub name of a PLVL model")
    parser.add_argument("--output", default="grounded.png", help="where the drawn answer goes")
    arguments = parser.parse_args(argv)

    image = load_image(arguments.picture)
    processor = PLVLProcessor.from_pretrained(arguments.model)
    model = PLVLModel.from_pretrained(arguments.model).eval()
    inputs = processor(images=image, text=arguments.expression, return_tensors="pt")
    [answer] = processor.post_process_grounding(model(**inputs), target_sizes=[(image.height, image.width)])

    if "box" in answer:
        x1, y1, x2, y2 = answer["box"].tolist()
        print(f"box: x {x1:.0f} to {x2:.0f}, y {y1:.0f} to {y2:.0f}; confidence {answer['score']:.2f}")
        answer["label"] = f"{answer['score']:.2f}"
    if "mask" in answer:
        print(f"mask: {answer['mask'].float().mean():.1%} of the picture")
    draw_grounding(image, arguments.expression, [{"colour": PREDICTED_COLOUR, **answer}]).save(arguments.output)
    print(f"drawn: {arguments.output}")


if __name__ == "__main__":
    main()
