"""What the things of a printed list cost, from the rows of its text: from low to high, or those within a limit.

A model of this size reads a price beside its name and cannot compare numbers; arithmetic can. It is done only where
every row says clearly what costs how much. No torch.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from typing import NamedTuple

MOST, ENDS, NAME = 8, 3, 40  # things told in a row; of longer lists at either end; characters of a name

_AMOUNT = re.compile(
    r"(?<![\w.,:/-])(?:(?:[$£€¥₩E]|USD|EUR|GBP|CHF)\s?)?(\d{1,3}(?:[,.' ]\d{3})+|\d+)([.,]\d{2})?"
    r"(?:\s?(?:[$£€¥₩]|USD|EUR|GBP|CHF|won|each|ea))?(?![\w,:/%-]|\.\d)"
)
_CURRENCY = re.compile(r"[$£€¥₩]|USD|EUR|GBP|CHF|won")
# Rows about the whole bill, not about a thing on it.
_WHOLE = re.compile(
    r"tota\s?l|\b(?:sub\s?tot|amount|balance|cash|change|card|tax|vat|gst|mwst|iva|tva|tip|service|discount|due|pay|paid|"
    r"payment|bill|rounding|visa|mastercard|credit|debit|net|gross|sum|deposit|savings?|tender(?:ed)?)\b",
    re.IGNORECASE,
)
_COMPARES = re.compile(
    r"\b(?:cheap(?:er|est)?|(?:most|more|least|less) expensive|pric(?:ier|iest)|"
    r"(?:pay|paid|spend|spent) the (?:most|least)|dear(?:er|est)|costs? (?:the )?(?:most|least|more|less)|"
    r"(?:lowest|highest) (?:price|cost|amount)|(?:lowest|highest) priced?)\b",
    re.IGNORECASE,
)
_LIMIT = re.compile(
    r"\b(?P<way>less than|under|below|cheaper than|up to|at most|more than|over|above|at least)\s+"
    r"(?:[$£€¥₩]|E(?=\d))?\s?"
    r"(?P<limit>\d+(?:[.,]\d{1,2})?)(?!\s*(?:years?|people|items?|%|kg|g|ml|l|cm|m|km|minutes?|hours?|days?)\b)",
    re.IGNORECASE,
)


_MEETS = {"up to": operator.le, "at most": operator.le, "at least": operator.ge, "more than": operator.gt,
          "over": operator.gt, "above": operator.gt}  # fmt: skip
_LEAST = re.compile(r"\b(?:cheap\w*|least|less|lowest)\b", re.IGNORECASE)
_VALUE = re.compile(r"\bhow much\b|\bwhat(?:'s| is| was)? the (?:lowest|highest) (?:price|cost|amount)", re.IGNORECASE)


class Priced(NamedTuple):
    """A thing of a list and its price, as they are written; `value` in the list's own currency."""

    name: str
    price: str
    value: float


def compares(question: str) -> bool:
    """Whether a question compares prices, or sets a limit."""
    return bool(_LIMIT.search(question) or _COMPARES.search(question))


class Comparison(NamedTuple):
    """What prices say to a question: `line` for the prompt, `begins` how its answer begins ("" where that is open)."""

    line: str
    begins: str


def compared(rows: Sequence[Sequence[str]], question: str) -> Comparison | None:
    """What the prices say to a question that `compares` them; None where they are not clear.

    Args:
        rows: cells of each row of the text.
    """
    limit = _LIMIT.search(question)
    things = sorted(priced(rows), key=lambda thing: thing.value)
    if len(things) < 2:
        return None
    if not limit:
        named = [thing for thing in things if _names(question, thing.name)]
        things = named if len(named) > 1 else things
        best = things[0] if _LEAST.search(question) else things[-1]
        tied = sum(thing.value == best.value for thing in things) > 1
        begins = best.price if _VALUE.search(question) else best.name
        return Comparison(f"prices from low to high: {_told(things)}", "" if tied else begins)
    way, most = limit["way"].lower(), float(limit["limit"].replace(",", "."))
    found = [thing for thing in things if _MEETS.get(way, operator.lt)(thing.value, most)]
    line = f"{way} {limit['limit']}: {_told(found) if found else 'none'}"
    whichever = re.match(r"\s*(?:which|what)\b", question, re.IGNORECASE)
    return Comparison(line, found[0].name if found and whichever else "")


def priced(rows: Sequence[Sequence[str]]) -> list[Priced]:
    """The things of a list with their prices, in its order; [] where a row has a name and several amounts, since which
    of them is the price is not known."""
    read = [(" ".join(row), [m for m in _AMOUNT.finditer(" ".join(row))]) for row in rows]
    exact = any(m[2] for _, found in read for m in found)
    things = []
    for text, found in read:
        amounts = [m for m in found if (m[2] if exact else _CURRENCY.search(m[0]))]
        if not amounts or _WHOLE.search(text):
            continue
        name = text[: amounts[0].start()].strip(" .-:|*_")
        if not any(c.isalpha() for c in name) or len(name) > NAME:
            continue  # an amount alone, or a sentence
        if len(amounts) > 1:
            return []
        whole = re.sub(r"[^\d]", "", amounts[0][1])
        value = float(whole) + (float("0." + amounts[0][2][1:]) if amounts[0][2] else 0.0)
        things.append(Priced(re.sub(r"^\d+\s*[xX]?\s+(?=\D)", "", name), amounts[0][0].strip(), value))
    return things


def _names(question: str, name: str) -> bool:
    """Whether a question has all words of a name."""
    words = re.findall(r"[^\W\d_]+", name.lower())
    return bool(words) and set(words) <= set(re.findall(r"[^\W\d_]+", question.lower()))


def _told(things: Sequence[Priced]) -> str:
    """Tea 2.50, Soup 4.50; of long lists the ends."""
    said = [f"{thing.name} {thing.price}" for thing in things]
    if len(said) > MOST:
        said = [*said[:ENDS], "...", *said[-ENDS:]]
    return ", ".join(said)
