"""The colours of boxes, and of what people in them wear, weighed with the caption expert's answers. No torch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from experts.evidence import Detections, Evidence
from experts.render import Item, numbered
from lav2.text import claims
from lav2.text.asking import OPENING, straight

COLOURS_RIGHT = (0.69, 0.14)  # how often a box's first and second colour is right (docs/detector.md)
# What a box's first and second colour adds to the log-odds of that answer, and the chance of one that is not among the
# caption expert's answers; chosen on val photos whose captions name a colour (docs/LOG.md).
WEIGHTS, UNTOLD = (2.0, 1.0), 0.04

_COLOUR = re.compile(
    rf"{OPENING}what(?:'s| is| are)?(?: the)? colou?rs? (?:is|are|of)"
    r"(?: (?:the|this|that|these|those|a|an))? (?P<thing>[\w ]+?)\W*",
    re.IGNORECASE,
)
_CLOTHES = (
    r"(?:shirt|t-?shirt|tee|jacket|dress|coat|sweater|sweatshirt|hoodie|top|uniform|jersey|blouse|suit|vest|"
    r"clothes|clothing|outfit)"
)
_WHO = r"(?:man|woman|boy|girl|person|guy|lady|kid|child|baby|player|rider|skier|skater|surfer|one|people|he|she|they)"
_SIDE = r"(?: (?:on|to|at) the (?P<side{}>left|right)(?: side)?)?"
_WORN = re.compile(
    rf"{OPENING}what(?:'s|s| is| are)?(?: the)? colou?r (?:(?:is|are|of) )?(?:(?:the|his|her|their|this|that|a) )?"
    rf"(?:(?!other|second|third|next|last)(?:\w+ )?{_WHO}(?:'s|s)? )?{_CLOTHES}"
    rf"(?: (?:of|on|worn by|that) (?:the |this |that )?{_WHO})?{_SIDE.format('')}"
    rf"(?: (?:is|are|does|do|has)? ?(?:the |this |that )?{_WHO}{_SIDE.format('_too')}"
    r"(?: (?:wearing|wear|have on|has on|in|got on|is wearing))?)?\W*",
    re.IGNORECASE,
)


def weighed(
    candidates: Sequence[tuple[str, float]], evidence: Mapping[str, Evidence], question: str
) -> tuple[tuple[str, float], ...]:
    """The caption expert's answers with their chances, to a question for the colour of a kind of object or of clothes
    with what the surest box tells."""
    told = _told(evidence, question)
    if not told:
        return tuple(candidates)
    if not candidates:
        return tuple(zip(told, COLOURS_RIGHT, strict=False))
    chances = dict(candidates)
    for colour, weight in zip(told, WEIGHTS, strict=False):
        name = "gray" if colour == "grey" and "gray" in chances else colour
        share = min(0.99, max(UNTOLD, chances.get(name, UNTOLD)))
        chances[name] = 1 / (1 + math.exp(-(math.log(share / (1 - share)) + weight)))
    return tuple(sorted(chances.items(), key=lambda pair: -pair[1]))


def _told(evidence: Mapping[str, Evidence], question: str) -> list[str]:
    """The colours of the box that a question asks about, the likelier first."""
    detections, asked = evidence.get("detection"), straight(question.strip())
    if not isinstance(detections, Detections):
        return []
    found, worn = _COLOUR.fullmatch(asked), _WORN.fullmatch(asked)
    if worn:
        people = [item for item in numbered({"detection": detections.only(detections.confidence >= detections.sure)})
                  if item.text == "person"]  # fmt: skip
        return _of(_at(people, (worn["side"] or worn["side_too"] or "").lower()))
    if not found:
        return []
    kinds = claims.named(found["thing"])
    if found["thing"].lower() == "it":
        sure = set(detections.only(detections.confidence >= detections.sure).labels)
        kinds = list(sure - {"person"}) if len(sure) == 1 else []
    items = [item for item in numbered({"detection": detections}) if item.text in kinds]
    return _of(items) if len(kinds) == 1 else []


def _of(items: Sequence[Item]) -> list[str]:
    return items[0].colour.split(" or ") if items and items[0].colour else []


def _at(items: Sequence[Item], side: str) -> Sequence[Item]:
    """Those from the side that is asked for."""
    ordered = sorted(items, key=lambda item: float(item.outline[:, 0].mean()))
    return items if not side else ordered if side == "left" else ordered[::-1]
