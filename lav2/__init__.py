"""LLaMA-Adapter V2 (arXiv 2304.15010): the adapter, its training, evaluation and a chat grounded by experts."""

import os

__version__ = "0.1.0"

# Experts and the language model run side by side in threads, each with an OpenMP team of its own. Teams that spin
# while they wait slow each other down more than tenfold on two cores (docs/LOG.md), so waiting must sleep. OpenMP
# reads this once, when torch is loaded: it has to be set here, before that.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
# As lav2.ui, which loads the Hub's client with Gradio before this.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
