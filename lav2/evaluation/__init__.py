"""Measurements: captions, benchmarks, everyday questions, and what each expert buys."""
