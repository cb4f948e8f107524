"""The base model with random weights in ONNX: its outputs and its speed beside PyTorch's, on a CPU.

Needs onnx, onnxscript and onnxruntime.
"""

import tempfile
from importlib.util import find_spec
from pathlib import Path

import torch

from plvl.configuration import PLVLConfig
from plvl.scripts.benchmarks.comparisons import compare, print_table, speed
from plvl.scripts.benchmarks.contestants import Contestant, random_inputs
from plvl.scripts.benchmarks.measuring import describe_machine

NEEDED = ("onnx", "onnxscript", "onnxruntime")
OUTPUTS = ("pred_boxes", "pred_masks", "center_logits", "size", "offset")


def add_arguments(parser):
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's choice)")
    parser.add_argument("--turns", type=int, default=5, help="turns of each way (default: 5)")


def measure(arguments, config: PLVLConfig | None = None) -> dict:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise SystemExit(f"benchmark.py export: not installed: {', '.join(missing)}")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    config, device = config or PLVLConfig(), torch.device("cpu")
    network = Contestant(plain=False).network(config, device).eval()
    inputs = random_inputs(config, 1, device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "plvl.onnx")
        opset = export_network(network, inputs, path)
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        session = open_session(path)
    arrays = {name: values.numpy() for name, values in inputs.items()}

    @torch.inference_mode()
    def pytorch():
        return network(**inputs)

    ways = {"PyTorch, float32": pytorch, "onnxruntime, float32": lambda: session.run(OUTPUTS, arrays)}
    side = config.vision_config.image_size
    comparison = compare(f"forward pass, batch 1, {side} × {side}", ways, arguments.turns, device, items=1)
    print_table(comparison)
    differences = [
        (ours - torch.from_numpy(theirs)).abs().max().item()
        for ours, theirs in zip((pytorch()[name] for name in OUTPUTS), session.run(OUTPUTS, arrays), strict=True)
    ]
    figures = {
        "speed": speed(comparison, "onnxruntime, float32"),
        "difference": max(differences),
    }
    note = f"Opset {opset}, {size / 2**20:.0f} MiB of weights and graph."
    print(note, f"Largest difference of an output: {max(differences):.1e}.")
    return {
        "machine": describe_machine(device),
        "comparisons": [comparison],
        "figures": figures,
        "notes": [note],
    }


class _Outputs(torch.nn.Module):
    """The network with a tuple for an output."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, pixel_values, input_ids, attention_mask):
        output = self.network(pixel_values=pixel_values, input_ids=input_ids, attention_mask=attention_mask)
        return tuple(output[name] for name in OUTPUTS)


def export_network(network, inputs: dict, path: Path) -> int:
    """Writes the network for inputs of these shapes and gives the opset."""
    with torch.no_grad():
        program = torch.onnx.export(
            _Outputs(network).eval(),
            kwargs=inputs,
            input_names=list(inputs),
            output_names=list(OUTPUTS),
            dynamo=True,
            verbose=False,
        )
    program.save(path, external_data=True)
    return program.model.opset_imports[""]


def open_session(path: Path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
