"""The same expressions about many images: a few images at once, in threads that each do all of it for theirs."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from PIL import Image

from plvl.processing.pipeline_plvl import plain_answer
from plvl.scripts.image_inputs import read_named_image
from plvl.scripts.ordered_threads import in_threads
from plvl.scripts.told_answers import AnswerTeller, Place, Told

EXPRESSIONS_AT_ONCE = 16
# Of four images in two threads the C library gave memory back to the system and fetched it again, page by page: 15 ms
# of each image's 70.
ANSWERS_OF_SEVERAL_IMAGES = 2
# Each thread holds its images, their masks and what the network makes of them.
MOST_THREADS = 4


class ImageAnswerer:
    """
    Answers the same expressions about images, as the pipeline does; several threads may ask it at the same time.

    Args:
        model, processor: a [`PLVLModel`] that is ready to answer, and its [`PLVLProcessor`]. The weights of its
            convolutions are laid out with channels last.
        expressions: what is asked of every image. They are encoded once.
        thresholds: for `post_process_grounding`.
    """

    def __init__(self, model: Any, processor: Any, expressions: list[str], thresholds: dict[str, float]):
        # Convolutions on a CPU took a fifth less time so, and no more of each image where there are several.
        self.model = model.to(memory_format=torch.channels_last)
        self.processor, self.expressions, self.thresholds = processor, expressions, thresholds
        inputs = processor(text=expressions, return_tensors="pt").to(model.device)
        self.attention_mask = inputs["attention_mask"]
        with torch.inference_mode():
            self.text_embeds = self.model.get_text_features(inputs["input_ids"], self.attention_mask).last_hidden_state
        # An accelerator does one thing after another: a second batch on it would only take memory.
        self._turn: Any = nullcontext() if model.device.type == "cpu" else threading.Lock()

    @property
    def images_at_once(self) -> int:
        """The first cross-attention computes the queries of one image for all expressions, those of several not."""
        return max(ANSWERS_OF_SEVERAL_IMAGES // len(self.expressions), 1)

    def __call__(self, images: list[Image.Image]) -> list[list[dict[str, Any]]]:
        """For each image (RGB, upright) the answers to all expressions, in the form of the pipeline's."""
        if not images:
            return []
        pixel_values = self.processor.image_processor(images, return_tensors="pt")["pixel_values"]
        found: list[list[dict[str, Any]]] = [[] for _ in images]
        with self._turn, torch.inference_mode():
            pixel_values = pixel_values.to(self.model.device, memory_format=torch.channels_last)
            image_embeddings = self.model.get_image_embeddings(pixel_values)
            pieces = (each.split(EXPRESSIONS_AT_ONCE) for each in (self.text_embeds, self.attention_mask))
            for text_embeds, attention_mask in zip(*pieces, strict=True):
                answers = self._ground(image_embeddings, text_embeds, attention_mask, images)
                for place, of_image in enumerate(found):
                    of_image += answers[place * len(text_embeds) : (place + 1) * len(text_embeds)]
        return [[plain_answer(*pair) for pair in zip(self.expressions, of_image, strict=True)] for of_image in found]

    def _ground(self, image_embeddings, text_embeds, attention_mask, images) -> list[dict[str, Any]]:
        """Answers to all expressions about the first image, then those about the second, and so on."""
        outputs = self.model(
            image_embeddings=image_embeddings,
            text_embeds=text_embeds.repeat(len(images), 1, 1),
            attention_mask=attention_mask.repeat(len(images), 1),
        )
        outputs = {name: value.cpu() for name, value in outputs.items() if isinstance(value, torch.Tensor)}
        sizes = [(image.height, image.width) for image in images]
        return self.processor.post_process_grounding(outputs, sizes, **self.thresholds)


@contextmanager
def shared_cores(num_batches: int) -> Iterator[int]:
    """
    The number of threads that `num_batches` are shared by. Within, PyTorch computes each batch with its share of the
    cores: a core for a batch of its own does more than two for one batch, whose small steps wait for one another.
    """
    cores = torch.get_num_threads()
    num_threads = max(min(cores, num_batches, MOST_THREADS), 1)
    torch.set_num_threads(cores // num_threads)
    try:
        yield num_threads
    finally:
        torch.set_num_threads(cores)


def told_in_order(
    places: list[Place], answerer: ImageAnswerer, teller: AnswerTeller, several: bool
) -> Iterator[tuple[Place, Told]]:
    """
    Yields of each image what is to be printed, once its files are written; of the images themselves nothing is kept.

    Args:
        several: whether images that cannot be read are told, and the others go on.

    Raises:
        ValueError: an image cannot be read, and `several` is false.
        OSError: a file cannot be written.
    """

    def tell(batch: list[Place]) -> list[Told]:
        read = [_read(place.source, several) for place in batch]
        answers = iter(answerer([image for image in read if not isinstance(image, ValueError)]))
        return [
            teller.unreadable(place, image)
            if isinstance(image, ValueError)
            else teller.tell(place, image, next(answers))
            for place, image in zip(batch, read, strict=True)
        ]

    size = answerer.images_at_once
    batches = [places[start : start + size] for start in range(0, len(places), size)]
    with shared_cores(len(batches)) as num_threads:
        for batch, told in zip(batches, in_threads(tell, batches, num_threads), strict=True):
            yield from zip(batch, told, strict=True)


def _read(source, several: bool) -> Image.Image | ValueError:
    """The image; of one among several that cannot be read, the error."""
    try:
        return read_named_image(source)
    except ValueError as error:
        if not several:
            raise
        return error
