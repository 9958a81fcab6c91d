"""Documents and the question sets of others -> training rows of lav2.data: one row a document, its questions together."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from lav2.documents import (
    boards,
    cards,
    facts,
    kinds,
    permits,
    prices,
    prose,
    receipts,
    states,
    tables,
    tags,
    times,
    words,
    written,
)
from lav2.documents.kinds import Ask, Document
from lav2.documents.layout import ocr_json
from lav2.documents.phrasing import worded
from lav2.text.weighing import ABSENT

MAKERS = (
    (cards.card, 22), (prices.price_list, 20), (receipts.receipt, 15), (times.hours, 14), (times.timetable, 9),
    (facts.facts, 8), (prose.letter, 8), (prose.sign, 11), (prose.columns, 1), (tags.tag, 11), (tags.label, 9),
    (states.states, 12), (permits.permits, 10), (tables.table, 7), (boards.board, 14),
)  # fmt: skip
# How likely a kind of question is kept beside others of a document: what is hard is asked more often.
WEIGHTS = {
    "about": 0.35, "read": 0.5, "title": 0.7, "line": 0.3, "rows": 0.6, "member": 0.7, "absent": 0.8, "least": 2.0, "most": 2.0,
    "least value": 1.5, "most value": 1.5, "key": 1.5, "below": 1.5, "follow-up": 1.3, "closed": 2.0, "open": 2.0, "change": 1.5, "days": 2.0,
    "state": 1.2, "which state": 1.5, "told": 1.5, "paid by": 1.5,
}  # fmt: skip
QUESTIONS = 9  # of a document at most
WRITTEN = 0.8  # share of documents that somebody wrote
LEAST_ABOUT = 4  # words
CLEAN = 0.5  # share of documents without a misread character
# Where other experts look at a page as well: how often they run, and how often the detector finds something in it.
CAPTIONED, DETECTED, FOUND = 0.75, 0.75, 0.35
AMONG = 0.15  # share of documents with rows of something else around them
ON_A_PHOTO = 0.6  # share of documents that are asked about beside some photo
PAGE_THINGS = (
    "book",
    "person",
    "tv",
    "laptop",
    "clock",
    "bottle",
    "cup",
    "dining table",
    "cell phone",
    "car",
    "bus",
    "train",
)


PAGE_CAPTIONS = (
    "A sign on a pole in front of a building", 'A sign on a street sign that says "{said}"', "A sign on the wall of a building in a city",
    'A man is standing in front of a sign that says "{said}"', "A black and white photo of a parking meter", "A sign on a wall with a sign on it",
    'A person holding a sign that says "{said}"', "A black and white photo of a man standing in front of a sign", "A close up of a sign on a wall",
    "A person holding a cell phone in front of a building", "A clock on the side of a building", "A red sign on a white wall", "A sign that is on a street",
    "A man standing in front of a large stone wall with a sign on it", 'A street sign with the words "{said}" written on it', "A white sign with black letters",
)  # fmt: skip
OF_A_PAGE = 0.85  # share of those captions that are about a sign


def document(rng: Random) -> Document:
    """A document that somebody wrote (lav2.documents.written), or a made-up one."""
    return written.document(rng, _rate(rng)) if rng.random() < WRITTEN else made_up(rng)


def made_up(rng: Random, rate: float | None = None) -> Document:
    """A made-up document of any kind; `rate` of misread characters is drawn where it is None."""
    rate = _rate(rng) if rate is None else rate
    maker = rng.choices([maker for maker, _ in MAKERS], [share for _, share in MAKERS])[0]
    return maker(rng, rate)


def _rate(rng: Random) -> float:
    return 0.0 if rng.random() < CLEAN else rng.uniform(0.003, 0.03)


def among(rng: Random, made: Document, others: Sequence[str]) -> Document:
    """The document with rows of something else above or below it, as on a screen or a wall."""
    extra = [[line] for line in rng.sample(others, rng.randint(1, 6))]
    rows = [*extra, *made.rows] if rng.random() < 0.6 else [*made.rows, *extra]
    asks = [ask for ask in made.asks if ask.kind not in ("read", "line", "about", "rows", "absent", "member")]
    return Document(made.kind, rows, asks, made.subject)


def asks_of(rng: Random, made: Document, most: int = QUESTIONS) -> list[Ask]:
    """Some of a document's questions, each once; of what it is about no answer that says nothing ("A notice.")."""
    said = (ask for ask in made.asks if ask.answer and (ask.kind != "about" or len(ask.answer.split()) >= LEAST_ABOUT))
    unique = list({(ask.question, ask.history): ask for ask in said}.values())
    unique.sort(key=lambda ask: rng.random() ** (1 / WEIGHTS.get(ask.kind, 1.0)), reverse=True)
    kept = unique[:most]
    missing = [ask for ask in kept if ask.kind == "absent"]  # on a small sign, a refusal would be the commonest answer
    for ask in missing[: len(missing) - len(kept) // 6 - (rng.random() < len(kept) % 6 / 6)]:
        kept.remove(ask)
    return kept


def beside(rng: Random, captions: Sequence[str], size: Sequence[int]) -> dict[str, Any]:
    """What captioner and detector say of a page: a caption of something else, mostly no object."""
    evidence: dict[str, Any] = {}
    if captions and rng.random() < CAPTIONED:
        text = page_caption(rng) if rng.random() < OF_A_PAGE else rng.choice(captions)
        evidence["caption"] = {"text": text, "seconds": 0.0, "source": "simulated"}
    if rng.random() < DETECTED:
        labels = rng.sample(PAGE_THINGS, rng.choice((1, 1, 2))) if rng.random() < FOUND else []
        width, height = size
        items = []
        for label in labels:
            left, top = rng.uniform(0, 0.6) * width, rng.uniform(0, 0.6) * height
            box = [left, top, left + rng.uniform(0.1, 0.4) * width, top + rng.uniform(0.1, 0.4) * height]
            items.append({"label": label, "confidence": round(rng.uniform(0.3, 0.8), 3), "xyxy": box})
        evidence["detection"] = {"items": items, "seconds": 0.0, "detector": "simulated", "classes": list(PAGE_THINGS), "size": list(size)}  # fmt: skip
    return evidence


def page_caption(rng: Random) -> str:
    """What a captioner of photos says of a page: a sign somewhere, often with words that nobody wrote."""
    said = " ".join(rng.sample((*words.GOODS, *words.PLACES, *words.SHOPS), 1)).upper()[: rng.randint(3, 14)].strip()
    return rng.choice(PAGE_CAPTIONS).format(
        said=rng.choice((said, said.title(), "S.S.A.", "STOP", "SELF", "No parking"))
    )


def row(image: str | None, evidence: dict[str, Any], asks: Sequence[Ask], split: str = "train") -> dict[str, Any]:
    """A row of lav2.data with several questions."""
    return {
        "image": image,
        "split": split,
        "evidence": evidence,
        "experts": list(evidence),
        "questions": [
            {"question": ask.question, "answer": ask.answer, "kind": ask.kind, "history": [list(turn) for turn in ask.history]}
            for ask in asks
        ],
    }  # fmt: skip


def generate(
    count: int,
    seed: int,
    captions: Sequence[str],
    photos: Sequence[str],
    split: str = "train",
    others: Sequence[str] = (),
) -> Iterator[dict]:
    """`count` rows of made-up documents; the same arguments give the same rows.

    Args:
        captions: of photos, for pages that the captioner talks nonsense about.
        photos: paths; some documents are asked about beside one.
        others: lines of other texts, which stand around some documents.
    """
    for number in range(count):
        rng = Random(f"{seed} document {split} {number}")
        made = document(rng)
        if others and made.kind != written.KIND and rng.random() < AMONG:
            made = among(rng, made, others)
        ocr = ocr_json(made.rows)
        evidence = {**beside(rng, captions, ocr["size"]), "ocr": ocr}
        image = rng.choice(photos) if photos and rng.random() < ON_A_PHOTO else None
        asks = asks_of(rng, made)
        if asks:
            yield row(image, evidence, asks, split)


ABOUT = ("What is this text about?", "What is it about?", "Summarize this document.", "Summarize the text.", "What is this page about?",
         "What does this say in short?", "Sum it up.", "What is the topic?", "Describe the photo.", "What do you see?")  # fmt: skip
UNREADABLE = "I cannot read the text reliably."


def unreadable(count: int, seed: int, captions: Sequence[str], photos: Sequence[str]) -> Iterator[dict]:
    """Rows whose text the OCR expert marks as not reliable: whatever is asked of it, that is the answer."""
    for number in range(count):
        rng = Random(f"{seed} unreadable {number}")
        marks = "aeioulnrtILTEKHOnmwWYX017-'.,:;()="
        lines = [["".join(rng.choice(marks) for _ in range(rng.randint(2, 12)))] for _ in range(rng.randint(1, 5))]
        ocr = ocr_json(lines, confidence=0.3)
        for item in ocr["items"]:
            item["reliable"] = False
        questions = [q.format(what="sign") for q in kinds.READ_QUESTIONS]
        questions += [
            q for name in ("phone", "price", "opens", "name", "date", "plate") for q in kinds.FIELDS[name].questions
        ]
        asks = [Ask(worded(rng, question), UNREADABLE, "unreadable") for question in rng.sample(questions, 4)]
        image = rng.choice(photos) if photos and rng.random() < ON_A_PHOTO else None
        yield row(image, {**beside(rng, captions, ocr["size"]), "ocr": ocr}, asks)


def known_questions(file: Path, seed: int, captions: Sequence[str], photos: Sequence[str], most: int) -> Iterator[dict]:
    """Rows of a file {"lines", "question", "answers", "in_text"} whose answer stands in the text as it is written there;
    some questions are asked of another text, which does not answer them."""
    texts: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        answer = _written(found["lines"], found["answers"]) if found.get("in_text") else None
        if answer and not _computes(found["question"]):
            texts.setdefault(tuple(found["lines"]), []).append((found["question"], answer))
    times = Counter(_plain(question) for asked in texts.values() for question, _ in asked)
    # What is asked of many texts ("What is the date on the receipt?") another text may well answer.
    foreign = [question for asked in texts.values() for question, _ in asked if times[_plain(question)] == 1]
    rng = Random(f"{seed} {file.name}")
    lines = list(texts)
    rng.shuffle(lines)
    made = 0
    for text in lines:
        if made >= most:
            return
        asked = texts[text][:QUESTIONS]
        asks = [Ask(question, answer, "known") for question, answer in asked]
        elsewhere = [question for question in rng.sample(foreign, min(9, len(foreign))) if question not in dict(asked)]
        if elsewhere and rng.random() < 0.4:
            asks.append(Ask(worded(rng, elsewhere[0]), ABSENT, "absent"))
        if all("  " not in line for line in text):  # prose
            first = " ".join(text).split(". ")[0].rstrip(".") + "."
            asks.append(Ask(worded(rng, rng.choice(ABOUT)), first, "about"))
        made += len(asks)
        ocr = ocr_json([[cell.strip() for cell in part.split("  ") if cell.strip()] or ["-"] for part in text])
        image = rng.choice(photos) if photos and rng.random() < ON_A_PHOTO else None
        yield row(image, {**beside(rng, captions, ocr["size"]), "ocr": ocr}, asks)


def _plain(question: str) -> str:
    return re.sub(r"[^a-z0-9 ]", "", question.lower()).strip()


def _written(lines: Sequence[str], answers: Sequence[str]) -> str | None:
    """The best answer as the text writes it; None where it is not on one stretch of it."""
    text = " ".join(" ".join(line.split()) for line in lines)
    low = text.lower()
    for answer in answers[:2]:
        plain = " ".join(str(answer).split())
        at = low.find(plain.lower())
        if at >= 0 and plain:
            return text[at : at + len(plain)]
    return None


def _computes(question: str) -> bool:
    """Whether the answer has to be counted or reckoned, which a small model would learn to make up."""
    low = question.lower()
    return any(word in low for word in ("how many", "mode of", "median", "range of", "mean of", "average", "total number", "difference", "how much more", "combined"))  # fmt: skip
