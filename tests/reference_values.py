"""What the original PLVL program computed, beside what is computed here.

The files in tests/fixtures/reference were read off the original program, run once in float32 on a CPU, in eval mode,
with made-up weights. Each function below compares one thing with them and gives rows of differences: the tests
demand that every row agrees, and this file, run as a program, writes the rows down:

python tests/reference_values.py docs/fidelity.md
python tests/reference_values.py --model FOLDER    # the network with these weights, and a processor, for AutoModel
"""

import argparse
import json
import platform
import sys
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image

from plvl.modeling_plvl import PLVLOutput
from plvl.modeling_plvl.checkpoint_conversion import build_model, plvl_weights
from plvl.modeling_plvl.checkpoint_keys import plvl_keys, sort_names, split_stacked_projection
from plvl.modeling_plvl.loss_plvl import center_heatmap
from plvl.processing import PLVLImageProcessor, PLVLImageProcessorPil, PLVLProcessor
from plvl.processing.word_vocabulary import build_word_vocabulary
from plvl.scripts.atomic_directory import atomic_directory

REFERENCE = Path(__file__).parent / "fixtures" / "reference"
LOSSES = {
    "loss_giou": "giou_loss",
    "loss_l1": "l1_loss",
    "loss_center": "focal_loss_box",
    "loss_mask_focal": "focal_loss_seg",
    "loss_mask_dice": "dice_loss",
}
# Softmax does not feel a bias of its keys: where the key bias has a tensor of its own, its true gradient is 0, and
# what either program finds (about 1e-7) is rounding. The smallest other norm is 1.6e-3.
ZERO_GRADIENT = 1e-6


@dataclass
class Row:
    """One comparison: the largest difference seen, in the measure that `tolerance` is given in."""

    what: str
    measure: str
    tolerance: float
    difference: float

    @property
    def agrees(self) -> bool:
        return bool(self.difference <= self.tolerance)  # not so for NaN


def made_up_state_dict(shapes: dict) -> dict[str, torch.Tensor]:
    """The weights of the reference run: each tensor is drawn from its own name. `shapes`: name to [shape, dtype]."""
    return {name: _made_up_tensor(name, shape, dtype) for name, (shape, dtype) in shapes.items()}


def _made_up_tensor(name: str, shape: list[int], dtype: str) -> torch.Tensor:
    if dtype == "int64":
        return torch.zeros(shape, dtype=torch.int64)
    generator = np.random.RandomState(zlib.crc32(name.encode()))
    x = generator.standard_normal(int(np.prod(shape))).astype(np.float32).reshape(shape)
    last = name.rsplit(".", 1)[-1]
    if last == "running_var":
        x = np.exp(np.float32(0.2) * x)
    elif last == "running_mean":
        x *= np.float32(0.1)
    elif last in ("rel_pos_h", "rel_pos_w"):
        x *= np.float32(0.05)
    elif last == "pos_embed" or ("embeddings." in name and last == "weight" and len(shape) == 2):
        x *= np.float32(0.1)
    elif len(shape) <= 1 and last in ("weight", "gamma"):
        x = 1 + np.float32(0.1) * x
    elif len(shape) <= 1:
        x *= np.float32(0.05)
    else:
        x = x / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(x.astype(np.float32))


def reference_shapes() -> dict:
    """Every tensor of an original checkpoint: name to [shape, dtype]."""
    return json.loads((REFERENCE / "state_dict.json").read_text(encoding="utf-8"))


class ReferenceNetwork:
    """The network with the weights and inputs of the reference run."""

    def __init__(self, device: torch.device | str = "cpu"):
        self.device = device
        self.reference = np.load(REFERENCE / "forward_a.npz")
        checkpoint = {"model": made_up_state_dict(reference_shapes()), "epoch": 0}
        self.weights = plvl_weights(checkpoint, "the reference weights")
        self.model = build_model([self.weights]).eval().to(device)

    @cached_property
    def inputs(self) -> dict:
        pixel_values = np.random.RandomState(7).standard_normal((2, 3, 448, 448)).astype(np.float32)
        inputs = {name: torch.from_numpy(self.reference[name]) for name in ("input_ids", "attention_mask")}
        inputs["pixel_values"] = torch.from_numpy(pixel_values)
        return {name: values.to(self.device) for name, values in inputs.items()}

    @cached_property
    def labels(self) -> dict:
        boxes = self.reference["target_boxes"]
        yy, xx = np.mgrid[0:448, 0:448] / 448
        masks = [((xx - cx) / (w / 2)) ** 2 + ((yy - cy) / (h / 2)) ** 2 <= 1 for cx, cy, w, h in boxes]
        labels = {"boxes": torch.from_numpy(boxes), "masks": torch.from_numpy(np.stack(masks)).float()}
        return {name: values.to(self.device) for name, values in labels.items()}

    @cached_property
    def stages(self) -> dict[str, torch.Tensor]:
        """What the stages gave that the model's output does not carry; filled by the first run of `trained`."""
        return {}

    @cached_property
    def trained(self):
        """The output of a forward pass with labels, after the backward pass."""
        hooks = [
            module.register_forward_hook(lambda _, __, output, name=name: self.stages.update({name: output}))
            for name, module in [
                ("vision_patch_embed", self.model.vision_encoder.embeddings.projection),
                *((f"decoder_layer_{i}", layer) for i, layer in enumerate(self.model.decoder.layers)),
            ]
        ]
        output = self.model(**self.inputs, labels=self.labels, output_hidden_states=True)
        for hook in hooks:
            hook.remove()
        output.loss.backward()
        return output

    def outputs(self, attention: str | None = None) -> list[Row]:
        """
        Boxes, maps and masks: of the pass with gradients, or of one without by one of Transformers' attention
        implementations ("sdpa", the default, is computed in another way then: in pieces).
        """
        if attention is None:
            output, way = self.trained, f"{self.model.config._attn_implementation} attention with gradients"
        else:
            output, way = self._output_with(attention), f"{attention} attention"
        masks = output.pred_masks.sigmoid()
        pairs = {
            "pred_boxes": output.pred_boxes,
            "score_map": output.center_logits.sigmoid().clamp(1e-4, 1 - 1e-4),
            "size_map": output.size,
            "pred_mask_every4": masks[:, ::4, ::4],
            "pred_mask_row200": masks[:, 200],
        }
        rows = [
            Row(f"output {name}, {way}", "absolute", 1e-4, self._difference(f"out.{name}", ours))
            for name, ours in pairs.items()
        ]
        offset = self._difference("out.offset_map", output.offset, relative=True)
        return [*rows, Row(f"output offset_map, {way}", "of its maximum", 1e-4, offset)]

    @torch.no_grad()
    def _output_with(self, attention: str):
        before = self.model.config._attn_implementation
        self.model.set_attn_implementation(attention)
        output = self.model(**self.inputs)
        self.model.set_attn_implementation(before)
        return output

    def hidden_stages(self) -> list[Row]:
        """Text features, patches, every vision block, every decoder layer, and the decoder's output."""
        output = self.trained
        patches = self.stages["vision_patch_embed"].flatten(2).transpose(1, 2)
        states = {
            "text_features": output.text_last_hidden_state[:, :, ::16],
            "vision_patch_embed": patches[:, ::8, ::16],
            "decoder_out": output.last_hidden_state[:, ::8, ::16],
        }
        for i, block in enumerate(output.hidden_states[1:]):
            states[f"vision_block_{i}"] = block.reshape(2, -1, block.shape[-1])[:, ::8, ::16]
        for i in range(3):
            states[f"decoder_layer_{i}"] = self.stages[f"decoder_layer_{i}"][:, ::8, ::16]
        return [
            Row(f"stage {name}", "of its maximum", 1e-3, self._difference(f"hidden.{name}", ours, relative=True))
            for name, ours in states.items()
        ]

    def losses(self) -> list[Row]:
        rows = []
        for here, there in LOSSES.items():
            truth = float(self.reference[f"loss.{there}"])
            difference = abs(self.trained.loss_dict[here].item() - truth) / truth
            rows.append(Row(f"loss {here}", "relative", 1e-4, difference))
        return rows

    def gradient_norms(self) -> list[Row]:
        """A row for each tensor of the original that got a gradient; a stacked one is compared with all its parts."""
        self.trained  # noqa: B018 - the backward pass
        gradients = {name: parameter.grad for name, parameter in self.model.named_parameters()}
        keys = plvl_keys(self.model.config.cross_attention_layers)
        rows = []
        names_here = sort_names(map(str, self.reference["grad.names"]), keys).here
        for name, truth in zip(self.reference["grad.names"], self.reference["grad.norms"], strict=True):
            parts = split_stacked_projection(names_here[str(name)], torch.empty(3))
            norm = torch.stack([gradients[part].double().norm() for part in parts]).norm().item()
            if truth < ZERO_GRADIENT:
                rows.append(Row(f"gradient norm of {name}", "absolute", ZERO_GRADIENT, abs(norm - truth)))
            else:
                rows.append(Row(f"gradient norm of {name}", "relative", 1e-2, abs(norm - truth) / truth))
        return rows

    def _difference(self, name: str, ours: torch.Tensor, relative: bool = False) -> float:
        truth = self.reference[name]
        difference = np.abs(ours.detach().cpu().numpy().reshape(truth.shape) - truth).max()
        return float(difference / np.abs(truth).max() if relative else difference)


def heatmaps() -> list[Row]:
    reference = np.load(REFERENCE / "heatmap_a.npz")
    truth = next(reference[name] for name in reference.files if name != "boxes")
    ours = center_heatmap(torch.from_numpy(reference["boxes"]).float(), (28, 28)).numpy()
    return [Row("centre heat maps", "absolute", 1e-5, float(np.abs(ours - truth.reshape(ours.shape)).max()))]


def evaluation_transform(backend: str) -> list[Row]:
    """Pixels, box and mask of three images, with "pil" or "torchvision"."""
    reference = np.load(REFERENCE / "preprocess_a.npz")
    image_processor = {"pil": PLVLImageProcessorPil, "torchvision": PLVLImageProcessor}[backend]()
    pixels, boxes, masks = [], [], []
    for i in range(3):
        image = Image.open(REFERENCE / f"preprocess_a_image_{i}.png")
        mask = np.array(Image.open(REFERENCE / f"preprocess_a_mask_{i}.png"))
        box = reference[f"{i}.box_xyxy_px"]
        features = image_processor(image, boxes=[box], masks=[mask], return_tensors="pt")
        labels = features["labels"]
        every7 = features["pixel_values"][0, :, ::7, ::7].numpy()
        pixels.append(np.abs(every7 - reference[f"{i}.pixel_values_every7"]))
        boxes.append(np.abs(labels["boxes"][0].numpy() - reference[f"{i}.box_cxcywh"]).max())
        wrong = (labels["masks"][0, ::4, ::4].numpy() != reference[f"{i}.mask_every4"]).sum()
        masks.append(wrong + abs(labels["masks"].sum().item() - reference[f"{i}.mask_sum"]))
    if backend == "pil":
        pixel_row = Row("pixels, Pillow", "absolute", 1e-4, float(max(each.max() for each in pixels)))
    else:
        pixel_row = Row("pixels, torchvision", "mean absolute", 0.02, float(max(each.mean() for each in pixels)))
    return [
        pixel_row,
        Row(f"box of the evaluation transform, {backend}", "absolute", 1e-6, float(max(boxes))),
        Row(f"mask of the evaluation transform, {backend}", "pixels that differ", 0, float(max(masks))),
    ]


def metrics() -> list[Row]:
    """Box IoU and accuracy of 64 pairs of boxes, mean IoU of 8 pairs of masks."""
    # The data sets' libraries are needed for this alone.
    from plvl.training.metrics import grounding_metrics, grounding_statistics

    reference = np.load(REFERENCE / "metrics_a.npz")
    pairs = {"boxes": torch.from_numpy(reference["target_boxes"])}
    statistics = grounding_statistics(PLVLOutput(pred_boxes=torch.from_numpy(reference["pred_boxes"])), pairs).numpy()
    accuracy = grounding_metrics(statistics)["box_accuracy"]

    random = np.random.RandomState(int(reference["mask_seed"]))
    # The boxes above were drawn first, from the same generator.
    random.uniform(0.2, 0.8, (64, 2)), random.uniform(0.1, 0.5, (64, 2)), random.normal(0, 0.04, (64, 4))
    truth = random.uniform(size=(8, 1, 448, 448)) > 0.6
    probability = np.clip(truth * 0.6 + random.uniform(0, 0.6, (8, 1, 448, 448)), 0, 1)
    masks = {
        "boxes": torch.zeros(8, 4),
        "masks": torch.from_numpy(truth[:, 0]),
        "has_mask": torch.ones(8, dtype=torch.bool),
    }
    outputs = PLVLOutput(pred_masks=torch.logit(torch.from_numpy(probability[:, 0])))
    mask_miou = grounding_metrics(grounding_statistics(outputs, masks).numpy())["mask_miou"]
    return [
        Row("box IoU of each pair", "absolute", 1e-6, float(np.abs(statistics[:, 0] - reference["box_iou"]).max())),
        Row("box accuracy", "absolute", 1e-6, abs(accuracy - float(reference["acc"]))),
        Row("mean mask IoU", "absolute", 1e-6, abs(mask_miou - float(reference["mask_miou"]))),
    ]


def _worst(what: str, rows: list[Row]) -> Row:
    worst = max(rows, key=lambda row: row.difference)
    return Row(f"{what} ({len(rows)})", worst.measure, worst.tolerance, worst.difference)


def _table() -> list[Row]:
    network = ReferenceNetwork()
    stages, gradients = network.hidden_stages(), network.gradient_norms()
    sizeable = [row for row in gradients if row.measure == "relative"]
    negligible = [row for row in gradients if row.measure == "absolute"]
    return [
        *network.outputs(),
        *network.outputs("sdpa"),
        *network.outputs("eager"),
        *(row for row in stages if "vision_block" not in row.what),
        _worst("stages vision_block_0 to vision_block_11", [row for row in stages if "vision_block" in row.what]),
        *network.losses(),
        _worst("gradient norms", sizeable),
        _worst("gradient norms, zero but for rounding", negligible),
        *heatmaps(),
        *evaluation_transform("pil"),
        *evaluation_transform("torchvision"),
        *metrics(),
    ]


_PAGE = """\
# Fidelity: the original's numbers, and those computed here

Made-up weights under the names of an original checkpoint went through the converter (docs/checkpoints.md) into the
full-size network; two images with an expression each went through it, forward and backward, in float32 on a CPU.
The original program's numbers for the same weights and inputs are in `tests/fixtures/reference`. `make test` demands
every row below; this page is written by `python tests/reference_values.py docs/fidelity.md`.

Measured with {versions}.

| compared | measure | tolerance | largest difference seen |
| --- | --- | --- | --- |
{rows}

How to read it:

- "Of its maximum" divides the largest difference by the largest value of the original's map.
- "With gradients" is the pass that losses and gradients come from. Where none are wanted, sdpa attention in the
  vision blocks goes another way on a CPU, in pieces.
- Fused tensors (the attention's stacked query, key and value) are compared by the norm of all their parts. The
  gradients of BERT's key biases are zero but for rounding, in both programs, and so compared absolutely.
- With torchvision the pixels differ by the resampling's rounding; Pillow gives the original's.
"""


def save_reference_model(folder: str):
    """A model whose answers depend on image and expression, where there is no trained one; its words are made up."""
    tokenizer = build_word_vocabulary(["abcdefghijklmnopqrstuvwxyz0123456789"])
    with atomic_directory(folder) as new:
        ReferenceNetwork().model.save_pretrained(new)
        PLVLProcessor(PLVLImageProcessor(), tokenizer).save_pretrained(new)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", nargs="?", help="where the comparison goes")
    parser.add_argument("--model", help="folder where the network goes")
    arguments = parser.parse_args()
    if arguments.model:
        save_reference_model(arguments.model)
    if arguments.page:
        write_page(arguments.page)


def write_page(path: str):
    rows = _table()
    versions = (
        f"torch {torch.__version__}, transformers {transformers.__version__}, Python {platform.python_version()}"
    )
    lines = [f"| {row.what} | {row.measure} | {row.tolerance:g} | {row.difference:.1e} |" for row in rows]
    Path(path).write_text(_PAGE.format(versions=versions, rows="\n".join(lines)))
    disagreeing = [row for row in rows if not row.agrees]
    sys.exit(f"beyond their tolerance: {disagreeing}" if disagreeing else 0)


if __name__ == "__main__":
    main()
