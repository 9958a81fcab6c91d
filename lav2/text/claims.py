"""Which kinds of object a text speaks of, and where it and the detector contradict each other. What an answer rests on
is told by lav2.text.verdict. No torch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from experts.evidence import Detections, Evidence
from experts.page import caption_of

# Class of a COCO detector -> words that people use for it. Only what a detector must have found if the word is true.
KINDS = {
    "person": "people man men woman women boy girl child children kid lady guy player baby toddler crowd",
    "bicycle": "bike cyclist",
    "motorcycle": "motorbike",
    "airplane": "plane jet aeroplane",
    "dog": "puppy",
    "cat": "kitten",
    "bird": "seagull pigeon duck parrot",
    "horse": "pony",
    "couch": "sofa",
    "tv": "television monitor",
    "cell phone": "phone smartphone cellphone",
    "sports ball": "ball football basketball baseball",
    "cow": "cattle bull",
    "sheep": "lamb",
    "boat": "ship sailboat canoe kayak",
    "car": "suv sedan",
    "bus": "buse",  # what `words` makes of buses; of knives below
    "potted plant": "houseplant",
    "traffic light": "stoplight",
    "knife": "knive",
    "refrigerator": "fridge",
    "hair drier": "hairdryer",
    "wine glass": "wineglass",
    "donut": "doughnut",
}
_KIND = {word: kind for kind, others in KINDS.items() for word in others.split()}

# The kinds of object that detectors are commonly trained on (the names of COCO, arXiv 1405.0312).
COCO = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip

# Words for several kinds at once, that questions ask the name of: "What animal is this?"
GROUPS = {
    "animal": ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"),
    "vehicle": ("bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
}
_WHICH = re.compile(
    rf"\b(?:what|which)(?: (?:kind|type|sort) of|(?:'s| is| are)(?: the)?)? ({'|'.join(GROUPS)})s?\b(?! \w+ing\b)",
    re.IGNORECASE,
)

# Behind the name of a class they make another thing of it.
COMPOUNDS = (
    "station", "stop", "park", "booth", "track", "lane", "driver", "game", "field", "player", "uniform", "cap",
    "number", "time", "cursor", "pad", "call", "ticket", "schedule", "line", "line's", "price", "juice", "company",
    "dealer", "food", "house", "shop", "store", "brand", "title", "page", "cover", "towel", "service", "door",
)  # fmt: skip
# Colours that are fruit as well: a kind of object only where they are counted or have an article.
COLOURS = ("orange",)
_COUNTED = ("a", "an", "any", "the", "one", "two", "many", "some", "no", "several")

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBER = {word: str(i) for i, word in enumerate(NUMBERS)}

# Words that claim nothing about a photo.
_EMPTY = """
a an the this that these those it its he she they them his her their him i you we me my your our us one some any
and or but nor so if then than as of in on at by for with from to into onto over under up down out off about
is are was were be been being am has have had do does did can could may might will would shall should must
not no yes there here what which who whom whose when where why how many much very more most less also too just
photo picture image photograph shown show shows seen see appear appears seem seems look looks like can't cannot
sure answer question finding findings expert experts say says said read reads written word words sign text label
caption object objects scene total number likely probably while such other another each all both only own same
because however based provided given contains contain include includes actually really made make makes part
"""
EMPTY = frozenset(_EMPTY.split())


@dataclass(frozen=True)
class Conflict:
    """A caption or an answer names `word`, which the detector knows as `label`. It found `found` of it; the text says
    `said` (None: no number)."""

    word: str
    label: str
    said: int | None
    found: int


def words(text: str) -> list[str]:
    """Lower-case words and numbers, without plural endings; numbers in digits, words for a known class as its name."""
    return [_plain(word) for word in _raw(text)]


def _raw(text: str) -> list[str]:
    return re.findall(r"\d+(?:[.:,]\d+)*|[^\W\d_]+(?:'[^\W\d_]+)?", text.lower())


def asked(question: str) -> list[str]:
    """The kinds of object (names of COCO) that a question speaks of, in its order."""
    return list(dict.fromkeys(kind for _, kind in asked_words(question)))


def asked_words(question: str, classes: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """(the question's own words, kind of object) of every kind that it speaks of, in its order: ("women", "person").
    Kinds are those of COCO, and `classes`."""
    raw = _raw(question)
    found = []
    for first, end, kind in _mentions(raw, classes):
        if kind in COLOURS and not (raw[first].endswith("s") or (first and raw[first - 1] in _COUNTED)):
            continue
        found.append((" ".join(raw[first:end]), kind))
    return found


def group_asked(question: str) -> tuple[str, ...]:
    """The kinds of object among which a question asks for the right name ("What animal is this?"); () otherwise."""
    found = _WHICH.search(question)
    return GROUPS[found[1].lower()] if found else ()


def conflicts(evidence: Mapping[str, Evidence]) -> list[Conflict]:
    """Where the caption names a class, or a number of it, that the detector knows and did not find."""
    caption, detections = caption_of(evidence), evidence.get("detection")
    if caption is None or not isinstance(detections, Detections):
        return []
    return _named(caption.text, detections)


def miscounted(answer: str, question: str, evidence: Mapping[str, Evidence]) -> list[Conflict]:
    """Where the answer says another number of a class than the detector found. A bare number is one of what the
    question asks for."""
    detections = evidence.get("detection")
    if not isinstance(detections, Detections):
        return []
    said, kinds = words(answer), asked(question)
    if len(said) == 1 and said[0].isdigit() and len(kinds) == 1 and "how many" in question.lower():
        answer = f"{said[0]} {kinds[0]}"
    return [found for found in _named(answer, detections) if found.said is not None]


def _named(text: str, detections: Detections) -> list[Conflict]:
    """The classes that `text` names and the detector did not find, or not in the number that stands before them."""
    counts = Counter(detections.labels)
    raw = _raw(text)
    found: dict[str, Conflict] = {}
    before = 0  # numbers up to here are of another class: "two people, dogs" are not two dogs
    for first, end, name in _mentions(raw, detections.classes):
        numbers = [int(other) for other in map(_plain, raw[max(before, first - 2) : first]) if other.isdigit()]
        said = numbers[-1] if numbers else None
        before = end
        if name in detections.classes and (not counts[name] or said not in (None, counts[name])):
            found.setdefault(name, Conflict(" ".join(raw[first:end]), name, said, counts[name]))
    return list(found.values())


def _mentions(raw: Sequence[str], classes: tuple[str, ...] = ()) -> list[tuple[int, int, str]]:
    """(first word, the one behind the last, class) wherever lower-case words name a class of COCO or one of `classes`.
    The longest name wins, since a "hot dog" is no dog; no train is claimed by a "train station"."""
    tokens = [(token, i) for i, word in enumerate(raw) for token in _plain(word).split()]
    free = [True] * len(tokens)
    found = []
    for name, label in _names(classes):
        for at in range(len(tokens) - len(name) + 1):
            here = slice(at, at + len(name))
            if all(free[here]) and tuple(token for token, _ in tokens[here]) == name:
                free[here] = [False] * len(name)
                found.append((tokens[at][1], tokens[here][-1][1] + 1, label))
    return sorted(m for m in found if m[1] == len(raw) or _plain(raw[m[1]]) not in COMPOUNDS)


@lru_cache(8)  # detectors that are asked about
def _names(classes: tuple[str, ...]) -> list[tuple[tuple[str, ...], str]]:
    """(words, class), the longest first: each name as it is and as `words` would write it."""
    found = {}
    for name in (*COCO, *classes):
        for plain in (name.lower(), " ".join(words(name))):
            found[tuple(plain.split())] = name
    return sorted(found.items(), key=lambda pair: (-len(" ".join(pair[0])), pair))


def singular(word: str) -> str:
    """A lower-case word without the ending of its plural, much the same as it is written elsewhere: a key, no word."""
    word = word.removesuffix("'s")
    for ending, instead in (("ies", "y"), ("sses", "ss"), ("shes", "sh"), ("ches", "ch"), ("xes", "x"), ("uses", "us")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word.removesuffix(ending) + instead
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _plain(word: str) -> str:
    word = singular(word)
    return _KIND.get(word, _NUMBER.get(word, word))


def named(words: str) -> list[str]:
    """The kind of object that `words` name as a whole: of "dogs", not of "big dogs"; [] where they name none."""
    return [kind for word, kind in asked_words(words) if word == words.lower()]
