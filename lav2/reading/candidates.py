"""Rows of a text -> its candidates: cells and rows that may answer, with what stands around them. No torch."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from lav2.reading.relations import numbers
from lav2.reading.words import key, letters, words

MARKS = 16  # numbers that tell where a candidate stands (`_marks`, `denied`)
# Words that are read of a candidate itself, of the other cells of its row, of the heading above it, of the row above.
PARTS = (32, 12, 4, 7)
# Of a heading: what stands below it is when something is not so ("NO PARKING" above "Mon - Fri").
_DENIES = re.compile(
    r"\b(?:no|not|never|closed|shut|forbidden|prohibited|banned|cancell?ed|without|excluding|except|don't|do not)\b",
    re.I,
)

Ranks = Mapping[tuple[int, int], tuple[float, ...]]  # of cells, by row and column


class Candidate(NamedTuple):
    """Words that may hold an answer: a cell of a row, or the whole row; with the words around them, by PARTS, and where
    they stand."""

    text: str
    parts: tuple[Sequence[str], ...]
    marks: tuple[float, ...] = (0.0,) * MARKS


def candidates(rows: Sequence[Sequence[str]], labelled: Sequence[Sequence[str]]) -> list[Candidate]:
    """Each cell, and each row of several cells.

    Args:
        rows: cells of each row of a text.
        labelled: the same beside the headings above them (experts.headings.labelled).
    """
    found, ranks = [], _ranks(rows)
    for at, row in enumerate(rows):
        above, under = words(" ".join(rows[at - 1])) if at else [], denied(rows, at)
        for column, cell in enumerate(row):
            beside = words(" ".join([*row[:column], *row[column + 1 :]]))
            heading = words(labelled[at][column].removesuffix(cell))
            marks = (*_marks(rows, ranks, at, column), *under)
            found.append(Candidate(cell, (words(cell), beside, heading, above), marks))
        if len(row) > 1:
            whole = " ".join(row)
            found.append(Candidate(whole, (words(whole), [], [], above), (*_marks(rows, ranks, at), *under)))
    return [one._replace(parts=_cut(one.parts)) for one in found if one.parts[0]]


def alone(text: str, under: Sequence[float] = (0.0, 0.0)) -> Candidate:
    """A candidate without the words around it.

    Args:
        under: what `denied` tells of where it stands.
    """
    return Candidate(text, _cut((words(text), [], [], [])), (*(0.0,) * (MARKS - 2), *under))


def proof(rows: Sequence[Sequence[str]], text: str) -> Candidate:
    """What was written as a proof, `alone`, in the first row of the text that has it."""
    meant = letters(text)
    at = next((at for at, row in enumerate(rows) if meant and meant in letters("".join(row))), 0)
    return alone(text, denied(rows, at))


def denied(rows: Sequence[Sequence[str]], at: int) -> tuple[float, float]:
    """Whether the row above, and the first row of the text, say what is not so, 0 or 1; of the first row neither."""
    above, first = (bool(at and _DENIES.search(" ".join(row))) for row in (rows[at - 1], rows[0]))
    return float(above), float(first)


def _cut(parts: Iterable[Sequence[str]]) -> tuple[Sequence[str], ...]:
    return tuple(found[:length] for found, length in zip(parts, PARTS, strict=True))


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
