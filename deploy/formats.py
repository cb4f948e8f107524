"""The files that graphs become: ONNX, OpenVINO's, and PyTorch's own exported programs."""

from importlib.util import find_spec
from pathlib import Path

import torch

from plvl.deploy.graphs import Graph

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2"}
# Of each format, what writing it needs beside PyTorch.
WRITERS = {"onnx": ("onnx", "onnxscript"), "openvino": ("openvino",), "torch-export": ()}
PRECISIONS = ("float32", "float16", "int8")


def missing_writers(format: str) -> list[str]:
    """The packages that writing a format needs and that are not installed."""
    return [name for name in WRITERS[format] if find_spec(name) is None]


def write_graph(graph: Graph, path: Path, precision: str):
    """
    Writes a graph in the format that the suffix of `path` names. A large ONNX graph has its weights in a second file
    beside it, one of OpenVINO always.

    Args:
        precision (`str`): one of `PRECISIONS`, for OpenVINO, which stores float32 weights in 16 bits itself; for the
            other formats the graph's own tensors say it.
    """
    if path.suffix == SUFFIXES["onnx"]:
        write_onnx(graph, path)
    elif path.suffix == SUFFIXES["openvino"]:
        write_openvino(graph, path, in_half=precision == "float16")
    else:
        torch.export.save(graph.program, path)


def write_onnx(graph: Graph, path: Path):
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    program = torch.onnx.export(
        graph.program,
        (),
        input_names=graph.inputs,
        output_names=graph.outputs,
        dynamo=True,
        verbose=False,
    )
    ClearMetadataAndDocStringPass()(program.model)
    program.save(path)


def write_openvino(graph: Graph, path: Path, in_half: bool):
    import openvino

    model = openvino.convert_model(graph.program)
    for ports, names in ((model.inputs, graph.inputs), (model.outputs, graph.outputs)):
        for port, name in zip(ports, names, strict=True):
            port.get_tensor().set_names({name})
    openvino.save_model(model, path, compress_to_fp16=in_half)
