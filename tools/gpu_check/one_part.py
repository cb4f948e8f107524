"""The process of one part: python -m gpu_check.one_part PART DEVICE FILE [--tiny]"""

import argparse
import importlib
import math
import sys
import traceback
from pathlib import Path

from gpu_check.parts import PARTS
from gpu_check.running import empty_findings, write_json


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("device")
    parser.add_argument("file", type=Path)
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args(argv)
    sys.stdout.reconfigure(errors="backslashreplace")  # notes have a multiplication sign, and a terminal may not
    found = empty_findings()
    write_json(arguments.file, found)
    try:
        fill(found, arguments)
    except Exception as error:  # whatever it is, it is this part's result, and the other parts go on
        traceback.print_exc()
        found["error"] = f"{type(error).__name__}: {error}"[:2000]
    write_json(arguments.file, found)
    return int(found["error"] is not None)


def fill(found: dict, arguments):
    """Writes `found` after each thing that the part has found."""
    import torch

    from benchmarks.measuring import describe_machine
    from gpu_check.sizes import FULL, TINY

    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("needs CUDA: PyTorch finds no GPU here")
    found["machine"] = describe_machine(device)
    module, function = PARTS[arguments.part].measured_by.split(":")
    measure = getattr(importlib.import_module(f"gpu_check.{module}"), function)
    for new in measure(device, TINY if arguments.tiny else FULL):
        for note in new.get("notes", ()):
            print(note, flush=True)
        # JSON has no infinity and no NaN; a figure that is neither a number says so as None.
        figures = {name: value if math.isfinite(value) else None for name, value in new.get("figures", {}).items()}
        found["figures"] |= figures
        found["comparisons"] += new.get("comparisons", [])
        found["notes"] += new.get("notes", [])
        write_json(arguments.file, found)


if __name__ == "__main__":
    sys.exit(main())
