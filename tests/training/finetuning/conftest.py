"""Images of one's own, made by code, and labels about them."""

import json
from types import SimpleNamespace

import pytest
from PIL import Image

NUM_IMAGES = 6
SIZE = (60, 40)


@pytest.fixture
def write_own_images(tmp_path):
    """Writes images with a red and a blue square each, two expressions about each image; gives folder, file, lines."""

    def write(num_images=NUM_IMAGES, folder="mine"):
        images = tmp_path / folder / "images"
        images.mkdir(parents=True)
        lines = []
        for number in range(num_images):
            image = Image.new("RGB", SIZE, (30, 60 + number, 90))
            red, blue = (4 + number, 6, 14, 11), (34, 12 + number, 9, 16)
            for (x, y, width, height), colour in ((red, (220, 40, 40)), (blue, (40, 40, 220))):
                image.paste(colour, (x, y, x + width, y + height))
            image.save(images / f"{number}.png")
            lines += [
                {"file_name": f"{number}.png", "text": text, "bbox": list(box)}
                for text, box in (("the red square", red), ("the blue square on the right", blue))
            ]
        labels = images.parent / "labels.jsonl"
        labels.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return SimpleNamespace(images=images, labels=labels, lines=lines)

    return write


@pytest.fixture
def own(write_own_images):
    return write_own_images()


@pytest.fixture
def rewrite(own):
    """Writes the file of labels anew, as JSON Lines."""

    def write(lines):
        own.labels.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    return write
