"""Made-up limits with yes-or-no questions: ages, weights, people, hours, weekdays. Written documents have too few of them
for a small network to learn that nine is not under six.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from lav2.text.dates import DAYS

_CHILD = ("{n} year old", "{n}-year-old", "kid of {n}", "child aged {n}", "boy of {n}", "girl who is {n}")
_FREE = ("is it free for a {who}?", "does a {who} get in free?", "free for my {who}?", "can a {who} go for free")
_PAY = ("do I pay for a {who}?", "does a {who} have to pay?", "must I buy a ticket for my {who}?")
_MAY = ("may a {who} go in?", "can my {who} ride?", "is a {who} allowed?", "is it ok for a {who}?")
_OPEN = (
    "is it open at {t}?",
    "can I come at {t}?",
    "open at {t}?",
    "are they there at {t}?",
    "can i still come at {t}",
)
_CLOSED = ("is it closed at {t}?", "are they shut at {t}?")
_PARK = ("may I park here on {d}?", "can I leave my car on {d}?", "parking ok on a {d}?", "is parking allowed on {d}?")
_ON = ("is it open on {d}?", "can I come on a {d}?", "open on {d}s?", "are you there on {d}?")
_SHUT = ("is it closed on {d}?", "closed on a {d}?", "are they shut on {d}s?")


class Limit(NamedTuple):
    """A question, the row that decides it, and whether that means yes."""

    question: str
    row: str
    yes: bool


def drawn(rng: Random) -> Limit:
    """One of the limits, with yes and no alike often."""
    return rng.choice(_KINDS)(rng)


def _age(rng: Random) -> Limit:
    limit = rng.randint(3, 18)
    age = rng.choice([rng.randint(1, limit - 1), rng.randint(limit + 1, limit + 9)])
    who, under = rng.choice(_CHILD).format(n=age), age < limit
    rows, asks, yes = rng.choice((
        (("Under {n} free", "Children under {n} free", "Free for under {n}s", "Kids below {n}: free"), _FREE, under),
        (("Under {n} free", "Children under {n} free", "Free admission under {n}"), _PAY, not under),
        (("No children under {n}", "Not under {n} years", "{n}+", "From {n} years", "Minimum age {n}"), _MAY, not under),
    ))  # fmt: skip
    return Limit(rng.choice(asks).format(who=who), rng.choice(rows).format(n=limit), yes)


def _weight(rng: Random) -> Limit:
    limit = rng.randint(3, 30) * rng.choice((1, 1, 10))
    more = rng.random() < 0.5
    amount = rng.randint(limit + 1, 2 * limit) if more else rng.randint(1, limit)
    row, ask = rng.choice((
        (("Max {n} kg", "Up to {n} kg", "Maximum load {n} kg", "Not more than {n} kg"),
         ("is {k} kg ok?", "can I bring {k} kg?", "may it weigh {k} kg?", "a bag of {k} kilos, allowed?")),
        (("Max. {n} persons", "Up to {n} people", "Not more than {n} guests", "{n} persons at most"),
         ("can {k} of us go?", "are {k} people allowed?", "is there room for {k}?", "may we come with {k} people?")),
    ))  # fmt: skip
    return Limit(rng.choice(ask).format(k=amount), rng.choice(row).format(n=limit), not more)


def _hours(rng: Random) -> Limit:
    opens, closes = rng.randint(6, 11), rng.randint(15, 21)
    inside = rng.random() < 0.5
    hour = (
        rng.randint(opens, closes - 1)
        if inside
        else rng.choice([rng.randint(4, opens - 1), rng.randint(closes + 1, 23)])
    )
    write = rng.choice(_CLOCKS)
    row = rng.choice(
        ("Open {a} - {b}", "{a} - {b}", "Opening hours {a} to {b}", "daily {a} - {b}", "from {a} until {b}")
    )
    asks, yes = rng.choice(((_OPEN, inside), (_OPEN, inside), (_CLOSED, not inside)))
    return Limit(rng.choice(asks).format(t=write(hour)), row.format(a=write(opens), b=write(closes)), yes)


def _until(rng: Random) -> Limit:
    end = rng.randint(10, 21)
    late = rng.random() < 0.5
    hour = rng.randint(end + 1, 23) if late else rng.randint(7, end - 1)
    write = rng.choice(_CLOCKS)
    row = rng.choice(
        ("until {b}", "Closes at {b}", "Last entry {b}", "Kitchen closes at {b}", "Visitors must leave by {b}")
    )
    ask = rng.choice(
        ("can I still come at {t}?", "may I stay until {t}?", "is {t} ok?", "can we eat at {t}?", "open at {t}?")
    )
    return Limit(ask.format(t=write(hour)), row.format(b=write(end)), not late)


def _weekday(rng: Random) -> Limit:
    first, last = sorted(rng.sample(range(7), 2))
    inside = rng.random() < 0.5
    outside = [day for day in range(7) if not first <= day <= last]
    day = DAYS[rng.randint(first, last) if inside or not outside else rng.choice(outside)]
    within = first <= DAYS.index(day) <= last
    write = rng.choice((lambda at: DAYS[at], lambda at: DAYS[at][:3], lambda at: DAYS[at][:3].upper()))
    days = rng.choice(("{a} - {b}", "{a}-{b}", "{a} to {b}")).format(a=write(first), b=write(last))
    row, asks, yes = rng.choice((
        ("No parking " + days, _PARK, not within), ("Parking " + days, _PARK, within),
        ("Permit holders only " + days, _PARK, not within),
        ("Open " + days, _ON, within), (days, _ON, within), ("Closed " + days, _ON, not within),
        ("Open " + days, _SHUT, not within), ("Closed " + days, _SHUT, within),
    ))  # fmt: skip
    return Limit(rng.choice(asks).format(d=rng.choice((day, day.lower()))), row, yes)


_CLOCKS: tuple[Callable[[int], str], ...] = (
    lambda hour: f"{hour}:00",
    lambda hour: f"{hour % 12 or 12} {'am' if hour < 12 else 'pm'}",
    str,
    lambda hour: f"{hour}:30",
    lambda hour: f"{hour}.00",
)
_KINDS: tuple[Callable[[Random], Limit], ...] = (_age, _age, _weight, _hours, _until, _weekday, _weekday)
