"""Scores of the field for captions and answers, in numpy, reading the benchmarks' own files. No torch."""
