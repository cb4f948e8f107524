"""What the demo's page shows for an image and an expression, without the page."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from PIL import Image

from plvl.processing.answer_drawing import READABLE_WIDTH, draw_answers
from plvl.processing.answer_words import answer_in_words
from plvl.processing.heat_maps import best_region, draw_heat_map
from plvl.processing.word_attention import WordAttention, word_attention

# Larger images are reduced: the network sees less, and a page shows less.
LONGEST_SIDE = 1280
TILE_WIDTH = 320


@dataclass(frozen=True)
class WordsHeard:
    """
    What a page keeps of an answer for as long as its visitor may want to see it block by block: tens of kilobytes.

    Args:
        attention ([`WordAttention`]): its maps in half precision.
        tile (`bytes`): the image, small, as JPEG, to draw the words' attention on.
    """

    attention: WordAttention
    tile: bytes


@dataclass(frozen=True)
class DemoAnswer:
    """
    Args:
        drawing (`PIL.Image.Image`): the image with the answer.
        centre (`PIL.Image.Image`, *optional*): where the network expects the object's centre, with a cross at its
            best region; of a model of any number of targets, with one at the centre of each box that is answered.
            `None` from a model that gives no boxes.
        heard ([`WordsHeard`], *optional*): `None` where no block has cross-attention or there are no words.
    """

    drawing: Image.Image
    centre: Image.Image | None
    heard: WordsHeard | None


@torch.no_grad()
def answer_and_explain(model, processor, image: Image.Image, expression: str) -> DemoAnswer:
    """
    Args:
        model ([`PLVLModel`]): with eager attention, which alone tells where it attended.
        processor ([`PLVLProcessor`]): the model's.
        image (`PIL.Image.Image`): of any size.
        expression (`str`): not empty.
    """
    image = image.convert("RGB")
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    inputs = processor(images=image, text=expression, return_tensors="pt").to(model.device)
    outputs = model(**inputs, output_attentions=True)
    [answer] = processor.post_process_grounding(outputs, target_sizes=[(image.height, image.width)])
    answer = {name: value.cpu() if torch.is_tensor(value) else value for name, value in answer.items()}
    is_any = "present" in answer
    if is_any:
        answer["said"] = answer_in_words(answer, processor.presence_threshold)
    centre = None
    if outputs.center_logits is not None:
        probability = outputs.center_logits[0].float().sigmoid().cpu().numpy()
        # The scale goes to the best region: a faint answer shows as well as a sure one, whose number stands beside.
        if is_any:
            crosses = outputs.pred_boxes[0, : len(answer["boxes"]), :2].tolist()
        else:
            crosses = [best_region(probability)]
        centre = draw_heat_map(_resized(image, READABLE_WIDTH), probability, probability.max(), crosses)
    return DemoAnswer(
        drawing=draw_answers(image, [answer | {"label": expression}]),
        centre=centre,
        heard=words_heard(image, word_attention(outputs, processor, expression)),
    )


def words_heard(image: Image.Image, attention: WordAttention | None) -> WordsHeard | None:
    if attention is None:
        return None
    maps = attention.maps.astype(np.float16)
    return WordsHeard(WordAttention(attention.words, maps), as_jpeg(_resized(image, TILE_WIDTH)))


def word_tiles(heard: WordsHeard, block: int | None) -> list[tuple[str, float, Image.Image]]:
    """
    For each word: the word, the mean share of attention that it got, and where it got it, drawn on the image. One
    scale of heat serves all words, so that they can be compared.

    Args:
        heard ([`WordsHeard`]): of an answer.
        block (`int`, *optional*): which of the blocks with cross-attention, from 0; by default their mean.
    """
    maps = heard.attention.maps.astype(np.float32)
    maps = maps.mean(0) if block is None else maps[block]
    tile = Image.open(BytesIO(heard.tile))
    return [
        (word, float(heat.mean()), draw_heat_map(tile, heat, maps.max()))
        for word, heat in zip(heard.attention.words, maps, strict=True)
    ]


def as_jpeg(image: Image.Image) -> bytes:
    content = BytesIO()
    image.save(content, "JPEG", quality=85)
    return content.getvalue()


def _resized(image: Image.Image, width: int) -> Image.Image:
    """The image at a width, or narrower where it would be taller than LONGEST_SIDE."""
    scale = min(width / image.width, LONGEST_SIDE / image.height)
    size = max(round(image.width * scale), 1), max(round(image.height * scale), 1)
    return image.resize(size, Image.Resampling.BICUBIC)
