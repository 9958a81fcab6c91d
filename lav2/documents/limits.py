"""Made-up limits with yes-or-no questions: ages, weights, people, hours, weekdays, months, diets, amounts. Written
documents have too few of them for a small network to learn that nine is not under six.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from lav2.text import dates
from lav2.text.claims import NUMBERS
from lav2.text.dates import DAYS, MONTHS
from lav2.text.measures import SPELLED

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
_NO_PARK = (
    "is parking forbidden on {d}?",
    "is it forbidden to park on {d}?",
    "would I get a ticket on {d}?",
    "no parking on {d}?",
)
_ON = ("is it open on {d}?", "can I come on a {d}?", "open on {d}s?", "are you there on {d}?")
_IN = ("is it open in {m}?", "can I come in {m}?", "do they run in {m}?", "open in {m}", "is it running in {m}?")
_SHUT_IN = ("is it closed in {m}?", "are they shut in {m}?")
_DOG = ("may my dog come in {m}?", "dogs ok in {m}?", "can I take the dog in {m}?")
_SHUT = ("is it closed on {d}?", "closed on a {d}?", "are they shut on {d}s?")


class Limit(NamedTuple):
    """A question, the row that decides it, whether that means yes, and what stands above the row
    (lav2.reading.candidates.denied)."""

    question: str
    row: str
    yes: bool
    under: tuple[float, float] = (0.0, 0.0)


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


def _amount(rng: Random) -> Limit:
    """Amounts whose units may differ: 28 days and three weeks, 2.1 m and 240 cm."""
    kind = rng.choice(_AMOUNTS)
    limit, other = rng.choice(kind.units), rng.choice(kind.units)
    value, more = rng.choice(limit.values), rng.random() < 0.5
    size = value * limit.size
    others = [n for n in other.values if (n * other.size > size if more else n * other.size < size)]
    if not others:
        other, others = limit, [value * 2 if more else value / 2]
    told = [(kind.most, kind.may, not more)] * 2 + [(kind.most, kind.too_much, more), (kind.least, kind.may, more)]
    rows, asks, yes = rng.choice([each for each in told if each[0] and each[1]])
    asked, row = other.write(rng, rng.choice(others)), limit.write(rng, value)
    return Limit(rng.choice(asks).format(n=asked), rng.choice(rows).format(n=row), yes)


class _Unit(NamedTuple):
    """Names of a unit, how many of the smallest one it has, the numbers that are common with it."""

    names: Sequence[str]
    size: float
    values: Sequence[float]

    def write(self, rng: Random, number: float) -> str:
        digits, unit = f"{number:g}", rng.choice(self.names)
        if digits in _SPELLED and len(unit) > SPELLED and rng.random() < 0.4:
            return _SPELLED[digits] + unit
        return digits + unit


_SPELLED = {str(number): NUMBERS[number] for number in (2, 3, 4, 5, 6, 8, 10)}
_HOURS = (
    _Unit((" minutes", " min", " mins"), 1, (10, 15, 20, 30, 45, 90, 100)),
    _Unit((" hours", " h", "h", " hrs"), 60, (2, 3, 4, 5, 6, 12, 24)),
)
_DAYS_LONG = (
    _Unit((" days",), 1, (3, 7, 10, 14, 21, 28, 30, 60, 90)),
    _Unit((" weeks",), 7, (2, 3, 4, 5, 6, 8)),
    _Unit((" months",), 30.4, (2, 3, 6)),
)
_HIGH = (
    _Unit((" m", "m", " metres"), 100, (1.8, 1.9, 2, 2.1, 2.2, 2.4, 2.5, 2.7, 3, 3.5)),
    _Unit((" cm", "cm"), 1, (180, 190, 200, 215, 230, 240, 260, 300)),
)
_TALL = (
    _Unit((" m", "m", " metres"), 100, (0.9, 1, 1.05, 1.1, 1.2, 1.25, 1.3, 1.4, 1.5)),
    _Unit((" cm", "cm"), 1, (90, 100, 110, 115, 120, 130, 140, 150)),
)
_HEAVY = (
    _Unit((" t", "t", " tonnes"), 1000, (1.5, 2, 2.5, 2.8, 3.5, 7.5, 12)),
    _Unit((" kg", "kg"), 1, (900, 1200, 1800, 2400, 3000, 5000)),
)
_LIGHT = (
    _Unit((" kg", "kg", " kilos"), 1000, (2, 3, 5, 8, 10, 20)),
    _Unit((" g", "g", " grams"), 1, (500, 800, 1500, 2500)),
)
_WET = (
    _Unit((" ml", "ml"), 1, (50, 75, 100, 125, 200, 500)),
    _Unit((" l", "l", " litres"), 1000, (2, 3, 5)),
)


class _Kind(NamedTuple):
    """Units; rows that say at most that much, and at least; questions whether an amount is allowed, and is too much."""

    units: Sequence[_Unit]
    most: Sequence[str]
    may: Sequence[str]
    too_much: Sequence[str] = ()
    least: Sequence[str] = ()


_AMOUNTS = (
    _Kind(_HOURS, ("Max stay {n}", "Maximum {n}", "Parking {n} max", "Up to {n} free", "Limited to {n}", "Valid for {n}"),
          ("can I stay {n}?", "may I park for {n}?", "is {n} ok?", "can i leave it for {n}", "{n} allowed?"),
          ("is {n} too long?", "will I get a ticket after {n}?")),
    _Kind(_DAYS_LONG,
          ("Return within {n}", "Returns within {n} with receipt", "Exchange within {n}", "Refunds up to {n} after purchase",
           "Valid for {n}", "Returns accepted for {n}"),
          ("can I bring it back after {n}?", "can i still return it after {n}", "is {n} later ok?",
           "I bought it {n} ago, can I return it?", "is it still good after {n}?"),
          ("is {n} too late?", "is it too late after {n}?")),
    _Kind(_DAYS_LONG, (), ("is it ok to tell them {n} before?", "can I book {n} ahead?", "is {n} notice enough?"),
          least=("Please book {n} in advance", "Notice period: {n}", "Cancel at least {n} before", "Apply {n} ahead")),
    _Kind(_HIGH, ("Max height {n}", "Headroom {n}", "Clearance {n}", "Vehicles up to {n}", "No vehicles over {n}", "Height limit {n}"),
          ("my van is {n} high, does it fit?", "can I go in with {n}?", "will a {n} van get through?", "my car is {n}, ok?"),
          ("is {n} too high?", "am I too tall with {n}?")),
    _Kind(_TALL, ("Max height {n}", "Children up to {n} only", "Not over {n}"),
          ("my son is {n}, may he ride?", "can my daughter go, she is {n}?", "is {n} allowed?", "he is {n} tall, ok?"),
          least=("Minimum height {n}", "You must be {n} tall to ride", "From {n}", "Not under {n}", "At least {n} tall")),
    _Kind(_HEAVY, ("Max weight {n}", "No vehicles over {n}", "Weight limit {n}", "Max gross weight {n}", "Up to {n}"),
          ("my truck weighs {n}, ok?", "can I drive over it with {n}?", "is {n} allowed?", "may a {n} van pass?"),
          ("is {n} too heavy?",)),
    _Kind(_LIGHT, ("Max {n}", "Up to {n}", "Hand luggage max {n}", "Maximum load {n}", "Letters up to {n}"),
          ("can I send {n}?", "is {n} ok?", "my bag weighs {n}, allowed?", "may it weigh {n}?"),
          ("is {n} too heavy?", "too much with {n}?")),
    _Kind(_WET, ("Liquids max {n}", "Bottles up to {n}", "Max {n} per container"),
          ("can I take a {n} bottle?", "is {n} ok?", "may I bring {n} of shampoo?"), ("is {n} too much?",)),
)  # fmt: skip


def _hours(rng: Random) -> Limit:
    hours = _opening(rng)
    row = rng.choice(
        ("Open {a} - {b}", "{a} - {b}", "Opening hours {a} to {b}", "daily {a} - {b}", "from {a} until {b}")
    )
    asks, yes = rng.choice(((_OPEN, hours.inside), (_OPEN, hours.inside), (_CLOSED, not hours.inside)))
    return Limit(rng.choice(asks).format(t=hours.asked), row.format(a=hours.opens, b=hours.closes), yes)


class _Opening(NamedTuple):
    """Hours as they are written, the hour that is asked for, and whether it is one of them."""

    opens: str
    closes: str
    asked: str
    inside: bool


def _opening(rng: Random, share: float = 0.5) -> _Opening:
    """With an hour of the opening hours in a `share` of the cases."""
    opens, closes = rng.randint(6, 11), rng.randint(15, 21)
    inside = rng.random() < share
    hour = (
        rng.randint(opens, closes - 1)
        if inside
        else rng.choice([rng.randint(4, opens - 1), rng.randint(closes + 1, 23)])
    )
    write = rng.choice(_CLOCKS)
    return _Opening(write(opens), write(closes), write(hour), inside)


def _until(rng: Random) -> Limit:
    end = rng.randint(10, 21)
    late = rng.random() < 0.5
    hour = rng.randint(end + 1, 23) if late else rng.randint(7, end - 1)
    write = rng.choice(_CLOCKS)
    row = rng.choice(
        ("until {b}", "Closes at {b}", "Last entry {b}", "Kitchen closes at {b}", "Visitors must leave by {b}")
    )
    ask = rng.choice(
        ("can I still come at {t}?", "may I stay until {t}?", "is {t} ok?", "can we eat at {t}?", "open at {t}?",
         "is the kitchen open at {t}?", "is it still open at {t}?")
    )  # fmt: skip
    before = rng.choice(_BEFORE) if rng.random() < 0.3 else ""
    return Limit(ask.format(t=write(hour)), before + row.format(b=write(end)), not late)


def _diet(rng: Random) -> Limit:
    """Marks of a menu: what has none is asked of where its name tells meat or fish."""
    kinds = {"vegetarian": ("(v)", "(V)", "(veg)", "V"), "vegan": ("(vg)", "(ve)", "(vegan)"),
             "gluten free": ("(gf)", "(GF)", "gluten free")}  # fmt: skip
    kind = rng.choice(list(kinds))
    marked = rng.random() < 0.5
    dish = rng.choice(_PLAIN if marked else _BREADED if kind == "gluten free" else _MEAT)
    price = rng.choice(("", f" {rng.randint(3, 19)}.{rng.randint(0, 9)}0"))
    told = (
        rng.choice(kinds[kind]) if marked else rng.choice(("", "", "(contains wheat)" if kind == "gluten free" else ""))
    )
    ask = rng.choice(("is the {d} {k}?", "is {d} {k}", "can I have the {d}, I am {k}?" if kind != "gluten free" else
                      "is there gluten in the {d}?"))  # fmt: skip
    yes = marked != ask.startswith("is there gluten")
    return Limit(ask.format(d=dish.lower(), k=kind), f"{dish} {told}".strip() + price, yes)


def _weekday(rng: Random) -> Limit:
    days = _span(rng, DAYS)
    day, within = _asked(rng, DAYS, dates.days(days))
    if rng.random() < 0.5:  # "NO PARKING" stands above the days, or "Parking"
        denied, hours = rng.random() < 0.6, rng.choice(("", "", " 8-18", " 8am-6pm", " 8 am - 6 pm", " 07:00 - 19:00"))
        may = within != denied
        asks, yes = rng.choice(((_PARK, may), (_PARK, may), (_NO_PARK, not may), (_ON, may)))
        return Limit(rng.choice(asks).format(d=rng.choice((day, day.lower()))), days + hours, yes, _above(rng, denied))
    row, asks, yes = rng.choice((
        ("No parking " + days, _PARK, not within), ("Parking " + days, _PARK, within),
        ("Permit holders only " + days, _PARK, not within),
        ("Open " + days, _ON, within), (days, _ON, within), ("Closed " + days, _ON, not within),
        ("Open " + days, _SHUT, not within), ("Closed " + days, _SHUT, within),
    ))  # fmt: skip
    return Limit(rng.choice(asks).format(d=rng.choice((day, day.lower()))), row, yes)


def _day_and_hour(rng: Random) -> Limit:
    """Open on some days at some hours: no for another day or another hour."""
    days, hours = _span(rng, DAYS), _opening(rng, 0.7)
    day, within = _asked(rng, DAYS, dates.days(days), rng.random() < 0.7)
    if rng.random() < 0.4:  # below "NO PARKING", or "Parking"
        denied, when = rng.random() < 0.6, f"{rng.choice((day, day.lower()))} at {hours.asked}"
        may = (within and hours.inside) != denied
        asks, yes = rng.choice(((_PARK, may), (_PARK, may), (_NO_PARK, not may)))
        row = f"{days} {hours.opens}{rng.choice(('-', ' - ', ' to '))}{hours.closes}"
        return Limit(rng.choice(asks).format(d=when), row, yes, _above(rng, denied))
    row = rng.choice(("{d} {a} - {b}", "{d}: {a}-{b}", "Open {d} {a} - {b}", "{d} {a} to {b}"))
    ask = rng.choice(("is it open on {d} at {t}?", "open {d} {t}?", "can I come on {d} at {t}?", "{d} at {t}, open?"))
    question = ask.format(d=rng.choice((day, day.lower())), t=hours.asked)
    return Limit(question, row.format(d=days, a=hours.opens, b=hours.closes), within and hours.inside)


def _above(rng: Random, denied: bool) -> tuple[float, float]:
    """What a heading above a row, which may be the first row of the text, says (lav2.reading.candidates.denied)."""
    return float(denied), float(denied and rng.random() < 0.7)


def _month(rng: Random) -> Limit:
    months = rng.choice((_span(rng, MONTHS), _span(rng, MONTHS), rng.choice(("summer", "winter")) + " only"))
    month, within = _asked(rng, MONTHS, dates.dates(months).months)
    only = "" if months.endswith("only") else rng.choice(("", " only"))
    row, asks, yes = rng.choice((
        ("Open " + months, _IN, within), (months, _IN, within), ("Boats run " + months, _IN, within),
        ("Closed " + months, _IN, not within), ("No visits " + months, _IN, not within),
        ("Closed " + months, _SHUT_IN, within), ("Open " + months, _SHUT_IN, not within),
        (f"Dogs {months}{only}", _DOG, within), ("No dogs " + months, _DOG, not within),
    ))  # fmt: skip
    return Limit(rng.choice(asks).format(m=rng.choice((month, month.lower()))), row, yes)


def _span(rng: Random, names: Sequence[str]) -> str:
    """Some weekdays or months, as they are written."""
    write = rng.choice((lambda at: names[at], lambda at: names[at][:3], lambda at: names[at][:3].upper()))
    first, last = sorted(rng.sample(range(len(names)), 2))
    if names is DAYS and rng.random() < 0.15:
        return rng.choice(("weekdays", "weekends", "daily", "weekends only"))
    if names is MONTHS and rng.random() < 0.2:  # over the turn of the year
        first, last = last, first
    return rng.choice(("{a} - {b}", "{a}-{b}", "{a} to {b}", "{a} - {b}", "{a} + {b}", "{a} and {b}", "{a}")).format(
        a=write(first), b=write(last)
    )


def _asked(rng: Random, names: Sequence[str], meant: frozenset[int], inside: bool | None = None) -> tuple[str, bool]:
    """A name that is asked for, and whether it is one of those that are meant."""
    within = rng.random() < 0.5 if inside is None else inside
    others = [at for at in range(len(names)) if at not in meant]
    at = rng.choice(sorted(meant) if within or not others else others)
    return names[at], at in meant


_BEFORE = ("Cash only: ", "Dogs welcome. ", "Ring the bell. ", "No smoking. ", "Free Wi-Fi. ", "Cards welcome: ")
_PLAIN = ("Lentil soup", "Tomato soup", "Mushroom risotto", "Falafel", "Green salad", "Pumpkin curry", "Bean stew", "Rice bowl",
          "Baked potato", "Chickpea stew", "Vegetable curry", "Tofu bowl")  # fmt: skip
_MEAT = ("Chicken soup", "Beef burger", "Lamb tagine", "Salmon fillet", "Ham toast", "Fish and chips", "Bacon roll", "Tuna salad",
         "Duck leg", "Pork chop", "Turkey wrap", "Sausage roll")  # fmt: skip
_BREADED = (
    "Cheese sandwich",
    "Pasta bake",
    "Bread and butter",
    "Fish in batter",
    "Pizza",
    "Apple pie",
    "Toast",
    "Noodle soup",
)
_CLOCKS: tuple[Callable[[int], str], ...] = (
    lambda hour: f"{hour}:00",
    lambda hour: f"{hour % 12 or 12} {'am' if hour < 12 else 'pm'}",
    lambda hour: f"{hour % 12 or 12}{'am' if hour < 12 else 'pm'}",
    str,
    lambda hour: f"{hour}:30",
    lambda hour: f"{hour}.00",
)
_KINDS: tuple[Callable[[Random], Limit], ...] = (
    *[_age] * 2, _weight, *[_amount] * 2, _hours, _until, *[_weekday] * 5, *[_day_and_hour] * 2, _month, _diet,
)  # fmt: skip
