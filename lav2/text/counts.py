"""How many of a kind boxes tell, and whether there are so many or more. No torch."""

from __future__ import annotations

import re
from collections.abc import Mapping

from experts.evidence import Evidence
from lav2.text import claims, grounding
from lav2.text.asking import OPENING

COUNT_RIGHT = 0.4  # how often the number of boxes is what people answer (docs/LOG.md)
# By how much the number of boxes is above the one that is asked for: how often there are just so many, and more; on val
# photos with boxes by people (docs/LOG.md).
EXACTLY, OTHERWISE = {-1: 0.36, 0: 0.64, 1: 0.18}, 0.06
MORE = {-1: 0.2, 0: 0.28, 1: 0.8}

# "How many dogs are there", "... on the grass", "... running"; not what boxes do not tell: big ones, who wears a hat.
_HOW_MANY = re.compile(
    r"(?!.*\b(?:with|without|who|have|has|had|wearing|holding|riding|carrying|using|missing|women|men|world|earth)\b)"
    rf"{OPENING}how many ([\w ]+?)"
    r"(?: (?:is|are|there|here|(?:can|do) (?:you|i|we) see|shown|seen|visible|pictured))*"
    r"(?: (?:\w+ing|in|on|at|near|by|behind|beside|under|inside|outside|along|around|of|next to)\b.*)?\W*",
    re.IGNORECASE,
)
_NUMBER = rf"(?P<number>\d{{1,2}}|{'|'.join(grounding.NUMBERS[1:])})"
# "Are there two dogs?", "is there more than one elephant in the picture"
_WHETHER = re.compile(
    rf"{OPENING}(?:(?:is|are) there|(?:do|can) (?:you|i|we) see) (?:(?P<more>more than|over)|(?P<least>at least)|only|"
    rf"just|exactly)? ?{_NUMBER} (?P<kind>[a-z]+(?: [a-z]+)?)"
    r"(?: (?:here|there|in (?:the|this) (?:photo|picture|pic|image|scene)))?\W*",
    re.IGNORECASE,
)


def likely(evidence: Mapping[str, Evidence], question: str) -> list[tuple[str, float]]:
    """What the boxes of the one kind that a question counts answer, with its chance; nothing of "women", who are not
    told apart."""
    if asked := _HOW_MANY.fullmatch(question.strip()):
        number = _counted(evidence, asked[1])
        return [] if number is None else [(grounding.number(number).capitalize() if number else "None", COUNT_RIGHT)]
    asked = _WHETHER.fullmatch(question.strip())
    number = _counted(evidence, asked["kind"]) if asked else None
    if not asked or number is None:
        return []
    said = asked["number"].lower()
    limit = (int(said) if said.isdigit() else grounding.NUMBERS.index(said)) - bool(asked["least"])
    above = number - limit
    share = EXACTLY.get(above, OTHERWISE)
    if asked["more"] or asked["least"]:
        share = MORE[max(-1, min(1, above))]
    return [("Yes", share), ("No", 1 - share)]


def _counted(evidence: Mapping[str, Evidence], words: str) -> int | None:
    kinds = claims.named(words)
    if not kinds or (kinds == ["person"] and words.lower() not in grounding.ANYBODY):
        return None
    return grounding.counted(evidence, kinds[0])
