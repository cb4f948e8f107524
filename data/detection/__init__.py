"""Grounding rows from detection labels: expressions are made from boxes and classes as rows are read."""

from plvl.data.detection.class_words import ClassWords, read_class_words
from plvl.data.detection.instances import (
    DetectionExpressions,
    count_kinds,
    expression_kinds,
    open_split,
    read_rows,
    split_names,
)

__all__ = [
    "ClassWords",
    "DetectionExpressions",
    "count_kinds",
    "expression_kinds",
    "open_split",
    "read_class_words",
    "read_rows",
    "split_names",
]
