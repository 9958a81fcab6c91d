"""Votes between two answers: kept with their receipts and the photo, exported as preference pairs. No torch."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from lav2.errors import LAV2Error
from lav2.weights import cache_dir

CHOICES = ("left", "right", "tie", "both bad")
FILE = "votes.jsonl"
_APPEND = threading.Lock()


def folder() -> Path:
    """$LAV2_VOTES, else votes/ in the project's cache folder."""
    return Path(os.environ.get("LAV2_VOTES") or cache_dir() / "votes")


def store(choice: str, left: Mapping[str, Any], right: Mapping[str, Any], photo: Image.Image | None) -> None:
    """Append a vote on two answers (receipts of lav2.receipt), and keep the photo, without its metadata, beside it.

    Raises:
        LAV2Error: no such choice, or the folder cannot be written.
    """
    if choice not in CHOICES:
        raise LAV2Error(f"There is no vote {choice!r}.", f"Choose of: {', '.join(CHOICES)}.")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps({"time": now, "vote": choice, "left": left, "right": right}, ensure_ascii=False) + "\n"
    where = folder()
    try:
        with _APPEND:
            (where / "photos").mkdir(parents=True, exist_ok=True)
            if photo is not None:
                kept = where / "photos" / f"{right['image']['sha256']}.webp"
                if not kept.exists():
                    photo.save(kept, lossless=True, quality=0)
            with (where / FILE).open("a", encoding="utf-8") as file:
                file.write(line)
    except OSError as error:
        next_step = "Set LAV2_VOTES to a folder that can be written."
        raise LAV2Error(f"The vote could not be stored ({error}).", next_step) from error


def pairs() -> Iterator[dict[str, str]]:
    """Preference pairs as TRL's DPO reads them. Left out: ties, two bad, stopped and equal answers.

    Both answers get the prompt of the right side, the one with evidence: that is how the assistant will be asked.
    """
    path = folder() / FILE
    if not path.exists():
        raise LAV2Error(f"There are no votes: {path} is missing.", "Vote on the page's Compare tab, or set LAV2_VOTES.")
    for line in filter(None, path.read_text(encoding="utf-8").split("\n")):  # splitlines also cuts inside of texts
        row = json.loads(line)
        sides = {"left": row["left"], "right": row["right"]}
        vote = row["vote"]
        said = {side: value["answer"] for side, value in sides.items()}
        stopped = any(value["stopped"] for value in sides.values())
        if vote in sides and not stopped and said["left"] != said["right"]:
            other = "right" if vote == "left" else "left"
            yield {"prompt": row["right"]["prompt"], "chosen": said[vote], "rejected": said[other]}
