"""How many of a thing were bought, and of which thing so many, where a row of a receipt or an order says it. No
torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from lav2.text.amounts import words
from lav2.text.asking import OPENING
from lav2.text.grounding import NUMBERS

_BOUGHT = r"(?:buy|bought|get|got|order|ordered|take|took|purchase|purchased|pay for|paid for)"
_MANY = rf"(?P<many>\d{{1,2}}|{'|'.join(NUMBERS[2:])})"
_OTHER = r"how|cost|paid for|price|last|first|colou?r|kind|type|flavou?r|size|letter|of the two|when|where|who|why"
# "What did I buy two of?", "two packs of what?", "which thing twice"; not "which of the two", "how much for two".
_WHICH = re.compile(
    rf"(?!.*\b(?:{_OTHER})\b)(?=.*\b(?:what|which)\b)\W*(?:\w+\W+){{0,7}}?"
    rf"\b(?:{_MANY}(?: \w+)? (?:of|times)|(?P<twice>twice|doubled?))\b(?:\W+\w+){{0,5}}\W*",
    re.IGNORECASE,
)
# "How many croissants did I buy?", "how many pens are there", "how many of the lamps".
_COUNT = re.compile(
    rf"{OPENING}how many (?:of )?(?:the )?(?P<thing>[\w' -]+?)"
    rf"(?: (?:did|have|do) (?:i|we|they|he|she|you) {_BOUGHT}|"
    r" were (?:bought|ordered)| (?:are|were) (?:there|on (?:it|the (?:bill|receipt|list|order))))?\W*",
    re.IGNORECASE,
)
_TIMES = r"\s?[x×*]\s?"
_FORMS = (
    re.compile(rf"(?P<n>\d{{1,2}}){_TIMES}(?P<name>[^\W\d].*)", re.IGNORECASE),  # 2 x Wood glue
    re.compile(r"(?P<name>[^\W\d].*?)\s+[x×*]\s?(?P<n>\d{1,2})(?![\d.,])", re.IGNORECASE),  # Wood glue x2
    re.compile(
        rf"(?P<name>[^\W\d].*?)\s*[|,]?\s+(?P<n>\d{{1,2}}){_TIMES}[$£€]?\d+[.,]\d\d\b", re.IGNORECASE
    ),  # Glue 2 x 3.99
    re.compile(r"(?P<name>[^\W\d].*?)\s*[|,]?\s+(?P<n>\d{1,2}) @ ", re.IGNORECASE),
)
_MONEY = r"(?:[$£€¥₩]|RM|Rs|kr|Fr|EUR|USD|CHF)?\s?\d+[.,]\s?\d\d\b"
_BELOW = re.compile(rf"(?P<n>\d{{1,2}})(?:{_TIMES}| @ ){_MONEY}", re.IGNORECASE)  # in the row below the name
_COLUMN = re.compile(r"(?:qty|quantity|pcs|pieces|count|number|no|stk|menge|units?|amount|x|#)\.?", re.IGNORECASE)
_PRICE = re.compile(r"\d[.,]\d\d\b")


class Bought(NamedTuple):
    """A thing as the text names it, and how many of it."""

    name: str
    number: int


def told(rows: Sequence[Sequence[str]], question: str) -> str:
    """The thing, or the number, that a question asks for; "" where the rows do not say it outright.

    Args:
        rows: cells of each row of the text.
    """
    if which := _WHICH.fullmatch(question):
        said = (which["many"] or "two").lower()
        number = int(said) if said.isdigit() else NUMBERS.index(said)
        names = [one.name for one in bought(rows) if one.number == number]
        return names[0] if len(names) == 1 else ""
    count = _COUNT.fullmatch(question)
    thing = words(count["thing"]) if count else set()
    found = [one for one in bought(rows) if thing and thing <= words(one.name)]
    alike = sum(thing <= words(" ".join(row)) for row in rows) if thing else 0
    return str(found[0].number) if len(found) == 1 == alike else ""


def bought(rows: Sequence[Sequence[str]]) -> list[Bought]:
    """The things of which rows say a number: in words of the row (2 x, x2, "3 @ 1.20"), in a column of numbers, or in
    the row below the name."""
    found: list[Bought] = []
    column = -1
    for at, row in enumerate(rows):
        text = " ".join(row)
        headed = [place for place, cell in enumerate(row) if _COLUMN.fullmatch(cell)]
        if len(row) > 1 and headed:
            column = headed[0] if len(headed) == 1 else -1
        elif 0 <= column < len(row) and row[column].isdigit() and len(row[column]) < 3:
            names = [cell for cell in row if any(map(str.isalpha, cell)) and not _PRICE.search(cell)]
            found += [Bought(names[0], int(row[column]))] if names else []
        elif below := _BELOW.match(text):
            above = " ".join(rows[at - 1]) if at else ""
            found += [Bought(above, int(below["n"]))] if above and not any(map(str.isdigit, above)) else []
        elif match := next(filter(None, (form.match(text) for form in _FORMS)), None):
            name = next((cell for cell in row if words(cell) & words(match["name"])), match["name"])
            found.append(Bought(_name(name), int(match["n"])))
    return found


def _name(cell: str) -> str:
    """A cell without its number and price."""
    cell = re.sub(rf"^\d{{1,2}}{_TIMES}|\s+[x×*]\s?\d{{1,2}}\b.*$|\s+\d{{1,2}}{_TIMES}.*$|\s+\d{{1,2}} @ .*$", "", cell)
    return re.sub(r"\s+[$£€]?\d+[.,]\d\d.*$", "", cell).strip()
