"""What a timetable says: the first, last or next departure of a place, and when it arrives at another. No torch.

A model of this size takes a neighbouring cell of a table of times. Read are rows of a place with times beside it,
columns of times below headings, and rows of one time and one place. A question with words for anything else, a page
where several tables or days fit, and times that do not go up are left to the model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from lav2.text.amounts import words
from lav2.text.hours import minutes, on_days

_TIME = r"\d{1,2} ?[:.h] ?\d{2}(?: ?[ap]\.?m\b\.?)?|\d{1,2} ?[ap]\.?m\b\.?"
_IS_TIME = re.compile(rf"(?P<time>{_TIME})\W*", re.IGNORECASE)
_IN_QUESTION = re.compile(rf"(?<![\w.:])(?:{_TIME})", re.IGNORECASE)
_VEHICLES = "bus coach tram train metro tube ferry boat ship shuttle flight service departure connection one sailing"
_WHICH = re.compile(
    rf"\b(?P<which>first|earliest|last|latest|final|next)(?: [a-z]+)? (?:{_VEHICLES.replace(' ', '|')})\b",
    re.IGNORECASE,
)
_ASKS_TIME = re.compile(r"\bwhen\b|\b(?:what|which) time\b", re.IGNORECASE)
_ASKS_SHORT = re.compile(r"\W*(?:(?:and|so|ok|hi|hello|the)\W+)*(?:first|earliest|last|latest|next)\b", re.IGNORECASE)
_AFTER = re.compile(rf"\b(?:after|past|later than) (?P<time>{_TIME}|noon)", re.IGNORECASE)
_ARRIVES = re.compile(r"\b(?:arrives?|gets? (?:in|to|there|into)|reach(?:es)?|be (?:in|at))\b", re.IGNORECASE)
_TO, _AT = frozenset(("to", "for", "towards", "reach", "reaches", "into")), frozenset(("in", "at"))
_BETWEEN = re.compile(r"\s*(?:\bto\b|->|→|>|–|—|-)\s*", re.IGNORECASE)
_SMALL = words("the a an of to from for towards via")
# A question may say these beside places, days and times.
_PLAIN = _SMALL | words(
    f"{_VEHICLES} first earliest last latest final next when what which time do does is are at on in there it that "
    "this go goes going leave leaves leaving depart departs departing run runs arrive arrives get gets me us i we be "
    "reach reaches s please out back can and later than starting start set off after past hi hello tell quick so ok "
    "question know could you excuse looking picture according photo by am pm p m"
)
_COLUMNS = words("time dep departs departure to destination from via line no route platform plat gate stop")


class _Line(NamedTuple):
    """Departures as they stand on the page: from the words of a place, to those of another; `days` of its part of the
    page, None where it names none; lines of one `table` are the same journeys, column by column."""

    start: frozenset[str]
    end: frozenset[str]
    days: frozenset[int] | None
    times: tuple[str, ...]
    table: int


def departure(rows: Sequence[Sequence[str]], question: str) -> str:
    """The time that a question about a timetable asks for; "" where it is none, or the page is not clear.

    Args:
        rows: cells of each row of the text.
    """
    which, leaves = _WHICH.search(question), _IN_QUESTION.search(question)
    asks_time = bool(_ASKS_TIME.search(question))
    if not (asks_time or _ASKS_SHORT.match(question)) or not (which or leaves):
        return ""
    lines = _of_the_day(_lines(rows), question)
    known = frozenset[str]().union(*(line.start | line.end for line in lines))
    if any(not (word.isdigit() or on_days(word)) for word in words(question) - _PLAIN - known):
        return ""
    arrives = bool(_ARRIVES.search(question))
    fits = [line for line in lines if _fits(line, question, arrives)]
    if which is None:
        starts = [line for line in lines if _role(line.start, question, arrives) == "from"] or lines
        return _arrival(starts, fits, leaves[0]) if leaves and arrives else ""
    if asks_time and not fits and not any(_role(line.start | line.end, question, arrives) for line in lines):
        fits = _as_one(lines)
    return _chosen(fits[0].times, which["which"].lower(), question) if len(fits) == 1 else ""


def _fits(line: _Line, question: str, arrives: bool) -> bool:
    """Whether a question names the line's direction; of a table's rows it is that of the place where one gets on, or
    that of the place where one arrives."""
    start, end = _role(line.start, question, arrives), _role(line.end, question, arrives)
    if not line.end:
        return start == ("to" if arrives else "from")
    return not arrives and start != "to" and end != "from" and bool(start or end)


def _role(place: frozenset[str], question: str, arrives: bool) -> str:
    """What a place is in a question, "from" or "to"; "" where it is not named."""
    said = re.findall(r"[^\W\d_]+|\d+", question.lower())
    at = [i for i, word in enumerate(said) if words(word) <= place]
    if not place or not place <= words(question):
        return ""
    before = [word for word in said[: at[0]] if word != "the"]
    return "to" if before and (before[-1] in _TO or (arrives and before[-1] in _AT)) else "from"


def _as_one(lines: Sequence[_Line]) -> list[_Line]:
    """The departures of a list as those of one line, whatever their destination."""
    if len({line.table for line in lines}) > 1 or any(line.start or not line.end for line in lines):
        return list(lines)
    times = sorted((time for line in lines for time in line.times), key=lambda time: minutes(time) or 0)
    return [lines[0]._replace(times=tuple(times))] if lines else []


def _chosen(times: Sequence[str], which: str, question: str) -> str:
    read = [at for time in times if (at := minutes(time)) is not None]
    if len(read) < len(times) or any(a >= b for a, b in pairwise(read)):
        return ""
    if said := _AFTER.search(question):
        after = minutes(said["time"])
        left = [time for time, at in zip(times, read, strict=True) if after is not None and at > after]
        return left[0] if left and which in ("next", "first", "earliest") else ""
    return "" if which == "next" else times[0] if which in ("first", "earliest") else times[-1]


def _arrival(starts: Sequence[_Line], ends: Sequence[_Line], leaves: str) -> str:
    """When the journey that leaves one of the places at a time arrives at another."""
    at = minutes(leaves)
    found = {
        end.times[column]
        for end in ends
        for start in starts
        if start.table == end.table and start != end and len(start.times) == len(end.times)
        for column, time in enumerate(start.times)
        if minutes(time) == at
    }
    return found.pop() if len(found) == 1 else ""


def _of_the_day(lines: Sequence[_Line], question: str) -> list[_Line]:
    """The lines that run on the day that a question names; all of them where it names none."""
    days = on_days(question)
    return [line for line in lines if not days or line.days is None or days <= line.days]


def _lines(rows: Sequence[Sequence[str]]) -> list[_Line]:
    """The departures of a page: of tables and columns, or, where it has none of these, of a list."""
    found: list[_Line] = []
    table, days, by_day = 0, None, False  # by_day: the columns of a table are days
    for at, row in enumerate(rows):
        times = [_time(cell) for cell in row]
        if not any(times):
            table += 1
            by_day = sum(bool(on_days(cell)) for cell in row) > 1
            if on_days(line := " ".join(row)):
                days = on_days(line)
            found += _columns(rows[at:], table, days)
        elif len(row) > 2 and not times[0] and all(times[1:]) and not by_day and _place(row[0]) - _PLAIN:
            found.append(_Line(_place(row[0]), frozenset(), days, tuple(times[1:]), table))
    return found or _listed(rows)


def _columns(rows: Sequence[Sequence[str]], table: int, days: frozenset[int] | None) -> list[_Line]:
    """Columns of times below a row of headings: directions, or days. Nothing where a time may be misread."""
    headings, below = rows[0], []
    for row in rows[1:]:
        times = [_time(cell) for cell in row]
        if not any(times) and (len(row) != len(headings) or not any(map(str.isdigit, "".join(row)))):
            break
        blank = "".join(cell for cell, time in zip(row, times, strict=True) if not time)
        if len(row) != len(headings) or any(map(str.isalnum, blank)):
            return []
        below.append(times)
    if len(headings) < 2 or len(below) < 2:
        return []
    found = []
    for heading, column in zip(headings, zip(*below, strict=True), strict=True):
        on = on_days(heading)
        start, end = (frozenset[str](), frozenset[str]()) if on else _direction(heading)
        found.append(_Line(start, end, on or days, tuple(filter(None, column)), table))
    return found


def _direction(heading: str) -> tuple[frozenset[str], frozenset[str]]:
    """The places that a heading names: "Skarra - Portlea", "From Skarra", "To Portlea"."""
    parts = [_place(part) for part in _BETWEEN.split(heading)]
    named = [part for part in parts if part]
    if len(named) == 2:
        return named[0], named[1]
    if len(named) != 1:
        return frozenset(), frozenset()
    return (named[0], frozenset()) if parts[0] else (frozenset(), named[0])


def _listed(rows: Sequence[Sequence[str]]) -> list[_Line]:
    """Rows of one time and the place where it goes."""
    by_place: dict[frozenset[str], list[str]] = {}
    for row in rows:
        times = [time for cell in row if (time := _time(cell))]
        places = [cell for cell in row if not any(map(str.isdigit, cell)) and words(cell) - _COLUMNS]
        if len(times) == 1 and places:
            by_place.setdefault(_place(places[0]), []).append(times[0])
    total = sum(map(len, by_place.values()))
    return [_Line(frozenset(), place, None, tuple(times), 0) for place, times in by_place.items()] if total > 2 else []


def _place(text: str) -> frozenset[str]:
    return frozenset(words(text) - _SMALL)


def _time(cell: str) -> str:
    found = _IS_TIME.fullmatch(cell.strip())
    return found["time"].strip() if found else ""
