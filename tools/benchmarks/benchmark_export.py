"""The base model with random weights in ONNX: its outputs and its speed beside PyTorch's, on a CPU.

Needs onnx, onnxscript and onnxruntime.
"""

import tempfile
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.benchmarked_models import BenchmarkedModel, random_inputs
from benchmarks.comparisons import compare, print_table, speed
from benchmarks.measuring import describe_machine
from plvl.configuration import PLVLConfig
from plvl.modeling_plvl.onnx_plvl import export_onnx

NEEDED = ("onnx", "onnxscript", "onnxruntime")


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
    network = BenchmarkedModel(plain=False).network(config, device).eval()
    inputs = random_inputs(config, 1, device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "plvl.onnx")
        names = export_onnx(network, path)
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        session, opset = open_session(path), opset_of(path)
    arrays = {name: values.numpy() for name, values in inputs.items()}

    @torch.inference_mode()
    def pytorch():
        return network(**inputs)

    ways = {"PyTorch, float32": pytorch, "onnxruntime, float32": lambda: session.run(names, arrays)}
    side = config.vision_config.image_size
    comparison = compare(f"forward pass, batch 1, {side} × {side}", ways, arguments.turns, device, items=1)
    print_table(comparison)
    differences = [
        (ours - torch.from_numpy(theirs)).abs().max().item()
        for ours, theirs in zip((pytorch()[name] for name in names), session.run(names, arrays), strict=True)
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


def open_session(path: Path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def opset_of(path: Path) -> int:
    import onnx

    opsets = onnx.load(path, load_external_data=False).opset_import
    return next(opset.version for opset in opsets if not opset.domain)
