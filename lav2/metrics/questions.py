"""A benchmark's questions, and what all readers of benchmark files need."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lav2.errors import LAV2Error
from lav2.files import json_rows, read_json

# --- captions -----------------------------------------------------------------------------------------------
Id = str | int


# --- questions ----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Question:
    """One question of a benchmark: `answers` are the accepted ones, `subset` the part of the benchmark it
    counts in.
    """

    id: Id
    image: Path
    text: str
    answers: tuple[str, ...]
    subset: str = ""


# --- reading files ------------------------------------------------------------------------------------------
def require_answers(questions: Sequence[Question], answers: Mapping[Id, str]) -> Sequence[Question]:
    """The questions, once each is known to have an answer.

    Raises:
        LAV2Error: one has none, or there is no question.
    """
    missing = [q.id for q in questions if q.id not in answers]
    if missing or not questions:
        first = f", the first is {missing[0]!r}" if missing else ""
        raise LAV2Error(
            f"{len(missing)} of {len(questions)} questions have no answer{first}.",
            "Answer every question of the set; an empty answer counts as wrong.",
        )
    return questions


def mean_by_subset(questions: Sequence[Question], scores: Sequence[float]) -> dict[str, float]:
    """Mean score of all questions (`all`) and of each subset."""
    groups: dict[str, list[float]] = {}
    for question, score in zip(questions, scores, strict=True):
        if question.subset:
            groups.setdefault(question.subset, []).append(score)
    return {"all": float(np.mean(scores))} | {name: float(np.mean(part)) for name, part in groups.items()}


def read_benchmark_json(path: str | Path) -> Any:
    """A benchmark's JSON file.

    Raises:
        LAV2Error: it cannot be read or is no JSON.
    """
    return read_json(path, "Check that the download is complete.")


def json_lines(path: str | Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines.

    Raises:
        LAV2Error: it cannot be read, or a line is no object.
    """
    return [row for _, row in json_rows(path)]


def field_of(path: str | Path, content: Any, name: str) -> Any:
    """content[name] of a file's JSON object.

    Raises:
        LAV2Error: it is no object, or has no such field.
    """
    if not isinstance(content, dict) or name not in content:
        raise LAV2Error(f'{path} has no "{name}".', "Check that this is the benchmark's file of that kind.")
    return content[name]


def checked_rows(path: str | Path, rows: Any, fields: Iterable[str]) -> list[dict[str, Any]]:
    """The rows, once each is known to have the fields.

    Raises:
        LAV2Error: they are no list, or a row lacks a field; it is named by its number.
    """
    if not isinstance(rows, list):
        raise LAV2Error(f"{path} is not a list of rows.", "Check that this is the benchmark's file of that kind.")
    for number, row in enumerate(rows, 1):
        missing = [f for f in fields if not isinstance(row, dict) or f not in row]
        if missing:
            raise LAV2Error(f"{path}, row {number} has no {', '.join(missing)}.", "Mend or remove that row.")
    return rows


def only_file(folder: Path, pattern: str) -> Path:
    """The one file of a folder that matches a pattern.

    Raises:
        LAV2Error: there is none, or there are several.
    """
    files = sorted(folder.glob(pattern))
    if len(files) != 1:
        raise LAV2Error(f"{folder} has {len(files)} files {pattern}, one is needed.", "Give a folder with one split.")
    return files[0]


_PHOTOS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}


def photos_by_stem(folder: Path) -> dict[str, Path]:
    """Photos below a folder, by their name without ending."""
    return {f.stem: f for f in sorted(folder.rglob("*")) if f.suffix.lower() in _PHOTOS}


def locate_photos(names: Mapping[Id, str], folder: Path) -> dict[Id, Path]:
    """Each named photo below the folder. Another ending (.webp for .jpg) is accepted: people re-encode photos.

    Raises:
        LAV2Error: photos are missing; the first is named.
    """
    files = photos_by_stem(folder)
    missing = [name for name in names.values() if Path(name).stem not in files]
    if missing:
        raise LAV2Error(
            f"{len(missing)} of {len(names)} photos are not below {folder}, the first is {missing[0]}.",
            "Give the folder that holds the benchmark's photos.",
        )
    return {i: files[Path(name).stem] for i, name in names.items()}
