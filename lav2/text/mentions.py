"""Whether a text says a word, and when something that it gives a span of time for begins or ends. No torch."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lav2.text.amounts import words
from lav2.text.asking import OPENING

_THING = r"(?:it|this|that|(?:the|this|that) [a-z]+)"
_MARKED = re.compile(
    rf"{OPENING}(?:is|are|was) {_THING} (?:marked|labell?ed|stamped)(?: (?:as|with))? (?P<word>[\w -]{{2,40}}?)\W*|"
    rf"{OPENING}does {_THING} (?:say|mention) (?P<said>[\w -]{{2,40}}?)(?: (?:on it|anywhere|somewhere))?\W*",
    re.IGNORECASE,
)
_MORE = re.compile(r"\b(?:how|what|when|where|why|who|which|anything|something|about|whether|if|that)\b", re.IGNORECASE)
_CLOCK = r"(?:\d{1,2}[:.h]\d{2}(?: ?[ap]\.?m\.?)?|\d{1,2} ?[ap]\.?m\.?)"
_SPAN = re.compile(rf"(?P<first>{_CLOCK})\s*(?:-|–|—|to|until|till)\s*(?P<last>{_CLOCK})", re.IGNORECASE)
_END = re.compile(
    rf"{OPENING}(?:when|(?:at )?what time|until when|till when|how long) (?:does|do|is|will) (?:the )?"
    r"(?P<thing>[\w' -]+?) "
    r"(?:(?P<end>end|ends|finish|over|stop|last|until|till)|(?P<begin>start|starts|begin|begins))\W*",
    re.IGNORECASE,
)


def told(rows: Sequence[Sequence[str]], question: str) -> str:
    """The answer to such a question; "" to another, or where the text is not clear.

    Args:
        rows: cells of each row of the text.
    """
    if (asked := _MARKED.fullmatch(question)) and rows:
        word = (asked["word"] or asked["said"]).strip(" '\"")
        return "" if _MORE.search(word) else _said(rows, word)
    asked = _END.fullmatch(question)
    return _edge(rows, words(asked["thing"]), bool(asked["end"])) if asked else ""


def _said(rows: Sequence[Sequence[str]], word: str) -> str:
    form = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)
    cell = next((cell for row in rows for cell in row if form.search(cell)), "")
    return f"Yes: {cell.rstrip('. ')}." if cell else ""


def _edge(rows: Sequence[Sequence[str]], thing: set[str], end: bool) -> str:
    """Of the one row that is named so and has a span of time, its end or beginning."""
    found = set[str]()
    for row in rows:
        spans = [match for cell in row for match in _SPAN.finditer(cell)]
        if thing <= words(_SPAN.sub(" ", " ".join(row))):
            found |= {match["last" if end else "first"] for match in spans} if len(spans) == 1 else {""}
    return found.pop() if thing and len(found) == 1 else ""
