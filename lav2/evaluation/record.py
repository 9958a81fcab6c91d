"""Findings of the experts on many photos, for rows of training and measuring."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from experts.evidence import Evidence, ExpertFailure, from_json, to_json
from experts.registry import EXPERT_NAMES
from lav2 import files
from lav2.errors import LAV2Error
from lav2.evaluation.runner import EvaluationRunner
from lav2.instruct.photos import read_evidence


def examine(runner: EvaluationRunner, images: Sequence[str], experts: Sequence[str]) -> dict[str, dict[str, Evidence]]:
    """What the experts find on each photo that can be read; captions in batches."""
    unknown = sorted(set(experts) - set(EXPERT_NAMES))
    if unknown:
        raise LAV2Error(f"There is no expert {unknown[0]!r}.", f"Choose of: {', '.join(EXPERT_NAMES)}, or none.")
    photos = list(dict.fromkeys(images))
    damaged = runner.damaged(photos, captions=True)
    photos = [photo for photo in photos if photo not in damaged]
    found: dict[str, dict[str, Evidence]] = {photo: {} for photo in photos}
    if "caption" in experts:
        for photo, caption in runner.caption_evidence(photos).items():
            found[photo]["caption"] = caption
    others = tuple(name for name in experts if name != "caption")
    if others:
        for photo, looked in zip(photos, runner.look(photos, others), strict=True):
            found[photo] |= looked
    return found


def read_record(file: Path, images: Sequence[str]) -> dict[str, dict[str, Evidence]]:
    """The findings of `record` on photos, by their paths as given.

    Raises:
        LAV2Error: the file cannot be read, or nobody looked at one of the photos.
    """
    look, found = read_evidence(file), {}
    for image in images:
        if (evidence := look(image)) is None:
            raise LAV2Error("{file} has no findings of {image}.", "Record them again.", file=file, image=image)
        found[image] = {name: from_json(name, value) for name, value in evidence.items()}
    return found


RECORDED = 64  # photos whose findings are written together


def record(runner: EvaluationRunner, data: Path, out: Path, experts: Sequence[str], images: Path | None = None,
           split: str | None = None, limit: int | None = None,
           report: Callable[[str], None] = print) -> int:  # fmt: skip
    """What the experts find on the photos of a data file, as `python -m lav2.instruct --evidence` reads it.

    A photo on which an expert failed (say, out of time on a busy machine) is not written: nobody looked at it.

    Args:
        data: JSON lines with `image`.
        out: JSON lines {"image": path relative to this file, "evidence"}; photos that are in it are left out, so that
            an interrupted run goes on.
        images: folder of the photos; the file's own by default.
        split: only rows of this split.
        limit: photos, the first ones.
        report: told the failures.

    Returns:
        How many photos were looked at without a failure.

    Raises:
        LAV2Error: the data or an earlier `out` cannot be read, or an unknown expert.
    """
    folder = (images or data.parent).resolve()
    here = out.parent.resolve()
    try:
        rows = files.json_rows(data)
        chosen = [str(folder / row["image"]) for _, row in rows if split is None or row.get("split") == split]
    except (KeyError, TypeError) as error:
        raise LAV2Error(f"{data} is not JSON lines with an image ({error}).", "Check the file.") from error
    here.mkdir(parents=True, exist_ok=True)
    files.whole_lines(out)
    try:
        done = {os.path.abspath(here / row["image"]) for _, row in files.json_rows(out)} if out.exists() else set()
    except (KeyError, TypeError) as error:
        raise LAV2Error(f"{out} is not a file of findings.", "Choose another --out.") from error
    wanted = [photo for photo in list(dict.fromkeys(chosen))[:limit] if os.path.abspath(photo) not in done]
    failed = 0
    with out.open("a", encoding="utf-8") as file:
        for start in tqdm(range(0, len(wanted), RECORDED), desc="experts", unit=f"x{RECORDED} photos", disable=None):
            chunk = wanted[start : start + RECORDED]
            found = examine(runner, chunk, experts)
            failed += len(chunk) - len(found)
            for photo, evidence in found.items():
                failures = [value for value in evidence.values() if isinstance(value, ExpertFailure)]
                if failures:
                    report(f"{photo}: left out. {failures[0].cause} Run the command again for it.")
                    failed += 1
                    continue
                row = {"image": os.path.relpath(photo, here)}
                row["evidence"] = {name: to_json(value) for name, value in evidence.items()}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
    return len(wanted) - failed
