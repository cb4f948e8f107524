"""A kit: a folder with two graphs and everything that is needed to ask them, PyTorch and Transformers left out."""

import json
import shutil
from pathlib import Path
from typing import Any

from PIL import Image
from tokenizers import Tokenizer

from plvl.deploy.formats import PRECISIONS, SUFFIXES, write_graph
from plvl.deploy.graphs import export_graphs, store_weights_in_eight_bits
from plvl.modeling_plvl.modeling_plvl import PLVLModel
from plvl.modeling_plvl.onnx_plvl import output_names
from plvl.modeling_plvl.text_encoder_plvl import ATTEND_TO_PADDING
from plvl.processing.processing_plvl import THRESHOLD, PLVLProcessor

RUNNER = Path(__file__).with_name("runner.py")
LOGITS = ("center_logits", "presence_logits", "pred_masks")
STEPS = ("do_convert_rgb", "do_resize", "do_rescale", "do_normalize")


def write_kit(
    model: PLVLModel,
    processor: PLVLProcessor,
    folder,
    format: str,
    precision: str = "float32",
    image_size: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """
    Writes the graphs `image` and `expressions` (see `ImageGraph` and `ExpressionGraph`), `tokenizer.json`, which pads
    and cuts as the processor does, `config.json`, and `runner.py`, which reads them all.

    Args:
        model (`PLVLModel`): in float32; `precision` changes it in place.
        processor (`PLVLProcessor`): the model's own.
        folder: to write into; it is there.
        format (`str`): `"onnx"`, `"openvino"` or `"torch-export"`.
        precision (`str`): of the weights. `"int8"`: those of large linear layers, convolutions and embeddings in 8
            bits, all arithmetic in float32. `"float16"`: arithmetic, too, where the runtime has it; inputs and
            outputs stay float32.
        image_size (`tuple[int, int]`, *optional*): height and width that the runner brings images to; the processor's
            by default.

    Returns:
        `dict`: what `config.json` holds.

    Raises:
        ValueError: the images' sides are no multiples of the patches', the processor leaves out a step that the
            runner takes, its tokenizer is none of the library tokenizers, or the model cannot be traced.
    """
    folder = Path(folder)
    if format not in SUFFIXES or precision not in PRECISIONS:
        raise ValueError(f"a kit is of {', '.join(SUFFIXES)}, in {', '.join(PRECISIONS)}; got {format}, {precision}")
    graphs: dict[str, dict] = {}
    description = {
        "format": format,
        "precision": precision,
        "graphs": graphs,
        "image": image_settings(model, processor, image_size),
        "text": {"do_lower_case": processor.do_lower_case},
        "answers": answer_settings(model, processor),
    }
    kit_tokenizer(model, processor).save(str(folder / "tokenizer.json"))
    if precision == "int8":
        store_weights_in_eight_bits(model)
    elif precision == "float16" and format != "openvino":
        model.half()
    for name, graph in export_graphs(model).items():
        file = f"{name}{SUFFIXES[format]}"
        write_graph(graph, folder / file, precision)
        graphs[name] = {"file": file, "inputs": graph.inputs, "outputs": graph.outputs}
    (folder / "config.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    shutil.copyfile(RUNNER, folder / RUNNER.name)
    return description


def image_settings(model: PLVLModel, processor: PLVLProcessor, image_size) -> dict[str, Any]:
    """How an image becomes `pixel_values`."""
    image_processor, patch_size = processor.image_processor, model.config.vision_config.patch_size
    left_out = [step for step in STEPS if not getattr(image_processor, step)]
    if left_out:
        raise ValueError(f"the processor leaves out {', '.join(left_out)}, and a kit's runner takes every step")
    height, width = image_size or (image_processor.size["height"], image_processor.size["width"])
    if any(side < 1 or side % patch_size for side in (height, width)):
        raise ValueError(
            f"the sides of the images must be multiples of the patches' {patch_size} pixels, got {height} × {width}"
        )
    return {
        "height": height,
        "width": width,
        "patch_size": patch_size,
        "resize": "the long side to the longer of height and width, then stretched to both with corners aligned",
        "resample": Image.Resampling(image_processor.resample).name,
        "rescale_factor": image_processor.rescale_factor,
        "mean": list(image_processor.image_mean),
        "std": list(image_processor.image_std),
    }


def answer_settings(model: PLVLModel, processor: PLVLProcessor) -> dict[str, Any]:
    """How the outputs are read."""
    return {
        "tasks": list(model.config.tasks),
        "targets": model.config.targets,
        "boxes": "center x, center y, width, height as shares of the image",
        "masks": "of the size of pixel_values",
        "logits": [name for name in output_names(model) if name in LOGITS],
        "box_threshold": processor.box_threshold,
        "presence_threshold": processor.presence_threshold,
        "mask_threshold": THRESHOLD,
    }


def kit_tokenizer(model: PLVLModel, processor: PLVLProcessor) -> Tokenizer:
    """
    The tokenizer with the processor's cutting and padding; where nothing attends to padding, to the longest of a call
    alone.
    """
    tokenizer = processor.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ValueError(f"a {type(tokenizer).__name__} has no tokenizer.json, which a kit's runner reads")
    kit = Tokenizer.from_str(backend.to_str())
    kit.enable_truncation(processor.max_text_length, direction=tokenizer.truncation_side)
    config = model.config
    is_read = not config.mask_text_padding_in_vision or config.text_config.model_type in ATTEND_TO_PADDING
    kit.enable_padding(
        direction=tokenizer.padding_side,
        pad_id=tokenizer.pad_token_id,
        pad_type_id=tokenizer.pad_token_type_id,
        pad_token=tokenizer.pad_token,
        length=processor.max_text_length if is_read else None,
    )
    return kit
