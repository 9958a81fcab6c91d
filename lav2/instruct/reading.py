"""Text as the reader found it: answers follow its mistakes."""

import math
import random
import re
from collections.abc import Mapping

import numpy as np

from experts.evidence import OcrLines, from_json
from experts.reading_order import rows_of
from experts.render import numbered
from lav2.instruct.photos import EvidenceSource, Photo
from lav2.instruct.phrasings import TEXT_WORDS
from lav2.instruct.world import Made, ask
from lav2.text.grounding import NUMBERS
from lav2.text.weighing import CANNOT_READ


def answer_as_read(question: str, answer: str, truth: str, evidence: Mapping[str, dict]) -> str:
    """The answer with what the text reader found in place of what was drawn.

    The image encoder sees signs but no letters: to learn words that were not found is to learn to make words up, and
    who learns to mend misread ones changes right ones too (docs/LOG.md).
    """
    found = evidence.get("ocr", {})
    if not found.get("items"):
        return CANNOT_READ
    what, texts = found_text(from_json("ocr", found), question)
    if texts:
        return answer.replace(truth, " or ".join(texts))
    return f"I see {what}." if what.startswith("no ") else f"{what[0].upper()}{what[1:]}."


NTH = ("first", "second", "third", "fourth")
_LINE = re.compile(rf"\b({'|'.join(NTH)}|last) line\b", re.IGNORECASE)
# What a question may look for in a sign -> (words that ask for it, how `sign_text` writes it).
_VALUES = {
    "price": (r"\bprices?\b|\bcosts?\b|\bhow much\b", r"\$ ?\d+(?:[.,]\d+)?|\d+[.,]\d\d"),
    "time": (r"\btime\b|\bwhen\b|\bhours\b|\bopens?\b|\bcloses?\b", r"\d{1,2}[:.]\d\d"),
    "number": (r"\bnumbers?\b(?! of\b)", r"[\d.,:$%/-]*\d[\d.,:$%/-]*"),
}


def found_text(found: OcrLines, question: str) -> tuple[str, tuple[str, ...]]:
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


def adversarial_read(photo: Photo, rng: random.Random) -> Made:
    text = " ".join(line for line, _ in photo.signs)
    return ask("read", rng), f'It says "{text}".', text


def wrapped(text: str, rng: random.Random) -> list[str]:
    """The words on two to four lines."""
    words = text.split()
    per_line = math.ceil(len(words) / rng.randint(2, 3))
    return [" ".join(words[i : i + per_line]) for i in range(0, len(words), per_line)]


def speaks_of_text(photo: Photo) -> bool:
    words = {w for c in photo.captions for w in re.findall(r"[a-z]+", c.lower())}
    return bool(words & TEXT_WORDS)


def shows_text(photo: Photo, source: EvidenceSource | None) -> bool:
    """Whether the photo has text of its own, as far as captions and real evidence tell."""
    real = source(photo.image) if source else None
    return speaks_of_text(photo) or bool(real and real.get("ocr", {}).get("items"))
