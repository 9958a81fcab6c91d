"""Benchmarks of speed and memory: `python -m lav2.bench`."""
