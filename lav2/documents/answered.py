"""Documents, and rows about texts -> their candidates, and their questions with the places that answer them."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experts.evidence import from_json
from experts.prompt_block import text_rows
from lav2.documents import rows as training_rows
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
# Kinds of question that no words of a text answer as they stand there.
NOT_HERE = {"about", "title", "rows", "list", "compound", "count of", "hours", "read"}
EVERY = 10**6  # question of a set


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
            made.append(_text(ocr_json(document.rows), document.asks))
    return [text for text in made if text]


def made_up(count: int, seed: int) -> list[Text]:
    """Of so many made-up documents (lav2.documents.rows) those that are not written ones."""
    return _of_rows(training_rows.generate(count, seed, (), ()))


def question_sets(folder: Path, seed: int) -> list[Text]:
    """Texts of public question sets.

    Args:
        folder: of files *text_qa_*.jsonl* as lav2.documents.rows.known_questions reads them.
    """
    files = sorted(folder.glob("text_qa_*.jsonl"))
    return [text for file in files for text in _of_rows(training_rows.known_questions(file, seed, (), (), EVERY))]


def _of_rows(rows: Iterable[Mapping[str, Any]]) -> list[Text]:
    made = []
    for row in rows:
        asks = [
            Ask(asked["question"], asked["answer"], asked["kind"], asked["history"])
            for asked in row["questions"]
            if asked["kind"] not in NOT_HERE
        ]
        if all(asked["kind"] != written.KIND for asked in row["questions"]):
            made.append(_text(row["evidence"]["ocr"], asks))
    return [text for text in made if text]


def _text(ocr: Mapping[str, Any], asks: Iterable[Ask]) -> Text | None:
    """None: no question's answer stands in it, or it is too long."""
    rows = text_rows({"ocr": from_json("ocr", ocr)})
    found = candidates(rows)
    questions = [told for ask in asks if (told := _question(ask, found)) is not None]
    return Text(rows, found, questions) if questions and len(found) <= LONGEST else None


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
