"""Comparisons of many trainings: `python -m lav2 experiment claims`."""
