"""Prints boxes and writes masks beside the image.

python examples/ground_an_image.py IMAGE "the blue moon" "the star on the left"
"""

import sys
from pathlib import Path

from transformers import pipeline

import plvl  # noqa: F401 - makes the model known to Transformers

path, *expressions = sys.argv[1:]
ground = pipeline("visual-grounding", model="checkpoints/plvl-tiny-refshapes")
for number, answer in enumerate(ground(path, expressions), 1):
    print(f"{answer['label']}: {answer['score']:.2f}, {answer['box']}")
    answer["mask"].save(Path(path).with_name(f"{Path(path).stem}_mask_{number}.png"))
