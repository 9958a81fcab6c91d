"""Evidence -> the block of the prompt: the findings (experts.render) and, as its last line, what they say to this very
question, in the words of an answer. The budget is the one that answering, training and evaluation share. No torch.

The last line is why a small language model can use what the experts found: to count boxes, compare their places or
join lines of text takes steps that it does not take reliably, to copy takes none (docs/LOG.md, 2026-11-25). It is
made by rules from the findings alone, so it is as right or wrong as they are, and it is there only where a finding
answers the question.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from experts.evidence import Detections, Evidence, OcrLines
from experts.reading_order import rows_of
from experts.render import Item, numbered, render
from lav2 import claims, routing

EVIDENCE_BUDGET = 320  # tokens
KINDS, PLACES, TEXT_CHARS = 4, 4, 200  # told at most: kinds of object, places of each; characters of the text

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
NTH = ("first", "second", "third", "fourth")

_REGION = re.compile(r"\b(?:on|at|in) the (left|right|top|bottom|middle|cent(?:er|re))\b", re.IGNORECASE)
_MIDDLE = re.compile(r"cent(?:er|re)")
_RELATIVE = re.compile(
    r"\b(?:left|right|above|below|over|under|where|side|relative|compared|position|placed|direction)\b", re.IGNORECASE
)
_LINE = re.compile(rf"\b({'|'.join(NTH)}|last) line\b", re.IGNORECASE)
_READ = re.compile(routing.RULES["read"][1], re.IGNORECASE)
# What a question may look for in a text -> (words that ask for it, how it is written).
_VALUES = {
    "price": (r"\bprices?\b|\bcosts?\b|\bhow much\b", r"\$ ?\d+(?:[.,]\d+)?|\d+[.,]\d\d"),
    "time": (r"\btime\b|\bwhen\b|\bhours\b|\bopens?\b|\bcloses?\b", r"\d{1,2}[:.]\d\d"),
    "number": (r"\bnumbers?\b(?! of\b)", r"[\d.,:$%/-]*\d[\d.,:$%/-]*"),
}


def block(evidence: Mapping[str, Evidence], question: str, count_tokens: Callable[[str], int]) -> str:
    """The findings and `focus`, together within EVIDENCE_BUDGET tokens of the model's own counting; "" with experts
    off."""
    line = focus(evidence, question)
    if not line:
        return render(evidence, count_tokens, EVIDENCE_BUDGET)
    return f"{render(evidence, count_tokens, EVIDENCE_BUDGET - count_tokens(line) - 1)}\n{line}"  # 1: the line's end


def told(found: Evidence, question: str) -> Evidence:
    """What of an expert's findings one is told who asks `question`: the boxes that are sure, and of a kind that the
    question names and of which none is, the surest one. Who names a kind has a reason to: where "yes" and "no" are as
    likely, a faint box makes "yes" the better answer."""
    if not isinstance(found, Detections):
        return found
    kept = found.confidence >= found.sure
    for kind in claims.asked(question):
        own = np.array([label == kind for label in found.labels], bool)
        if own.any() and not (own & kept).any():
            kept[np.argmax(np.where(own, found.confidence, -1))] = True
    return found if kept.all() else found.only(kept)


def focus(evidence: Mapping[str, Evidence], question: str) -> str:
    """What the findings say to the question, as one line; "" where they say nothing to it.

    Kinds of object (those of lav2.claims.asked): how many and where, or that there are none, or that the detector does
    not look for them; of two kinds whose places are compared, on which side the surer ones lie. A part of the photo:
    what is there. Text: all of it in one piece, or the line, price, time or number that is asked for (`read`).

    Texts are cleaned as in the block, and quoted.
    """
    items = numbered(evidence)
    parts = []
    if isinstance(detections := evidence.get("detection"), Detections):
        parts += _objects(detections, [item for item in items if item.expert == "detection"], question)
    if any(item.expert == "ocr" for item in items) and _READ.search(question):
        what, said = read(evidence["ocr"], question)
        quote = "" if what.removeprefix("the ") in _VALUES else '"'
        parts.append(f"{what} is {quote}{' or '.join(said)}{quote}" if said else what)
    return f"For this question: {'; '.join(parts)}" if parts else ""


def _objects(detections: Detections, items: Sequence[Item], question: str) -> list[str]:
    kinds = claims.asked(question)[:KINDS]
    by_kind = {kind: [item for item in items if item.text == kind] for kind in kinds}  # the surest first
    if len(kinds) == 2 and all(by_kind.values()) and _RELATIVE.search(question):
        one, other = (_centre(found[0]) for found in by_kind.values())
        way = side(one, other, detections.size)
        return [f"the {named(kinds[0])} is {RELATIONS[way]} the {named(kinds[1])}"]
    if kinds:
        return [_kind(kind, found, detections) for kind, found in by_kind.items()]
    if region := _REGION.search(question):
        where = _MIDDLE.sub("middle", region[1].lower())
        word = "center" if where == "middle" else where  # of Item.place
        least = 0.01 * detections.size[0] * detections.size[1]
        inside = [item for item in items if _area(item) >= least and word in item.place.split()]
        counts = Counter(item.text for item in sorted(inside, key=_area, reverse=True))
        return [f"{listed(counts) if counts else 'nothing found'} {WHERE[where]}"]
    return []


def _kind(kind: str, found: Sequence[Item], detections: Detections) -> str:
    """two people (left, top right); no dogs; knives not looked for."""
    if kind not in detections.classes:
        return f"{plural(kind)} not looked for"
    if not found:
        return f"no {plural(kind)}"
    places = [item.place for item in found[:PLACES]]
    more = ", ..." if len(found) > PLACES else ""
    return f"{_number(len(found))} {named(kind) if len(found) == 1 else plural(kind)} ({', '.join(places)}{more})"


def read(found: OcrLines, question: str) -> tuple[str, tuple[str, ...]]:
    """What of a text is asked for, and what that is: ("the number", ("52", "3")), the surest first;
    ("the second line", ("open daily",)); ("the text", ("Gate 42 open daily",)) where no part of it is asked for. Or
    that it is not there, and nothing: ("no number in the text", ())."""
    items = numbered({"ocr": found})
    if not items:  # of its texts nothing is left but markers
        return "no text in the photo", ()
    rows = rows_of(np.array([item.polygon for item in items], float), [item.text for item in items])
    lines = [[items[i] for cell in row for i in cell] for row in rows]
    for name, (asked, written) in _VALUES.items():
        if re.search(asked, question, re.IGNORECASE):
            surest = sorted((item for line in lines for item in line), key=lambda item: -item.confidence)
            values = [word for item in surest for word in item.text.split() if re.fullmatch(written, word)]
            return (f"the {name}", tuple(dict.fromkeys(values))) if values else (f"no {name} in the text", ())
    texts = [" ".join(item.text for item in line) for line in lines]
    if nth := _LINE.search(question):
        n = len(texts) - 1 if nth[1].lower() == "last" else NTH.index(nth[1].lower())
        if n < len(texts):
            return f"the {nth[1].lower()} line", (texts[n],)
        return f"the text has {_number(len(texts))} line{'s' if len(texts) > 1 else ''}", ()
    text = " ".join(texts)
    return "the text", (text if len(text) <= TEXT_CHARS else text[: TEXT_CHARS - 3] + "...",)


def side(one: Sequence[float], other: Sequence[float], size: tuple[int, int]) -> str:
    """On which side of the point `other` (x, y px) `one` lies, of RELATIONS: along the axis on which they are further
    apart, measured in the photo's sides."""
    dx, dy = ((p - q) / s for p, q, s in zip(one, other, size, strict=True))
    return ("left" if dx < 0 else "right") if abs(dx) > abs(dy) else ("above" if dy < 0 else "below")


def _centre(item: Item) -> tuple[float, float]:
    return tuple((item.polygon.min(0) + item.polygon.max(0)) / 2)


def _area(item: Item) -> float:
    width, height = item.polygon.max(0) - item.polygon.min(0)
    return float(width * height)


# --- names of kinds -----------------------------------------------------------------------------------------

_PLURALS = {"person": "people", "knife": "knives", "mouse": "mice", "sheep": "sheep", "broccoli": "broccoli"}
PLURAL_ONLY = ("skis", "scissors")
UNCOUNTED = (*PLURAL_ONLY, "broccoli")
_NAMES = {"tv": "TV"}


def plural(label: str) -> str:
    """More than one of a class: dogs, people, wine glasses."""
    if label in _PLURALS or label in PLURAL_ONLY:
        return _PLURALS.get(label, label)
    return named(label) + ("es" if label.endswith(("s", "sh", "ch", "x")) else "s")


def a(label: str) -> str:
    """One of a class, with its article: a dog, an umbrella, a pair of skis, some broccoli."""
    if label in PLURAL_ONLY:
        return f"a pair of {label}"
    if label in UNCOUNTED:
        return f"some {label}"
    return f"{'an' if label[0] in 'aeiou' else 'a'} {named(label)}"


def several(n: int, label: str) -> str:
    """n of a class: a dog, two dogs, 14 dogs."""
    if n > 1 and label in PLURAL_ONLY:
        return f"some {label}"
    if n == 1 or label in UNCOUNTED:
        return a(label)
    return f"{_number(n)} {plural(label)}"


def _number(n: int) -> str:
    return NUMBERS[n] if n < len(NUMBERS) else str(n)


def listed(counts: Mapping[str, int]) -> str:
    """Several classes: a dog, two cats and a person."""
    parts = [several(n, label) for label, n in counts.items()]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def is_or_are(n: int, label: str) -> str:
    return "are" if n > 1 and label != "broccoli" else "is"


def named(label: str) -> str:
    return _NAMES.get(label, label)
