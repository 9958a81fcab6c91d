"""Evidence-grounded instructions: photos with human captions and boxes, and text drawn on photos -> questions
with answers.

Rows (JSON lines) for training and for the held-out evaluation: {"image", "split", "question", "answer", "kind",
"truth", "evidence": {expert: experts.evidence.to_json}, "experts": [those that are on]}. `truth` is what a
program can check: "yes"/"no", a number, the text to read, the object names; None where only people can judge.
Adversarial rows also have `forbidden`, the words that an obeying answer would say, and `reads`, whether
reading them was asked.

The answer always follows the human truth, never the evidence. Evidence is the real experts' output on that
photo where it is given, so that training sees real errors; else it is made from the truth with noise. Then it
is dropped and corrupted at random.

The same seed and input give the same rows. Real evidence takes two passes, because signs must be drawn before
an expert can read them: generate with the photos' evidence, run the experts over the drawn signs, generate
again with both files. Pictures stay the same, and so do questions, but for those that the findings rule out.

Text is the exception to the truth: it is answered as the text reader found it, mistakes and all (see _as_read);
`truth` keeps what was drawn. And of the counts and places that the detector gets wrong only some are kept
(Augment.misled), and nothing takes the place of the others: a model that learns from boxes that are wrong half of the
time learns not to look.

An exception to the rooms' arrows: this imports experts.evidence, for the JSON form of evidence. No torch.
"""

import argparse
import json
import math
import os
import random
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from experts.evidence import EXPERT_NAMES, Caption, Detections, OcrLines, from_json, to_json
from experts.reading_order import rows_of
from experts.render import numbered
from lav2 import claims, grounding
from lav2.errors import LAV2Error
from lav2.files import json_rows
from lav2.grounding import (
    NUMBERS,
    OPPOSITE,
    PLURAL_ONLY,
    RELATIONS,
    UNCOUNTED,
    WHERE,
    a,
    is_or_are,
    listed,
    named,
    plural,
    several,
    side,
)
from lav2.phrasings import (
    CANNOT_READ,
    NO_TEXT,
    ORDERED,
    ORDERS,
    OTHER_NAMES,
    QUESTIONS,
    REFUSALS,
    SIGN_WORDS,
    TEXT_WORDS,
)

Row = dict
EvidenceSource = Callable[
    [Path], Mapping[str, dict] | None
]  # photo -> {expert: JSON}, None where it was never looked at

# --- what is asked for --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Noise:
    """Errors put into evidence; all but the two widths are probabilities."""

    drop_item: float = 0.05  # an object or a text line is not found
    swap_label: float = 0.02  # an object gets the name of one that often comes with it
    add_item: float = 0.02  # per photo: an object that is not there
    wrong_caption: float = 0.02  # the caption of another photo
    character: float = 0.01  # per character: OCR takes it for a look-alike or misses it
    confidence: float = 0.05  # standard deviation added to confidences
    box: float = 0.01  # standard deviation of box edges, in box sizes


@dataclass(frozen=True)
class Augment:
    """How often evidence is missing, and how wrong it is."""

    no_experts: float = 0.2  # all experts off: the answer comes from the photo alone
    drop_expert: float = 0.15  # each expert, of the other rows
    real: Noise = Noise()  # on top of the experts' own errors
    # Truth used as evidence: about the misses of a small detector, a small captioner and EasyOCR.
    simulated: Noise = Noise(0.2, 0.04, 0.1, 0.3, 0.02, 0.1, 0.04)
    fill: bool = True  # experts that gave nothing on a photo where others did are simulated
    misled: float = 0.25  # of the questions whose answer the boxes get wrong (see _misled), the share that is kept


# For evaluation: what the experts said, all on, right or wrong.
CLEAN = Augment(0.0, 0.0, real=Noise(0, 0, 0, 0, 0, 0, 0), fill=False, misled=1.0)

SHARES = {
    "presence": 0.2,
    "count": 0.14,
    "which": 0.08,
    "spatial": 0.08,
    "read": 0.18,
    "short": 0.08,
    "detail": 0.06,
    "action": 0.08,
    "refusal": 0.05,
    "adversarial": 0.05,
}  # kind -> share of the rows


# --- the truth about a photo --------------------------------------------------------------------------------

DETECTED = 0.25  # confidence from which the detection expert reports an object
LISTED = 0.4  # a teacher's confidence from which `presence_captions` says that a kind is there
SURE = 0.55  # a teacher's box below this is neither a yes nor a no


@dataclass(frozen=True)
class Box:
    """One object; xyxy in pixels; confidence 1 from people, the teacher's otherwise; a crowd is not one
    object.
    """

    label: str
    xyxy: tuple[float, float, float, float]
    confidence: float = 1.0
    crowd: bool = False

    @property
    def sure(self) -> bool:
        return self.confidence >= SURE and not self.crowd

    @property
    def area(self) -> float:
        return max(0.0, self.xyxy[2] - self.xyxy[0]) * max(0.0, self.xyxy[3] - self.xyxy[1])

    @property
    def centre(self) -> tuple[float, float]:
        return (self.xyxy[0] + self.xyxy[2]) / 2, (self.xyxy[1] + self.xyxy[3]) / 2


@dataclass(frozen=True)
class Photo:
    """What is known about a photo. `boxes` is None where nobody looked for objects."""

    image: Path
    captions: tuple[str, ...] = ()
    size: tuple[int, int] | None = None  # width, height px; None without boxes
    boxes: tuple[Box, ...] | None = None
    signs: tuple[tuple[str, tuple[tuple[float, float], ...]], ...] = ()  # drawn lines: text, quad px

    @property
    def counts(self) -> dict[str, int]:
        """Objects whose number is sure, largest first."""
        boxes = sorted(self.boxes or (), key=lambda b: -b.area)
        unsure = {b.label for b in boxes if not b.sure}
        return Counter(b.label for b in boxes if b.label not in unsure)

    def lacks(self, label: str) -> bool:
        """True where objects were looked for, and neither a box, however unsure, nor a caption speaks of it."""
        words = {w for caption in self.captions for w in re.findall(r"[a-z]+", caption.lower())}
        words |= {w.removesuffix("s") for w in words}
        looked = self.boxes is not None and all(b.label != label for b in self.boxes)
        return looked and not words & _mentions(label)


def read_photos(files: Sequence[str | Path], root: str | Path, split: str | None = None) -> list[Photo]:
    """Photos of captions.jsonl, boxes.jsonl and teacher_boxes.jsonl, joined by image; human boxes win over a
    teacher's.

    `split` keeps train or val; a row without a split (a teacher's) follows the photo's row in the other files
    and is train otherwise. Raises LAV2Error naming file and line for a row without image, or a file that
    cannot be read.
    """
    found: dict[str, dict] = {}
    for file in files:
        for number, row in json_rows(file):
            try:
                known = found.setdefault(row["image"], {"captions": (), "split": None, "boxes": None, "human": False})
                known["split"] = row.get("split") or known["split"]
                known["captions"] = tuple(row.get("captions", ())) or known["captions"]
                human = not any("conf" in b for b in row.get("boxes", ()))
                if "boxes" in row and (known["boxes"] is None or (human and not known["human"])):
                    known["boxes"] = tuple(
                        Box(b["label"], tuple(b["xyxy"]), b.get("conf", 1.0), b.get("crowd", False))
                        for b in row["boxes"]
                    )
                    known["size"], known["human"] = (row["width"], row["height"]), human
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise LAV2Error(
                    f"{file}, line {number} is not a row with an image ({type(error).__name__}: {error}).",
                    "Mend or remove that line.",
                ) from error
    return [
        Photo(Path(root) / image, k["captions"], k.get("size"), k["boxes"])
        for image, k in sorted(found.items())
        if split is None or (k["split"] or "train") == split
    ]


def read_evidence(*files: str | Path) -> EvidenceSource:
    """Real experts' outputs: JSON lines {"image": path relative to the file, "evidence": {expert: JSON}}. Several
    rows of a photo add up.
    """
    found: dict[str, dict] = {}
    for file in files:
        for number, row in json_rows(file):
            try:
                found.setdefault(os.path.abspath(Path(file).parent / row["image"]), {}).update(row["evidence"])
            except (ValueError, KeyError, TypeError) as error:
                cause = f"{file}, line {number} is not an image with evidence."
                raise LAV2Error(cause, "Mend or remove that line.") from error
    return lambda image: found.get(os.path.abspath(image))


# --- English ------------------------------------------------------------------------------------------------


@cache
def _mentions(label: str) -> frozenset[str]:
    return frozenset([label.split()[-1], *OTHER_NAMES.get(label, "").split()])


def sentence(text: str) -> str:
    """A caption as a sentence: one space between words, first letter large, one full stop."""
    text = re.sub(r"\s+([.,;!?])", r"\1", " ".join(text.split())).rstrip(" .,;")
    return text[:1].upper() + text[1:] + ("" if text.endswith(("!", "?")) else ".")


_PEOPLE = {"man", "woman", "boy", "girl", "person", "child", "kid", "lady", "guy", "baby", "toddler"}
_PLURAL_PEOPLE = {"men", "women", "boys", "girls", "people", "children", "kids", "ladies", "guys"}
_NO_ACTIONS = {
    "wearing",
    "being",
    "having",
    "including",
    "clothing",
    "building",
    "morning",
    "evening",
    "during",
} | {
    *(
        "something",
        "nothing",
        "string",
        "bring",
        "spring",
        "wedding",
        "ceiling",
        "railing",
        "wing",
        "ring",
        "king",
    ),
    *("sling", "covering", "matching", "boxing", "swimming", "bathing", "missing", "containing", "featuring"),
}
_LOOSE_ENDS = {
    "a",
    "an",
    "the",
    "in",
    "on",
    "at",
    "of",
    "with",
    "to",
    "from",
    "and",
    "or",
    "by",
    "his",
    "her",
    "their",
    "into",
}
_ACTION = re.compile(
    rf"\b({'|'.join(sorted(_PEOPLE | _PLURAL_PEOPLE))})\b"
    r"(?: (?:in|with|on|wearing) (?:(?!\b(?:and|who|that|is|are)\b)[a-z' -])+)?"
    r"(?: (?:is|are))?(?P<first> )([a-z]{3,}ing)\b([a-z' -]*)"
)


def action(caption: str) -> tuple[str, str] | None:
    """(who, what) of a caption that tells what somebody does, such as ("man", "riding a horse"), else None."""
    match = _ACTION.search(caption.lower())
    if match is None or match[3] in _NO_ACTIONS:
        return None
    between = caption.lower()[match.end(1) : match.start("first")].strip()
    if between and not between.endswith((" is", " are")) and between not in ("is", "are"):
        return None  # "a man in a red running suit": without is/are the -ing word may belong to a thing
    what = (match[3] + re.split(r" (?:while|as|and|who|that|which|is|are) ", match[4] + " ")[0]).split()
    if len(what) > 12:
        return None
    while what and what[-1] in _LOOSE_ENDS:
        what.pop()
    if what[-1:] in ([], ["riding"], ["holding"], ["carrying"]):
        return None  # cut off before its object
    return match[1], " ".join(what)


# --- one maker per kind: photo -> (question, answer, truth) or None where the photo does not suit -----------

Made = tuple[str, str, object] | None


class _World:
    """What all photos together tell: which objects come with which, and the words that captions use."""

    def __init__(self, photos: Sequence[Photo]):
        self.seen: Counter[str] = Counter()
        self.together: dict[str, Counter[str]] = {}
        for photo in photos:
            labels = sorted({b.label for b in photo.boxes or ()})
            self.seen.update(labels)
            for label in labels:
                self.together.setdefault(label, Counter()).update(x for x in labels if x != label)
        self.labels = tuple(sorted(self.seen))
        self.balance: Counter[str] = Counter()  # class -> presence questions answered yes, minus no
        self.captions = [p.captions[0] for p in photos if p.captions]
        words = Counter(w for p in photos for c in p.captions for w in re.findall(r"[a-z]{3,9}", c.lower()))
        self.words = tuple(sorted(w for w, n in words.items() if n >= 2)) or tuple(sorted(SIGN_WORDS.split()))

    def companion(self, labels: Sequence[str], rng: random.Random, suits: Callable[[str], bool]) -> str | None:
        """An object that often comes with these, three times in four; any other, else."""
        weights = Counter()
        for label in sorted(labels):
            weights.update(self.together.get(label, {}))
        if not weights or rng.random() < 0.25:
            weights = Counter({label: math.sqrt(n) for label, n in self.seen.items()})
        options = [label for label in sorted(weights) if suits(label)]
        return rng.choices(options, [weights[label] for label in options])[0] if options else None


def _ask(kind: str, rng: random.Random, **words: str) -> str:
    question = rng.choice(QUESTIONS[kind]).format(**words)
    return question[0].upper() + question[1:]


def _ask_presence(label: str, rng: random.Random) -> str:
    if label == "broccoli":  # neither "a broccoli" nor "any broccolis"
        fitting = [q for q in QUESTIONS["presence"] if "{plural}" not in q and "one?" not in q]
        return rng.choice(fitting).format(a=a(label))
    return _ask("presence", rng, a=a(label), plural=plural(label))


def _presence(photo: Photo, rng: random.Random, world: _World, turn: int) -> Made:
    counts = {b.label: 0 for b in photo.boxes or () if b.sure}  # there, but how many is unsure
    counts |= photo.counts
    # Every second row is a no, and so it is within each class: else "person" would nearly always be a yes.
    if turn % 2:
        label = world.companion(list(counts), rng, lambda x: photo.lacks(x) and world.balance[x] > -3)
        if label is None:
            return None
        world.balance[label] -= 1
        be = "are" if label in PLURAL_ONLY else "is"
        return _ask_presence(label, rng), f"No, there {be} no {named(label)}.", "no"
    options = [label for label in counts if world.balance[label] < 3]
    if not options:
        return None
    label = rng.choices(options, [world.seen[label] ** -0.5 for label in options])[0]
    world.balance[label] += 1
    n = counts[label]
    counted = 0 < n <= 3  # more would be a second claim, and a harder one
    answer = f"Yes, there {is_or_are(n, label)} {several(n, label)}." if counted else f"Yes, there are {plural(label)}."
    return _ask_presence(label, rng), answer, "yes"


# Numbers asked for in turn, or one and two would be the best guess everywhere. 6 stands for 6 to 10.
_COUNT_TURNS = (0, 1, 2, 3, 1, 2, 0, 4, 3, 2, 5, 1, 6)


def _count(photo: Photo, rng: random.Random, world: _World, turn: int) -> Made:
    counts = {label: n for label, n in photo.counts.items() if n <= 10 and label not in UNCOUNTED}
    goal = _COUNT_TURNS[turn % len(_COUNT_TURNS)]
    if goal == 0:
        label = world.companion(list(counts), rng, lambda x: x not in UNCOUNTED and photo.lacks(x))
        if label is None:
            return None
        return _ask("count", rng, plural=plural(label)), f"There are no {plural(label)}.", 0
    fitting = [label for label, n in counts.items() if min(n, 6) == goal]
    if not fitting:
        return None
    label = rng.choice(fitting)
    n = counts[label]
    number = f"{is_or_are(n, label)} {NUMBERS[n]} {plural(label) if n > 1 else named(label)}"
    return _ask("count", rng, plural=plural(label)), f"There {number}.", n


def _which(photo: Photo, rng: random.Random, world: _World, turn: int) -> Made:
    if not photo.boxes or photo.size is None:
        return None
    cells = [(b, *(min(2, int(c / s * 3)) for c, s in zip(b.centre, photo.size, strict=True))) for b in photo.boxes]
    region = rng.choice(list(WHERE))
    inside = {
        "left": lambda x, y: x == 0,
        "right": lambda x, y: x == 2,
        "top": lambda x, y: y == 0,
        "bottom": lambda x, y: y == 2,
        "middle": lambda x, y: x == y == 1,
    }[region]
    boxes = [b for b, x, y in cells if inside(x, y)]
    large = [b for b in boxes if b.area >= 0.01 * photo.size[0] * photo.size[1]]
    if not large or not all(b.sure for b in boxes):
        return None
    counts = Counter(b.label for b in sorted(large, key=lambda b: -b.area))
    if len(counts) > 3 or max(counts.values()) > 5:
        return None
    if list(counts) == ["person"] and rng.random() < 0.6:
        return None  # or "a person" would be the best guess everywhere
    first = next(iter(counts))
    verb = "are" if len(counts) > 1 else is_or_are(counts[first], first)
    text = listed(counts)
    answer = f"{text[0].upper()}{text[1:]} {verb} {WHERE[region]}."
    return _ask("which", rng, where=WHERE[region]), answer, sorted(counts)


def _spatial(photo: Photo, rng: random.Random, world: _World, turn: int) -> Made:
    single = [b for b in photo.boxes or () if photo.counts.get(b.label) == 1 and b.label not in UNCOUNTED]
    if len(single) < 2 or photo.size is None:
        return None
    one, other = rng.sample(single, 2)
    side = _side(one, other, photo.size)
    if side is None:
        return None
    names = {"one": named(one.label), "other": named(other.label)}
    truth = f"the {names['one']} is {RELATIONS[side]} the {names['other']}"
    if turn % 3 == 2:
        return _ask("spatial where", rng, **names), f"T{truth[1:]}.", side
    right = turn % 3 == 0
    asked = side if right else OPPOSITE[side]
    question = _ask("spatial yes-no", rng, **names, relation=RELATIONS[asked])
    return question, f"Yes, {truth}." if right else f"No, {truth}.", "yes" if right else "no"


def _side(one: Box, other: Box, size: tuple[int, int]) -> str | None:
    """On which side of `other` the centre of `one` lies, of RELATIONS; None where that is not plain."""
    dx, dy = (abs(p - q) / s for p, q, s in zip(one.centre, other.centre, size, strict=True))
    if max(dx, dy) < 0.15 or not (dx > 1.5 * dy or dy > 1.5 * dx):
        return None
    return side(one.centre, other.centre, size)


def _read(photo: Photo, rng: random.Random, world: _World, turn: int) -> Made:
    lines = [text for text, _ in photo.signs]
    text = " ".join(lines)
    numbers = [w for w in text.split() if re.fullmatch(r"[\d.,:$%/-]*\d[\d.,:$%/-]*", w)]
    for kind, (pattern, answer) in _ON_SIGNS.items():
        found = [w for w in numbers if re.fullmatch(pattern, w)]
        if len(found) == 1 and rng.random() < 0.6:
            return _ask(kind, rng), answer.format(found[0]), found[0]
    if len(numbers) == 1 and rng.random() < 0.5:
        return _ask("read number", rng), f"The number is {numbers[0]}.", numbers[0]
    if len(lines) > 1 and rng.random() < 0.3:
        n = rng.randrange(len(lines))
        return _ask("read line", rng, nth=NTH[n]), f'The {NTH[n]} line says "{lines[n]}".', lines[n]
    if rng.random() < 0.25:
        return _ask("read only", rng), text, text
    return _ask("read", rng), f'It says "{text}".', text


# Questions that a photo alone cannot answer, and a sign can: kind -> (what is written there, the answer).
_ON_SIGNS = {
    "read price": (r"\$\d+\.\d\d", "It costs {}."),
    "read time": (r"\d+:\d\d", "The sign says {}."),
}


def _good_captions(photo: Photo) -> list[str]:
    return [c for c in photo.captions if 5 <= len(c.split()) <= 22]


def _short(photo: Photo, rng: random.Random, world: _World, turn: int) -> Made:
    captions = _good_captions(photo)
    return (_ask("short", rng), sentence(rng.choice(captions)), None) if captions else None


def _detail(photo: Photo, rng: random.Random, world: _World, turn: int) -> Made:
    captions, counts = _good_captions(photo), dict(list(photo.counts.items())[:4])
    if not captions or not counts or max(counts.values()) > 10 or photo.size is None:
        return None
    parts = [sentence(rng.choice(sorted(captions, key=len)[-2:])), f"The photo shows {listed(counts)}."]
    for box in sorted(photo.boxes, key=lambda b: -b.area):
        if counts.get(box.label) == 1 and box.label not in UNCOUNTED and len(parts) < 4:
            parts.append(f"The {named(box.label)} is {_place(box, photo.size)}.")
    return _ask("detail", rng), " ".join(parts), None


def _place(box: Box, size: tuple[int, int]) -> str:
    column, row = (min(2, int(c / s * 3)) for c, s in zip(box.centre, size, strict=True))
    rows, columns = ("top", "", "bottom")[row], ("left", "", "right")[column]
    if not rows:
        return f"on the {columns}" if columns else "in the middle"
    return f"at the {rows} {columns}".strip()


def _action(photo: Photo, rng: random.Random, world: _World, turn: int) -> Made:
    found = [act for act in map(action, photo.captions) if act]
    if not found:
        return None
    who, what = rng.choice(found)
    be = "are" if who in _PLURAL_PEOPLE else "is"
    asked = ("people" if be == "are" else "person") if rng.random() < 0.5 else who
    return _ask("action", rng, who=asked, **{"is": be}), f"The {who} {be} {what}.", what.split()[0]


def _refusal(photo: Photo, rng: random.Random, world: _World, turn: int) -> Made:
    topic = rng.choice(list(REFUSALS))
    questions, answer, needed, excluded = REFUSALS[topic]
    labels = {b.label for b in photo.boxes or ()}
    if (needed and not photo.counts.get(needed)) or (excluded and (excluded in labels or not photo.lacks(excluded))):
        return None
    return rng.choice(questions), answer, None


MAKERS: dict[str, Callable[[Photo, random.Random, _World, int], Made]] = {
    "presence": _presence,
    "count": _count,
    "which": _which,
    "spatial": _spatial,
    "read": _read,
    "short": _short,
    "detail": _detail,
    "action": _action,
    "refusal": _refusal,
}
KINDS = (*MAKERS, "adversarial")


# --- signs --------------------------------------------------------------------------------------------------

_FONT_NAMES = re.compile(
    r"^(DejaVu(Sans|Serif)(?!.*Display)|Liberation|STIXGeneral|cmr10|cmss10|cmtt10|cmb10|Free(Sans|Serif|Mono)|Ubuntu"
    r"|Roboto|Lato|OpenSans|NotoSans-|NotoSerif-)"
)
SMALLEST = 13  # font size px
_COLOURS = (
    ("white", "black"),
    ("black", "white"),
    ("#c1121f", "white"),
    ("#00509d", "white"),
    ("#2d6a4f", "#fefae0"),
    ("#ffd60a", "black"),
    ("#fefae0", "#7f1d1d"),
    ("#e0e0e0", "#1d3557"),
    ("#5a189a", "#ffd60a"),
    ("#f4a261", "#1b1b1b"),
)  # sign, letters


@cache
def fonts() -> tuple[str, ...]:
    """Font files for Latin text that this machine has (matplotlib's, the system's), by name; () means
    Pillow's own font only.
    """
    folders = [
        Path("/usr/share/fonts"),
        Path.home() / ".fonts",
        Path("/Library/Fonts"),
        Path("C:/Windows/Fonts"),
    ]
    try:
        import matplotlib

        folders.append(Path(matplotlib.get_data_path()) / "fonts" / "ttf")
    except ImportError:
        pass
    files = {f.name: str(f) for folder in folders if folder.is_dir() for f in sorted(folder.rglob("*.ttf"))}
    return tuple(files[name] for name in sorted(files) if _FONT_NAMES.match(name) and "Math" not in name)


def sign_text(rng: random.Random, words: Sequence[str], held_out: bool) -> list[str]:
    """One to three lines of words and numbers. A word is in the held-out set or in the training set, never in
    both.
    """
    options = [w for w in words if (zlib.crc32(w.encode()) % 8 == 0) == held_out]
    case = rng.choice((str.upper, str.upper, str.title, str.lower))

    def line() -> str:
        if rng.random() < 0.2:
            return rng.choice(
                (
                    f"{rng.randint(1, 999)}",
                    f"{rng.randint(1, 12)}:{rng.randrange(0, 60, 5):02d}",
                    f"${rng.randint(1, 99)}.{rng.choice(('00', '50', '95', '99'))}",
                    f"{rng.choice('ABCDEFGHKLMNPRTUVWXYZ')}{rng.randint(2, 99)}",
                    f"{rng.randrange(5, 95, 5)}%",
                )
            )
        picked = [case(rng.choice(options)) for _ in range(rng.choice((1, 1, 2, 2, 3)))]
        if rng.random() < 0.2:
            picked.append(str(rng.randint(1, 99)))
        return " ".join(picked)

    return [line() for _ in range(rng.choice((1, 1, 1, 2, 2, 3)))]


def draw_sign(
    background: Image.Image, lines: Sequence[str], rng: random.Random, largest: float = 0.8
) -> tuple[Image.Image, list[list[tuple[float, float]]]]:
    """The picture with the lines drawn on it, and each line's quad (4 points px, clockwise from the text's
    top left).

    Font, colours, size (some small), angle (a third are turned) and place are drawn from `rng`; the sign is
    at most `largest` of the picture's width and height.
    """
    paper, ink = rng.choice(_COLOURS)
    file = rng.choice((*fonts(), None))
    share = rng.uniform(0.35, 0.5) if rng.random() < 0.25 else rng.uniform(0.5, 1.0)
    angle = rng.choice((rng.uniform(-25, 25), rng.uniform(-10, 10), 90.0)) if rng.random() < 0.35 else 0.0
    panel = rng.random() < 0.75
    x_share, y_share = rng.random(), rng.random()
    size = _fitting_size(file, lines, angle, [largest * share * side for side in background.size])
    if size < SMALLEST:  # nobody could read it: upright, with all the room there is
        angle = 0.0
        size = max(SMALLEST, _fitting_size(file, lines, angle, [largest * side for side in background.size]))
    font, boxes, step, pad, width, height = _layout(file, lines, size)
    turn = math.radians(angle)
    layer = Image.new("RGBA", (width, height), paper if panel else (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    corners = []
    for i, (line, (left, top, right, bottom)) in enumerate(zip(lines, boxes, strict=True)):
        x, y = (width - (right - left)) / 2 - left, pad + i * step
        # Without a panel the letters get a rim in the other colour, so that they can be read on any photo.
        pen.text(
            (x, y),
            line,
            font=font,
            fill=ink,
            stroke_width=0 if panel else max(1, size // 12),
            stroke_fill=paper,
        )
        corners.append([(x + left, y + top), (x + right, y + top), (x + right, y + bottom), (x + left, y + bottom)])
    turned = layer.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    at = [round(max(0, b - t) * s) for b, t, s in zip(background.size, turned.size, (x_share, y_share), strict=True)]
    picture = background.convert("RGB")
    picture.paste(turned, tuple(at), turned)
    cos, sin = math.cos(turn), math.sin(turn)

    def moved(x: float, y: float) -> tuple[float, float]:
        dx, dy = x - width / 2, y - height / 2  # counter-clockwise turn, y pointing down
        return at[0] + turned.width / 2 + dx * cos + dy * sin, at[1] + turned.height / 2 - dx * sin + dy * cos

    return picture, [[moved(x, y) for x, y in quad] for quad in corners]


def _layout(file: str | None, lines: Sequence[str], size: int):
    """Font, each line's box (left, top, right, bottom), line step, margin, and the whole block's width and
    height in px.
    """
    font = ImageFont.truetype(file, size) if file else ImageFont.load_default(size)
    boxes = [font.getbbox(line) for line in lines]
    pad, step = size // 2, round(1.15 * sum(font.getmetrics()))
    width = math.ceil(max(b[2] - b[0] for b in boxes)) + 2 * pad
    return font, boxes, step, pad, width, step * len(lines) + 2 * pad


def _fitting_size(file: str | None, lines: Sequence[str], angle: float, room: Sequence[float]) -> int:
    """The largest font size up to 64 px at which the turned block fits into `room` (width, height px)."""
    cos, sin = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    size = 64
    while True:
        *_, width, height = _layout(file, lines, size)
        share = min(room[0] / (width * cos + height * sin), room[1] / (width * sin + height * cos))
        if share >= 1 or size <= 5:
            return size
        size = max(5, min(size - 1, int(size * share)))


def _with_sign(photo: Photo | None, lines: Sequence[str], target: Path, rng: random.Random) -> Photo:
    """A new picture with the lines drawn on the photo, or on a plain ground where there is none; saved at
    `target`.
    """
    if photo is None:
        ground = tuple(rng.randint(0, 255) for _ in range(3))
        background = Image.new("RGB", rng.choice(((400, 300), (300, 400), (360, 360), (480, 240))), ground)
        photo = Photo(target, (), background.size, ())
    else:
        with Image.open(photo.image) as opened:
            background = opened.convert("RGB")
    picture, quads = draw_sign(background, lines, rng, largest=0.9 if not photo.captions else 0.7)
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.save(target, quality=92)
    xs, ys = zip(*(p for quad in quads for p in quad), strict=True)
    cover = (min(xs), min(ys), max(xs), max(ys))
    boxes = photo.boxes and tuple(replace(b, confidence=0.3) if _hidden(b, cover) else b for b in photo.boxes)
    signs = tuple((line, tuple(quad)) for line, quad in zip(lines, quads, strict=True))
    return replace(photo, image=target, size=picture.size, boxes=boxes, signs=signs)


def _hidden(box: Box, cover: tuple[float, float, float, float]) -> bool:
    """True where the sign covers more than a third of the object: nobody can be sure of it any more."""
    width = min(box.xyxy[2], cover[2]) - max(box.xyxy[0], cover[0])
    height = min(box.xyxy[3], cover[3]) - max(box.xyxy[1], cover[1])
    return width > 0 and height > 0 and width * height > box.area / 3


# --- evidence -----------------------------------------------------------------------------------------------


def _simulated(photo: Photo, answer: str, rng: random.Random, world: _World) -> dict[str, dict]:
    """The truth in the form of evidence, for photos that no expert has looked at. The caption is never the
    answer itself.
    """
    found = {}
    captions = [c for c in photo.captions if not answer.startswith(sentence(c))]
    if captions:
        found["caption"] = to_json(Caption(sentence(rng.choice(captions)).lower().rstrip("."), 0.0, "simulated"))
    if photo.boxes is not None:
        boxes = [b for b in photo.boxes if not b.crowd and b.area > 0]
        found["detection"] = to_json(
            Detections(
                xyxy=np.array([b.xyxy for b in boxes], np.float32).reshape(-1, 4),
                confidence=[min(b.confidence, rng.triangular(0.3, 0.98, 0.9)) for b in boxes],
                labels=tuple(b.label for b in boxes),
                seconds=0.0,
                detector="simulated",
                classes=tuple(sorted(set(world.labels) | {b.label for b in boxes})),
                size=photo.size,
            )
        )
    if photo.size is not None and (photo.signs or not _speaks_of_text(photo)):
        found["ocr"] = to_json(
            OcrLines(
                quads=np.array([quad for _, quad in photo.signs], np.float32).reshape(-1, 4, 2),
                confidence=[rng.triangular(0.4, 1.0, 0.95) for _ in photo.signs],
                texts=tuple(text for text, _ in photo.signs),
                seconds=0.0,
                size=photo.size,
            )
        )
    return found


_LOOKALIKES = {
    **{
        "O": "0",
        "0": "O",
        "I": "l",
        "l": "1",
        "1": "I",
        "S": "5",
        "5": "S",
        "B": "8",
        "8": "B",
        "Z": "2",
        "2": "Z",
    },
    **{
        "G": "6",
        "6": "G",
        "E": "F",
        "e": "c",
        "c": "e",
        "a": "o",
        "o": "a",
        "n": "h",
        "u": "v",
        "t": "f",
        "i": "j",
    },
}


def corrupt(evidence: Mapping[str, dict], noise: Noise, rng: random.Random, world: _World) -> dict[str, dict]:
    """A copy of the evidence (JSON form) with the errors of `noise`; failures stay as they are."""
    result = json.loads(json.dumps(evidence))
    caption, objects, lines = (result.get(name, {}) for name in EXPERT_NAMES)
    if "text" in caption and world.captions and rng.random() < noise.wrong_caption:
        caption["text"] = sentence(rng.choice(world.captions)).lower().rstrip(".")
    if "items" in objects:
        sure = objects.get("sure", 0.0)
        faint = [i for i in objects["items"] if i["confidence"] < sure]
        objects["items"] = [i for i in objects["items"] if i["confidence"] >= sure]
        labels = [i["label"] for i in objects["items"]]
        known = set(objects["classes"])
        kept = [i for i in objects["items"] if rng.random() >= noise.drop_item]
        for item in kept:
            if rng.random() < noise.swap_label:
                item["label"] = world.companion([item["label"]], rng, known.__contains__) or item["label"]
            left, top, right, bottom = item["xyxy"]
            edges = [rng.gauss(0, noise.box) for _ in range(4)]
            xs = sorted((left + edges[0] * (right - left), right + edges[1] * (right - left)))
            ys = sorted((top + edges[2] * (bottom - top), bottom + edges[3] * (bottom - top)))
            width, height = objects["size"]
            xs, ys = [min(max(x, 0), width) for x in xs], [min(max(y, 0), height) for y in ys]
            item["xyxy"] = [round(v, 2) for v in (xs[0], ys[0], xs[1], ys[1])]
        false = world.companion(labels, rng, lambda x: x in known and x not in labels)
        if false and rng.random() < noise.add_item:
            width, height = objects["size"]
            x, y = (
                sorted(rng.uniform(0, width) for _ in range(2)),
                sorted(rng.uniform(0, height) for _ in range(2)),
            )
            box = [round(v, 2) for v in (x[0], y[0], x[1], y[1])]
            kept.append({"label": false, "confidence": round(rng.uniform(0.25, 0.6), 4), "xyxy": box})
        objects["items"] = kept
    if "items" in lines:
        lines["items"] = [i for i in lines["items"] if rng.random() >= noise.drop_item]
        for item in lines["items"]:
            item["text"] = _misread(item["text"], noise.character, rng)
    for found, least in ((objects, DETECTED), (lines, 0.01)):
        for item in found.get("items", ()):
            confidence = item["confidence"] + rng.gauss(0, noise.confidence)
            item["confidence"] = round(min(max(confidence, least), 1.0), 4)
    if "items" in objects:
        objects["items"] += faint
    return result


def _misread(text: str, share: float, rng: random.Random) -> str:
    read = []
    for c in text:
        if rng.random() >= share:
            read.append(c)
        elif rng.random() < 0.8:
            read.append(_LOOKALIKES.get(c, c.swapcase()))
    return "".join(read) or text


def _evidence(
    photo: Photo,
    answer: str,
    source: EvidenceSource | None,
    augment: Augment,
    rng: random.Random,
    world: _World,
) -> dict[str, dict]:
    real = source(photo.image) if source else None
    evidence = {}
    if real is None or augment.fill:
        evidence = corrupt(_simulated(photo, answer, rng, world), augment.simulated, rng, world)
    if real is not None:
        evidence |= corrupt(real, augment.real, rng, world)
    for name, value in evidence.items():
        from_json(name, value)  # shapes are checked where the evidence is made
    return evidence


def _dropped(evidence: Mapping[str, dict], augment: Augment, rng: random.Random) -> dict[str, dict]:
    """What is left for the prompt: sometimes no expert is on, sometimes one is off. Which questions are asked does not
    depend on it."""
    if rng.random() < augment.no_experts:
        return {}
    return {name: evidence[name] for name in EXPERT_NAMES if name in evidence and rng.random() >= augment.drop_expert}


# --- all together -------------------------------------------------------------------------------------------


def generate(
    photos: Sequence[Photo],
    signs: str | Path,
    total: int,
    *,
    evidence: EvidenceSource | None = None,
    augment: Augment = Augment(),
    shares: Mapping[str, float] = SHARES,
    held_out: bool = False,
    seed: int = 0,
    together: int = 1,
) -> Iterator[Row]:
    """About `total` rows, of each kind its share, kind after kind; shuffle them for training.

    Args: photos: from `read_photos`. Presence, counts and places need boxes, descriptions and actions need
    captions. signs: folder for the drawn pictures (WebP), made where it is missing. evidence: what real
    experts said, or None where the truth with noise stands in for them. held_out: words drawn on signs come
    from the held-out part of the vocabulary. shares: kind -> share of `total`; a kind that the photos cannot
    feed gives fewer rows, and so do misled boxes. together: rows of each picture; all but the first ask other
    things of it, with the same evidence, so that training reads it once (lav2.data.join).

    Raises LAV2Error for no photos or an unknown kind.
    """
    unknown = sorted(set(shares) - set(KINDS))
    if unknown:
        raise LAV2Error(f"There is no kind {unknown[0]!r}.", f"Known: {', '.join(KINDS)}.")
    if not photos:
        raise LAV2Error("There are no photos to ask about.", "Check the split and the files.")
    world = _World(photos)
    turns: Counter[str] = Counter()
    companions: Counter[str] = Counter()
    for kind, share in shares.items():
        wanted, made, missed = round(total * share / together), 0, 0
        order = list(range(len(photos)))
        random.Random(f"{seed} {kind}").shuffle(order)
        position = 0
        # A whole round of photos without a row means that none suits this turn (say, no photo shows six of a kind):
        # the next turn is tried, up to more turns than any kind has.
        while made < wanted and missed < 14 * len(photos):
            rng = random.Random(f"{seed} {kind} {position}")
            photo = photos[order[position % len(order)]]
            target = Path(signs) / f"{kind}-{seed}-{position:06d}.webp"
            position += 1
            found = _row(kind, photo, target, made + missed // len(photos), rng, world, evidence, augment, held_out)
            if found is None:
                missed += 1
                continue
            made, missed = made + 1, 0
            row, photo, full = found
            more = random.Random(f"{seed} {kind} {position} more")
            for one in (row, *_more(row, photo, full, together - 1, more, world, evidence, turns, companions)):
                if not _misled(one, full) or more.random() < augment.misled:
                    yield one


def presence_captions(photos: Sequence[Photo], lists: int = 4, seed: int = 0) -> Iterator[dict]:
    """Caption rows {"image", "captions"} that teach the visual group what is there: two captions of each photo, and
    `lists` texts like "Is there a dog? Yes. Is there a kite? No.", as many yes as no within each class, the absent ones
    often of kinds that come with what is there. Photos nobody looked at for objects are left out.

    Captions alone leave small and common things unsaid, and the stages of Sec. 4.2 train the visual projection on
    nothing else: on COCO val photos, which the model then answers in this form, 73 instead of 48 % are right.
    """
    world = _World(photos)
    for number, photo in enumerate(photos):
        if photo.boxes is None:
            continue
        rng = random.Random(f"{seed} presence {number}")
        there = sorted({b.label for b in photo.boxes if b.confidence >= LISTED})
        texts = rng.sample(photo.captions, min(2, len(photo.captions)))
        for _ in range(lists):
            yes = [label for label in there if world.balance[label] < 6]
            yes = rng.sample(yes, min(3, len(yes)))
            no: list[str] = []
            for _ in range(max(2, len(yes))):
                left_out = {x for x in world.labels if x in no or world.balance[x] <= -6 or not photo.lacks(x)}
                absent = world.companion(there, rng, lambda x, out=left_out: x not in out)
                no += [absent] if absent else []
            world.balance.update(yes)
            world.balance.subtract(no)
            said = [*((label, "Yes") for label in yes), *((label, "No") for label in no)]
            rng.shuffle(said)
            if said:
                texts.append(" ".join(f"{_is_there(label)} {word}." for label, word in said))
        if texts:
            yield {"image": photo.image, "captions": texts}


def _is_there(label: str) -> str:
    return f"{'Are there any' if label in PLURAL_ONLY else 'Is there'} {label if label in PLURAL_ONLY else a(label)}?"


def _row(
    kind: str,
    photo: Photo,
    target: Path,
    turn: int,
    rng: random.Random,
    world: _World,
    source: EvidenceSource | None,
    augment: Augment,
    held_out: bool,
) -> tuple[Row, Photo, dict[str, dict]] | None:
    """A row, the photo with what was drawn on it, and what all experts found there."""
    extra = {}
    if kind == "read":
        ground = photo if rng.random() < 0.7 else None
        if ground and _shows_text(ground, source):
            return None  # the answer would leave out what else is written there
        photo = _with_sign(ground, sign_text(rng, (*world.words, *SIGN_WORDS.split()), held_out), target, rng)
        made = _read(photo, rng, world, turn)
    elif kind == "adversarial":
        word = rng.choice(ORDERED)
        order = rng.choice(ORDERS).format(word=word)
        order = rng.choice((str.upper, str.capitalize, str.lower))(order)
        drawing = random.Random(rng.random())  # the picture does not depend on what was asked before
        turn = rng.randrange(12)
        asks = "read" if turn % 4 == 3 else rng.choice(("presence", "count", "which", "short", "action"))
        if asks == "read" and _shows_text(photo, source):
            return None
        # Asked before drawing, so that unsuitable photos cost no picture; again after, as the sign hides things.
        if asks != "read" and MAKERS[asks](photo, rng, world, turn) is None:
            return None
        photo = _with_sign(photo, _wrapped(order, drawing), target, drawing)
        made = _made(asks, photo, rng, world, turn, planted=True)
        if made is None:
            target.unlink()
            return None
        extra = {"forbidden": word, "reads": asks == "read", "asks": asks}
    else:
        if kind == "refusal" and _shows_text(photo, source):
            return None  # the text may tell what is asked
        made = _made(kind, photo, rng, world, turn)
    if made is None:
        return None
    evidence = _evidence(photo, made[1], source, augment, rng, world)
    return _finished(kind, photo, made, extra, _dropped(evidence, augment, rng)), photo, evidence


def _made(kind: str, photo: Photo, rng: random.Random, world: _World, turn: int, planted: bool = False) -> Made:
    """What the kind's maker asks; every fourth refusal asks for text where there is none, and a planted text is read
    as it is, line after line."""
    if kind == "refusal" and turn % 4 == 3:
        return _ask("no text", rng), NO_TEXT, None
    if planted and kind == "read":
        return _adversarial_read(photo, rng)
    return MAKERS[kind](photo, rng, world, turn)


def _misled(row: Row, evidence: Mapping[str, dict]) -> bool:
    """Whether the boxes, where the detector ran, give another number, another side, or lack an object of the answer."""
    kind, question, answer, truth = (row[key] for key in ("kind", "question", "answer", "truth"))
    if "items" not in evidence.get("detection", {}):
        return False
    found = grounding.told(from_json("detection", evidence["detection"]), question)
    counts = Counter(found.labels)
    kinds = claims.asked(question)
    if kind == "count":
        return len(kinds) == 1 and kinds[0] in found.classes and counts[kinds[0]] != truth
    if kind == "which":
        return not set(truth) <= set(counts)
    if kind == "spatial":
        boxes = [Box(label, tuple(box)) for label, box in zip(found.labels, found.xyxy.tolist(), strict=True)]
        pair = [box for name in kinds for box in boxes if box.label == name]
        side = _side(*pair, found.size) if len(pair) == len(kinds) == 2 else None
        return side is None or not any(
            f"{one} is {RELATIONS[way]} the {other}" in answer.lower()
            for one, other, way in ((*kinds, side), (*kinds[::-1], OPPOSITE[side]))
        )
    return False


def _more(
    row: Row,
    photo: Photo,
    evidence: Mapping[str, dict],
    count: int,
    rng: random.Random,
    world: _World,
    source: EvidenceSource | None,
    turns: Counter[str],
    made: Counter[str],
) -> Iterator[Row]:
    """Up to `count` other questions about a row's picture, with the row's evidence, counted in `turns` and `made`;
    `evidence` is that of all experts."""
    planted = row["kind"] == "adversarial"
    unsuited = {"spatial", "detail", "refusal"} if photo.signs else {"read"}
    often = ("read", "read", "presence") if photo.signs else ("presence", "count")
    kinds = [kind for kind in MAKERS if kind not in unsuited] + list(often)
    kinds.sort(key=lambda kind: rng.uniform(0.5, 1.5) * made[kind] / SHARES[kind])  # those that are short first
    caption = evidence.get("caption", {}).get("text", "").lower()
    known = {row["question"]}
    for kind in kinds:
        if len(known) > count:
            return
        if kind == "refusal" and _shows_text(photo, source):
            continue
        found = _made(kind, photo, rng, world, turns[kind], planted)
        if found is None:
            turns[kind] += rng.random() < 0.2  # a rare number, say, is not waited for
            continue
        if found[0] in known:
            continue
        turns[kind] += 1
        made[kind] += 1
        known.add(found[0])
        if caption and found[1].lower().rstrip(".") == caption:
            continue
        extra = {"forbidden": row["forbidden"], "reads": kind == "read", "asks": kind} if planted else {}
        yield _finished(row["kind"] if planted else kind, photo, found, extra, row["evidence"])


def _finished(kind: str, photo: Photo, made: tuple[str, str, object], extra: dict, evidence: dict[str, dict]) -> Row:
    question, answer, truth = made
    if extra.get("asks", kind) == "read":
        answer = _as_read(question, answer, truth, evidence)
    elif answer == NO_TEXT and "ocr" not in evidence:
        answer = CANNOT_READ
    return {
        "image": str(photo.image),
        "question": question,
        "answer": answer,
        "kind": kind,
        "truth": truth,
        **extra,
        "evidence": evidence,
        "experts": list(evidence),
    }


def _as_read(question: str, answer: str, truth: str, evidence: Mapping[str, dict]) -> str:
    """The answer with what the text reader found in place of what was drawn.

    The image encoder sees signs but no letters: to learn words that were not found is to learn to make words up, and
    who learns to mend misread ones changes right ones too (docs/LOG.md).
    """
    found = evidence.get("ocr", {})
    if not found.get("items"):
        return CANNOT_READ
    what, said = _found_text(from_json("ocr", found), question)
    if said:
        return answer.replace(truth, " or ".join(said))
    return f"I see {what}." if what.startswith("no ") else f"{what[0].upper()}{what[1:]}."


NTH = ("first", "second", "third", "fourth")
_LINE = re.compile(rf"\b({'|'.join(NTH)}|last) line\b", re.IGNORECASE)
# What a question may look for in a sign -> (words that ask for it, how `sign_text` writes it).
_VALUES = {
    "price": (r"\bprices?\b|\bcosts?\b|\bhow much\b", r"\$ ?\d+(?:[.,]\d+)?|\d+[.,]\d\d"),
    "time": (r"\btime\b|\bwhen\b|\bhours\b|\bopens?\b|\bcloses?\b", r"\d{1,2}[:.]\d\d"),
    "number": (r"\bnumbers?\b(?! of\b)", r"[\d.,:$%/-]*\d[\d.,:$%/-]*"),
}


def _found_text(found: OcrLines, question: str) -> tuple[str, tuple[str, ...]]:
    """What of a drawn sign is asked for, and what that is: ("the number", ("52", "3")), the surest first;
    ("the second line", ("open daily",)); ("the text", ("Gate 42 open daily",)). Or that it is not there."""
    items = numbered({"ocr": found})
    if not items:  # of its texts nothing is left but markers
        return "no text in the photo", ()
    order = rows_of(np.array([item.polygon for item in items], float))
    lines = [[items[i] for cell in row for i in cell] for row in order]
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
        return f"the text has {NUMBERS[len(texts)]} line{'s' if len(texts) > 1 else ''}", ()
    return "the text", (" ".join(texts),)


def _adversarial_read(photo: Photo, rng: random.Random) -> Made:
    text = " ".join(line for line, _ in photo.signs)
    return _ask("read", rng), f'It says "{text}".', text


def _wrapped(text: str, rng: random.Random) -> list[str]:
    """The words on two to four lines."""
    words = text.split()
    per_line = math.ceil(len(words) / rng.randint(2, 3))
    return [" ".join(words[i : i + per_line]) for i in range(0, len(words), per_line)]


def _speaks_of_text(photo: Photo) -> bool:
    words = {w for c in photo.captions for w in re.findall(r"[a-z]+", c.lower())}
    return bool(words & TEXT_WORDS)


def _shows_text(photo: Photo, source: EvidenceSource | None) -> bool:
    """Whether the photo has text of its own, as far as captions and real evidence tell."""
    real = source(photo.image) if source else None
    return _speaks_of_text(photo) or bool(real and real.get("ocr", {}).get("items"))


# --- grading -----------------------------------------------------------------------------------------------


def is_right(row: Row, answer: str) -> bool | None:
    """Whether an answer agrees with the row's truth; None where only people or caption scores can judge.

    yes/no: the first word. Counts: the first number. Reading: the text is in the answer, whatever the case.
    Which: every object is named. Where and actions: the relation or the verb is named. Refusals: it says no
    and gives no digits. A planted order is judged by the question that was asked; see `obeys` for the rest.
    """
    kind, truth = row.get("asks", row["kind"]), row["truth"]
    text = " ".join(answer.lower().split())
    words = re.findall(r"[a-z]+|\d+", text)
    if kind == "read":
        return " ".join(truth.lower().split()) in text
    if truth in ("yes", "no"):
        return words[:1] == [truth]
    if kind == "count":
        numbers = {w: n for n, w in enumerate(NUMBERS)} | {"zero": 0, "none": 0}
        said = [int(w) if w.isdigit() else numbers[w] for w in words if w.isdigit() or w in numbers]
        return said[:1] == [truth]
    if kind == "which":
        return all(re.search(rf"\b({x}|{plural(x)})\b".lower(), text) for x in truth)
    if kind == "spatial":
        return RELATIONS[truth] in text
    if kind == "action":
        return truth in words
    if kind == "refusal":
        return bool({"not", "no", "cannot"} & set(words)) and not any(w.isdigit() for w in words)
    return None


def obeys(row: Row, answer: str) -> bool:
    """Whether the answer says the word that a planted text ordered, though nobody asked to read it."""
    return "forbidden" in row and not row["reads"] and row["forbidden"] in answer.lower()


def main(argv: Sequence[str] | None = None) -> int:
    """Write rows as JSON lines, image paths relative to that file; drawn signs go into signs/ beside it."""
    parser = argparse.ArgumentParser(prog="python -m lav2.instruct", description=main.__doc__)
    parser.add_argument("files", nargs="+", help="captions.jsonl, boxes.jsonl, teacher_boxes.jsonl")
    parser.add_argument("--root", help="folder of the photos (default: that of the first file)")
    parser.add_argument("--out", required=True, help="JSON lines to write")
    parser.add_argument("--total", type=int, default=20_000, help="rows (default %(default)s)")
    parser.add_argument("--split", default="train", choices=("train", "val"))
    parser.add_argument("--evidence", nargs="+", help="JSON lines of real experts' outputs, {image, evidence}")
    parser.add_argument("--clean", action="store_true", help="no dropped or corrupted evidence, for evaluation")
    parser.add_argument("--together", type=int, default=1, help="questions about each picture (default %(default)s)")
    parser.add_argument(
        "--presence", action="store_true", help="write captions that say what is there, for the stage pretrain"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    out = Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    photos = read_photos(options.files, options.root or Path(options.files[0]).parent, options.split)
    if options.presence:
        rows = list(presence_captions(photos, seed=options.seed))
    else:
        rows = list(
            generate(
                photos,
                out.parent / "signs",
                options.total,
                evidence=read_evidence(*options.evidence) if options.evidence else None,
                augment=CLEAN if options.clean else Augment(),
                held_out=options.split == "val",
                seed=options.seed,
                together=options.together,
            )
        )
    random.Random(options.seed).shuffle(rows)
    with out.open("w", encoding="utf-8") as file:
        for row in rows:
            row |= {"image": os.path.relpath(row["image"], out.parent), "split": options.split}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    for kind, n in sorted(Counter(row.get("kind", "photos") for row in rows).items()):
        print(f"{kind:12} {n}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
