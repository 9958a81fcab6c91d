"""Running a recipe: what is done is skipped, what was interrupted goes on, other settings are refused."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lav2 import files
from lav2.errors import LAV2Error
from lav2.model import preflight
from lav2.recipe.manifest import (
    BEGUN,
    DONE,
    FORMAT,
    check_outputs,
    check_same,
    facts_of,
    identity,
    read_manifest,
    write,
)
from lav2.recipe.stage import Run, Stage

LOCK = ".lock"


def make(run: Run, start: str | None = None, evaluate: bool = False) -> dict[str, Any]:
    """Run a recipe, or go on with it; returns the manifest.

    Args:
        start: a stage that is made anew, and all behind it: what they made before is deleted.
        evaluate: run the optional stages too.

    Raises:
        LAV2Error: something is missing, or was made with other settings, inputs or code.
    """
    run.out.mkdir(parents=True, exist_ok=True)
    with alone(run.out):
        manifest = read_manifest(run.out) or {"format": FORMAT, "recipe": run.recipe.name, "stages": {}}
        if start:
            _forget(run, manifest, start)
        for stage in run.stages(evaluate):
            entry, facts = manifest["stages"].get(stage.name), facts_of(run, stage)
            folder = run.out / stage.name
            if entry:
                check_same(run, stage, entry, facts)
            elif folder.exists() and any(folder.iterdir()):
                cause, step = "{folder} holds files that no run of this recipe has made.", "Choose another --out."
                raise LAV2Error(cause, step, folder=folder)
            if entry and entry["state"] == DONE:
                check_outputs(run, stage, entry)
                run.report(f"{stage.name}: done before")
                continue
            started = datetime.now(UTC).isoformat(timespec="seconds")
            _make_stage(run, stage, manifest, entry or {**facts, "started": started, "seconds": 0.0})
    return manifest


def _make_stage(run: Run, stage: Stage, manifest: dict[str, Any], entry: dict[str, Any]) -> None:
    from lav2.assistant.loading import versions
    from lav2.evaluation.report import commit

    machine = {"system": f"{platform.system()} {platform.machine()}", "cores": os.cpu_count(),
             "device": preflight.device(run.device)}  # fmt: skip
    entry |= {"state": BEGUN, "machine": machine, "versions": versions(), "commit": commit()}
    before, begin = entry["seconds"], time.perf_counter()
    manifest["stages"][stage.name] = entry
    write(run, manifest)
    run.report(f"{stage.name}: {stage.title}")
    (run.out / stage.name).mkdir(exist_ok=True)
    try:
        score = stage.make(run, stage)
        outputs = {name: identity(run.out / stage.name / name) for name in stage.outputs}
        entry |= {"state": DONE, "score": score, "outputs": outputs}
    finally:
        entry["seconds"] = round(before + time.perf_counter() - begin, 1)
        write(run, manifest)


def _forget(run: Run, manifest: dict[str, Any], start: str) -> None:
    """Delete what a stage and those behind it made; only folders that the manifest knows."""
    names = [stage.name for stage in run.recipe.stages]
    if start not in names:
        raise LAV2Error("There is no stage {name}.", "Choose of: {names}.", name=start, names=", ".join(names))
    for name in reversed(names[names.index(start) :]):
        if name in manifest["stages"]:
            files.remove(run.out / name)
            del manifest["stages"][name]
            write(run, manifest)
    run.report(f"From {start} on everything is made anew. Should that be interrupted, go on without --from.")


@contextlib.contextmanager
def alone(out: Path) -> Iterator[None]:
    """Hold the folder's lock: nobody else runs a recipe in it meanwhile.

    Raises:
        LAV2Error: somebody does.
    """
    with (out / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            step = "Wait until it ends, or choose another --out."
            raise LAV2Error("Another recipe runs in {out}.", step, out=out) from error
        yield
