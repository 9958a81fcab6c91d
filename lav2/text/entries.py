"""The entries of a numbered list or a table of results, and what a menu writes below them: who came second, what
number 4 is, which pizza has anchovies. No torch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from lav2.text.amounts import words
from lav2.text.asking import OPENING

_RANKS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_RANK = rf"(?P<rank>{'|'.join(_RANKS)}|last|\d{{1,2}}(?:st|nd|rd|th))"
_WHO = re.compile(
    rf"{OPENING}(?:who|which (?:team|club|runner|rider|player|driver)) (?:came|finished|was|is|placed|ended up|got)"
    rf"(?: in)?(?: the)? {_RANK}(?: place| overall)?\W*|{OPENING}(?P<won>who won(?: (?:the race|it|this))?)\W*|"
    rf"{OPENING}(?P<winner>who(?:'s| is| was) the winner)\W*",
    re.IGNORECASE,
)
_WHAT = re.compile(
    rf"{OPENING}(?:what(?:'s| is)|which (?:\w+ )?is) (?:(?:the )?(?:number|no\.?|nr\.?) ?|# ?)(?P<number>\d{{1,2}})\W*",
    re.IGNORECASE,
)
_WHERE = re.compile(
    rf"{OPENING}(?:where did (?P<who>[^\W\d][\w .'-]*?) (?:end up|finish|come(?: in)?|land)|(?:what|which) "
    r"(?:place|position|rank) (?:did|is|was|has) (?P<other>[^\W\d][\w .'-]*?)"
    r"(?: (?:in|get|come(?: in)?|finish(?: in)?|take))?)\W*",
    re.IGNORECASE,
)
_MADE_OF = re.compile(
    rf"{OPENING}(?:which|what) [a-z]+(?: one)? (?:(?:has|have|contains?|includes?|comes? with|is (?:made )?with|"
    r"is topped with)(?: got)?) (?:the )?(?P<part>[^\W\d][\w -]*?)(?: (?:on|in) (?:it|them|top))?\W*",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(\d{1,2})(?:st|nd|rd|th)?[.):]?(?: +(?=[^\W\d]))?")
# What is counted otherwise than by the numbers that rows begin with.
_OTHERWISE = re.compile(r"\b(?:total|winners?|wins|won|round|hole)\b", re.IGNORECASE)
_MARK = re.compile(r" \([a-z]{1,3}\)$", re.IGNORECASE)  # (vg)
FEWEST = 3  # entries of a list


class Entry(NamedTuple):
    """A row of a list.

    Attributes:
        number: that it has, or that its neighbours give it; 0: none.
        name: its first cell of words.
        at: its row.
    """

    number: int
    name: str
    at: int


def told(rows: Sequence[Sequence[str]], question: str) -> str:
    """The entry, or its number, that a question asks for; "" where the rows do not say it outright.

    Args:
        rows: cells of each row of the text.
    """
    if asked := _WHO.fullmatch(question):
        otherwise = any(_OTHERWISE.search(cell) for row in rows for cell in row)
        return "" if otherwise else _of_rank(entries(rows), (asked["rank"] or "first").lower())
    if asked := _WHAT.fullmatch(question):
        return next((one.name for one in entries(rows) if one.number == int(asked["number"])), "")
    if asked := _WHERE.fullmatch(question):
        who = words(asked["who"] or asked["other"])
        found = [one.number for one in entries(rows) if who <= words(one.name) and one.number]
        return str(found[0]) if len(found) == 1 else ""
    asked = _MADE_OF.fullmatch(question)
    return _made_of(rows, words(asked["part"])) if asked else ""


def _of_rank(found: Sequence[Entry], rank: str) -> str:
    numbered = [one for one in found if one.number]
    if len(numbered) < FEWEST or numbered[0].number != 1:
        return ""
    number = int(re.sub(r"\D", "", rank) or 0) if rank[0].isdigit() else _RANKS.index(rank) + 1 if rank in _RANKS else 0
    last = max(one.number for one in numbered)
    return next((one.name for one in numbered if one.number == (number or last)), "")


def entries(rows: Sequence[Sequence[str]]) -> list[Entry]:
    """The rows of a list in their order, at least FEWEST: those that begin with a number, and those between them that
    have as many other cells; () where the numbers do not count on by one."""
    parts = [_parted(row) for row in rows]
    cells = Counter(len(rest) for number, rest in parts if number and rest)
    if not cells:
        return []
    usual = cells.most_common(1)[0][0]
    marked = [at for at, (number, rest) in enumerate(parts) if number and rest]
    found: list[tuple[int, Sequence[str], int]] = []
    for at in range(len(rows)):
        number, rest = parts[at]
        if rest and (number or (len(rest) == usual > 1 and _has_digit(rest[-1]) and _near(at, marked))):
            found.append((number, rest, at))
    shifts = {number - place for place, (number, _, _) in enumerate(found) if number}
    if len(shifts) != 1 or len(found) < FEWEST or sum(bool(number) for number, _, _ in found) < 2:
        return []
    shift = shifts.pop()
    return [Entry(place + shift, rest[0], at) for place, (_, rest, at) in enumerate(found)] if shift >= 0 else []


def _near(at: int, marked: Sequence[int]) -> bool:
    """Whether a row stands among those with numbers, or just before or behind them, with a row between."""
    return bool(marked) and marked[0] - 2 <= at <= marked[-1] + 2


def _parted(row: Sequence[str]) -> tuple[int, Sequence[str]]:
    """The number that a row begins with, 0: none, and its other cells; () where these begin with no words."""
    match = _NUMBER.match(row[0]) if row else None
    number, rest = 0, list(row)
    if match and (match.end() == len(row[0]) or row[0][match.end()].isalpha()):
        number = int(match[1])
        rest = [row[0][match.end() :], *row[1:]] if match.end() < len(row[0]) else list(row[1:])
        if len(rest) > 2 and rest[0].isdigit():  # its start number
            rest = rest[1:]
    return (number, rest) if rest and rest[0][:1].isalpha() and not _has_digit(rest[0]) else (0, ())


def _made_of(rows: Sequence[Sequence[str]], part: set[str]) -> str:
    """The thing with a price whose row below, words alone, has the words of `part`; "" where there are several, or the
    words stand elsewhere too."""
    holding = [at for at, row in enumerate(rows) if part <= words(" ".join(row))]
    if len(holding) != 1 or not holding[0]:
        return ""
    row, above = rows[holding[0]], rows[holding[0] - 1]
    if len(row) > 1 or _has_digit(row[0]) or len(above) < 2 or not _has_digit(above[-1]):
        return ""
    names = [cell for cell in above[:-1] if not _has_digit(cell)]
    alike = sum(len(one) > 1 and _has_digit(one[-1]) and len(other) == 1 and not _has_digit(other[0])
                for one, other in pairwise(rows))  # fmt: skip
    return _MARK.sub("", names[0]) if len(names) == 1 and alike >= FEWEST else ""


def _has_digit(cell: str) -> bool:
    return any(map(str.isdigit, cell))
