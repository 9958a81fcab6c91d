"""Texts as words of a fixed list, for networks that compare a question with the rows of a text. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from lav2.text.dates import dates

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+(?:[.:,/\-]\d+)*|[£€$%@#+]")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)?")
_ENDING = re.compile(r"(?:ing|ed|es|s|ly|er)$")
QUESTION, EARLIER = 20, "#earlier"  # words of a question that are read; what stands before the question before it
RELATIONS = 10  # numbers that `relation` tells


# Words that are read of a candidate itself, of the other cells of its row, of the heading above it, of the row above.
PARTS = (32, 12, 4, 7)


class Candidate(NamedTuple):
    """Words that may prove an answer: a cell of a row, or the whole row; with the words around them, by PARTS."""

    text: str
    parts: tuple[Sequence[str], ...]


def words(text: str) -> list[str]:
    """Words, numbers and signs of a text, small."""
    return _WORD.findall(text.lower().replace("’", "'"))


def key(word: str) -> str:
    """The word as the list has it: of numbers the shape ("#:##")."""
    return re.sub(r"\d", "#", word) if word[0].isdigit() else word


def stem(word: str) -> str:
    """What two forms of a word have in common, roughly."""
    return word if len(word) < 4 or word[0].isdigit() else _ENDING.sub("", word)


def asked(question: str, earlier: str = "") -> list[str]:
    """The words of a question that are read, and of the question `earlier` in the conversation."""
    return (words(question) + ([EARLIER, *words(earlier)] if earlier else []))[:QUESTION]


def candidates(rows: Sequence[Sequence[str]], labelled: Sequence[Sequence[str]]) -> list[Candidate]:
    """Each cell, and each row of several cells.

    Args:
        rows: cells of each row of a text.
        labelled: the same beside the headings above them (experts.headings.labelled).
    """
    found = []
    for at, row in enumerate(rows):
        above = words(" ".join(rows[at - 1])) if at else []
        for column, cell in enumerate(row):
            beside = words(" ".join([*row[:column], *row[column + 1 :]]))
            heading = words(labelled[at][column].removesuffix(cell))
            found.append(Candidate(cell, (words(cell), beside, heading, above)))
        if len(row) > 1:
            whole = " ".join(row)
            found.append(Candidate(whole, (words(whole), [], [], above)))
    return [one._replace(parts=_cut(one.parts)) for one in found if one.parts[0]]


def alone(text: str) -> Candidate:
    """A candidate without what stands around it."""
    return Candidate(text, _cut((words(text), [], [], [])))


def _cut(parts: Iterable[Sequence[str]]) -> tuple[Sequence[str], ...]:
    return tuple(found[:length] for found, length in zip(parts, PARTS, strict=True))


def relation(question: Sequence[str], row: Candidate) -> list[float]:
    """What is compared by arithmetic.

    Returns:
        Of the first number of a question beside those of a row: [both have some, below all, above all, one of them,
        between them]; of weekdays: [both name some, all of the question's are among the row's]; the same of months;
        how many words they share, in fives.
    """
    told = row.parts[0]
    return [*_limits(question, told), *_dates(" ".join(question), row.text), len(set(question) & set(told)) / 5]


def _limits(question: Sequence[str], row: Sequence[str]) -> list[float]:
    first, others = _numbers(question), _numbers(row)
    if not first or not others:
        return [0.0] * 5
    number, least, most = first[0], min(others), max(others)
    return [float(told) for told in (True, number < least, number > most, number in others, least < number < most)]


def _dates(question: str, row: str) -> list[float]:
    pairs = zip(dates(question), dates(row), strict=True)
    return [float(told) for ours, theirs in pairs for told in (bool(ours and theirs), bool(ours) and ours <= theirs)]


def _numbers(found: Sequence[str]) -> list[float]:
    """Numbers of a text; of hours "4 pm" as 16."""
    numbers = []
    for word, then in pairwise([*found, ""]):
        for number in _NUMBER.findall(word):
            value = float(number.replace(",", ".").replace(":", "."))
            numbers.append(value + 12 * (then == "pm" and value < 12))
    return numbers
