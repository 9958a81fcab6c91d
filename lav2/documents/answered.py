"""Written documents -> their candidates, and their questions with the places that answer them."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import NamedTuple

from experts.evidence import from_json
from experts.prompt_block import text_rows
from lav2.documents import written
from lav2.documents.kinds import Ask
from lav2.documents.layout import ocr_json
from lav2.reading.candidates import Candidate, alone, candidates
from lav2.reading.pages import question_text
from lav2.reading.words import asked, letters, places
from lav2.text.proofs import parted
from lav2.text.weighing import ABSENT

MISREAD = 0.004  # share of a document's characters
LONGEST = 90  # candidates of a document that is learned from


class Question(NamedTuple):
    """A question and what answers it.

    Attributes:
        text: the question, behind the one before it.
        words: of both.
        places: of the candidates that answer it; () for none.
        answer: how the text has it; of a yes or no its proof.
        yes: what the proof says; None: it is no yes-or-no question.
        spans: of other answers: [place of a candidate, first word, last word].
        under: of a yes or no what stands above its proof (lav2.reading.candidates.denied).
    """

    text: str
    words: list[str]
    places: tuple[int, ...]
    answer: str
    yes: bool | None = None
    spans: tuple[tuple[int, int, int], ...] = ()
    under: tuple[float, ...] = (0.0, 0.0)

    @property
    def proof(self) -> Candidate:
        return alone(self.answer, self.under)


class Text(NamedTuple):
    """A document's cells in rows, its candidates and its questions."""

    rows: list[list[str]]
    found: list[Candidate]
    questions: list[Question]


def texts(templates: Sequence[written.Template], draws: int) -> list[Text]:
    """Each document `draws` times with other values and wordings, laid out as the text of a photo is."""
    made = []
    for at, template in enumerate(templates):
        for draw in range(draws):
            document = written.drawn(random.Random(f"proofs {draw} {at}"), template, MISREAD)
            rows = text_rows({"ocr": from_json("ocr", ocr_json(document.rows))})
            found = candidates(rows)
            questions = [told for ask in document.asks if (told := _question(ask, found)) is not None]
            if questions and len(found) <= LONGEST:
                made.append(Text(rows, found, questions))
    return made


def _question(ask: Ask, found: Sequence[Candidate]) -> Question | None:
    """None: no candidate holds its answer."""
    earlier = ask.history[-1][0] if ask.history else ""
    read, text = asked(ask.question, earlier), question_text(ask.question, earlier)
    if ask.answer == ABSENT or not read:
        return Question(text, read, (), "") if read else None
    verdict, proof = parted(ask.answer)
    written_as, meant = [letters(one.text) for one in found], letters(proof or ask.answer)
    if verdict:
        exact = [at for at, text in enumerate(written_as) if text == meant]
        holding = exact or [at for at, text in enumerate(written_as) if len(meant) > 3 and meant in text]
        told = _of_shortest(Question(text, read, tuple(holding), proof, verdict == "Yes"), written_as)
        return told and told._replace(under=found[told.places[0]].marks[-2:])
    spans = [
        (at, *span)
        for at, one in enumerate(found)
        if meant and meant in written_as[at]
        for span in _spans(ask.answer, one)
    ]
    where = tuple({at for at, *_ in spans})
    return _of_shortest(Question(text, read, where, ask.answer, spans=tuple(spans)), written_as)


def _of_shortest(question: Question, written_as: Sequence[str]) -> Question | None:
    """The question with the shortest of its candidates alone: of a row and its cell the cell."""
    shortest = min((len(written_as[at]) for at in question.places), default=0)
    kept = tuple(sorted(at for at in question.places if len(written_as[at]) == shortest))
    spans = tuple(span for span in question.spans if span[0] in kept)
    return question._replace(places=kept, spans=spans) if kept else None


def _spans(answer: str, row: Candidate) -> list[tuple[int, int]]:
    """First and last word of the candidate, wherever the answer stands in it as whole words."""
    known, found = places(row.text)[: len(row.words)], []
    for match in re.finditer(rf"(?<!\w){re.escape(answer.strip().rstrip('.'))}(?!\w)", row.text):
        inside = [at for at, (start, end) in enumerate(known) if match.start() <= start and end <= match.end()]
        if inside:
            found.append((inside[0], inside[-1]))
    return found
