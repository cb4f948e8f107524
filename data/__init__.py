"""Grounding data: loaders with one row schema, mixtures, collator and the made-up RefShapes set."""

from importlib import import_module

# Imported when first used: masks alone need no `datasets`, which takes a second.
_MODULE_OF = {
    "ROW_FEATURES": "schema",
    "decode_segmentation": "masks",
    "encode_segmentation": "masks",
    "load_grounding_dataset": "loading",
}

__all__ = sorted(_MODULE_OF)


def __getattr__(name):
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
