"""What the check consists of, in its order. Compiling comes last: it takes longest, and what is left of the time."""

from dataclasses import dataclass

SECONDS = 480  # for everything


@dataclass(frozen=True)
class Part:
    """
    Args:
        measured_by: "module:function" in gpu_check, of a device and [`Sizes`], which gives what it finds bit by bit:
            dicts with some of "figures" ({name: number}), "comparisons" (as `benchmarks.comparisons.compare` makes
            them) and "notes" (sentences).
        limit: seconds after which it is ended.
        heading: what it measures.
    """

    measured_by: str
    limit: float
    heading: str


PARTS = {
    "parity": Part("parity:parity", 60, "The reference values, and what bfloat16 changes"),
    "inference": Part("speed:inference", 60, "Inference"),
    "training": Part("speed:training", 75, "A training step"),
    "half_precision": Part("half_precision:half_precision", 45, "float16 with GradScaler"),
    "data_parallel": Part("data_parallel:data_parallel", 45, "Data-parallel through accelerate"),
    "refshapes": Part("refshapes_training:refshapes_training", 225, "RefShapes from nothing"),
    "inference_compiled": Part("speed:inference_compiled", 120, "Inference, compiled"),
    "training_compiled": Part("speed:training_compiled", 180, "A training step, compiled"),
}
