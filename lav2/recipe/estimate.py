"""What a recipe has still to do, in hours and memory."""

from __future__ import annotations

import json
from pathlib import Path

from lav2 import files
from lav2.config import Preset
from lav2.model import preflight
from lav2.recipe.manifest import DONE, check_same, facts_of, read_manifest
from lav2.recipe.stage import Recipe, Run, Stage

# What --dry-run estimates by: one CPU core with bfloat16 products (a Xeon with AMX), nothing else running. A step of
# six joined rows of questions (1,425 tokens with padding) took 7 s there, 8 to 11 beside other work (docs/LOG.md).
TOKENS = 245  # per second, forward and back
STEP = 1.0  # s that a step takes beside its tokens: the optimizer, the projector
LOOKS = 11  # photos per second through the frozen image encoder (22 on both cores, docs/LOG.md)
LESSONS = 10  # the same, forward and back (1,575 steps of 32 in 80 minutes of a core, docs/LOG.md)
PARAMETERS = 134.5e6  # of the language model that this was measured with: others take as much longer as they are larger
ROW_BYTES = 2.5e9 / 384  # memory of a token that is learned from (docs/training.md)


def table(recipe: Recipe, out: Path | None) -> str:
    """The stages of a recipe, and how far they are in a folder."""
    known = (read_manifest(out) if out else None) or {"stages": {}}
    lines = []
    for stage in recipe.stages:
        entry = known["stages"].get(stage.name, {"state": "optional" if stage.optional else "to do"})
        took = f"{entry['seconds'] / 3600:.2f} h" if "seconds" in entry else ""
        lines.append(f"{stage.name:10} {entry['state']:9} {took:>8}  {stage.title}".rstrip())
        if entry.get("score"):
            lines.append(f"{'':31}{json.dumps(entry['score'])}")
    return "\n".join(lines)


def plan(run: Run, evaluate: bool = False) -> str:
    """What is left to do, with an estimate of hours and memory for each stage. Nothing is trained or written."""
    photos = captioned_photos(run)
    lines, total = [f"{'stage':10} {'state':9} {'hours':>6} {'memory':>8}"], 0.0
    for name, state, hours, memory in remaining(run, photos, evaluate):
        total += hours
        lines.append(f"{name:10} {state:9}" + (f" {hours:6.1f} {memory / 1e9:5.1f} GB" if state != DONE else ""))
    lines.append(f"About {total:.1f} hours of one CPU core with bfloat16 products for {photos} photos.")
    lines.append(f"{preflight.free() / 1e9:.1f} GB of memory are free.")
    return "\n".join(lines)


def captioned_photos(run: Run) -> int:
    """How many photos have captions."""
    (captions,) = run.paths("data:captions.jsonl").values()
    return sum(1 for _ in files.json_lines(captions))


def remaining(run: Run, photos: int, evaluate: bool = False) -> list[tuple[str, str, float, float]]:
    """(name, state, hours, bytes) of each stage, 0 of those that are done; LAV2Error as `make`."""
    known, found = (read_manifest(run.out) or {"stages": {}})["stages"], []
    for stage in run.stages(evaluate):
        state = known.get(stage.name, {}).get("state", "to do")
        if state != "to do":
            check_same(run, stage, known[stage.name], facts_of(run, stage))
        cost = (0.0, 0.0) if state == DONE else estimate(run.preset, stage, photos)
        found.append((stage.name, state, *cost))
    return found


def estimate(preset: Preset, stage: Stage, photos: int) -> tuple[float, float]:
    """(hours of one CPU core, bytes of memory) of a stage, from what was measured with the shipped language model."""
    folder = preflight.local(preset.llm)
    described = folder / "config.json" if folder else None
    larger = 1.0
    if described is not None and described.exists():
        larger = preflight.parameters(files.read_json(described)) / PARAMETERS
    work = stage.work
    seconds = work.seconds + photos * (work.looks / LOOKS + work.lessons / LESSONS)
    if work.tokens:
        seconds += stage.settings.get("steps", 1) * (work.tokens / TOKENS + STEP) * larger
    dtype = stage.settings.get("dtype", "bfloat16")
    return seconds / 3600, preflight.needed(preset, dtype, training=True) + work.at_once * ROW_BYTES * larger
