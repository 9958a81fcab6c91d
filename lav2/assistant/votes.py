"""Votes between answers: kept with their receipts and the photo, counted, exported as preference pairs. No torch."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from experts.registry import EXPERT_NAMES
from lav2 import files
from lav2.errors import LAV2Error
from lav2.weights import cache_dir

CHOICES = ("left", "right", "tie", "both bad")
BEST = "best"  # the vote for one of several answers
OFF = "off"  # the choice of no expert
FOREIGN = "image_text_to_text"  # among a receipt's weights: of a model of transformers, which no adapter was put on
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
    _append({"vote": choice, "left": left, "right": right}, right, photo)


def store_best(best: Mapping[str, Any], others: Sequence[Mapping[str, Any]], photo: Image.Image | None) -> None:
    """As `store`: a vote for one answer of several.

    Raises:
        LAV2Error: the folder cannot be written.
    """
    _append({"vote": BEST, "best": best, "others": list(others)}, best, photo)


def _append(vote: Mapping[str, Any], receipt: Mapping[str, Any], photo: Image.Image | None) -> None:
    """`receipt`: one of the vote's, which knows the photo's hash."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps({"time": now, **vote}, ensure_ascii=False)
    where = folder()
    try:
        with _APPEND:
            (where / "photos").mkdir(parents=True, exist_ok=True)
            for part in (where, where / "photos"):
                part.chmod(0o700)
            if photo is not None:
                photo_file = where / "photos" / f"{receipt['image']['sha256']}.webp"
                if not photo_file.exists():
                    with files.replacing(photo_file, private=True) as part:
                        photo.save(part, "WEBP", lossless=True, quality=0)
            files.append_line(where / FILE, line, private=True)
    except OSError as error:
        next_step = "Free some space, or set LAV2_VOTES to a folder that can be written."
        raise LAV2Error(f"The vote could not be stored ({error}).", next_step) from error


def pairs(report: Callable[[str], None] = print) -> Iterator[dict[str, str]]:
    """Preference pairs as TRL's DPO reads them. Left out: ties, two bad, stopped and equal answers, and those of two
    models or of one that is no preset: a pair teaches the model whose prompt it has.

    Both answers get the prompt of the side with more evidence: that is how the assistant will be asked. The best of
    several answers is paired with each of the others.

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
            found = [_pair(chosen, rejected) for chosen, rejected in _decided(row)]
        except (ValueError, KeyError, TypeError) as error:
            report(f"{path}:{number}: skipped, {type(error).__name__}: {error}")
            continue
        yield from filter(None, found)


def _decided(row: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """(better, worse) receipts of a vote; of a tie and of two bad ones none."""
    if row["vote"] == BEST:
        return [(row["best"], other) for other in row["others"]]
    sides = {"left": row["left"], "right": row["right"]}
    if row["vote"] not in sides:
        return []
    return [(sides.pop(row["vote"]), *sides.values())]


def _pair(chosen: Mapping[str, Any], rejected: Mapping[str, Any]) -> dict[str, str] | None:
    if chosen["stopped"] or rejected["stopped"] or chosen["answer"] == rejected["answer"]:
        return None
    if chosen["preset"] != rejected["preset"] or FOREIGN in chosen["weights"]:
        return None
    richer = max(rejected, chosen, key=lambda side: len(side["evidence"]))
    return {"prompt": richer["prompt"], "chosen": chosen["answer"], "rejected": rejected["answer"]}


@dataclass
class Tally:
    """Votes so far: choice of experts ("off", "caption+ocr", and of votes between several models "off@MODEL") ->
    [preferred, of how many decided votes]; of `two` answers, and of `several`. `undecided`: votes by CHOICES[2:]."""

    two: dict[str, list[int]] = field(default_factory=dict)
    several: dict[str, list[int]] = field(default_factory=dict)
    undecided: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CHOICES[2:], 0))


def tally() -> Tally:
    """Counts all stored votes; bad lines are left out. Empty where there are none.

    Raises:
        LAV2Error: the file cannot be read.
    """
    counted = Tally()
    path = folder() / FILE
    for _, row in files.json_lines(path) if path.exists() else ():
        try:
            if row["vote"] in counted.undecided:
                counted.undecided[row["vote"]] += 1
                continue
            wins = counted.several if row["vote"] == BEST else counted.two
            ballots = _decided(row)
            sides = [ballots[0][0], *(worse for _, worse in ballots)]
            several_models = len({side["preset"] for side in sides}) > 1
            for position, side in enumerate(sides):
                choice = f"{experts_of(side)}@{side['preset']}" if several_models else experts_of(side)
                won, of = wins.get(choice, (0, 0))
                wins[choice] = [won + (position == 0), of + 1]
        except (KeyError, TypeError, IndexError):
            continue
    return counted


def experts_of(receipt: Mapping[str, Any]) -> str:
    """The choice of experts of a side: "off", "caption+ocr"."""
    return "+".join(name for name in EXPERT_NAMES if name in receipt["experts"]) or OFF
