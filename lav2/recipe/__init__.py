"""`python -m lav2 recipe`: a preset's weights from nothing, stage by stage, and one manifest of how they were made.

A recipe is a table of stages. Each one calls what its own command of `python -m lav2` calls, and writes into its own
folder. manifest.json tells of each stage its settings, seed and inputs, when and where it ran, what came out and how
good it is. A stage that is done is skipped and one that was interrupted goes on, but only with the settings and inputs
that it was begun with; a change is refused, as lav2.training.run_folder refuses it.
"""

from lav2.recipe.embedded import ADAPTER, EMBEDDED, RECIPES, train_adapter
from lav2.recipe.estimate import LOOKS, STEP, TOKENS, captioned_photos, estimate, plan, remaining, table
from lav2.recipe.manifest import BEGUN, DONE, manifest_hash, read_manifest
from lav2.recipe.runs import alone, make
from lav2.recipe.stage import Recipe, Run, Stage, Work

__all__ = [
    "ADAPTER", "BEGUN", "DONE", "EMBEDDED", "LOOKS", "RECIPES", "STEP", "TOKENS", "Recipe", "Run", "Stage", "Work",
    "alone", "captioned_photos", "estimate", "make", "manifest_hash", "plan", "read_manifest", "remaining", "table",
    "train_adapter",
]  # fmt: skip
