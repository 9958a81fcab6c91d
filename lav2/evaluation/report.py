"""The file of a measurement: scores and all that they depend on."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from lav2 import files
from lav2.evaluation.runner import EvaluationRunner

ROOT = Path(__file__).resolve().parents[2]


def table(scores: Mapping) -> str:
    """`grounded`'s scores as text: a row per arm, a column per kind, in percent; then the differences."""
    kinds = list(scores["questions"])
    lines = [f"{'experts':22}" + "".join(f"{kind:>12}" for kind in kinds) + f"{'obeyed':>9}{'seconds':>9}"]
    for arm, values in scores["accuracy"].items():
        obeyed = f"{100 * scores['obeyed'][arm]:9.1f}" if arm in scores["obeyed"] else f"{'-':>9}"
        shares = "".join(f"{100 * values[kind]:12.1f}" for kind in kinds)
        lines.append(f"{arm:22}{shares}{obeyed}{scores['seconds'][arm]:9.2f}")
    lines.append(f"{'questions':22}" + "".join(f"{n:12}" for n in scores["questions"].values()))
    for pair, values in scores["differences"].items():
        mean, low, high = (100 * value for value in values["all"])
        lines.append(f"{pair}: {mean:+.1f} points over all kinds (95 %: {low:+.1f} to {high:+.1f})")
    return "\n".join(lines)


def report(runner: EvaluationRunner, command: Sequence[str], seed: int, data: Path, **results) -> dict:
    """The results with everything that they depend on, as plain JSON."""
    return {
        "command": " ".join(["python -m lav2", *command]),
        "preset": runner.assistant.preset,
        "weights": runner.assistant.hashes,
        "versions": runner.assistant.versions,
        "commit": commit(),
        "seed": seed,
        "batch": runner.batch,
        "captioning": asdict(runner.how),
        "machine": f"{platform.machine()}, {platform.system()}",
        "data": {"file": str(data), "sha256": None if data.is_dir() else _sha256(data)},
        **results,
    }


def commit() -> str | None:
    """The project's commit, with "+" where files differ from it; None outside a git checkout."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def write(value: dict, out: Path) -> None:
    files.write_text(out, json.dumps(value, ensure_ascii=False, indent=1) + "\n")
