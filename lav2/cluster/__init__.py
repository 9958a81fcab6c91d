"""Answers and batches on several processes or machines, by Ray (an extra: requirements-cluster.txt)."""
