"""What `tools/benchmark.py` measures, and the plain ways that it measures this project's against."""
