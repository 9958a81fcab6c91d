"""A timetable with a row for each stop and a column for each run: when a run gets to a stop, whether it stops there. No
torch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from experts.headings import of_trains
from lav2.text.amounts import words
from lav2.text.asking import OPENING

_TIME = re.compile(r"(?<![\w:.])(\d{1,2})[:.h ](\d{2})(?![\w:]|\.\d)(?: ?([ap])\.?m\b\.?)?", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w:.])[A-Z]{0,4} ?\d{1,5}(?![\w:.])", re.IGNORECASE)
_WHEN = re.compile(
    rf"(?=.*\b(?:when|(?:what|which) time|how late|(?:first|last|latest|earliest) (?:bus|train|tram|ferry|boat))\b)"
    rf"{OPENING}.*",
    re.IGNORECASE,
)
_STOPS = re.compile(rf"{OPENING}(?:does|do|will|is|can)\b(?=.*\b(?:stop|stops|call|calls|halt)\b).*", re.IGNORECASE)
_LEAVES = re.compile(r"\b(?:leaves?|departs?)\b", re.IGNORECASE)
_FROM = re.compile(r"\bfrom\b", re.IGNORECASE)
_END = re.compile(r"\b(?:first|earliest|(?P<last>last|latest|final))\b", re.IGNORECASE)
_ARRIVES = re.compile(r"\b(?:arrives?|arrival|arr|reach(?:es)?|gets?|be|there|due|to)\b", re.IGNORECASE)
_WAY = re.compile(r"\b(?P<way>dep|arr|departs?|arrives?|departure|arrival)\b\.?", re.IGNORECASE)
# What a question may say beside a run and stops.
_BESIDE = words(
    "when what which time at does do will is can i we you it the a an if take catch get board go goes gets be to from "
    "in on of for there then this that train bus tram ferry boat coach flight service no number nr leave leaves "
    "leaving depart departs departing departure arrive arrives arriving arrival reach reaches stop stops stopping "
    "call calls halt due start starts o clock my our station stop and so please tell me know am pm having taken "
    "first earliest last latest final how late need"
)
_RIDES = re.compile(
    r"\b(?:bus|train|tram|ferry|boat|coach|flight|take|catch|get on|board|the \d{1,2}[:.]\d\d)\b", re.IGNORECASE
)
_HALF = re.compile(r"(?<!\d )(?:\bp\.?m\b|\ba\.m\b|\bam\b(?! i\b))", re.IGNORECASE)  # not behind a time
RUNS = 2  # columns of times, at least; of rows without a heading one more


class _Stop(NamedTuple):
    """A row: the words of its `name`, "dep", "arr" or "" (`way`), and a time or "" for each run."""

    name: frozenset[str]
    way: str
    times: tuple[str, ...]


class _Timetable(NamedTuple):
    """`runs`: the numbers of the columns, () where they have none."""

    runs: tuple[str, ...]
    stops: tuple[_Stop, ...]


def told(rows: Sequence[Sequence[str]], question: str) -> str:
    """The time that a question asks for, or whether a run stops somewhere; "" where the rows do not say it outright.

    Args:
        rows: cells of each row of the text, an empty one where a run has no time.
    """
    when, stops = _WHEN.fullmatch(question), _STOPS.fullmatch(question)
    table = _timetable(rows) if when or stops else None
    if table is None or _HALF.search(question) or not (table.runs or _RIDES.search(question)):
        return ""
    asked, clock = words(_TIME.sub(" ", question)), [_clock(match) for match in _TIME.finditer(question)]
    named = _named(table, asked)
    numbers = {run.lower() for run in table.runs} & {n.lower() for n in _NUMBER.findall(_TIME.sub(" ", question))}
    known = frozenset[str]().union(_BESIDE, *(stop.name for stop in named), *(words(n) for n in numbers))
    if not named or asked - known:
        return ""
    if len(clock) + len(numbers) == 0 and when and len(_places(named)) == 1 and (end := _END.search(question)):
        return _end(named, question, last=bool(end["last"]))
    if len(clock) + len(numbers) != 1:
        return ""
    if numbers:
        runs = [at for at, run in enumerate(table.runs) if run.lower() in numbers]
        return _at(named, runs[0], question, whether=not when) if len(_places(named)) == 1 else ""
    runs = sorted({
        at for stop in table.stops for at, time in enumerate(stop.times) if _same(time, clock[0])
    })  # fmt: skip
    if len(runs) != 1:
        return ""
    start = max(at for at, stop in enumerate(table.stops) if _same(stop.times[runs[0]], clock[0]))
    goals = [stop for stop in named if not _same(stop.times[runs[0]], clock[0])]
    if any(stop in goals for stop in table.stops[:start]):  # the run has been there
        return ""
    return _at(goals, runs[0], question, whether=not when) if len(_places(goals)) == 1 else ""


def _end(stops: Sequence[_Stop], question: str, last: bool) -> str:
    """The first or last time of the rows of one place."""
    arrives, leaves = _ARRIVES.search(question), _FROM.search(question)
    rows = _meant(stops, question)
    if leaves and (arrives or any(stop.way == "arr" for stop in rows)):  # where to?
        return ""
    times = [time for time in rows[0].times if time] if len(rows) == 1 else []
    return times[-1 if last else 0] if times else ""


def _at(stops: Sequence[_Stop], run: int, question: str, whether: bool) -> str:
    """What the rows of one place say of a run."""
    if whether:
        times = [stop.times[run] for stop in stops if stop.times[run]]
        return f"Yes, {times[0]}." if times else "No, it does not stop there."
    rows = _meant(stops, question)
    return rows[0].times[run] if len(rows) == 1 else ""


def _meant(stops: Sequence[_Stop], question: str) -> list[_Stop]:
    """Of the rows of one place that of arrivals or of departures."""
    leaves = _LEAVES.search(question)
    way = "arr" if _ARRIVES.search(question) and not leaves else "dep"
    if len(stops) == 1:
        return [stop for stop in stops if not (leaves and stop.way == "arr")]
    return [stop for stop in stops if stop.way == way]


def _places(stops: Sequence[_Stop]) -> set[frozenset[str]]:
    return {stop.name for stop in stops}


def _named(table: _Timetable, asked: set[str]) -> list[_Stop]:
    """The stops that a question names: by all words of their name, or by the longest one where no other stop has it."""
    whole = [stop for stop in table.stops if stop.name <= asked]
    found = {stop.name for stop in whole}
    for stop in table.stops:
        own = stop.name - frozenset[str]().union(*(other.name for other in table.stops if other.name != stop.name))
        if stop.name not in found and any(len(word) > 3 and word in asked and word not in _BESIDE for word in own):
            whole.append(stop)
    return whole


def _timetable(rows: Sequence[Sequence[str]]) -> _Timetable | None:
    """The one timetable of a text, its stops in rows or in columns."""
    for at, row in enumerate(rows):
        if of_trains(row):
            stops = _stops([below for below in rows[at + 1 :] if len(below) == len(row)])
            return _Timetable(tuple(row[1:]), stops) if len(stops) > 1 else None
    widths = Counter(len(row) for row in rows if len(row) > RUNS + 1 and _times(row[1:]) and not _TIME.search(row[0]))
    for width, number in widths.most_common(1):
        if 1 < number > widths.total() / 2:  # of rows with gaps it is not known where these are
            return _Timetable((), _stops([row for row in rows if len(row) == width]))
    for at, row in enumerate(rows):
        below = [one for one in rows[at + 1 :] if len(one) == len(row) and _times(one)]
        if len(row) > 1 and len(below) >= RUNS and not any(c.isdigit() for cell in row for c in cell) and all(row):
            turned = [[name, *column] for name, column in zip(row, zip(*below, strict=True), strict=True)]
            return _Timetable((), _stops(turned))
    return None


def _times(cells: Sequence[str]) -> bool:
    """Whether they are times, or empty."""
    full = [cell for cell in cells if any(c.isalnum() for c in cell)]
    return len(full) >= RUNS and all(_TIME.fullmatch(cell) for cell in full)


def _stops(rows: Sequence[Sequence[str]]) -> tuple[_Stop, ...]:
    found = []
    for row in rows:
        if not _times(row[1:]) or not any(c.isalpha() for c in row[0]):
            continue
        way = _WAY.search(row[0])
        name = frozenset(words(_WAY.sub(" ", row[0])))
        times = tuple(cell if _TIME.fullmatch(cell) else "" for cell in row[1:])
        found.append(_Stop(name, way["way"][:3].lower() if way else "", times))
    return tuple(stop for stop in found if stop.name)


def _clock(match: re.Match[str]) -> tuple[int, int, str]:
    return int(match[1]), int(match[2]), (match[3] or "").lower()


def _same(time: str, clock: tuple[int, int, str]) -> bool:
    """Whether a time is that of a question, which may leave out the half of the day."""
    match = _TIME.fullmatch(time)
    if not match:
        return False
    hour, minute, half = _clock(match)
    return (hour, minute) == clock[:2] and (not half or not clock[2] or half == clock[2])
