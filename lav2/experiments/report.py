"""The tables of an experiment: means with bootstrap intervals, and differences from the default arm on the same items.

A score is an item's mean over seeds; intervals resample the items (photos, questions), not the few seeds, which are
told one by one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lav2 import files, recipe
from lav2.errors import LAV2Error
from lav2.experiments.claims import Arm, Experiment
from lav2.experiments.stages import MEASURES, RESULT
from lav2.metrics.bootstrap import Interval, bootstrap_interval

TABLE, NUMBERS = "claims.md", "claims.json"
MISSING = "not run"
HEADS = {  # of the columns, where it is not the measure's name
    "caption loss": "captions, loss (nats a token; less is better)",
    "captions": "captions, CIDEr-D",
}

Results = Mapping[str, Mapping[int, Mapping[str, Any]]]  # arm -> seed -> result


def collect(experiment: Experiment, out: Path, steps: int) -> dict[str, dict[int, dict[str, Any]]]:
    """The results of all finished runs in a folder.

    Raises:
        LAV2Error: one of its runs was begun with another number of steps.
    """
    found: dict[str, dict[int, dict[str, Any]]] = {arm.name: {} for arm in experiment.arms}
    for arm in experiment.arms:
        for folder in sorted(out.glob(f"{arm.name}-*")):
            seed = folder.name.removeprefix(f"{arm.name}-")
            stages = (recipe.read_manifest(folder) or {"stages": {}})["stages"] if seed.isdigit() else {}
            begun = sum(stages[name]["settings"]["steps"] for name in ("visual", "train") if name in stages)
            if "train" in stages and begun != steps:
                cause, step = "{folder} has {there} steps, not {now}.", "Give --steps {there}, or choose another --out."
                raise LAV2Error(cause, step, folder=folder, there=begun, now=steps)
            if stages.get("evaluate", {}).get("state") == recipe.DONE:
                found[arm.name][int(seed)] = files.read_json(folder / "evaluate" / RESULT)
    return found


def score(runs: Mapping[int, Mapping[str, Any]], measure: str) -> Interval | None:
    """An arm's mean of a measure over items and seeds, with its interval over items."""
    return bootstrap_interval(_mean(runs, measure, sorted(runs))) if runs else None


def difference(
    runs: Mapping[int, Mapping[str, Any]], default: Mapping[int, Mapping[str, Any]], measure: str
) -> Interval | None:
    """An arm minus the default, item by item, over the seeds that both have; None without one.

    Raises:
        LAV2Error: they were not measured on the same items.
    """
    seeds = sorted(runs.keys() & default.keys())
    if not seeds:
        return None
    return bootstrap_interval(_mean(runs, measure, seeds), _mean(default, measure, seeds))


def _mean(runs: Mapping[int, Mapping[str, Any]], measure: str, seeds: Sequence[int]) -> np.ndarray:
    each = [runs[seed]["items"][measure] for seed in seeds]
    if len({len(items) for items in each}) > 1:
        cause, step = "The seeds were measured on different items of {measure}.", "Run them anew in another --out."
        raise LAV2Error(cause, step, measure=measure)
    return np.mean(each, axis=0)  # [items]


def write(experiment: Experiment, out: Path, steps: int) -> str:
    """Write TABLE and NUMBERS into a folder; returns the table."""
    results = collect(experiment, out, steps)
    numbers = {}
    for arm in experiment.arms:
        runs, default = results[arm.name], results[experiment.default.name]
        numbers[arm.name] = {
            measure: {
                "score": score(runs, measure),
                "minus default": None if arm is experiment.default else difference(runs, default, measure),
                "seeds": {seed: runs[seed]["scores"][measure] for seed in sorted(runs)},
            }
            for measure in MEASURES
        }
    text = markdown(experiment, numbers, steps)
    files.write_text(out / NUMBERS, json.dumps(numbers, indent=1) + "\n")
    files.write_text(out / TABLE, text)
    return text


def markdown(experiment: Experiment, numbers: Mapping[str, Mapping[str, Any]], steps: int) -> str:
    """The tables as text."""
    named = {arm.name: arm for arm in experiment.arms}
    default = experiment.default
    lines = [f"# {experiment.name}", "",
             f"{steps} optimiser steps a run. Mean over items and seeds, 95 % bootstrap interval over items; below it "
             f"the difference from `{default.name}` on the same items and seeds. \\*: the interval of the difference "
             "leaves out 0; of twenty differences one does so by chance. off, on: experts.", ""]  # fmt: skip
    for number, claim in enumerate(experiment.claims, start=1):
        lines += [f"## {number}. {claim.text} ({claim.section})", ""]
        lines += _rows([default, *(named[name] for name in claim.arms)], numbers)
        lines += ["", *([claim.note, ""] if claim.note else [])]
    lines += ["## Seed by seed", "", *_by_seed(experiment.arms, numbers), ""]
    return "\n".join(lines)


def _heading(first: str) -> list[str]:
    heads = [HEADS.get(measure, measure) for measure in MEASURES]
    return [f"| {first} | {' | '.join(heads)} |", f"| --- |{' --- |' * len(MEASURES)}"]


def _rows(arms: Sequence[Arm], numbers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = _heading("arm")
    for arm in arms:
        found = numbers[arm.name]
        cells = [_cell(found[measure]["score"], found[measure]["minus default"]) for measure in MEASURES]
        lines.append(f"| `{arm.name}`: {arm.title} | {' | '.join(cells)} |")
    return lines


def _cell(mean: Interval | None, less: Interval | None) -> str:
    if mean is None:
        return MISSING
    text = f"{mean.mean:.3f} ({mean.low:.3f} to {mean.high:.3f})"
    if less is None:
        return text
    sure = " \\*" if less.low > 0 or less.high < 0 else ""
    return f"{text}<br>{less.mean:+.3f} ({less.low:+.3f} to {less.high:+.3f}){sure}"


def _by_seed(arms: Sequence[Arm], numbers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = _heading("arm, seed")
    for arm in arms:
        found = numbers[arm.name]
        for seed in found[MEASURES[0]]["seeds"]:
            cells = [f"{found[measure]['seeds'][seed]:.3f}" for measure in MEASURES]
            lines.append(f"| `{arm.name}`, {seed} | {' | '.join(cells)} |")
    return lines
