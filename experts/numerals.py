"""Prices, times and codes as they are meant where EasyOCR takes their marks and digits for letters: by their form, and
by what else stands on the page."""

from __future__ import annotations

import re
from collections.abc import Sequence

# EasyOCR takes the dollar sign of a price for an S, and at times its noughts for letters
_DOLLARS = re.compile(r"\bS ?(?=[O\d]*\d)((?:\d{1,3},(?=\d{3}))*[O\d]+) ?[.,] ?([O\d]{2})\b")
_WHOLE_DOLLARS = re.compile(r"S ?(\d{1,4})")  # S14, alone in its cell, of a page of prices
# "Deposit S50 per bike", "S100 REWARD": beside a word for a sum of money
_SUM = r"(?:reward|deposit|fine)"
_DOLLARS_OF_SUM = re.compile(
    rf"(?<=\b)(?:(?P<sum>{_SUM}\W{{1,3}})S(?=\d{{1,4}}\b(?![.,:/-]?\d))|S(?=\d{{1,4}} {_SUM}\b))", re.IGNORECASE
)
_OF_PRICES = re.compile(r"\$|\b(?:prices?|menu|rental|rates?|fees?|total)\b", re.IGNORECASE)
# It knows no pound sign: E13.81, f9.34
_POUNDS = re.compile(r"(?<![\w.,])[Ef] ?(?=\d[\d,]*\.\d{2,3}(?![\w.]))")
_SPACED = re.compile(r"(?<=\d) ([.,:]) ?(?=\d\d\b)")  # 18 . 00, 18 : 42
_AFTER_POINT = re.compile(r"(?<=\d)\. (?=\d{2,3}$)")  # 27. 09
_HOURS = re.compile(r"\b(\d{1,2}h)[oO]{2}\b")  # 19h00
_OCLOCK = re.compile(r"\b[0O]['’`]? ?(clock)\b", re.IGNORECASE)  # 3 0'clock
_TIME = re.compile(r"(?<![\w:.])([IlOo\d]{1,2}):([IlOo\d]{2})(?![\w:]|\.\d)")  # I7:00, Io:oo
_HALF_DAY = re.compile(r"(?<![\w:.])([Il1][IlOo\d])(?= ?[ap]\.?m\b)")  # llpm, I2 am
_PARTED = re.compile(r"(?<![\w.,:] )(?<![\w.,:])(1 (?=\d:)|2 (?=[0-3]:))(?=\d:[0-5]\d(?!\d))")  # 1 4:00
_HEX = re.compile(r"\bO(?=x[0-9A-F]{2,})")  # Ox80070057
_NOUGHT = re.compile(r"(?<=\d)O(?=\d|th\b)")  # 1Oth
_SITE = re.compile(r"\bwww(?!w) ?\.? ?([\w-]+)[. ] ?([a-z]{2,7})\b")  # wwwbakery example
_DIGITS = str.maketrans("IlOo", "1100")
_SPREAD = re.compile(r"(?<!\w)(?:[A-Z] ){4,}[A-Z](?!\w)")  # L U N C H
# From one to another of a kind: "9:00 - 17:00", "Mon - Fri"; of numbers only where nothing else stands in the cell
# ("150 - 400"), for "Menu 2 - 14 EUR" and "June 14 - 8 pm" are no ranges.
_CLOCK = r"(?<![\w.:])(?:\d{1,2}[:h]\d{2}(?:[ap]m)?|\d{1,2}(?:\.\d{2})?[ap]m)"
_DAY = r"(?<!\w)(?:mon|tues?|wed|thu(?:rs?)?|fri|sat|sun)(?:[a-z]*day)?s?\.?"
_MONTH = (
    r"(?<!\w)(?:jan(?:uary)?|feb(?:ruary)?|apr(?:il)?|june?|july?|aug(?:ust)?|sept?(?:ember)?|"
    r"oct(?:ober)?|nov(?:ember)?|dec(?:ember)?|(?-i:Mar)(?:ch)?|(?-i:May))\.?"
)
_RANGE = re.compile(
    "|".join(rf"(?P<{name}>{one}) [-–—] (?!(?P={name})(?!\w))(?={one}(?![\w.,:/]?\w))" for name, one in
             {"clock": _CLOCK, "day": _DAY, "month": _MONTH}.items())
    + r"|^\d{1,3} [-–—] (?=\d{1,3}$)", re.IGNORECASE
)  # fmt: skip
_EDGE = re.compile(r"(?<=[a-z])_+(?=\s|$)")  # the rim of a turned word


def meant(texts: Sequence[str]) -> list[str]:
    """The texts of a page, their numbers as they are meant: prices with the sign of their currency, times and codes
    with their digits, numbers in one piece; words without the stroke that their rim is read as."""
    read = [_one(text) for text in texts]
    page = "\n".join(read)
    if _OF_PRICES.search(page):
        read = [f"${found[1]}" if (found := _WHOLE_DOLLARS.fullmatch(text)) else text for text in read]
    read = [_DOLLARS_OF_SUM.sub(lambda found: f"{found['sum'] or ''}$", text) for text in read]
    sign = "€" if "€" in page or "EUR" in page else "£"  # of a page in euros an E is no pound
    return [_POUNDS.sub(sign, text) for text in read]


def joined(texts: Sequence[str]) -> str:
    """Texts that stand close together in a row as one, a time that the reader found in two pieces ("1", "4:00") too;
    from one to another without gaps ("Mon-Fri")."""
    text = " ".join(texts)
    text = _PARTED.sub(_without_gap, text) if len(texts) == 2 else text
    return _RANGE.sub(lambda found: f"{found[0][:-3]}-", text)


def _one(text: str) -> str:
    def price(found: re.Match[str]) -> str:
        whole, cents = (part.replace("O", "0") for part in found.groups())
        return f"${whole}.{cents}"

    text = _SPREAD.sub(lambda found: _together(found[0]), text)
    text = _OCLOCK.sub(r"o'\1", _HOURS.sub(r"\g<1>00", _DOLLARS.sub(price, text.strip())))
    text = _AFTER_POINT.sub(".", _SPACED.sub(r"\1", _EDGE.sub("", text)))
    text = _TIME.sub(lambda found: found[0].translate(_DIGITS), text)
    text = _HALF_DAY.sub(lambda found: found[0].translate(_DIGITS), text)
    text = _NOUGHT.sub("0", _HEX.sub("0", _PARTED.sub(_without_gap, text)))
    return _SITE.sub(r"www.\1.\2", text)


def _without_gap(found: re.Match[str]) -> str:
    return found[0].rstrip()


def _together(letters: str) -> str:
    """A word that was printed with wide gaps; letters in the order of the alphabet (seats, marks) and such without a
    vowel (days of the week) stay apart."""
    word = letters.replace(" ", "")
    return word if set(word) & set("AEIOU") and list(word) != sorted(word) else letters
