"""Weekdays and months that a text names, with those between the ends of a span. No torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip
_DAY = (
    r"(?:mon(?:day)?|tue(?:s(?:day)?)?|wed(?:nesday)?|thu(?:rs?(?:day)?)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?)s?\b\.?"
)
# "may" and "march" in small letters are verbs as often, but not behind "in".
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|(?-i:Mar(?:ch)?|MAR(?:CH)?|May|MAY)|(?<=in )(?:may|march)|apr(?:il)?|june?|july?|"
    r"aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
# As a part of a date ("3 May 2026"), where no verb is meant; a pattern without a group.
MONTH_OF_DATE = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_TO = r"(?:\s*(?P<to>-|–|—|=|~|to|till|until|through)\s*(?:\d{1,2}(?:st|nd|rd|th|\.)?\s+)?(?P<last>"
DAY_SPAN = re.compile(
    rf"\b(?P<first>{_DAY}){_TO}{_DAY}))?|"
    r"\b(?P<all>daily|every ?day|7 days)\b|\b(?P<week>weekdays)\b|\b(?P<end>weekends?)\b",
    re.IGNORECASE,
)
_MONTH_SPAN = re.compile(rf"\b(?P<first>{_MONTH})(?:\s+\d{{1,2}})?{_TO}{_MONTH}))?", re.IGNORECASE)
_SEASONS = {"spring": (2, 3, 4), "summer": (5, 6, 7), "autumn": (8, 9, 10), "winter": (11, 0, 1)}
_SEASON = re.compile(rf"\b(?:{'|'.join(_SEASONS)})\b", re.IGNORECASE)


class Dates(NamedTuple):
    """Weekdays, from 0 for Monday, and months, from 0 for January."""

    days: frozenset[int]
    months: frozenset[int]


def number(day: str) -> int:
    """Of a weekday's name or the beginning of it, 0 for Monday."""
    return _at(DAYS, day)


def days(text: str) -> frozenset[int]:
    """All weekdays that a text names."""
    on: set[int] = set()
    for match in DAY_SPAN.finditer(text):
        if match["all"]:
            on |= set(range(7))
        elif match["week"]:
            on |= set(range(5))
        elif match["end"]:
            on |= {5, 6}
        else:
            on |= _between(DAYS, match)
    return frozenset(on)


def dates(text: str) -> Dates:
    """All weekdays and months that a text names; of a season its three months in the north."""
    on = {month for match in _MONTH_SPAN.finditer(text) for month in _between(MONTHS, match)}
    on |= {month for name in _SEASON.findall(text) for month in _SEASONS[name.lower()]}
    return Dates(days(text), frozenset(on))


def _between(names: Sequence[str], match: re.Match[str]) -> set[int]:
    first = _at(names, match["first"])
    last = _at(names, match["last"]) if match["last"] else first
    return {(first + step) % len(names) for step in range((last - first) % len(names) + 1)}


def _at(names: Sequence[str], name: str) -> int:
    return next(at for at, whole in enumerate(names) if name.lower().startswith(whole[:3].lower()))
