"""Which of the 1,000 kinds of ImageNet (Deng et al. 2009) a question asks for: "What breed is the dog?", "Is it a
fox?", "What is this?" """

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from lav2 import weights
from lav2.text.asking import OPENING, asks_of_several
from lav2.text.grounding import a, plural

SOURCE = "assets:kinds.json"  # names as people say them, "" for what is too odd to tell; groups as spans of places
WHOLE = ("dog", "cat", "butterfly", "monkey", "snake", "spider")  # people ask for an animal, and mean no breed
# Log-odds that an answer is right, of those of the network: a slope, and what is added for one kind and for a sum of
# many. By photos of COCO with boxes (docs/LOG.md), where single kinds are right more often still.
SHARPER, KIND, GROUP = 1.3, 1.5, 0.3
_OF = {"breed": "dog", "species": "animal", "musical instrument": "instrument", "plane": "airplane", "bike": "bicycle"}
_A, _THE = r"(?:an? |any |some )?", r"(?: (?:the|this|that))?"
_THIS = "this|that|it|these|those|they"
_KIND_OF = r"(?: (?:kind|type|sort|breed|species)s?(?: of| is| are)?)?"
# "What bird is that", "which kind of fruit is on the plate", "what breed is the dog".
_WHICH = re.compile(
    rf"{OPENING}(?:what|which)(?:'s| is| are)?{_THE}{_KIND_OF}{_THE} (?P<group>[a-z ]+?)(?:e?s)?"
    r"(?: (?:is|are|was|do|does|can)\b.*|\W*)",
    re.IGNORECASE,
)
# "What is this?", "what's that thing", "what is in the photo"; not what somebody does.
_WHAT = re.compile(
    rf"{OPENING}what(?:'s| is| are)? "
    rf"(?:{_THIS}|shown|pictured|(?:in|on) (?:the|this) (?:photo|picture|image|table|plate))"
    r"(?: (?:thing|object|called|here|is|are))*\W*",
    re.IGNORECASE,
)
# "Is that a fox?", "is the animal a goat", "are these penguins".
_IS = re.compile(
    rf"{OPENING}(?:is|are) (?:{_THIS}|there|the \w+)(?: really| maybe| perhaps)? {_A}(?P<kind>[\w' -]+?)\W*",
    re.IGNORECASE,
)


@cache
def names() -> tuple[str, ...]:
    """Of the kinds in ImageNet's order; "" for those that are not told."""
    return tuple(_read()["names"])


@cache
def groups() -> Mapping[str, frozenset[int]]:
    """Places of the kinds that are a bird, a fruit, an instrument ..."""
    spans = _read()["groups"].items()
    return {group: frozenset(at for first, last in own for at in range(first, last + 1)) for group, own in spans}


def asked_group(question: str) -> str:
    """The group that a question asks the right one of ("What bird is that?"); "" where it asks for something else."""
    found = _WHICH.fullmatch(question)
    if not found:
        return ""
    group = found["group"].lower().strip()
    if group in _THIS.split("|") and "breed" in question.lower():
        return "dog"
    return group if group in groups() else _OF.get(group, "")


def asks_what(question: str) -> bool:
    """Whether it asks what the photo shows, and for nothing of it."""
    return bool(_WHAT.fullmatch(question))


def asked_kinds(question: str) -> frozenset[int]:
    """The kinds of which one is there if the answer is yes ("Is that a fox?"); none where it asks for something
    else."""
    found = _IS.fullmatch(question)
    return _meant(found["kind"].lower()) if found else frozenset()


@cache
def _meant(said: str) -> frozenset[int]:
    one = {_OF.get(said, said), re.sub(r"e?s$", "", said), re.sub(r"s$", "", said)}
    known = next((groups()[word] for word in one if word in groups()), frozenset())
    return known | {at for at, name in enumerate(names()) if name and name.lower() in one}


def concerns(question: str) -> bool:
    """Whether the kinds may answer it."""
    return bool(asked_kinds(question) or asked_group(question) or asks_what(question))


def likely(chances: Sequence[float], question: str) -> list[tuple[str, float]]:
    """Answers to a question with their chances, 0..1, the likeliest first; [] where the kinds do not tell any.

    Args:
        chances: of each kind, of one photo, to be what it shows; they sum up to one.
    """
    if asked := asked_kinds(question):
        there = sum(chances[at] for at in asked)
        others = max((sum(chances[at] for at in own - asked) for own in groups().values() if own > asked), default=0.0)
        return [("yes" if there >= others else "no", _right(max(there, others), GROUP))]
    if group := asked_group(question):
        own = groups()[group]
        if sum(chances[at] for at in own) < 0.5 * sum(chances[at] for at in groups()["animal"] | own):
            return []  # "What bird is that?" of a photo of a dog
        told = named({at: chances[at] for at in own}, WHOLE if group == "animal" else ())
    else:
        told = named(dict(enumerate(chances)), WHOLE) if asks_what(question) else []
    several = asks_of_several(question)
    return [(name if name.endswith("s") else plural(name) if several else a(name), chance) for name, chance in told]


def named(chances: Mapping[int, float], whole: Sequence[str] = ()) -> list[tuple[str, float]]:
    """(name, how often it is right), the likeliest first; kinds of the same name are one, and so are those of each
    group in `whole`."""
    named_as = {at: group for group in whole for at in groups()[group]}
    told: dict[str, float] = {}
    for at, chance in chances.items():
        if name := named_as.get(at, names()[at]):
            told[name] = told.get(name, 0.0) + chance
    right = {name: _right(chance, GROUP if name in whole else KIND) for name, chance in told.items()}
    return sorted(right.items(), key=lambda pair: -pair[1])


def _right(chance: float, shift: float) -> float:
    """How often it is right: labels were smoothed, so the network is less sure than it could be."""
    inside = min(max(chance, 1e-6), 1 - 1e-6)
    return 1 / (1 + math.exp(-(SHARPER * math.log(inside / (1 - inside)) + shift)))


def _read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(weights.find(SOURCE).read_text(encoding="utf-8"))
    return found
