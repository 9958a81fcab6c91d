"""What a text says of opening hours: when it opens and closes on a day, and whether it is open at a time. No torch.

A model of this size takes the hours of a neighbouring day at times, and cannot compare times of day. Only rows that say
a day and one span of time, or that it is closed, and nothing else are read, and only a day of which one row tells is
answered. A page with other spans of time (a kitchen's, a second half of the day), and a question with words for
something else ("the till", "the harbour branch"), are left to the model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from lav2.text.amounts import words
from lav2.text.asking import OPENING
from lav2.text.dates import DAY_SPAN, DAYS, days, number

_HALF = r"[ap]\.?m\b\.?"  # am, p.m.
_TIME = rf"\d{{1,2}}(?: ?[:.h] ?\d{{2}}| \d{{2}}(?!\d)|h)?\s?(?:{_HALF})?|noon|midnight"
_DASH = r"\s*(?:-|–|—|=|~|to|till|until)\s*"
# Of "20:30 - 14ho0" and "5:00 p m" no part is taken for a time.
_SPAN = re.compile(
    rf"(?<![\w.])(?<!\d:)(?<!\d[:.] )(?<!\w:)({_TIME}){_DASH}({_TIME})"
    r"(?! ?[:.]? ?\d)(?!\w)(?! ?[ap] ?m)(?! [ap][nrw]\b)",
    re.IGNORECASE,
)
_CLOSED = re.compile(r"\bclosed\b|\bruhetag\b", re.IGNORECASE)
_CLOCK = re.compile(r"(\d{1,2})(?: ?[:.h ] ?(\d{2}))?h?\s?(?:([ap])\.?m\b\.?)?", re.IGNORECASE)
_HOUR = r"\d{1,2}(?:[:.]\d{2})?"
_OPENING = re.compile(r"\b(?:open|opening|hours)\b", re.IGNORECASE)
_BREAK = re.compile(r"\b(?:closed|shut|break|lunch|back)\b", re.IGNORECASE)
_OTHER_TIME = re.compile(rf"\d{{1,2}}[:.h]\d{{2}}(?!\d)|\d\s?{_HALF}|\bnoon\b|\bmidnight\b", re.IGNORECASE)
_AT = re.compile(rf"\bat ({_HOUR}\s?(?:{_HALF}|o'clock)?|noon|midnight)|(?<![\w:.])({_HOUR}\s?{_HALF})", re.IGNORECASE)
# What is asked of the day. "Which day ...?" and "how much is it on Sunday?" ask for something else.
_CLOSES = re.compile(r"\b(?:clos(?:e|es|ing)|how late|until when|till when|shut)\b", re.IGNORECASE)
_OPENS = re.compile(r"\b(?:(?:do|does|will) (?:\w+ ){0,3}open|opening time|from when|how early|opens)\b", re.IGNORECASE)
_HOURS = re.compile(r"\b(?:when|what time|hours)\b", re.IGNORECASE)
_ABOUT = re.compile(
    r"\b(?:open|opens|opening|opened|close|closes|closing|closed|hours|until when|shut)\b", re.IGNORECASE
)
_WHETHER = re.compile(
    rf"{OPENING}(?:is|are|do|does|can|may|will)\b.*?\b(?P<state>open|closed|go there|come|visit|shop there)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"\b(?:when|what|which|how|until|till|from)\b", re.IGNORECASE)
_WHICH_DAY = re.compile(
    r"\W*(?:\w+ ){0,3}?(?:(?:which|what) days? (?:is|are) (?:it |they |the [\w ]+ )?|when is (?:it|the [\w ]+) )"
    r"closed\W*",
    re.IGNORECASE,
)
_OTHER = re.compile(r"\b(?:how much|cost|price|pay|free|which|who|park|last entry)\b", re.IGNORECASE)
# What a question may say beside the days and the words of the page's first rows, which name the place.
_KNOWN = words(
    "when what time is are do does did it they the this that you your on in at a an of to for from until till how late "
    "early open opening opened close closing closed shut hour day can may will i we go there come visit still today "
    "please tell me hi hello and so be or if whether know o clock a p m am pm noon midnight morning evening again "
    "be now which get "
    "shop store place museum library pool bank bakery cafe restaurant pharmacy office clinic gym zoo cinema market "
    "park garden salon practice company post centre center business daily week day everyday "
    f"{' '.join(DAYS)} mon tue wed thu fri sat sun tues thur thurs"
)
_TITLE = 2  # rows that name the place
# What a row of hours may say beside its days and times.
_BESIDE = re.compile(r"\b(?:open|hours?|from|and|uhr|hrs?|opening|h|am|pm)\b|[^\w]|_", re.IGNORECASE)


class Hours(NamedTuple):
    """Of one day: the span as it is written, its ends as they are written and in minutes since midnight; "" closed."""

    span: str
    opens: str = ""
    closes: str = ""
    first: int = 0
    last: int = 0


def answered(rows: Sequence[Sequence[str]], question: str) -> str:
    """The answer to a question about opening hours; "" where it is none, or the text is not clear.

    Args:
        rows: cells of each row of the text.
    """
    if _WHICH_DAY.fullmatch(question):
        entries = _entries(rows)
        closed = sorted({day for on, hours in entries if not hours.span for day in on})
        if len({day for on, _ in entries for day in on}) < len(DAYS):  # one may be misread
            return ""
        return " and ".join(DAYS[day] for day in closed)
    named = [match for match in DAY_SPAN.finditer(question) if match["first"] and not match["last"]]
    title = words(" ".join(cell for row in rows[:_TITLE] for cell in row))
    strange = {word for word in words(question) - _KNOWN - title if not word.isdigit()}
    if len(named) > 1 or strange or _OTHER.search(question):
        return ""
    entries = _entries(rows)
    if not named:  # of no day, but all days are alike
        asked = next((kind for kind in (_CLOSES, _OPENS) if kind.search(question)), None)
        alike = {hours for _, hours in entries if hours.span} or _of_every_day(rows)
        one = alike.pop() if asked and len(alike) == 1 and _ABOUT.search(question) and _WORD.search(question) else None
        return "" if one is None else one.closes if asked is _CLOSES else one.opens
    day = number(named[0]["first"])
    entries = [(on, hours) for on, hours in entries if day in on]
    if len(entries) != 1:
        return ""
    hours, name = entries[0][1], DAYS[day]
    if not _WORD.search(question) and (whether := _WHETHER.match(question)):
        return _whether(hours, name, _AT.search(question), whether["state"].lower() == "closed")
    for asked, answer in ((_CLOSES, hours.closes), (_OPENS, hours.opens), (_HOURS, hours.span)):
        if asked.search(question) and _ABOUT.search(question):
            return answer or f"It is closed on {name}."
    return ""


def _whether(hours: Hours, name: str, at: re.Match[str] | None, closed: bool) -> str:
    """The answer to "is it open on that day?", or "is it closed?", at a time where one is given."""
    if not hours.span:
        return "" if closed and at else f"{'Yes' if closed else 'No'}, it is closed on {name}."
    if at is None:
        return f"{'No' if closed else 'Yes'}, {hours.span}."
    inside = _inside(hours, next(filter(None, at.groups())))
    return "" if inside is None else f"{'No' if inside == closed else 'Yes'}, {hours.span}."


def _entries(rows: Sequence[Sequence[str]]) -> list[tuple[frozenset[int], Hours]]:
    """(days, their hours) of each row that says both; hours may stand in the row below their days. Nothing of a page
    where it is not clear what a span of time, or a day's row, means."""
    lines, found, read = [" ".join(row) for row in rows], [], set[int]()
    for at, line in enumerate(lines):
        on = days(line)
        if not on:
            continue
        text, also = line, ""
        if (
            not any(map(str.isdigit, line))
            and not _CLOSED.search(line)
            and at + 1 < len(lines)
            and not days(lines[at + 1])
        ):
            text, also = lines[at + 1], line
            read.add(at + 1)
        read.add(at)
        spans = _SPAN.findall(text)
        closed = bool(_CLOSED.search(text))
        if not spans and not closed:
            continue
        if len(spans) + closed > 1:
            return []
        hours = _hours(text, *spans[0]) if spans else Hours("")
        if hours is None or _BESIDE.sub("", _CLOSED.sub("", _SPAN.sub("", DAY_SPAN.sub("", f"{also} {text}")))):
            return []
        found.append((on, hours))
    others = (line for at, line in enumerate(lines) if at not in read)
    return [] if any(_SPAN.search(line) for line in others) else found


def _of_every_day(rows: Sequence[Sequence[str]]) -> set[Hours]:
    """The hours of a page that names no day and no other time, says what they are, and has them alone in a row."""
    lines = [" ".join(row) for row in rows]
    spans = [(line, *span) for line in lines for span in _SPAN.findall(line)]
    others = sum(len(_OTHER_TIME.findall(line)) for line in lines if not spans or line != spans[0][0])
    if (
        len(spans) != 1
        or others
        or any(map(days, lines))
        or any(map(_BREAK.search, lines))
        or not any(map(_OPENING.search, lines))
    ):
        return set()
    found = None if _BESIDE.sub("", _SPAN.sub("", spans[0][0])) else _hours(*spans[0])
    return {found} if found else set()


def _hours(text: str, opens: str, closes: str) -> Hours | None:
    """A span of time; None where its ends are no times of day."""
    found = _SPAN.search(text)
    first, last = _minutes(opens), _minutes(closes)
    if found is None or first is None or last is None:
        return None
    marked = re.search(r"[ap]\.?m", opens + closes, re.IGNORECASE)
    if not marked and last <= first and last < 12 * 60 and first < 12 * 60:  # 9 - 5
        last += 12 * 60
    return Hours(found[0].strip(), opens.strip(), closes.strip(), first, last if last > first else last + 24 * 60)


def _inside(hours: Hours, text: str) -> bool | None:
    """Whether a time lies within the hours; None where it may be either half of the day."""
    at = _minutes(text)
    if at is None:
        return None
    if at < 12 * 60 and not re.search(r"[ap]\.?m|:|noon|midnight", text, re.IGNORECASE):  # at 7: in the morning?
        both = {hours.first <= minutes < hours.last for minutes in (at, at + 12 * 60)}
        return both.pop() if len(both) == 1 else None
    return hours.first <= at < hours.last or hours.first <= at + 24 * 60 < hours.last


def _minutes(text: str) -> int | None:
    """Minutes since midnight of a time of day; None where it is none."""
    low = text.strip().lower()
    if low in ("noon", "midnight"):
        return 12 * 60 if low == "noon" else 24 * 60
    found = _CLOCK.match(low)
    if not found:
        return None
    hour, minute = int(found[1]), int(found[2] or 0)
    if found[3]:
        hour = hour % 12 + (12 if found[3] == "p" else 0)
    return hour * 60 + minute if hour <= 24 and minute < 60 else None
