"""The trained checkpoint that the project carries; `plvl predict` and `plvl demo` use it when none is named."""

from pathlib import Path

BUNDLED_CHECKPOINT = Path(__file__).resolve().parent / "plvl-tiny-refshapes"
