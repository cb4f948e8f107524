"""`pipeline("visual-grounding", model=...)`: from an image and expressions to boxes and masks, in one call."""

from types import GeneratorType
from typing import Any

import torch
from PIL import Image
from transformers import AutoModel
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.pipelines.base import Pipeline

from plvl.checkpoints import CARRIED_CHECKPOINTS, default_checkpoint
from plvl.processing.encoded_expressions import EncodedExpressions
from plvl.processing.image_input import read_image

TASK = "visual-grounding"
# What of the network's outputs answers are made of.
ANSWERS = ("pred_boxes", "pred_scores", "presence_logits", "center_logits", "pred_masks", "last_hidden_state")


class VisualGroundingPipeline(Pipeline):
    """
    Finds what expressions mean in images. An image is a path, a URL, or a `PIL.Image`.

        pipe = pipeline("visual-grounding", model=path)
        pipe(image, "the man in red")                      # a dict
        pipe(image, ["the man in red", "the left cup"])    # a list of dicts; the image is embedded once
        pipe([{"image": first, "text": "the man in red"}, {"image": second, "text": ["a cup", "a hat"]}])
        pipe([(first, "the man in red"), (second, ["a cup", "a hat"])])                           # the same
        pipe([first, second], "the man in red")            # one text about each of several images
        pipe(rows)                                         # of a `datasets` set with the columns image and text

    Each answer is a dict of `"label"` (the expression), `"score"` (`float` in 0..1), `"box"` (`"xmin"`, `"ymin"`,
    `"xmax"`, `"ymax"`, whole pixels of the image) and `"mask"` (a `PIL.Image` of mode L and the image's size, 255
    on the object and 0 elsewhere). A model without the task "rec" gives no box and a score of `None`, one without
    "res" no mask. An image that carries an EXIF orientation is turned upright first.

    A model of any number of targets answers with `"label"`, `"present"` (`float` in 0..1: how probable it is that
    there is anything of the kind), `"boxes"` (a list of such boxes, the best first; empty where nothing is found),
    `"scores"` (as many `float` in 0..1) and `"mask"`, of all objects together.

    Example:

    ```python
    >>> import plvl
    >>> from transformers import pipeline

    >>> folder = "checkpoints/plvl-tiny-refshapes"
    >>> ground = pipeline("visual-grounding", model=folder, device="cpu")
    >>> answer = ground(f"{folder}/examples/val_refshapes_000004.jpg", "the blue moon")
    >>> sorted(answer), sorted(answer["box"]), answer["mask"].mode
    (['box', 'label', 'mask', 'score'], ['xmax', 'xmin', 'ymax', 'ymin'], 'L')

    ```
    """

    _load_processor = True
    _load_tokenizer = False
    _load_image_processor = False
    _load_feature_extractor = False

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if not hasattr(self.model, "get_image_embeddings") or not hasattr(self.processor, "post_process_grounding"):
            raise ValueError(
                f"{TASK} needs a PLVL model and its PLVLProcessor, got {type(self.model).__name__} and "
                f"{type(self.processor).__name__}"
            )
        # A model handed over in the middle of its training would drop parts of it at random.
        self.model.eval()

    def __call__(
        self,
        image,
        text=None,
        *,
        batch_size=None,
        num_workers=None,
        timeout=None,
        mask_threshold=None,
        expressions_at_once=None,
        box_threshold=None,
        presence_threshold=None,
    ):
        """
        Args:
            image: an image, or several, with `text`; or pairs of image and text (dicts of `"image"` and `"text"`, or
                tuples): one, or several. Several are a list, a generator, or a `Dataset` of torch or `datasets`.
            text (`str` or `list[str]`, *optional*): what to find in the image, or in each of several.
            batch_size (`int`, defaults to 1): how many images are embedded, and expressions answered, at once.
            num_workers (`int`, defaults to 0): processes that read images.
            timeout (`float`, *optional*): seconds to wait for a URL.
            mask_threshold (`float`, defaults to 0.5): a pixel of a higher probability belongs to the object.
            box_threshold, presence_threshold (`float`, *optional*): of a model of any number of targets, in place of
                its processor's: as in [`PLVLProcessor.post_process_grounding`].
            expressions_at_once (`int`, defaults to `batch_size`): how many expressions are answered at once, where it
                is to be another number than that of images.

        An expression that comes again in a call, about whichever image, is encoded once.

        Returns:
            `dict` for one expression, `list[dict]` for a list of expressions; for a list of pairs a list of these, in
            order, for a generator or a `torch` `Dataset` an iterable of them.

        Raises:
            ValueError: a pair lacks its image or its text, an expression is empty, an image cannot be read, or a
                threshold is not in 0..1 or none of this model's.
        """
        if hasattr(image, "column_names") and hasattr(image, "__len__"):
            # A cached set of `datasets` is none of torch's, which the base class knows.
            image = torch.utils.data.Subset(image, range(len(image)))
        if text is not None:
            image = _with_text(image, text)
        if isinstance(image, list) and not image:
            return []
        options = {
            "timeout": timeout,
            "mask_threshold": mask_threshold,
            "box_threshold": box_threshold,
            "presence_threshold": presence_threshold,
            "expressions_at_once": expressions_at_once or batch_size,
            # For this call alone: between two of them the model may be trained, or moved.
            "encode": EncodedExpressions(self.model),
        }
        given = {name: value for name, value in options.items() if value is not None}
        return super().__call__(image, batch_size=batch_size, num_workers=num_workers, **given)

    def _sanitize_parameters(
        self,
        timeout=None,
        expressions_at_once=None,
        encode=None,
        mask_threshold=None,
        box_threshold=None,
        presence_threshold=None,
        **kwargs,
    ):
        given = (
            {"timeout": timeout},
            {"expressions_at_once": expressions_at_once or self._batch_size, "encode": encode},
            {
                "mask_threshold": mask_threshold,
                "box_threshold": box_threshold,
                "presence_threshold": presence_threshold,
            },
        )
        return tuple({name: value for name, value in part.items() if value is not None} for part in given)

    def preprocess(self, pair, timeout=None):
        image, text = _image_and_text(pair)
        image = read_image(image, timeout)
        if not isinstance(image, Image.Image):
            raise ValueError(f"an image must be a path, a URL or a PIL image here, got {type(image).__name__}")
        expressions = [text] if isinstance(text, str) else list(text)
        if not expressions:
            raise ValueError("the list of expressions about an image is empty")
        inputs = self.processor(images=image, text=expressions, return_tensors="pt")
        return {
            "pixel_values": inputs["pixel_values"].to(self.dtype),
            "question": {
                "input_ids": inputs["input_ids"],
                "attention_mask": inputs["attention_mask"],
                "text": text,
                "target_size": (image.height, image.width),
            },
        }

    def _forward(self, model_inputs, expressions_at_once=1, encode=None):
        encode = encode or EncodedExpressions(self.model)
        # Collated, the questions about several images are a list; an image alone has its own.
        questions = model_inputs["question"]
        is_batch = isinstance(questions, list)
        questions = questions if is_batch else [questions]
        counts = [len(question["input_ids"]) for question in questions]
        image_embeddings = self.model.get_image_embeddings(model_inputs["pixel_values"])
        if len(set(counts)) == 1 and sum(counts) <= expressions_at_once:
            outputs = self._ground(image_embeddings, *self._expressions(questions), encode)
            outputs = [[each] for each in _split_outputs(outputs, counts)]
        else:
            outputs = [
                [
                    self._ground(embedding, ids, mask, encode)
                    for ids, mask in zip(
                        *(each.split(expressions_at_once) for each in self._expressions([question])), strict=True
                    )
                ]
                for embedding, question in zip(image_embeddings.split(1), questions, strict=True)
            ]
        answers = [{**question, "outputs": of_image} for question, of_image in zip(questions, outputs, strict=True)]
        return {"answer": answers if is_batch else answers[0]}

    @staticmethod
    def _expressions(questions: list[dict]) -> list[torch.Tensor]:
        return [torch.cat([question[name] for question in questions]) for name in ("input_ids", "attention_mask")]

    def _ground(self, image_embeddings, input_ids, attention_mask, encode) -> dict[str, torch.Tensor | None]:
        text_embeds = encode(input_ids, attention_mask)
        outputs = self.model(image_embeddings=image_embeddings, text_embeds=text_embeds, attention_mask=attention_mask)
        return {name: outputs.get(name) for name in ANSWERS}

    def postprocess(self, model_outputs, **thresholds):
        answer = model_outputs["answer"]
        text = answer["text"]
        found = [
            result
            for outputs in answer["outputs"]
            for result in self.processor.post_process_grounding(outputs, [answer["target_size"]], **thresholds)
        ]
        expressions = [text] if isinstance(text, str) else text
        results = [plain_answer(*pair) for pair in zip(expressions, found, strict=True)]
        return results[0] if isinstance(text, str) else results


def _split_outputs(outputs: dict, counts: list[int]) -> list[dict]:
    parts = {name: None if value is None else value.split(counts) for name, value in outputs.items()}
    return [{name: part and part[index] for name, part in parts.items()} for index in range(len(counts))]


class _SetWithText(torch.utils.data.Dataset):
    """A set of images, or of rows with an image, each with the same text."""

    def __init__(self, images, text):
        self.images, self.text = images, text

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return _image_with_text(self.images[index], self.text)


def _with_text(image, text):
    if isinstance(image, torch.utils.data.IterableDataset):
        image = iter(image)
    if isinstance(image, torch.utils.data.Dataset):
        return _SetWithText(image, text)
    if isinstance(image, list):
        return [_image_with_text(one, text) for one in image]
    if isinstance(image, GeneratorType) or (hasattr(image, "__next__")):
        return (_image_with_text(one, text) for one in image)
    return {"image": image, "text": text}


def _image_with_text(image, text):
    return {"image": image["image"] if isinstance(image, dict) else image, "text": text}


def _image_and_text(pair):
    if isinstance(pair, dict):
        image, text = pair.get("image"), pair.get("text")
    elif isinstance(pair, tuple) and len(pair) == 2:
        image, text = pair
    else:
        image, text = pair, None
    for name, value in (("image", image), ("text", text)):
        if value is None:
            raise ValueError(f"give an image and a text, or pairs of them; this has no {name}: {pair!r}")
    return image, text


def plain_answer(expression: str, found: dict[str, Any]) -> dict[str, Any]:
    """What `post_process_grounding` found (on the CPU) in the form of the pipeline's answers."""
    result: dict[str, Any]
    if "present" in found:
        result = {"label": expression, "present": found["present"]}
    else:
        result = {"label": expression, "score": found.get("score")}
    if "box" in found:
        result["box"] = _named_sides(found["box"])
    if "boxes" in found:
        result["boxes"] = [_named_sides(box) for box in found["boxes"]]
        result["scores"] = found["scores"].tolist()
    if "mask" in found:
        result["mask"] = Image.fromarray(found["mask"].numpy()).convert("L")
    return result


def _named_sides(box: torch.Tensor) -> dict[str, int]:
    return dict(zip(("xmin", "ymin", "xmax", "ymax"), box.round().int().tolist(), strict=True))


PIPELINE_REGISTRY.register_pipeline(
    TASK,
    VisualGroundingPipeline,
    pt_model=AutoModel,
    # Where none is named, and `pipeline` says so.
    default={"model": (str(CARRIED_CHECKPOINTS[default_checkpoint()]), "main")},
    type="multimodal",
)
# With this attribute a saved pipeline would claim that its folder holds this file and all that it imports.
del VisualGroundingPipeline._registered_impl

__all__ = ["VisualGroundingPipeline"]
