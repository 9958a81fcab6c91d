"""Votes between two answers: kept with their receipts and the photo, exported as preference pairs. No torch."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from lav2 import files
from lav2.errors import LAV2Error
from lav2.weights import cache_dir

CHOICES = ("left", "right", "tie", "both bad")
FILE = "votes.jsonl"
_APPEND = threading.Lock()


def folder() -> Path:
    """$LAV2_VOTES, else votes/ in the project's cache folder."""
    return Path(os.environ.get("LAV2_VOTES") or cache_dir() / "votes")


def store(choice: str, left: Mapping[str, Any], right: Mapping[str, Any], photo: Image.Image | None) -> None:
    """Append a vote on two answers (see receipt.py), and keep the photo, without its metadata, beside it.

    Nobody else on this machine can read them. A vote is stored whole or not at all.

    Raises:
        LAV2Error: no such choice, or the folder cannot be written.
    """
    if choice not in CHOICES:
        raise LAV2Error(f"There is no vote {choice!r}.", f"Choose of: {', '.join(CHOICES)}.")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps({"time": now, "vote": choice, "left": left, "right": right}, ensure_ascii=False)
    where = folder()
    try:
        with _APPEND:
            (where / "photos").mkdir(parents=True, exist_ok=True)
            for part in (where, where / "photos"):
                part.chmod(0o700)
            if photo is not None:
                kept = where / "photos" / f"{right['image']['sha256']}.webp"
                if not kept.exists():
                    with files.replacing(kept, private=True) as part:
                        photo.save(part, "WEBP", lossless=True, quality=0)
            files.append_line(where / FILE, line, private=True)
    except OSError as error:
        next_step = "Free some space, or set LAV2_VOTES to a folder that can be written."
        raise LAV2Error(f"The vote could not be stored ({error}).", next_step) from error


def pairs(report: Callable[[str], None] = print) -> Iterator[dict[str, str]]:
    """Preference pairs as TRL's DPO reads them. Left out: ties, two bad, stopped and equal answers.

    Both answers get the prompt of the right side, the one with evidence: that is how the assistant will be asked.

    Args:
        report: told which lines are skipped, since they are no votes.

    Raises:
        LAV2Error: there are no votes.
    """
    path = folder() / FILE
    if not path.exists():
        raise LAV2Error(f"There are no votes: {path} is missing.", "Vote on the page's Compare tab, or set LAV2_VOTES.")
    for number, row in files.json_lines(path):
        try:
            if isinstance(row, ValueError):
                raise row
            pair = _pair(row)
        except (ValueError, KeyError, TypeError) as error:
            report(f"{path}:{number}: skipped, {type(error).__name__}: {error}")
            continue
        if pair:
            yield pair


def _pair(row: Mapping[str, Any]) -> dict[str, str] | None:
    sides = {"left": row["left"], "right": row["right"]}
    vote, prompt = row["vote"], row["right"]["prompt"]
    said = {side: value["answer"] for side, value in sides.items()}
    stopped = any(value["stopped"] for value in sides.values())
    if vote not in sides or stopped or said["left"] == said["right"]:
        return None
    other = "right" if vote == "left" else "left"
    return {"prompt": prompt, "chosen": said[vote], "rejected": said[other]}
