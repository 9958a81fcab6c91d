"""The folder of a training run: it belongs to one run, which goes on only as what it was.

Nothing is written over another run. A killed one goes on where data, photos, models and settings are all equal to the
stored ones, since the losses are then those of one run without a break.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lav2 import files
from lav2.errors import LAV2Error
from lav2.model.checkpoint import CONFIG, TENSORS

STATE = "state.pt"  # of a run, for resuming


def check_out(out: Path, resume: bool) -> None:
    """Whether a run may write into a folder.

    Args:
        out: the folder; it need not be there.
        resume: the run in it goes on.

    Raises:
        LAV2Error: it holds a run or an adapter and is not resumed, or holds none that could be.
    """
    if resume and not (out / STATE).exists():
        raise LAV2Error(
            f"{out} holds no run that could go on (no {STATE}).",
            "Leave --resume away to start one there, or give the --out of the run.",
        )
    existing = [name for name in (STATE, TENSORS, CONFIG) if (out / name).exists()]
    if existing and not resume:
        raise LAV2Error(
            f"{out} already holds a training run or an adapter ({', '.join(existing)}).",
            f"To go on with that run, add --resume; to start from its adapter, give --init {out} and another --out; "
            "to train anew, choose another --out or delete that folder.",
        )


def file_identity(paths: Sequence[Path]) -> list[str]:
    """SHA-256 of files' contents, in their order: a moved file is the same, a changed one is not."""
    return [files.digest(path) for path in paths]


def save_state(out: Path, state: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Write what a killed run goes on from.

    Args:
        state: tensors and plain values.
        facts: all that must be equal in the run that goes on, as JSON knows it.
    """
    with files.replacing(out / STATE) as part:
        torch.save({**state, "facts": json.dumps(facts)}, part)


def load_state(out: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What `save_state` wrote for a run of the same facts.

    Raises:
        LAV2Error: it is another run's, damaged, or of an earlier version; the message names what differs.
    """
    file = out / STATE
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        stored = json.loads(state["facts"])
    except Exception as error:  # torch and pickle raise anything on a damaged file
        raise files.unreadable(file, error, "Start the run anew with another --out.") from error
    now = json.loads(json.dumps(facts))
    differing = [
        f"{name} ({_short(stored.get(name))} there, {_short(now.get(name))} now)"
        for name in sorted(stored.keys() | now.keys())
        if stored.get(name) != now.get(name)
    ]
    if differing:
        raise LAV2Error(
            f"The run in {out} is another one; what differs: {', '.join(differing)}.",
            f"Resume with what it was started with, or choose another --out (--init {out} starts from its adapter).",
        )
    return state


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:12] + "..."
