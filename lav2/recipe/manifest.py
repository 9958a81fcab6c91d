"""manifest.json: of each stage what it was made of, when and where, and what came out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lav2 import files
from lav2.errors import LAV2Error
from lav2.recipe.stage import Run, Stage

MANIFEST = "manifest.json"
FORMAT = 1
BEGUN, DONE = "begun", "done"


def read_manifest(out: Path) -> dict[str, Any] | None:
    """The manifest of a folder, None where there is none; LAV2Error for a file that is not one."""
    file = out / MANIFEST
    if not file.exists():
        return None
    found = files.read_json(file)
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("stages"), dict):
        raise LAV2Error("{file} is no manifest of a recipe.", "Choose another --out.", file=file)
    return found


def manifest_hash(manifest: Mapping[str, Any]) -> str:
    """SHA-256 over the stages before the export: what each was made of, and what it made."""
    keys = ("stage", "version", "settings", "seed", "model", "inputs", "outputs")
    done = [s for s in manifest["stages"].values() if s["state"] == DONE and s["stage"] not in ("export", "evaluate")]
    text = json.dumps([{name: stage[name] for name in keys} for stage in done], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write(run: Run, manifest: Mapping[str, Any]) -> None:
    files.write_text(run.out / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


def identity(path: Path) -> dict[str, Any]:
    """Bytes and SHA-256 of a file; of a folder, such as that of the photos, SHA-256 of its files' names and sizes.

    Training compares photos by content as well, before it goes on (lav2.training).
    """
    if not path.exists():
        return {"bytes": 0, "sha256": "none"}
    if not path.is_dir():
        return {"bytes": path.stat().st_size, "sha256": files.digest(path)}
    sizes = {str(file.relative_to(path)): file.stat().st_size for file in path.rglob("*") if file.is_file()}
    listed = json.dumps(sorted(sizes.items())).encode()
    return {"files": len(sizes), "bytes": sum(sizes.values()), "sha256": hashlib.sha256(listed).hexdigest()}


def facts_of(run: Run, stage: Stage) -> dict[str, Any]:
    """What must be the same for a stage to be skipped, or to go on; as JSON knows it."""
    inputs = {name: path for source in stage.inputs for name, path in run.paths(source).items()}
    model = {"vision": asdict(run.recipe.vision)} if "vision" in inputs else {}
    if "llm" in inputs:
        preset = asdict(run.preset)
        model |= {name: preset[name] for name in ("adapter_config", "projector", "template")}
    found = {"stage": stage.name, "version": stage.version, "settings": dict(stage.settings), "seed": run.seed,
             "model": model, "inputs": {name: identity(path) for name, path in inputs.items()}}  # fmt: skip
    facts: dict[str, Any] = json.loads(json.dumps(found))
    return facts


def check_same(run: Run, stage: Stage, entry: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Whether a stage was begun with the facts of now.

    Raises:
        LAV2Error: something differs; the first three things are named.
    """
    parts = ("settings", "model", "inputs")
    there, now = ({"version": recorded["version"], "seed": recorded["seed"]} | {
        name: value for part in parts for name, value in recorded[part].items()
    } for recorded in (entry, facts))  # fmt: skip
    names = sorted(name for name in there.keys() | now.keys() if there.get(name) != now.get(name))
    differing = [f"{name} ({_short(there.get(name))} there, {_short(now.get(name))} now)" for name in names]
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise LAV2Error(
            f"The stage {stage.name} in {run.out} was {entry['state']} with something else; "
            f"what differs: {', '.join(differing[:3])}{more}.",
            f"Give that again, choose another --out, or {run.recipe.restart.format(stage=stage.name)}.",
        )


def _short(value: object) -> str:
    if isinstance(value, dict) and "sha256" in value:
        return f"{value['bytes']} bytes, SHA-256 {value['sha256'][:12]}"
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def check_outputs(run: Run, stage: Stage, entry: Mapping[str, Any]) -> None:
    """Whether a finished stage's outputs are still what it made.

    Raises:
        LAV2Error: one is another file, or is gone.
    """
    for name, known in entry["outputs"].items():
        path = run.out / stage.name / name
        if identity(path) != known:
            step = f"Put that file back, or {run.recipe.restart}."
            raise LAV2Error("{path} is not the file that the stage {stage} made.", step, path=path, stage=stage.name)
