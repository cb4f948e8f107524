"""The network as an ONNX file, for runtimes without PyTorch."""

import os
import tempfile
from pathlib import Path

import torch
from torch import nn

from plvl.modeling_plvl.modeling_plvl import PLVLModel

BOX_OUTPUTS = ("pred_boxes", "center_logits", "size", "offset")
SCORE_OUTPUTS = ("pred_scores",)
PRESENCE_OUTPUTS = ("presence_logits",)
MASK_OUTPUTS = ("pred_masks",)
# Traced with values that PyTorch does not take for constants, as it does 0 and 1.
TRACED_BATCH_SIZE, TRACED_LENGTH = 2, 7


class NamedOutputs(nn.Module):
    """The answers of a model as a tuple; ONNX knows no `PLVLOutput`."""

    def __init__(self, model: PLVLModel, names: tuple[str, ...]):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, pixel_values, input_ids, attention_mask):
        outputs = self.model(pixel_values=pixel_values, input_ids=input_ids, attention_mask=attention_mask)
        return tuple(outputs[name] for name in self.names)


def output_names(model: PLVLModel) -> tuple[str, ...]:
    """Which answers, by their names in [`PLVLOutput`], a model of these tasks and targets gives."""
    has_boxes, is_any = model.head.has_boxes, model.config.targets == "any"
    names = BOX_OUTPUTS * has_boxes + SCORE_OUTPUTS * (has_boxes and is_any) + PRESENCE_OUTPUTS * is_any
    return names + MASK_OUTPUTS * model.head.has_masks


def export_onnx(model: PLVLModel, path, image_size: tuple[int, int] | None = None) -> tuple[str, ...]:
    """
    Writes a model as ONNX, in the operator set that the installed exporter prefers (extra `onnx` of this project). A
    file of that name gives way once the new one is written.

    The file takes `pixel_values` (batch_size, channels, height, width), `input_ids` and `attention_mask` (both
    batch_size, sequence_length; int64), of any batch size and length. Its outputs are named and shaped as in
    [`PLVLOutput`]: `pred_boxes`, `center_logits`, `size` and `offset` of a model with boxes, `pred_masks` of one with
    masks; of one of any number of targets also `presence_logits` and, with boxes, `pred_scores`.

    Args:
        model (`PLVLModel`): its weights' dtype becomes the file's.
        path: of the file; folders on the way to it are made.
        image_size (`tuple[int, int]`, *optional*): height and width of the images, in pixels; the size that the
            model was made for by default.

    Returns:
        `tuple[str, ...]`: the outputs' names.

    Raises:
        ValueError: the model is neither in float32 nor in float16, or the images' sides are no multiples of its
            patches'.
    """
    if model.dtype not in (torch.float32, torch.float16):
        raise ValueError(f"a model in {model.dtype} has operators that ONNX Runtime lacks: load it in torch.float32")
    names = output_names(model)
    vision_config = model.config.vision_config
    height, width = image_size or 2 * (vision_config.image_size,)
    if any(side < 1 or side % vision_config.patch_size for side in (height, width)):
        raise ValueError(
            f"the sides of the images must be multiples of the patches' {vision_config.patch_size} pixels, got "
            f"{height} × {width}"
        )
    ids = torch.ones(TRACED_BATCH_SIZE, TRACED_LENGTH, dtype=torch.long, device=model.device)
    pixel_values = torch.zeros(
        TRACED_BATCH_SIZE, vision_config.num_channels, height, width, dtype=model.dtype, device=model.device
    )
    was_training = model.training
    graph = NamedOutputs(model, names).eval()
    try:
        with torch.no_grad():
            program = torch.onnx.export(
                graph,
                # Two tensors: one given twice is traced as one input.
                kwargs={"pixel_values": pixel_values, "input_ids": ids, "attention_mask": ids.clone()},
                input_names=["pixel_values", "input_ids", "attention_mask"],
                output_names=names,
                dynamic_shapes={
                    "pixel_values": {0: "batch_size"},
                    "input_ids": {0: "batch_size", 1: "sequence_length"},
                    "attention_mask": {0: "batch_size", 1: "sequence_length"},
                },
                dynamo=True,
                verbose=False,
            )
    finally:
        model.train(was_training)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as beside:
        program.save(Path(beside, path.name))
        # A large model's weights are in a file of their own.
        for file in Path(beside).iterdir():
            os.replace(file, path.parent / file.name)
    return names
