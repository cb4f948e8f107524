# Copyright 2026 The maintainers of PLVL.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""PLVLProcessor: images and expressions in, the network's inputs out; the network's outputs back to pixels."""

from typing import Any

import torch
import torch.nn.functional as F
from torchvision.ops import box_convert
from transformers.processing_utils import ImagesKwargs, ProcessingKwargs, ProcessorMixin
from transformers.utils import logging

from plvl.configuration.configuration_plvl import expressions_about_each
from plvl.processing.expression_words import is_blank, is_text

# Below Transformers' own logger, whose verbosity users set.
logger = logging.get_logger("transformers.models.plvl")

MAX_TEXT_LENGTH = 40
THRESHOLD = 0.5


class PLVLImagesKwargs(ImagesKwargs, total=False):
    boxes: Any
    masks: Any
    max_targets: int | None


class PLVLProcessorKwargs(ProcessingKwargs, total=False):
    images_kwargs: PLVLImagesKwargs
    _defaults = {
        "text_kwargs": {
            "padding": "max_length",
            "max_length": MAX_TEXT_LENGTH,
            "truncation": True,
            # Some tokenizers, as SigLIP's, give none unless they are asked.
            "return_attention_mask": True,
            "return_token_type_ids": False,
        }
    }


class PLVLProcessor(ProcessorMixin):
    """
    Wraps [`PLVLImageProcessor`] and a tokenizer.

    Args:
        image_processor, tokenizer: of the model.
        max_text_length (`int`, defaults to 40): tokens that expressions are padded and cut to.
        do_lower_case (`bool`, defaults to `True`): whether expressions are lower-cased, as the authors' are.
        box_threshold (`float`, defaults to 0.5): of a model of any number of targets, the score in 0..1 from which on
            a box is answered.
        presence_threshold (`float`, defaults to 0.5): of such a model, the probability of there being anything of the
            kind from which on anything is answered.

    `processor(images=..., text=..., return_tensors="pt")` takes one expression for each image, or several: each
    image then has as many as the others, which follow one another. Expressions are lower-cased, padded and cut to
    `max_text_length` tokens; a model whose vision blocks attend to the padding, as the authors' do
    (`mask_text_padding_in_vision`), answers otherwise at another length, of which a warning tells once. With `boxes`,
    `masks` and `max_targets` (as in [`PLVLImageProcessor`]) it gives `labels` too.

    Example:

    ```python
    >>> import plvl
    >>> from PIL import Image
    >>> from transformers import AutoProcessor

    >>> processor = AutoProcessor.from_pretrained("checkpoints/plvl-tiny-refshapes")
    >>> image = Image.new("RGB", (320, 214))
    >>> inputs = processor(images=image, text="the blue moon", boxes=[(32, 0, 96, 107)], return_tensors="pt")
    >>> inputs.pixel_values.shape, inputs.input_ids.shape
    (torch.Size([1, 3, 160, 160]), torch.Size([1, 40]))
    >>> inputs["labels"]["boxes"]  # cx, cy, w, h as shares of the image
    tensor([[0.2000, 0.2500, 0.2000, 0.5000]])

    ```
    """

    valid_processor_kwargs = PLVLProcessorKwargs
    skip_tensor_conversion = ["labels"]
    # One segment of text: the tokenizer is asked for no segment ids.
    unused_input_names = ["token_type_ids"]
    _said_what_is_cut = _said_how_it_is_padded = False

    def __init__(
        self,
        image_processor,
        tokenizer,
        max_text_length: int = MAX_TEXT_LENGTH,
        do_lower_case: bool = True,
        box_threshold: float = THRESHOLD,
        presence_threshold: float = THRESHOLD,
    ):
        self.max_text_length, self.do_lower_case = max_text_length, do_lower_case
        self.box_threshold, self.presence_threshold = box_threshold, presence_threshold
        super().__init__(image_processor, tokenizer)

    def normalize_text(self, expression: str) -> str:
        """The expression as the tokenizer gets it."""
        return expression.lower() if self.do_lower_case else expression

    def __call__(self, images=None, text=None, videos=None, audio=None, **kwargs):
        inputs = super().__call__(images=images, text=text, videos=videos, audio=audio, **kwargs)
        mask = inputs.get("attention_mask")
        if mask is not None and not self._said_what_is_cut:
            self._say_what_is_cut([text] if isinstance(text, str) else list(text), mask)
        if mask is not None and not self._said_how_it_is_padded:
            self._say_how_it_is_padded({*map(len, mask)})
        return inputs

    def _merge_kwargs(self, *args, **kwargs):
        merged = super()._merge_kwargs(*args, **kwargs)
        # A tokenizer keeps the length that it was last called with; the processor's own goes before that.
        is_own = self.max_text_length != MAX_TEXT_LENGTH
        is_tokenizers = "max_length" in (kwargs.get("tokenizer_init_kwargs") or {})
        if "max_length" not in {*kwargs, *kwargs.get("text_kwargs", {})} and (is_own or not is_tokenizers):
            merged["text_kwargs"]["max_length"] = self.max_text_length
        return merged

    def _say_how_it_is_padded(self, lengths: set[int]):
        others = sorted(lengths - {self.max_text_length})
        if others:
            self._said_how_it_is_padded = True
            logger.warning(
                "expressions have %s tokens with their padding, in place of the %d that PLVL is trained with: a model "
                "whose vision blocks attend to the padding (mask_text_padding_in_vision is False) answers otherwise. "
                "Leave out padding and max_length",
                ", ".join(map(str, others)),
                self.max_text_length,
            )

    def _say_what_is_cut(self, text: list[str], mask):
        """Warns of the first expression whose end is cut off; only one that fills its row can be such."""
        length = len(mask[0])
        for expression, row in zip(text, mask, strict=True):
            if sum(map(int, row)) == length:
                needed = len(self.tokenizer(self.normalize_text(expression), verbose=False)["input_ids"])
                if needed > length:
                    self._said_what_is_cut = True
                    logger.warning(
                        "the expression %.60r has %d tokens, of which the first %d are read; others may be cut, too",
                        expression,
                        needed,
                        length,
                    )
                    return

    def prepare_inputs_layout(self, images=None, text=None, videos=None, audio=None, **kwargs):
        if isinstance(text, str):
            text = [text]
        if text is not None and all(isinstance(expression, str) for expression in text):
            text = list(map(self.normalize_text, text))
        if images is not None:
            images = self.image_processor.fetch_images(images)
        return images, text, videos, audio

    def validate_inputs(self, images=None, text=None, videos=None, audio=None, **kwargs):
        for index, expression in enumerate(text or []):
            if not isinstance(expression, str):
                raise ValueError(f"expression {index} must be a string, got {expression!r}")
            if is_blank(expression):
                raise ValueError(f"expression {index} is empty: {expression!r}")
            if not is_text(expression):
                raise ValueError(f"expression {index} has half a character, which no text can hold: {expression!r}")
        super().validate_inputs(images=images, text=text, **kwargs)
        num_images = _count_images(images)
        if text is not None and num_images is not None:
            expressions_about_each(num_images, len(text))

    def post_process_grounding(
        self,
        outputs,
        target_sizes=None,
        mask_threshold: float = 0.5,
        box_threshold: float | None = None,
        presence_threshold: float | None = None,
    ) -> list[dict]:
        """
        Brings the network's answers back to the images.

        Args:
            outputs ([`PLVLOutput`], or a `dict` of its fields): what the model gave.
            target_sizes (`list[tuple[int, int]]` or `torch.Tensor` of shape `(batch_size, 2)`, *optional*): height
                and width of each image in pixels, which serves as many expressions as the others. Without it,
                boxes are shares of the image and masks have the network's size.
            mask_threshold (`float`, defaults to 0.5): a pixel of a higher probability belongs to the object.
            box_threshold, presence_threshold (`float`, *optional*, of a model of any number of targets): in place of
                the processor's own. With 0 for both, every peak of the centre map is answered.

        Returns:
            `list[dict]`, one for each expression: `"score"` (`float` in 0..1, the centre's probability), `"box"`
            (`torch.Tensor` of shape `(4,)`: x1, y1, x2, y2, cut at the border) if the model gives boxes; `"mask"`
            (`torch.BoolTensor` of shape `(height, width)`) if it gives masks.

            Of a model of any number of targets `"present"` (`float` in 0..1, the probability of there being anything
            of the kind) and `"found"` (`bool`: `"present"` is `presence_threshold` or more and, if the model gives
            boxes, so is the score of a box with `box_threshold`); `"boxes"` (`torch.Tensor` of shape `(n, 4)`, the
            best first) and `"scores"` (`torch.Tensor` of shape `(n,)`, in 0..1, `box_threshold` or more) if it gives
            boxes; `"mask"`, of all objects together, if it gives masks. What is not found has no boxes and an empty
            mask.

        Raises:
            ValueError: there are target_sizes for another number of expressions, a threshold is not in 0..1, or one
                is given for a model of one target.
        """
        num_expressions = len(outputs["last_hidden_state"])
        given = [None] * num_expressions if target_sizes is None else [tuple(map(int, size)) for size in target_sizes]
        about_each = expressions_about_each(len(given), num_expressions, "target_sizes")
        sizes = [size for size in given for _ in range(about_each)]

        own = {"box_threshold": self.box_threshold, "presence_threshold": self.presence_threshold}
        asked = {"box_threshold": box_threshold, "presence_threshold": presence_threshold}
        asked = {name: value for name, value in asked.items() if value is not None}
        if outputs.get("presence_logits") is not None:
            results = _answers_of_any(outputs, sizes, **own | asked)
        elif asked:
            raise ValueError(f"{' and '.join(asked)}: a model of one target has no such threshold")
        else:
            results = _answers_of_one(outputs, sizes)
        pred_masks = outputs.get("pred_masks")
        if pred_masks is not None:
            for result, logits, size in zip(results, pred_masks.float(), sizes, strict=True):
                if not result.get("found", True):
                    result["mask"] = torch.zeros(size or logits.shape, dtype=torch.bool, device=logits.device)
                    continue
                probability = logits.sigmoid()[None, None]
                if size is not None:
                    probability = F.interpolate(probability, size=size, mode="bilinear", align_corners=False)
                result["mask"] = probability[0, 0] > mask_threshold
        return results


def forget_length(tokenizer):
    """A tokenizer's folder may keep the length that it was last called with: it would go before the processor's."""
    tokenizer.init_kwargs.pop("max_length", None)
    if getattr(tokenizer, "backend_tokenizer", None) is not None:
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()


def _answers_of_one(outputs, sizes) -> list[dict]:
    """Without the masks."""
    if outputs.get("pred_boxes") is None:
        return [{} for _ in sizes]
    scores = outputs["center_logits"].float().sigmoid().flatten(1).amax(1).tolist()
    return [
        {"score": score, "box": _in_pixels(box, size)}
        for score, box, size in zip(scores, outputs["pred_boxes"], sizes, strict=True)
    ]


def _answers_of_any(outputs, sizes, box_threshold: float, presence_threshold: float) -> list[dict]:
    """Without the masks."""
    for name, value in (("box_threshold", box_threshold), ("presence_threshold", presence_threshold)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be from 0 to 1, got {value}")
    present = outputs["presence_logits"].float().sigmoid()
    results = [
        {"present": probability, "found": is_present}
        for probability, is_present in zip(present.tolist(), (present >= presence_threshold).tolist(), strict=True)
    ]
    if outputs.get("pred_boxes") is None:
        return results
    scores = outputs["pred_scores"].float()
    # 0 is the score of no peak.
    numbers = ((scores >= box_threshold) & (scores > 0)).sum(1).tolist()
    for sample, (result, number, size) in enumerate(zip(results, numbers, sizes, strict=True)):
        result["found"] = result["found"] and number > 0
        answered = slice(number if result["found"] else 0)  # the best come first
        result["boxes"] = _in_pixels(outputs["pred_boxes"][sample, answered], size)
        result["scores"] = scores[sample, answered]
    return results


def _in_pixels(boxes: torch.Tensor, size: tuple[int, int] | None) -> torch.Tensor:
    """Boxes cx, cy, w, h as shares of the image, `(..., 4)`, as x1, y1, x2, y2, cut at its border."""
    height, width = size or (1, 1)
    corners = box_convert(boxes.float(), "cxcywh", "xyxy").clamp(0, 1)
    return corners * corners.new_tensor([width, height, width, height])


def _count_images(images) -> int | None:
    if images is None:
        return None
    if isinstance(images, (list, tuple)):
        return len(images)
    is_batch = getattr(images, "ndim", 0) == 4
    return len(images) if is_batch else 1


__all__ = ["PLVLProcessor", "PLVLProcessorKwargs"]
