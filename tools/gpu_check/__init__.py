"""The parts of `tools/check_gpu.py`, and what runs them."""
