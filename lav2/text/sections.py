"""Sections of a printed list: the rows below the heading that a question names ("the cheapest main"), what is cheapest
and how much stands there. No torch."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set

from lav2.text import amounts
from lav2.text.amounts import words

_LONGEST = 3  # words of a heading


# Beside a section that a text does not part: "the cheapest test" of a list of tests.
_THINGS = words("dish job test service treatment fuel ticket plan course product drink")
_HOW_MANY = re.compile(r"\W*how many (?P<named>\w+)(?: \w+)? (?:are|do|does)\b(?: \w+){0,3}\W*", re.IGNORECASE)


def compared(rows: Sequence[Sequence[str]], question: str) -> amounts.Comparison | None:
    """What the prices say to a question that compares them: those of the list, or of the section that it names; None
    where that is not clear.

    Args:
        rows: cells of each row of the text.
    """
    named = amounts.apart(question)
    if part := section(rows, named):
        return amounts.compared(part, question, named)
    everything = named <= _THINGS and not named & words(" ".join(cell for row in rows for cell in row))
    return amounts.compared(rows, question, named if everything else frozenset())


def counted(rows: Sequence[Sequence[str]], question: str) -> str:
    """How many things with a price stand in the section that a question counts; "" where that is not clear.

    Args:
        rows: cells of each row of the text.
    """
    asked = _HOW_MANY.fullmatch(question)
    part = section(rows, words(asked["named"])) if asked else []
    things = amounts.priced(part)
    return str(len(things)) if 1 < len(things) == len(part) else ""


def section(rows: Sequence[Sequence[str]], named: Set[str]) -> list[Sequence[str]]:
    """Rows below the one heading that has these words, up to the next heading that is written as it is; [] where there
    is none, or several.

    Args:
        rows: cells of each row of the text.
        named: as `lav2.text.amounts.words` tells words.
    """
    headings = [at for at, row in enumerate(rows) if _heading(row)]
    meant = [at for at in headings if named and named <= words(rows[at][0])]
    if len(meant) != 1 or len(headings) < 2:
        return []
    start = meant[0]
    style = rows[start][0].isupper()
    ends = (at for at in headings if at > start and rows[at][0].isupper() == style)
    return list(rows[start + 1 : next(ends, len(rows))])


def _heading(row: Sequence[str]) -> bool:
    """A row of one cell without digits, of a few words, that begins with a large letter."""
    text = row[0].strip(" :-*") if len(row) == 1 else ""
    return 0 < len(text.split()) <= _LONGEST and text[0].isupper() and not any(map(str.isdigit, text))
