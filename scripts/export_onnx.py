"""Writes a PLVL model as ONNX: python scripts/export_onnx.py --model outputs/refcoco --output plvl.onnx"""

import sys

from plvl.modeling_plvl import PLVLModel
from plvl.scripts.program import ArgumentParser, run_as_program


def main(argv=None):
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="folder or Hub name of a PLVL model")
    parser.add_argument("--output", default="plvl.onnx", help="the file to write")
    parser.add_argument(
        "--picture_size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="in pixels; default: the model's own"
    )
    arguments = parser.parse_args(argv)
    try:
        import onnxscript  # noqa: F401 - what PyTorch exports through
    except ImportError:
        sys.exit("export_onnx: onnxscript is not installed; pip install 'plvl[onnx]'")
    from plvl.modeling_plvl.onnx_plvl import export_onnx

    model = PLVLModel.from_pretrained(arguments.model, dtype="float32")
    outputs = export_onnx(model, arguments.output, arguments.picture_size)
    print(f"written: {arguments.output}, with the outputs {', '.join(outputs)}")


if __name__ == "__main__":
    run_as_program(main)
