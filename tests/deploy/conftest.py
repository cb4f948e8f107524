"""Kits of small models, each written once: writing takes seconds."""

from pathlib import Path

import pytest
from PIL import Image

from conftest import EXPRESSIONS
from plvl.deploy import graphs
from plvl.deploy.kit import write_kit
from plvl.processing import PLVLImageProcessorPil, PLVLProcessor
from plvl.processing.word_vocabulary import build_word_vocabulary
from shallow_models import shallow_model


@pytest.fixture(scope="session")
def kit_processor():
    """With Pillow, as a kit's runner; images are not square, nor are mean and deviation those of any default."""
    image_processor = PLVLImageProcessorPil(
        size={"height": 64, "width": 96}, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.25, 0.3]
    )
    tokenizer = build_word_vocabulary(EXPRESSIONS, vocab_size=99)
    return PLVLProcessor(image_processor, tokenizer, max_text_length=9, box_threshold=0.6, presence_threshold=0.4)


@pytest.fixture(scope="session")
def make_kit(kit_processor, tmp_path_factory):
    """Writes a kit of `shallow_model` with these changes, or takes the one that is there, and gives its folder."""
    written: dict[str, Path] = {}

    def make(format: str, precision: str = "float32", **changes) -> Path:
        key = f"{format} {precision} {changes}"
        if key not in written:
            written[key] = tmp_path_factory.mktemp(f"{format}-{precision}")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(graphs, "LEAST_WEIGHTS", 100)  # the layers are small
                write_kit(shallow_model(**changes), kit_processor, written[key], format, precision)
        return written[key]

    return make


@pytest.fixture
def photo():
    """Neither of the network's size nor of its shape, and larger along one side than along the other."""
    image = Image.effect_noise((75, 131), 60).convert("RGB")
    image.paste((220, 40, 40), (10, 5, 30, 65))
    image.paste((20, 40, 240), (40, 75, 70, 120))
    return image
