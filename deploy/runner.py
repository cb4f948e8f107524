"""Finds what expressions mean in an image: python runner.py IMAGE EXPRESSION [EXPRESSION ...]

Reads the files beside it; needs numpy, pillow, tokenizers and what runs the graphs: onnxruntime, openvino or torch.
"""

import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
from PIL import Image
from tokenizers import Tokenizer


def open_graph(path, options):
    """A function from arrays by name to a list of arrays."""
    if path.suffix == ".onnx":
        net = import_module("onnxruntime").InferenceSession(path, **{"providers": ["CPUExecutionProvider"]} | options)
        return lambda arrays: net.run(None, arrays)
    if path.suffix == ".xml":  # in 32 bits: by itself OpenVINO takes 16 where a CPU has them
        options = {"device_name": "CPU", "config": {"INFERENCE_PRECISION_HINT": "f32"}} | options
        compiled = import_module("openvino").compile_model(path, **options)
        return lambda arrays: list(compiled(arrays).values())
    torch = import_module("torch")
    program = torch.export.load(path).module(check_guards=False)  # some are of the sizes that it was traced with
    return lambda arrays: [each.numpy() for each in program(**{k: torch.tensor(v) for k, v in arrays.items()})]


def resize(values, height, width, corners):
    """(..., rows, columns) bilinearly, with the corners of both grids on one another, or else their borders."""
    for axis, size in ((-2, height), (-1, width)):
        last, steps = values.shape[axis] - 1, np.arange(size)
        at = (steps * last / max(size - 1, 1) if corners else (steps + 0.5) * (last + 1) / size - 0.5).clip(0, last)
        low, share = at.astype(int), (at % 1).astype(np.float32).reshape(-1, *[1] * (-1 - axis))
        values = values.take(low, axis) * (1 - share) + values.take(np.minimum(low + 1, last), axis) * share
    return values


class Grounder:
    """The kit in a folder. `options` go to the runtime: providers=["CUDAExecutionProvider"], device_name="GPU"."""

    def __init__(self, folder=Path(__file__).parent, **options):
        self.config = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))
        self.tokenizer = Tokenizer.from_file(str(Path(folder, "tokenizer.json")))
        self.graphs = {k: open_graph(Path(folder, v["file"]), options) for k, v in self.config["graphs"].items()}

    def embed(self, image):
        """What an RGB image alone decides, (1, rows, columns, width)."""
        how = self.config["image"]
        if how["height"] % how["patch_size"] or how["width"] % how["patch_size"]:
            raise ValueError(f"height and width in config.json must be multiples of {how['patch_size']}")
        scale = max(how["height"], how["width"]) / max(image.size)
        image = image.resize([max(round(side * scale), 1) for side in image.size], Image.Resampling[how["resample"]])
        values = np.asarray(image, np.float32).transpose(2, 0, 1) * np.float32(how["rescale_factor"])
        values = resize(values, how["height"], how["width"], corners=True)
        mean, std = (np.array(how[name], np.float32).reshape(3, 1, 1) for name in ("mean", "std"))
        return self.graphs["image"]({"pixel_values": ((values - mean) / std)[None]})[0]

    def __call__(self, image, expressions):
        """Of each expression score and box (x1, y1, x2, y2 in pixels), or present, found, scores, boxes; and mask."""
        turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.get(image.getexif().get(0x0112))  # EXIF's orientation
        image = (image if turn is None else image.transpose(Image.Transpose(turn))).convert("RGB")
        lower = self.config["text"]["do_lower_case"]
        tokens = self.tokenizer.encode_batch([each.lower() if lower else each for each in expressions])
        inputs = {"image_embeddings": self.embed(image), "image_index": np.zeros(len(tokens), np.int64)}
        inputs["input_ids"] = np.array([each.ids for each in tokens], np.int64)
        inputs["attention_mask"] = np.array([each.attention_mask for each in tokens], np.int64)
        names = self.config["graphs"]["expressions"]["outputs"]
        outputs = dict(zip(names, self.graphs["expressions"](inputs), strict=True))
        outputs |= {name: 1 / (1 + np.exp(-outputs[name])) for name in self.config["answers"]["logits"]}
        return [self.answer({name: outputs[name][n] for name in outputs}, *image.size) for n in range(len(tokens))]

    def answer(self, outputs, width, height):
        how, answer = self.config["answers"], {}
        if "presence_logits" in outputs:
            present = float(outputs["presence_logits"])
            answer = {"present": present, "found": present >= how["presence_threshold"]}
        if "pred_boxes" in outputs:
            center, half = outputs["pred_boxes"][..., :2], outputs["pred_boxes"][..., 2:] / 2
            boxes = np.concatenate([center - half, center + half], -1).clip(0, 1) * [width, height, width, height]
        if "pred_scores" in outputs:
            scores = outputs["pred_scores"]
            kept = (scores >= how["box_threshold"]) & (scores > 0) & answer["found"]
            answer |= {"found": bool(kept.any()), "boxes": boxes[kept], "scores": scores[kept]}
        elif "pred_boxes" in outputs:
            answer |= {"score": float(outputs["center_logits"].max()), "box": boxes}
        if "pred_masks" in outputs:
            mask = resize(outputs["pred_masks"], height, width, corners=False) > how["mask_threshold"]
            answer["mask"] = mask & answer.get("found", True)
        return answer


if __name__ == "__main__":
    try:
        for answer in Grounder()(Image.open(sys.argv[1]), sys.argv[2:]):
            print(json.dumps(answer, default=lambda v: f"{v.mean():.1%} of it" if v.dtype == bool else v.tolist()))
    except (ImportError, IndexError, ValueError, OSError) as error:
        sys.exit(f"runner.py: {error}" if len(sys.argv) > 2 else __doc__)
