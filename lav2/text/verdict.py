"""An answer held against the findings that the model was given: on which it rests, which it contradicts, and which of
its words stand in none of them. Negation is understood, and digits count as whole numbers only. No torch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from experts.colours import NAMES as COLOURS
from experts.evidence import BUILT_IN, Detections, Evidence, OcrLines
from experts.reading_order import rows_of
from experts.render import CAPTION_CHARS, Item, clean, numbered
from lav2.text import claims, routing
from lav2.text.claims import EMPTY, Conflict

LONG_NUMBER = 3  # digits from which a number is no coincidence

_DENIAL = re.compile(
    r"\b(?:no|not|none|nobody|nothing|never|neither|nor|without|cannot|unable)\b|n['’]t\b", re.IGNORECASE
)
_PROOF = re.compile(r"\s*(?:yes|no):\s*(?P<proof>.+?)\.?\s*", re.IGNORECASE | re.DOTALL)  # "No: Cash only."
_CLAUSE = re.compile(r"[.;!?](?:\s+|$)|,\s+|\s+\b(?:but|and (?=no\b))\b\s*")
_ABOUT_TEXT = re.compile(r"\b(?:texts?|words?|writing|written|says?|reads?|mention(?:s|ed)?|list(?:s|ed)?)\b")
_PLACES = ("left", "right", "top", "bottom", "center", "middle")
_TOKEN = re.compile(r"\d+(?:[.,:]\d+)*(?=(?:am|pm)?(?![^\W_]))|[^\W_]+(?:['’][^\W\d_]+)?", re.IGNORECASE)
_CURRENCY = re.compile(r"(?<![^\W_])[A-Za-z](?=\d+[.,]\d)")  # readers take € and $ for letters: E34.99
# Words of an answer that say nothing of what is there or not.
_NEUTRAL_WORDS = """
yes no yeah nope find found tell told mention mentioned list listed given menu receipt page know visible present
detected
"""
_NEUTRAL = frozenset(_NEUTRAL_WORDS.split())


@dataclass(frozen=True)
class Verdict:
    """`rests_on`, `against`: numbers (experts.render.numbered) of the findings that hold what the answer says, and of
    those that hold what it denies. `denied`: the denied kinds of object and words, as conflicts (label "" for text).
    `absent`: kinds that it denies and that the detector, which knows them, did not find; `unwritten`: words that it
    denies of the text and that no row has: it rests on the whole text. `missing`: its words that claim something and
    stand neither in a finding nor in the question."""

    rests_on: frozenset[int] = frozenset()
    against: frozenset[int] = frozenset()
    denied: tuple[Conflict, ...] = ()
    absent: tuple[str, ...] = ()
    unwritten: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def found(self) -> bool:
        """Whether anything holds it."""
        return bool(self.rests_on or self.absent or self.unwritten)


def unreliable(evidence: Mapping[str, Evidence]) -> frozenset[int]:
    """Numbers of the texts that cannot be read reliably; the model is not given them."""
    lines = evidence.get("ocr")
    sure = getattr(lines, "reliable", None)
    if not isinstance(lines, OcrLines) or sure is None:
        return frozenset()
    items = [item for item in numbered(evidence) if item.expert == "ocr"]
    flags = [bool(flag) for text, flag in zip(lines.texts, sure, strict=True) if clean(text, CAPTION_CHARS)]
    return frozenset(item.number for item, flag in zip(items, flags, strict=True) if not flag)


def verdict(answer: str, question: str, evidence: Mapping[str, Evidence], left_out: Set[int] = frozenset()) -> Verdict:
    """What of the evidence holds or denies an answer.

    Args:
        answer: as it was given.
        question: that it answers; a bare "Yes." or "No." is about what it asks.
        evidence: of the experts.
        left_out: numbers of the findings that the model was not given.
    """
    unread = unreliable(evidence)
    items = [item for item in numbered(evidence) if item.number not in unread]
    held = _Held(items, left_out, evidence.get("detection"), question)
    if said := _PROOF.fullmatch(answer):  # what follows is repeated from the text, denial or not
        held.prove(said["proof"])
        return held.verdict()
    clauses = [clause for clause in _clauses(answer) if set(_content(clause)) - _NEUTRAL or _quoted(clause)]
    for clause in clauses:
        if _DENIAL.search(clause):
            held.deny(clause, clause)
        else:
            held.affirm(clause, answer)
    if not clauses:  # "No.", "Yes, it is.", "There isn't."
        if _DENIAL.search(answer):
            held.deny(_topic(question), question)
        elif re.match(r"\s*(?:yes|yeah)\b", answer, re.IGNORECASE):
            held.affirm(_topic(question), _topic(question), bare=True)
    held.guessed(answer)
    return held.verdict()


class _Held:
    """Collects what holds and what denies the clauses of one answer.

    Args:
        items: the findings that can be read.
        left_out: numbers of those among them that the model was not given.
        detections: the boxes, if there are any.
        question: the answer's.
    """

    def __init__(self, items: Sequence[Item], left_out: Set[int], detections: Evidence | None, question: str):
        self.detections = detections if isinstance(detections, Detections) else None
        self.boxed: dict[str, Evidence] = {"detection": self.detections} if self.detections else {}
        self.classes = self.detections.classes if self.detections else ()
        self.question = question
        self.captions = [item for item in items if item.expert == "caption"]
        self.boxes = [item for item in items if item.expert == "detection"]
        self.texts = [item for item in items if item.expert == "ocr"]
        others = [item for item in items if item.expert not in BUILT_IN]
        self.written = [*self.texts, *others]  # findings that are text
        self.rows = [*_rows(self.texts), *([item] for item in others)]
        self.words = {item.number: [_stem(word) for word in _tokens(item.text)] for item in self.written}
        self.content = {item.number: _content(item.text) for item in self.written}
        self.left_out = left_out
        self.rests_on: set[int] = set()
        self.against: set[int] = set()
        self.denied: list[Conflict] = []
        self.absent: list[str] = []
        self.unwritten: list[str] = []
        self.claimed: list[str] = []  # clauses that claim something
        self.numbers: set[str] = set()  # of the text, that count

    def affirm(self, clause: str, answer: str, bare: bool = False) -> None:
        """A clause that says what is there; `bare`: the question's own words, affirmed by a "Yes."."""
        self.claimed.append(clause)
        if _counts(self.question) and len(_content(clause)) == 1:  # "Two." is said of what the question counts
            clause = f"{clause} {_counts(self.question)}"
        mentions = claims.asked_words(clause, self.classes)
        if not bare or _only(clause, [word for word, _ in mentions]):
            wrong = claims.miscounted(clause, self.question, self.boxed)
            kinds = {kind for _, kind in mentions} - {conflict.label for conflict in wrong}
            named = [item for item in self.boxes if item.text in kinds]
            named = self._coloured(clause, named)
            placed = [item for item in named if set(item.place.split()) & set(_tokens(clause))]
            self.rests_on |= {item.number for item in (placed or named)}
        for item in self.captions:
            own = _claims(item.text) if not bare or item.kind != "candidate" else set()
            if own and len(own & set(claims.words(clause))) >= 0.5 * len(own):
                self.rests_on.add(item.number)
        self.rests_on |= self._texts(clause, answer, bare)

    def prove(self, proof: str) -> None:
        """What a "Yes: ..." or "No: ..." repeats from the text; where several rows hold it, those that the question is
        about."""
        self.affirm(proof, proof)
        asked, found = set(_content(self.question)), {item.number for item in self.texts} & self.rests_on
        about = [row for row in self.rows if asked & {word for item in row for word in self.content[item.number]}]
        nearer = {item.number for row in about for item in row} & found
        if nearer:
            self.rests_on -= found - nearer

    def _coloured(self, clause: str, named: list[Item]) -> list[Item]:
        """Of the boxes named those whose colour the clause does not contradict; with no kind named ("Blue."), the boxes
        of the kind that the question asks for which have that colour."""
        said = {"grey" if word == "gray" else word for word in _tokens(clause)} & set(COLOURS)
        if not said:
            return named
        asked = {kind for _, kind in claims.asked_words(self.question, self.classes)}
        looked = named or [item for item in self.boxes if item.text in asked and item.colour]
        return [item for item in looked if not item.colour or said & set(item.colour.split())]

    def _texts(self, clause: str, answer: str, bare: bool) -> set[int]:
        """Numbers of the texts that hold a clause as it is written."""
        asked, said, whole = set(_content(self.question)), _content(clause), _content(answer)
        own = [word for word in said if word not in asked] or said  # the decisive ones
        own = [word for word in own if word not in _PLACES and word not in _NEUTRAL]
        quoted, counting = _quoted(clause), _counts(self.question)
        found = set()
        for row in self.rows:
            beside = {word for item in row for word in self.content[item.number] if not word[0].isdigit()}
            beside &= {*asked, *whole}
            for item in row:
                tokens, content = self.words[item.number], set(self.content[item.number])
                numbers = {word for word in own if word[0].isdigit() and word in tokens and not counting}
                numbers = {n for n in numbers if beside or whole == [n] or _long(n)}
                self.numbers |= numbers
                words = {word for word in own if not word[0].isdigit()} & content
                share = len(words) >= max(2, 0.5 * len(content)) or (words and content <= {*said})
                if (
                    numbers
                    or any(_inside(part, tokens) for part in quoted)
                    or (words and words == set(own))
                    or (share and not bare)
                    or (not content and item.text.isupper() and _stands(item.text, clause))
                ):
                    found.add(item.number)
        return found

    def guessed(self, answer: str) -> None:
        """An answer of one word rests on the likely answer that says it, "yes" and "no" as well."""
        candidates = [item for item in self.captions if item.kind == "candidate"]
        self.rests_on |= {item.number for item in candidates if _tokens(item.text) == _tokens(answer)}

    def deny(self, clause: str, context: str) -> None:
        """A clause that says what is not there; `context`: where the words for a text's absence are looked for."""
        mentions = claims.asked_words(clause, self.classes)
        plain = _only(clause, [word for word, _ in mentions])
        where = set(_tokens(clause)) & set(_PLACES)
        for word, kind in mentions:
            known = kind in self.classes
            found = [item for item in self.boxes if item.text == kind]
            inside = [item for item in found if not where or where & set(item.place.split())]
            if known and not found:
                self.absent.append(kind)
            elif inside and plain:
                self.against |= {item.number for item in inside}
                self.denied.append(Conflict(word, kind, 0, len(inside)))
        about_text = bool(_ABOUT_TEXT.search(context.lower()) or "read" in routing.route(self.question).kinds)
        if (
            self.texts
            and about_text
            and not (mentions and self.detections is not None and not _ABOUT_TEXT.search(context))
        ):
            self._deny_text(clause)

    def _deny_text(self, clause: str) -> None:
        """ "beer is not in the text": the rows that have all of its words say otherwise."""
        own = [word for word in _content(clause) if word not in _NEUTRAL]
        if not own:  # "I cannot read it."
            return
        rows = [row for row in self.rows if set(own) <= {word for item in row for word in self.words[item.number]}]
        if not rows:
            self.unwritten += own
            return
        holding = [item for row in rows for item in row if set(own) & set(self.words[item.number])]
        self.against |= {item.number for item in holding}
        self.denied.append(Conflict(" ".join(own), "", 0, len(rows)))

    def verdict(self) -> Verdict:
        return Verdict(
            frozenset(self.rests_on - self.against - self.left_out),
            frozenset(self.against),
            tuple(self.denied),
            tuple(dict.fromkeys(self.absent)),
            tuple(dict.fromkeys(self.unwritten)),
            tuple(self._missing()),
        )

    def _missing(self) -> list[str]:
        """The claiming words, as written, that no finding and not the question has."""
        asked = set(claims.words(self.question)) | {_stem(word) for word in _tokens(self.question)}
        known = set(asked)
        for item in (*self.captions, *self.boxes):
            known |= set(claims.words(item.text)) | set(item.place.split())
            known |= {word for word in item.colour.split() if item.number in self.rests_on}
        for item in self.written:
            known |= {word for word in self.words[item.number] if not word[0].isdigit()} | set(item.place.split())
        counts = Counter(item.text for item in self.boxes)
        known |= {str(count) for count in (*counts.values(), len(self.boxes))} | self.numbers
        found: dict[str, str] = {}
        for clause in self.claimed:
            for word in _TOKEN.findall(clause):
                plain = " ".join(claims.words(word)) or word.lower()
                forms = {plain, _stem(word.lower())} | ({word.lower()} if not word[0].isdigit() else set())
                if not (forms | set(plain.split())) & EMPTY and not forms & known and not set(plain.split()) <= known:
                    found.setdefault(plain, word)
        return list(found.values())


def _clauses(answer: str) -> list[str]:
    return [part.strip() for part in _CLAUSE.split(answer) if part and part.strip()]


def _topic(question: str) -> str:
    """What a question that is answered by yes or no asks for, without where it is looked for."""
    return re.sub(
        r"\b(?:in|on|of) the (?:text|photo|picture|image|list|menu|receipt|sign|page|label)\b", " ", question.lower()
    )


def _tokens(text: str) -> list[str]:
    """Lower-case words, whole numbers and what mixes them (9am, KE123)."""
    return [word.lower() for word in _TOKEN.findall(_CURRENCY.sub(" ", text))]


def _stem(word: str) -> str:
    return claims.singular(word)


def _content(text: str) -> list[str]:
    """Its words that claim something, in order."""
    words = [word for word in _tokens(text) if word not in EMPTY and not word.endswith(("n't", "n’t"))]
    return [_stem(word) for word in words if _stem(word) not in EMPTY]


def _claims(text: str) -> set[str]:
    return {word for word in claims.words(text) if word not in EMPTY}


def _only(clause: str, named: Sequence[str]) -> bool:
    """Whether a clause says nothing of the objects that it names but that they are there, or where."""
    rest = clause.lower()
    for words in named:
        rest = rest.replace(words, " ")
    free = {*_PLACES, *_NEUTRAL, *claims.NUMBERS}
    return all(word in free or word.isdigit() for word in _content(rest))


def _quoted(text: str) -> list[list[str]]:
    """The words of each part in quotation marks."""
    return [[_stem(word) for word in _tokens(part)] for part in re.findall(r"[\"“”](.+?)[\"“”]", text)]


def _counts(question: str) -> str:
    """The kind of object that a question counts; "" for other questions."""
    kinds = claims.asked(question) if re.search(r"\bhow many\b", question, re.IGNORECASE) else []
    return kinds[0] if len(kinds) == 1 else ""


def _long(number: str) -> bool:
    return sum(c.isdigit() for c in number) >= LONG_NUMBER


def _stands(text: str, clause: str) -> bool:
    return bool(re.search(rf"(?<!\w){re.escape(text)}(?!\w)", clause))


def _inside(part: Sequence[str], tokens: Sequence[str]) -> bool:
    """Whether `part` stands in `tokens`, in one piece, or they in it."""
    short, long = sorted((list(part), list(tokens)), key=len)
    return bool(short) and any(long[at : at + len(short)] == short for at in range(len(long) - len(short) + 1))


def _rows(texts: Sequence[Item]) -> list[list[Item]]:
    """The texts that stand in one row of the prompt, together."""
    if not texts:
        return []
    order = rows_of(np.array([item.polygon for item in texts], np.float32), [item.text for item in texts])
    return [[texts[i] for cell in row for i in cell] for row in order]
