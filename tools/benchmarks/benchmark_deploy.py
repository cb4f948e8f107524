"""Kits of a trained model: their sizes, how far their answers are from PyTorch's, and their speed beside it, on a CPU.

Needs onnx, onnxscript, onnxruntime and openvino.
"""

import copy
import json
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torchvision.ops import box_convert, box_iou

from benchmarks.comparisons import compare, print_table
from benchmarks.measuring import describe_machine
from plvl.deploy.kit import write_kit
from plvl.deploy.runner import Grounder
from plvl.processing import PLVLImageProcessorPil
from plvl.processing.image_input import read_image
from plvl.scripts.model_loading import chosen_folder, load_whole

NEEDED = ("onnx", "onnxscript", "onnxruntime", "openvino")
KITS = [(format, precision) for format in ("onnx", "openvino", "torch-export") for precision in ("float32", "int8")]
KITS += [("onnx", "float16"), ("openvino", "float16")]


def add_arguments(parser):
    parser.add_argument("--model", default="photos", help="folder or name of a PLVL model (default: photos)")
    parser.add_argument("--images", default="examples/photographs", help="folder with images and their examples.json")
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's choice)")
    parser.add_argument("--turns", type=int, default=9, help="turns of each way (default: 9)")


def measure(arguments) -> dict:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise SystemExit(f"benchmark.py deploy: not installed: {', '.join(missing)}")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    model, processor = load_whole(chosen_folder(arguments.model), torch.float32)
    # Pillow's resampling, as a kit's runner has it.
    processor.image_processor = PLVLImageProcessorPil(**processor.image_processor.to_dict())
    asked = questions(Path(arguments.images))
    image, expressions = max(asked, key=lambda each: len(each[1]))
    expected = [in_pytorch(model.eval(), processor, *each) for each in asked]
    is_answered = np.concatenate([answered(outputs, processor) for outputs in expected])
    ways = {"PyTorch, float32": lambda: network(model, processor, image, expressions)}
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for format, precision in KITS:
            name = f"{format}, {precision}"
            folder = Path(place, name)
            folder.mkdir()
            write_kit(copy.deepcopy(model), processor, folder, format, precision)
            kit = UnreadGrounder(folder, **options_of(format, torch.get_num_threads()))
            graphs = [file for file in folder.iterdir() if file.suffix in (".onnx", ".data", ".xml", ".bin", ".pt2")]
            found = [in_kit(kit, *each) for each in asked]
            pairs = list(zip(found, expected, strict=True))
            rows.append(
                {
                    "name": name,
                    "bytes": sum(file.stat().st_size for file in graphs),
                    "difference": max(largest_difference(*pair) for pair in pairs),
                    "box_iou": float(np.concatenate([best_box_iou(*pair) for pair in pairs])[is_answered].mean()),
                }
            )
            ways[name] = lambda kit=kit: kit(image, expressions)
        comparison = compare(
            f"{len(expressions)} expressions about an image", ways, arguments.turns, torch.device("cpu"), items=1
        )
    print_table(comparison)
    print(f"{len(is_answered)} expressions about {len(asked)} images, {is_answered.sum()} of them answered:")
    print(table(rows, comparison))
    return {"machine": describe_machine(torch.device("cpu")), "comparisons": [comparison], "kits": rows}


def questions(folder: Path) -> list[tuple]:
    """Images with their expressions."""
    examples = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    return [(read_image(folder / each["image"]).convert("RGB"), each["expressions"]) for each in examples]


def options_of(format: str, threads: int) -> dict:
    if format == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        return {"sess_options": options}
    if format == "openvino":
        return {"config": {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}}
    return {}


@torch.inference_mode()
def network(model, processor, image, expressions):
    inputs = processor(images=image, text=expressions, return_tensors="pt")
    return model(**inputs)


def in_pytorch(model, processor, image, expressions) -> dict[str, np.ndarray]:
    outputs = network(model, processor, image, expressions)
    return {name: value.numpy() for name, value in outputs.items() if isinstance(value, torch.Tensor)}


class UnreadGrounder(Grounder):
    """Gives what its graphs give, logits as probabilities."""

    def answer(self, outputs, width, height):
        return outputs


def in_kit(kit: UnreadGrounder, image, expressions) -> dict[str, np.ndarray]:
    answers = kit(image, expressions)
    return {name: np.stack([each[name] for each in answers]) for name in answers[0]}


def largest_difference(found: dict, expected: dict) -> float:
    """Of all outputs, logits as probabilities."""
    differences = []
    for name in set(found) & set(expected):
        other = expected[name]
        if name.endswith(("_logits", "masks")):
            other = 1 / (1 + np.exp(-other))
        if name == "pred_boxes" and "pred_scores" in expected:
            continue  # of two boxes of nearly one score either may come first: `best_box_iou` has them
        differences.append(np.abs(found[name] - other).max())
    return float(max(differences))


def answered(outputs: dict, processor) -> np.ndarray:
    """Which expressions PyTorch answers with a box: the best box of what is not found means nothing."""
    if "pred_scores" not in outputs:
        return np.ones(len(outputs["pred_boxes"]), bool)
    present = 1 / (1 + np.exp(-outputs["presence_logits"])) >= processor.presence_threshold
    return present & (outputs["pred_scores"][:, 0] >= processor.box_threshold)


def best_box_iou(found: dict, expected: dict) -> np.ndarray:
    """Of each expression, the IoU of the best box with PyTorch's."""
    pairs = [torch.from_numpy(each["pred_boxes"]).view(len(each["pred_boxes"]), -1, 4) for each in (found, expected)]
    return box_iou(*(box_convert(boxes[:, 0], "cxcywh", "xyxy") for boxes in pairs)).diagonal().numpy()


def table(rows: list[dict], comparison: dict) -> str:
    """In Markdown, as docs/deploy.md has it."""
    seconds = {name: way["seconds"]["median"] for name, way in comparison["ways"].items()}
    own = seconds["PyTorch, float32"]
    lines = [
        "| kit | graphs | largest difference | mean IoU of boxes | time | speed |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        f"| PyTorch, float32 | – | – | – | {own * 1000:.0f} ms | 1.00 × |",
    ]
    for row in rows:
        time = seconds[row["name"]]
        lines.append(
            f"| {row['name']} | {row['bytes'] / 1e6:.1f} MB | {row['difference']:.1e} | {row['box_iou']:.4f} | "
            f"{time * 1000:.0f} ms | {own / time:.2f} × |"
        )
    return "\n".join(lines)
