"""LLaMA-Adapter V2 (arXiv 2304.15010): the adapter, its training, evaluation and a chat grounded by experts."""

__version__ = "0.1.0"
