"""Grounding data: loaders with one row schema, mixtures, collator and the made-up RefShapes set."""

from plvl.data.loading import load_grounding_dataset
from plvl.data.masks import decode_segmentation, encode_segmentation
from plvl.data.schema import ROW_FEATURES

__all__ = ["ROW_FEATURES", "decode_segmentation", "encode_segmentation", "load_grounding_dataset"]
