"""The grounding metrics as a module that `evaluate.load` takes: see grounding_metric.py."""
