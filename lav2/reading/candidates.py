"""Rows of a text -> its candidates: cells and rows that may answer, with where they stand. No torch."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lav2.reading.relations import numbers
from lav2.reading.words import key, letters, words

MARKS = 16  # numbers that tell where a candidate stands (`_marks`, `denied`)
WORDS = 32  # of a candidate that are read
# Of a heading: what stands below it is when something is not so ("NO PARKING" above "Mon - Fri").
_DENIES = re.compile(
    r"\b(?:no|not|never|closed|shut|forbidden|prohibited|banned|cancell?ed|without|excluding|except|don't|do not)\b",
    re.I,
)

Ranks = Mapping[tuple[int, int], tuple[float, ...]]  # of cells, by row and column


class Candidate(NamedTuple):
    """Words that may hold an answer: a cell of a row, or the whole row.

    Attributes:
        marks: where it stands, and how its number compares.
        place: its row, and its column; None: the whole row.
    """

    text: str
    words: Sequence[str]
    marks: tuple[float, ...] = (0.0,) * MARKS
    place: tuple[int, int | None] = (0, None)


def candidates(rows: Sequence[Sequence[str]]) -> list[Candidate]:
    """Each cell, and each row of several cells.

    Args:
        rows: cells of each row of a text.
    """
    found, ranks = [], _ranks(rows)
    for at, row in enumerate(rows):
        under = denied(rows, at)
        texts: list[tuple[str, int | None]] = [(cell, column) for column, cell in enumerate(row)]
        if len(row) > 1:
            texts.append((" ".join(row), None))
        for text, column in texts:
            found.append(_read(text, (*_marks(rows, ranks, at, column), *under), (at, column)))
    return [one for one in found if one.words]


def alone(text: str, under: Sequence[float] = (0.0, 0.0)) -> Candidate:
    """A candidate whose place is not known.

    Args:
        under: what `denied` tells of where it stands.
    """
    return _read(text, (*(0.0,) * (MARKS - 2), *under), (0, None))


def _read(text: str, marks: tuple[float, ...], place: tuple[int, int | None]) -> Candidate:
    return Candidate(text, words(text)[:WORDS], marks, place)


def proof(rows: Sequence[Sequence[str]], text: str) -> Candidate:
    """What was written as a proof, `alone`, in the first row of the text that has it."""
    meant = letters(text)
    at = next((at for at, row in enumerate(rows) if meant and meant in letters("".join(row))), 0)
    return alone(text, denied(rows, at))


def denied(rows: Sequence[Sequence[str]], at: int) -> tuple[float, float]:
    """Whether the row above, and the first row of the text, say what is not so, 0 or 1; of the first row neither."""
    above, first = (bool(at and _DENIES.search(" ".join(row))) for row in (rows[at - 1], rows[0]))
    return float(above), float(first)


def _ranks(rows: Sequence[Sequence[str]]) -> Ranks:
    """Places of cells with a number -> whether it is the first, the last, the least, the most of those that are written
    alike (9:30 and 10:45); of one alone nothing."""
    alike: dict[str, list[tuple[tuple[int, int], float]]] = defaultdict(list)
    for at, row in enumerate(rows):
        for column, cell in enumerate(row):
            found = [word for word in words(cell) if word[0].isdigit()]
            if found:
                shape = re.sub(r"#+", "#", key(found[-1]))
                alike[shape].append(((at, column), numbers(found)[-1]))
    ranks = {}
    for cells in alike.values():
        if len(cells) > 1:
            amounts = [amount for _, amount in cells]
            least, most = min(amounts), max(amounts)
            for place, amount in cells:
                told = (place == cells[0][0], place == cells[-1][0], amount == least, amount == most)
                ranks[place] = tuple(map(float, told))
    return ranks


def _marks(rows: Sequence[Sequence[str]], ranks: Ranks, at: int, column: int | None = None) -> tuple[float, ...]:
    """Whether a cell, or None: a row, is or is in the first row, the last one, is its first cell, its last one, is a
    row of several cells, has a digit; the ranks of its number, and of the last number of its row."""
    row, none = rows[at], (0.0,) * 4
    text = " ".join(row) if column is None else row[column]
    first, last, digit = column == 0, column == len(row) - 1, any(c.isdigit() for c in text)
    told = (at == 0, at == len(rows) - 1, first, last, column is None, digit)
    beside = next((ranks[at, other] for other in range(len(row) - 1, -1, -1) if (at, other) in ranks), none)
    own = none if column is None else ranks.get((at, column), none)
    return (*map(float, told), *own, *beside)
