"""PLVL: box and mask for an expression in an image (Progressive Language-guided Visual Learning).

The names below are imported when they are first used. Importing this package registers PLVL with
Transformers' Auto classes and the pipeline "visual-grounding".
"""

import importlib

from plvl.registration import register_auto_classes

__version__ = "0.1.0"

_ROOM_OF = {
    "PLVLConfig": "configuration",
    "PLVLTimmVisionConfig": "configuration",
    "PLVLVisionConfig": "configuration",
    "PLVLImageProcessor": "processing",
    "PLVLImageProcessorPil": "processing",
    "PLVLModel": "modeling_plvl",
    "PLVLOutput": "modeling_plvl",
    "PLVLProcessor": "processing",
    "PLVLTimmVisionModel": "modeling_plvl",
    "PLVLTrainer": "training",
    "PLVLTrainingArguments": "training",
    "PLVLVisionModel": "modeling_plvl",
    "VisualGroundingPipeline": "processing.pipeline_plvl",
    "load_grounding_dataset": "data",
}
__all__ = sorted(_ROOM_OF)


def __getattr__(name):
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'plvl' has no attribute {name!r}")
    return getattr(importlib.import_module(f"plvl.{_ROOM_OF[name]}"), name)


def __dir__():
    return sorted([*globals(), *__all__])


register_auto_classes()
