"""Printed values of made-up documents: money, times, dates, codes, people and places, in the forms that people write."""

from __future__ import annotations

from functools import cache
from random import Random

from faker import Faker

from lav2.documents import words

LOCALES = ("en_US", "en_GB", "en_CA", "en_IN", "de_DE", "fr_FR", "it_IT", "es_ES", "nl_NL")


@cache
def _faker(locale: str) -> Faker:
    source = Faker(locale)
    for provider in source.providers:  # Italy's towns come in the order of a set, another one in each process
        if hasattr(provider, "cities"):
            provider.cities = sorted(provider.cities)
    return source


def faker(rng: Random, *locales: str) -> Faker:
    """A source of names and addresses whose next values depend on `rng` alone."""
    source = _faker(rng.choice(locales or LOCALES))
    source.seed_instance(rng.getrandbits(32))
    return source


def case(rng: Random, text: str) -> str:
    """The text as signs and receipts write it: capitals, title case, or as it is."""
    return rng.choices((text.upper(), text.title(), text[:1].upper() + text[1:], text.lower()), (5, 3, 3, 1))[0]


class Money:
    """One currency and one way of writing it, kept through a document."""

    def __init__(self, rng: Random):
        self.sign = rng.choices(("$", "£", "€", "", "₩", "RM ", "kr", "Fr. ", "¥", "EUR ", "USD ", "Rs. "),
                                (9, 4, 6, 9, 1, 1, 1, 1, 1, 1, 1, 1))[0]  # fmt: skip
        self.whole = self.sign in ("₩", "¥") or rng.random() < 0.1
        self.comma = self.sign in ("€", "kr", "") and rng.random() < 0.35
        self.behind = self.sign in ("€", "kr") and rng.random() < 0.5

    def draw(self, rng: Random, low: float = 0.5, high: float = 30) -> float:
        """An amount, evenly over the orders of magnitude, with the endings that prices have."""
        value = low * (high / low) ** rng.random()
        if self.whole:
            return float(round(value * 1000, -2)) if self.sign in ("₩",) else float(max(1, round(value)))
        ending = rng.choices((None, 0.99, 0.95, 0.5, 0.0, 0.49), (5, 2, 1, 1, 1, 1))[0]
        return round(value, 2) if ending is None else int(value) + ending if value >= 1 else round(value, 2)

    def write(self, value: float) -> str:
        text = f"{value:,.0f}" if self.whole else f"{value:,.2f}"
        if self.comma:
            text = text.translate(str.maketrans(",.", ".,"))
        sign = self.sign.strip()
        return f"{text} {sign}" if self.behind else f"{self.sign}{text}"


def clock(rng: Random, minutes: int, style: str) -> str:
    """Minutes since midnight as a time of day; the styles are those of `clock_style`."""
    hour, minute = divmod(minutes % 1440, 60)
    twelve = hour % 12 or 12
    half = "am" if hour < 12 else "pm"
    if style == "24":
        return f"{hour}:{minute:02d}"
    if style == "024":
        return f"{hour:02d}:{minute:02d}"
    if style == "dot":
        return f"{hour}.{minute:02d}"
    if style == "h":
        return f"{hour}h{minute:02d}"
    if style in ("AM", " AM", "a.m."):
        mark = {"AM": half.upper(), " AM": f" {half.upper()}", "a.m.": f" {half[0]}.m."}[style]
        return f"{twelve}{f':{minute:02d}' if minute else ''}{mark}"
    if style == "am":
        return f"{twelve}{f':{minute:02d}' if minute else ''}{half}"
    return f"{twelve}:{minute:02d} {half}"


def clock_style(rng: Random) -> str:
    return rng.choices(("24", "024", "dot", "h", "AM", " AM", "am", ":am", "a.m."), (5, 3, 1, 1, 2, 2, 2, 2, 1))[0]


DATE_FORMS = 10  # of `date_forms`


def day(rng: Random) -> tuple[int, int, int]:
    """(day, month, year)."""
    return rng.randint(1, 28), rng.randint(1, 12), rng.randint(2015, 2030)


def date_forms(day: int, month: int, full: int) -> list[str]:
    """The DATE_FORMS ways in which a date is written."""
    name = words.MONTHS[month - 1]
    return [f"{day:02d}/{month:02d}/{full}", f"{month:02d}/{day:02d}/{full}", f"{full}-{month:02d}-{day:02d}",
            f"{day:02d}.{month:02d}.{full}", f"{day} {name} {full}", f"{name} {day}, {full}", f"{day} {name[:3]} {full}",
            f"{day:02d}-{name[:3].upper()}-{full}", f"{day}/{month}/{full % 100:02d}", f"{name[:3]} {day} {full}"]  # fmt: skip


def date(rng: Random, year: bool = True) -> str:
    number, month, full = day(rng)
    name = words.MONTHS[month - 1]
    if year:
        return rng.choice(date_forms(number, month, full))
    forms = [f"{number} {name}", f"{name} {number}", f"{number} {name[:3]}", f"{rng.choice(words.DAYS)} {number} {name}",
             f"{rng.choice(words.DAYS)[:3]} {number} {name[:3]}"]  # fmt: skip
    return rng.choice(forms)


def code(rng: Random) -> str:
    """An order, ticket, serial or room code."""
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
    shape = rng.choice(("#####", "######", "A-#####", "AA####", "AA-###-A", "####-####", "#A", "##A", "A##", "AA######",
                        "AAA-####", "########", "A#A#A#", "AA/####/##", "0000#####"))  # fmt: skip
    return "".join(
        rng.choice(letters) if mark == "A" else str(rng.randint(0, 9)) if mark == "#" else mark for mark in shape
    )


def plate(rng: Random) -> str:
    return faker(rng, "en_US", "en_GB", "de_DE", "fr_FR", "it_IT", "es_ES", "nl_NL", "en_CA").license_plate()


def phone(rng: Random) -> str:
    digits = [str(rng.randint(0, 9)) for _ in range(10)]
    one, two, three = "".join(digits[:3]), "".join(digits[3:6]), "".join(digits[6:])
    return rng.choice((f"({one}) {two}-{three}", f"{one}-{two}-{three}", f"1-800-{two}-{three}", f"+44 20 {two}{digits[0]} {three}",
                       f"0{one} {two}{three}", f"+1 {one} {two} {three}", f"{one} {two} {three}", f"0{digits[0]} {two} {three}",
                       f"+49 {one} {two}{three}", f"{two}-{three}", f"02-{two}{digits[1]}-{three}"))  # fmt: skip


def person(rng: Random) -> str:
    source = faker(rng)
    name = f"{source.first_name()} {source.last_name()}"
    return f"{rng.choice(('Dr.', 'Mr.', 'Ms.', 'Mrs.', 'Prof.'))} {name.split()[-1]}" if rng.random() < 0.25 else name


def business(rng: Random) -> str:
    if rng.random() < 0.55:
        return rng.choice(words.SHOPS)
    source = faker(rng)
    return rng.choice((source.company(), f"{source.last_name()}'s {rng.choice(words.SHOP_KINDS)}",
                       f"{source.last_name()} {rng.choice(words.SHOP_KINDS)}", f"{source.city()} {rng.choice(words.SHOP_KINDS)}"))  # fmt: skip


def street(rng: Random) -> str:
    if rng.random() < 0.6:
        return f"{rng.randint(1, 299)} {rng.choice(words.STREETS)}"
    return faker(rng).street_address().replace("\n", ", ")


def city(rng: Random) -> str:
    return faker(rng).city() if rng.random() < 0.5 else rng.choice(words.PLACES)


def web(rng: Random) -> tuple[str, str]:
    """(web site, e-mail address of it)."""
    name = "".join(c for c in business(rng).lower() if c.isascii() and c.isalnum())[:14] or "shop"
    domain = f"{name}.{rng.choice(('com', 'example', 'org', 'net', 'co.uk', 'de', 'io'))}"
    user = rng.choice(("info", "contact", "hello", "office", "mail", "sales", faker(rng, "en_US").first_name().lower()))
    return rng.choice((domain, f"www.{domain}")), f"{user}@{domain}"
