"""The network as two graphs: of images once, and of any number of expressions about them."""

from typing import NamedTuple

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind
from torch.nn.utils import parametrize

from plvl.deploy.same_padding import make_padding_traceable
from plvl.modeling_plvl.modeling_plvl import PLVLModel
from plvl.modeling_plvl.onnx_plvl import BOX_OUTPUTS, SCORE_OUTPUTS, output_names

LARGEST_OF_EIGHT_BITS = 127
# What a layer must have of weights to be stored in 8 bits. A backbone's first layers have fewer: they are little of a
# model, and what is lost in them reaches every later layer.
LEAST_WEIGHTS = 10_000
# Traced with values that PyTorch does not take for constants, as it does 0 and 1.
TRACED_IMAGES, TRACED_EXPRESSIONS, TRACED_LENGTH = 2, 3, 7
# By how much of an output's largest value graph and network may differ, which add in another order.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.1}


class Graph(NamedTuple):
    """A graph of a kit, with the names of what goes in and comes out."""

    program: ExportedProgram
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class ImageGraph(nn.Module):
    """
    What the image alone decides: `pixel_values` `(images, channels, height, width)`, normalised, give
    `image_embeddings` `(images, rows, columns, hidden_size)`. Both are float32, whatever the model is.
    """

    def __init__(self, model: PLVLModel):
        super().__init__()
        self.model = model

    def forward(self, pixel_values):
        return (self.model.get_image_embeddings(pixel_values.to(self.model.dtype)).float(),)


class ExpressionGraph(nn.Module):
    """
    Expressions about embedded images: `image_embeddings` as above, `image_index` `(expressions,)`, which says of each
    expression what image it is about, `input_ids` and `attention_mask` `(expressions, length)`, all int64. The outputs
    `names` are named and shaped as in [`PLVLOutput`], and float32.
    """

    def __init__(self, model: PLVLModel, names: tuple[str, ...]):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, image_embeddings, image_index, input_ids, attention_mask):
        embeddings = image_embeddings.to(self.model.dtype).index_select(0, image_index)
        outputs = self.model(image_embeddings=embeddings, input_ids=input_ids, attention_mask=attention_mask)
        return tuple(outputs[name].float() for name in self.names)


@torch.no_grad()
def export_graphs(model: PLVLModel) -> dict[str, Graph]:
    """
    The graphs `"image"` and `"expressions"` of a model, for any number of images and expressions, any length of
    expressions that the text encoder takes, and images of any size whose sides are multiples of the patches'.

    Args:
        model (`PLVLModel`): it is changed: it evaluates, without gradients, and layers of its backbone are replaced.

    Raises:
        ValueError: the vision encoder cannot be traced for images of any size, because its code asks for the size.
    """
    model.eval().requires_grad_(False)
    make_padding_traceable(model)
    config, patch_size = model.config, model.config.vision_config.patch_size
    images, rows, columns = Dim("images"), Dim("rows"), Dim("columns")
    # Of 2 × 3 windows, where there are any: their numbers are no constants, either.
    window_size = getattr(config.vision_config, "window_size", 2)
    height, width = (window_size + 1) * patch_size, (2 * window_size + 1) * patch_size
    pixel_values = torch.zeros(TRACED_IMAGES, config.vision_config.num_channels, height, width)
    try:
        image = torch.export.export(
            ImageGraph(model),
            (),
            {"pixel_values": pixel_values},
            dynamic_shapes={"pixel_values": {0: images, 2: patch_size * rows, 3: patch_size * columns}},
        )
        expressions, length = Dim("expressions"), Dim("length", max=_longest(model))
        ids = torch.ones(TRACED_EXPRESSIONS, TRACED_LENGTH, dtype=torch.long)
        names = output_names(model)
        inputs = {
            "image_embeddings": ImageGraph(model)(pixel_values)[0],
            "image_index": torch.tensor([0, 1, 1]),
            "input_ids": ids,
            "attention_mask": ids.clone(),  # one tensor given twice is traced as one input
        }
        answers = torch.export.export(
            ExpressionGraph(model, names),
            (),
            inputs,
            dynamic_shapes={
                # Of any size, too; a name would promise that not even PyTorch's tests for copies depend on it.
                "image_embeddings": {0: images, 1: Dim.DYNAMIC, 2: Dim.DYNAMIC},
                "image_index": {0: expressions},
                "input_ids": {0: expressions, 1: length},
                "attention_mask": {0: expressions, 1: length},
            },
        )
    except torch._dynamo.exc.UserError as error:
        raise ValueError(
            f"a vision encoder of the type {config.vision_config.model_type!r} cannot be traced for images of any "
            f"size ({str(error).strip().splitlines()[0]})"
        ) from error
    graphs = {
        "image": Graph(bare(image), ("pixel_values",), ("image_embeddings",)),
        "expressions": Graph(bare(answers), tuple(inputs), names),
    }
    _require_same_answers(model, graphs)
    return graphs


def _require_same_answers(model: PLVLModel, graphs: dict[str, Graph]):
    """Raises ValueError where, for images of the model's own size, graphs and network differ beyond rounding."""
    config = model.config.vision_config
    pixel_values = torch.randn(1, config.num_channels, config.image_size, config.image_size)
    ids = torch.ones(2, TRACED_LENGTH + 1, dtype=torch.long)
    inputs = {"image_index": torch.tensor([0, 0]), "input_ids": ids, "attention_mask": ids.clone()}
    expected = ImageGraph(model)(pixel_values) + ExpressionGraph(model, graphs["expressions"].outputs)(
        ImageGraph(model)(pixel_values)[0], **inputs
    )
    embeddings = graphs["image"].program.module(check_guards=False)(pixel_values=pixel_values)
    answers = graphs["expressions"].program.module(check_guards=False)(image_embeddings=embeddings[0], **inputs)
    for name, values, others in zip(
        ("image_embeddings", *graphs["expressions"].outputs), (*embeddings, *answers), expected, strict=True
    ):
        difference = (values - others).abs().max().item()
        # Of two cells that are nearly as high either may give the box.
        is_read = name not in BOX_OUTPUTS[:1] + SCORE_OUTPUTS
        if is_read and difference > TOLERANCE[model.dtype] * max(others.abs().max().item(), 1):
            raise ValueError(
                f"a vision encoder of the type {config.model_type!r} is not the same when it is traced for images of "
                f"any size: {name} are off by up to {difference:.2g}"
            )


def _longest(model: PLVLModel) -> int | None:
    """How many tokens an expression may have; None where the text encoder has no table of positions."""
    return getattr(model.config.text_config, "max_position_embeddings", None)


def bare(program: ExportedProgram) -> ExportedProgram:
    """
    A program without what is of no use where it runs: tensors of its module that it never reads become empty, and the
    inputs that it was traced with and the lines of code that it came from, with their paths, are left out.
    """
    program.example_inputs = None
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    read = {node.name for node in program.graph.nodes if node.op == "placeholder" and node.users}
    for spec in program.graph_signature.input_specs:
        if spec.target in program.state_dict and spec.arg.name not in read:
            empty = torch.empty(0)
            is_parameter = spec.kind is InputKind.PARAMETER
            program.state_dict[spec.target] = nn.Parameter(empty, requires_grad=False) if is_parameter else empty
    return program


class EightBits(nn.Module):
    """A weight as whole numbers of 8 bits and a scale for each of its outputs (of an embedding, for each token)."""

    def forward(self, numbers: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return numbers.to(scale.dtype) * scale

    def right_inverse(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        largest = weight.abs().flatten(1).amax(1).view(-1, *[1] * (weight.ndim - 1))
        scale = (largest / LARGEST_OF_EIGHT_BITS).clamp(min=torch.finfo(weight.dtype).tiny)
        return (weight / scale).round().to(torch.int8), scale


def store_weights_in_eight_bits(model: PLVLModel):
    """
    The weights of linear layers, convolutions and embeddings in 8 bits, symmetrical about 0, with a scale for each
    output, but for layers of fewer than `LEAST_WEIGHTS`; all arithmetic stays in float32. In place.
    """
    model.requires_grad_(False)  # whole numbers have no gradients
    for layer in list(model.modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.Embedding) and layer.weight.numel() >= LEAST_WEIGHTS:
            # Not as float numbers: the check that a parametrization keeps a weight's dtype is left out.
            parametrize.register_parametrization(layer, "weight", EightBits(), unsafe=True)
