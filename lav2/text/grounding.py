"""Evidence -> the block of the prompt: the findings (experts.prompt_block) and, where the question asks for objects, a
line that computes what it asks: how many, on which side, which kinds the detector does not know. The budget is the one
that answering, training and evaluation share. No torch.

The computed line is true for the findings or it is not there. Of text it compares prices (lav2.text.amounts), no more;
it drops no condition without saying so.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from experts.evidence import Caption, Detections, Evidence, OcrLines
from experts.page import caption_of, is_page
from experts.prompt_block import Block, by_doubt, doubt, prompt_block, text_rows
from experts.render import LABEL_CHARS, Item, clean, numbered
from lav2.text import amounts, claims, routing, sections

EVIDENCE_BUDGET = 900  # tokens
KINDS, PLACES = 4, 4  # told at most: kinds of object, places of each
PAGE = 3  # rows of text without a box are a page: its trains are words
PAGE_WORDS = 8  # of 249 photos of COCO one has as many; of the everyday pictures all papers and few signs
LEAST_BUDGET = 64  # tokens of findings beside a computed line; below it the line goes

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
WHERE = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
    "middle": "in the middle",
}
RELATIONS = {"left": "to the left of", "right": "to the right of", "above": "above", "below": "below"}
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}

_REGION = re.compile(r"\b(?:on|at|in) the (left|right|top|bottom|middle|cent(?:er|re))\b", re.IGNORECASE)
_MIDDLE = re.compile(r"cent(?:er|re)")
_RELATIVE = re.compile(
    r"\b(?:left|right|above|below|over|under|where|side|relative|compared|position|placed|direction)\b", re.IGNORECASE
)
# Conditions that boxes do not tell: a count of "people wearing hats" is one of people.
_CONDITION = re.compile(
    r"\b(?:wearing|wears?|holding|holds?|riding|carrying|sitting|standing|walking|eating|with|dressed|who|that|whose|"
    r"red|blue|green|yellow|black|white|brown|grey|gray|orange|pink|purple|big|small|large|little|young|old)\b",
    re.IGNORECASE,
)
_COUNT = re.compile(r"\b(?:how many|count|number of)\b", re.IGNORECASE)
# Of what these ask for, a kind of object is a thing with a price, not something to look for in the photo.
_PRICE = re.compile(r"\b(?:how much|costs?|prices?|cheap\w*|expensive|pay|paid|sell|buy|bought)\b", re.IGNORECASE)
_PRESENCE = re.compile(r"\s*(?:(?:is|are) there|(?:do|can) you see)\b", re.IGNORECASE)
ANYBODY = ("person", "people", "anybody", "anyone", "somebody", "someone", "persons")


def block(
    evidence: Mapping[str, Evidence],
    question: str,
    count_tokens: Callable[[str], int],
    budget: int = EVIDENCE_BUDGET,
    computed_line: bool = True,
) -> Block:
    """The findings, `likely_answers` and `computed`, together within `budget` tokens of the model's own counting; ""
    with experts off.

    Args:
        computed_line: False leaves `computed` out, for the ablation.
    """
    lines = (likely_answers(evidence, question), computed(evidence, question) if computed_line else "")
    line = "\n".join(filter(None, lines))
    candidates = {item.number for item in numbered(evidence) if item.kind == "candidate"}
    remaining = budget - count_tokens(line) - 1 if line else budget  # 1: the line's end
    if not line or remaining < LEAST_BUDGET:
        found = prompt_block(evidence, count_tokens, budget, question, plural)
        return Block(found.text, found.left_out | candidates)
    found = prompt_block(evidence, count_tokens, remaining, question, plural)
    if not found.text:
        return Block("", found.left_out | candidates)
    return Block(f"{found.text}\n{line}", found.left_out if lines[0] else found.left_out | candidates)


def filter_for_question(evidence: Evidence, question: str) -> Evidence:
    """Of an expert's findings those that an answer to `question` may rest on: the boxes that are sure, and of a kind
    that the question names and of which none is, the surest one. Who names a kind has a reason to: where "yes" and "no"
    are as likely, a faint box makes "yes" the better answer. Of a caption: the candidates for answers to it, but not to
    questions about a text or about what the boxes tell."""
    if isinstance(evidence, Caption) and evidence.ask:
        of_text = "read" in routing.route(question).kinds  # what is written there, the text itself tells
        of_kinds = _PRESENCE.match(question) and claims.asked(question)  # boxes tell that
        likely = () if of_text or of_kinds else tuple(evidence.ask(question))
        return replace(evidence, candidates=likely, asked=question, ask=None)
    if not isinstance(evidence, Detections):
        return evidence
    kept = evidence.confidence >= evidence.sure
    for kinds in (*((kind,) for kind in claims.asked(question)), claims.group_asked(question)):
        of_kind = np.array([label in kinds for label in evidence.labels], bool)
        if of_kind.any() and not (of_kind & kept).any():
            kept[np.argmax(np.where(of_kind, evidence.confidence, -1))] = True
    return evidence if kept.all() else evidence.only(kept)


def likely_answers(evidence: Mapping[str, Evidence], question: str) -> str:
    """What the caption expert thinks that the answer is, as one line; "" where it was asked something else."""
    cleaned = [(clean(answer, LABEL_CHARS), chance) for answer, chance in candidates_for(evidence, question)]
    said = by_doubt([pair for pair in cleaned if pair[0]])
    return f"Likely answers: {said}" if said else ""


def candidates_for(evidence: Mapping[str, Evidence], question: str) -> tuple[tuple[str, float], ...]:
    """The caption expert's answers with their chances; none of a page of text, which photos of things teach nothing
    about, and none of how many there are where boxes tell that (`counted`)."""
    if is_page(evidence) or sum(len(cell.split()) for row in text_rows(evidence) for cell in row) >= PAGE_WORDS:
        return ()
    caption = evidence.get("caption")
    if isinstance(caption, Caption) and caption.ask:  # not yet asked (evaluation)
        caption = filter_for_question(caption, question)
    if not isinstance(caption, Caption) or caption.asked != question:
        return ()
    asked = [kind for word, kind in claims.asked_words(question) if kind != "person" or word in ANYBODY]
    tells = _COUNT.search(question) and any(counted(evidence, kind) is not None for kind in asked)
    return () if tells else caption.candidates


def counted(evidence: Mapping[str, Evidence], kind: str) -> int | None:
    """How many of a kind boxes tell: those that are sure; 0 where there is not even a faint one, nor one in the
    caption. None: they do not tell it, since faint boxes are mostly too few."""
    detections, caption = evidence.get("detection"), caption_of(evidence)
    if not isinstance(detections, Detections) or kind not in detections.classes:
        return None
    found = [float(c) for c, label in zip(detections.confidence, detections.labels, strict=True) if label == kind]
    sure = sum(chance >= detections.sure for chance in found)
    captioned = caption is not None and kind in claims.asked(caption.text)
    return sure if sure or not (found or captioned) else None


def computed(evidence: Mapping[str, Evidence], question: str) -> str:
    """What the boxes, or a list of prices, say to the question, as one line; "" where they say nothing to it.

    Kinds of object (those of claims.asked): how many and where, or that none was found, or that the detector does
    not look for them; of two kinds whose places are compared, on which side the surer ones lie. A part of the photo:
    what is there. What the boxes cannot tell of it (women, who wears a hat) is said, and what else the caption says.
    Prices, where the question compares them: from low to high, or those within its limit.
    """
    rows = text_rows(evidence)
    if amounts.compares(question) and (prices := sections.compared(rows, question)):
        return f"Computed: {prices.line}"
    detections = evidence.get("detection")
    if not isinstance(detections, Detections) or _PRICE.search(question):
        return ""
    page = len(rows) >= PAGE and not detections.labels
    if page and not (_COUNT.search(question) or _PRESENCE.match(question)):
        return ""
    items = [item for item in numbered(evidence) if item.expert == "detection"]
    parts = _objects(detections, items, question, evidence)
    return f"Computed: {'; '.join(parts)}" if parts else ""


def _objects(
    detections: Detections, items: Sequence[Item], question: str, evidence: Mapping[str, Evidence]
) -> list[str]:
    asked = claims.asked_words(question)[:KINDS]
    kinds = list(dict.fromkeys(kind for _, kind in asked))
    by_kind = {kind: [item for item in items if item.text == kind] for kind in kinds}  # the surest first
    if len(kinds) == 2 and all(by_kind.values()) and _RELATIVE.search(question):
        one, other = (_centre(found[0]) for found in by_kind.values())
        way = side(one, other, detections.size)
        return [f"the {named(kinds[0])} is {RELATIONS[way]} the {named(kinds[1])}"]
    if kinds:
        parts = [_kind(kind, found, detections, evidence) for kind, found in by_kind.items()]
        parts = [part for part in parts if part]
        narrower = [word for word, kind in asked if kind == "person" and word not in ANYBODY]
        if narrower and by_kind.get("person"):
            parts.append(f"{' and '.join(dict.fromkeys(narrower))} not told apart")
        elif _COUNT.search(question) and (found := _CONDITION.search(question)) and any(by_kind.values()):
            parts.append(f"{found[0].lower()} not checked")
        return parts
    if region := _REGION.search(question):
        where = _MIDDLE.sub("middle", region[1].lower())
        word = "center" if where == "middle" else where  # of Item.place
        least = 0.01 * detections.size[0] * detections.size[1]
        inside = [item for item in items if _area(item) >= least and word in item.place.split()]
        counts = Counter(item.text for item in sorted(inside, key=_area, reverse=True))
        return [f"{listed(counts)} {WHERE[where]}"] if counts else []
    return []


def _kind(kind: str, found: Sequence[Item], detections: Detections, evidence: Mapping[str, Evidence]) -> str:
    """two people (left, top right); no dogs found; knives not looked for. "" where the detector does not look for what
    another expert tells of."""
    caption, text = caption_of(evidence), evidence.get("ocr")
    captioned = caption is not None and kind in claims.asked(caption.text)
    if kind not in detections.classes:
        written = isinstance(text, OcrLines) and kind in claims.asked(" ".join(text.texts))
        return "" if captioned or written else f"{plural(kind)} not looked for"
    if not found:
        return f"{plural(kind)} only in the caption" if captioned else f"no {plural(kind)} found"
    places = [item.place for item in found[:PLACES]]
    more = ", ..." if len(found) > PLACES else ""
    name = named(kind) if len(found) == 1 else plural(kind)
    other = [conflict.said for conflict in claims.conflicts(evidence) if conflict.label == kind and conflict.said]
    doubted = f", {number(other[0])} in the caption" if other else ""
    return f"{doubt(found)}{number(len(found))} {name} ({', '.join(places)}{more}){doubted}"


def side(one: Sequence[float], other: Sequence[float], size: tuple[int, int]) -> str:
    """On which side of the point `other` (x, y px) `one` lies, of RELATIONS: along the axis on which they are further
    apart, measured in the photo's sides."""
    dx, dy = ((p - q) / s for p, q, s in zip(one, other, size, strict=True))
    return ("left" if dx < 0 else "right") if abs(dx) > abs(dy) else ("above" if dy < 0 else "below")


def _centre(item: Item) -> tuple[float, float]:
    return tuple((item.outline.min(0) + item.outline.max(0)) / 2)


def _area(item: Item) -> float:
    width, height = item.outline.max(0) - item.outline.min(0)
    return float(width * height)


# --- names of kinds -----------------------------------------------------------------------------------------

_PLURALS = {
    "person": "people",
    "man": "men",
    "woman": "women",
    "child": "children",
    "baby": "babies",
    "knife": "knives",
    "mouse": "mice",
    "sheep": "sheep",
    "broccoli": "broccoli",
    "wolf": "wolves",
    "goose": "geese",
    "deer": "deer",
    "fish": "fish",
}
PLURAL_ONLY = ("skis", "scissors")
UNCOUNTED = (*PLURAL_ONLY, "broccoli")
_NAMES = {"tv": "TV"}


def plural(label: str) -> str:
    """More than one of a class: dogs, people, wine glasses."""
    if label in _PLURALS or label in PLURAL_ONLY:
        return _PLURALS.get(label, label)
    if re.search(r"[^aeiou]y$", label):
        return f"{named(label)[:-1]}ies"
    return named(label) + ("es" if label.endswith(("s", "sh", "ch", "x")) else "s")


def a(label: str) -> str:
    """One of a class, with its article: a dog, an umbrella, a pair of skis, some broccoli."""
    if label in PLURAL_ONLY:
        return f"a pair of {label}"
    if label in UNCOUNTED:
        return f"some {label}"
    return f"{'an' if label[0] in 'aeiou' else 'a'} {named(label)}"


def several(count: int, label: str) -> str:
    """So many of a class: a dog, two dogs, 14 dogs."""
    if count > 1 and label in PLURAL_ONLY:
        return f"some {label}"
    if count == 1 or label in UNCOUNTED:
        return a(label)
    return f"{number(count)} {plural(label)}"


def number(n: int) -> str:
    return NUMBERS[n] if n < len(NUMBERS) else str(n)


def listed(counts: Mapping[str, int]) -> str:
    """Several classes: a dog, two cats and a person."""
    parts = [several(n, label) for label, n in counts.items()]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def is_or_are(count: int, label: str) -> str:
    return "are" if count > 1 and label != "broccoli" else "is"


def named(label: str) -> str:
    return _NAMES.get(label, label)
