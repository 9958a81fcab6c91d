"""Which experts a question needs: a few rules on its words, so that a reader can see why. No torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from experts.registry import ADDED, EXPERT_NAMES
from lav2.events import AUTO, Request, Route, check_length
from lav2.text import claims

# Kind of question -> (experts, words that show it; English and Korean). Several kinds add up; none means all experts.
RULES: dict[str, tuple[tuple[str, ...], str]] = {
    "read": (
        ("ocr",),
        r"\b(?:reads?|says?|said|written|writing|texts?|words?|signs?|labels?|letters?|spell|spelled|prices?|costs?"
        r"|how much|numbers?(?! of\b)|plate|dates?|opens?(?= on| at| until| today)|opening|closes?|hours|titles?|menu"
        r"|when|(?:what|which) time(?! of (?:the )?day)|names?|brands?)\b"
        r"|글자|글씨|읽|쓰여|써 ?있|적혀|간판|가격|얼마|언제|몇 ?시|이름|제목|전화 ?번호",
    ),
    "objects": (
        ("detection",),
        r"\b(?:how many|count|number of|is there|are there|any|where|left|right|above|below|behind|next to|between"
        r"|beside|top|bottom|which side|located|position)\b"
        r"|몇 ?(?:명|개|마리|대|사람)|개수|어디|왼쪽|오른쪽|위에|아래|있나|있어|있습니까|있니",
    ),
    "describe": (
        ("caption", "detection"),
        r"\b(?:describe|description|caption|summari[sz]e|scene|doing|happening|going on|tell me about|explain|story"
        r"|what do you see|what can you see|what(?: is|'s) (?:in|on|this|that)|who|wearing|which|what colou?r)\b"
        r"|묘사|설명|보이|보여|장면|하고 있|입고|무슨|어떤|누구",
    ),
}

# Asks for what the detector does not look for, where it names no kind that it does; and for a place.
_SCENE = re.compile(r"\b(?:is there|are there)\b", re.IGNORECASE)
_PLACE = re.compile(r"\bwhere\b|어디", re.IGNORECASE)


def route(question: str) -> Route:
    """The experts that `question` needs, and why. Those of other packages always look, as no rule is about them."""
    matches = {kind: re.search(pattern, question, re.IGNORECASE) for kind, (_, pattern) in RULES.items()}
    found = {kind: match[0].lower() for kind, match in matches.items() if match}
    if not found:
        return Route(EXPERT_NAMES, ("other",), ())
    chosen = {name for kind in found for name in RULES[kind][0]} | set(ADDED)
    scene = _PLACE.search(question) or (_SCENE.search(question) and not claims.asked(question))
    if scene and "read" not in found:
        chosen.add("caption")
    return Route(tuple(n for n in EXPERT_NAMES if n in chosen), tuple(found), tuple(found.values()))


def choose(experts: Sequence[str], question: str) -> tuple[tuple[str, ...], Route | None]:
    """(experts, None), or where AUTO is among them, those of `route` and the route.

    Raises:
        LAV2Error: the question to be looked through is too long.
    """
    if AUTO not in experts:
        return tuple(experts), None
    check_length(question)
    chosen = route(question)
    return chosen.experts, chosen


def resolve(request: Request) -> tuple[Request, Route | None]:
    """The request with experts in the place of AUTO, and why these. Nobody looks where there is no photo.

    Raises:
        LAV2Error: the question to be looked through is too long.
    """
    if AUTO not in request.experts or request.image is None:
        return replace(request, experts=tuple(name for name in request.experts if name != AUTO)), None
    experts, chosen = choose(request.experts, request.question)
    return replace(request, experts=experts), chosen


def every(experts: Sequence[str]) -> tuple[str, ...]:
    """All experts that a request with these may ask: AUTO may choose any."""
    return EXPERT_NAMES if AUTO in experts else tuple(experts)
