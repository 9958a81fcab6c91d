"""A question beside a text -> what arithmetic tells: numbers, amounts with units, weekdays, months. No torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from lav2.reading.words import SPELLED
from lav2.text.dates import dates
from lav2.text.measures import measures

RELATIONS = 15  # numbers that `relation` tells
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)?")


def relation(question: Sequence[str], row: Sequence[str], text: str) -> list[float]:
    """What is compared by arithmetic.

    Args:
        question: its words (lav2.reading.words).
        row: the words of `text`.

    Returns:
        Of the first number of a question beside those of a row: [both have some, below all, above all, one of them,
        between them]; the same of the first amount with a unit beside those of its dimension ("3 weeks", "28 days");
        of weekdays: [both name some, all of the question's are among the row's]; the same of months; how many words
        they share, in fives.
    """
    asked = " ".join(question)
    limits = _limits(numbers(question), numbers(row))
    return [*limits, *_measures(asked, text), *_dates(asked, text), len(set(question) & set(row)) / 5]


def _limits(asked: Sequence[float], others: Sequence[float]) -> list[float]:
    if not asked or not others:
        return [0.0] * 5
    number, least, most = asked[0], min(others), max(others)
    return [float(told) for told in (True, number < least, number > most, number in others, least < number < most)]


def _measures(question: str, text: str) -> list[float]:
    others = measures(text)
    both = (_limits(asked, others[dimension]) for dimension, asked in measures(question).items() if dimension in others)
    return next(both, [0.0] * 5)


def _dates(question: str, row: str) -> list[float]:
    pairs = zip(dates(question), dates(row), strict=True)
    return [float(told) for ours, theirs in pairs for told in (bool(ours and theirs), bool(ours) and ours <= theirs)]


def numbers(found: Sequence[str]) -> list[float]:
    """Numbers of the words of a text, spelled out or not; of hours "4 pm" as 16."""
    told = []
    for word, then in pairwise([*found, ""]):
        for number in _NUMBER.findall(SPELLED.get(word, word)):
            value = float(number.replace(",", ".").replace(":", "."))
            told.append(value + 12 * (then == "pm" and value < 12))
    return told
