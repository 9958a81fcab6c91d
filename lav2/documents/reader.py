"""The reader of texts learns written documents (`python -m lav2.documents.reader` makes the shipped file)."""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from experts.headings import labelled
from lav2 import files
from lav2.config import EMBEDDED
from lav2.documents import limits, sames, written
from lav2.documents.answered import Question, Text, made_up, question_sets, texts
from lav2.documents.fitting import Fit
from lav2.errors import LAV2Error
from lav2.model.hidden_states import HiddenStates, Tokens
from lav2.options import Help
from lav2.reading import text_reader
from lav2.reading.candidates import alone
from lav2.reading.chooser import Chooser, Chosen
from lav2.reading.decider import Decider, Pair
from lav2.reading.decider import told as told_of_pair
from lav2.reading.pages import Asked, Page, as_text, page
from lav2.reading.pages import asked as asked_tokens
from lav2.reading.spans import likeliest
from lav2.reading.text_reader import ReaderConfig, TextReader
from lav2.reading.words import asked, letters, stem, words

DROPOUT = (0.1, 0.2)  # of the networks that choose, of those that decide
DRAWS = (2, 5)  # of each written document, for those that choose, for those that decide
MADE_UP = 6_000  # documents, most of them written ones, which are left out
CHOOSING, DECIDING = Fit("rows", 4, 1e-3, 2.7), Fit("verdicts", 64, 1e-3, 2.8)  # of texts, of questions
QUESTIONS = 8  # of a text in a step
TOGETHER = 256  # texts that are read at once
LIMITS, KNOWN_LIMITS = 9_000, 24_000  # made-up limits beside what the documents ask, each time some of so many
SAMES = 0.25  # of these that ask whether it is this one or another
RARE = 2  # texts that a word must stand in to have a rarity of its own


@dataclass(frozen=True)
class Lesson:
    """A text and its questions with what the language model makes of them."""

    text: Text
    tokens: Tokens
    asked: Sequence[Tokens]

    @property
    def page(self) -> Page:
        return page(self.text.rows, labelled(self.text.rows), self.text.found, self.tokens)

    def question(self, at: int) -> Asked:
        return asked_tokens(self.text.questions[at].text, self.asked[at])


@dataclass(frozen=True)
class Decision:
    """A yes-or-no question and its proof with what the language model makes of both."""

    question: Question
    asked: Tokens
    proof: Tokens

    @property
    def pair(self) -> Pair:
        asks, proof = self.question, self.question.proof
        sides = asked_tokens(asks.text, self.asked), asked_tokens(proof.text, self.proof)
        return Pair(*sides, told_of_pair(asks.words, proof))


def read(wanted: Iterable[str], hidden: HiddenStates) -> dict[str, Tokens]:
    """The hidden states of texts: 1.2 kB a token."""
    known: dict[str, Tokens] = {}
    left = sorted(set(wanted), key=lambda text: (len(text), text))
    with tqdm(range(0, len(left), TOGETHER), desc="hidden states", disable=None) as bar:
        for at in bar:
            part = left[at : at + TOGETHER]
            known |= zip(part, hidden.of(part), strict=True)
    return known


def lessons(learned: Sequence[Text], hidden: HiddenStates) -> list[Lesson]:
    """Texts and questions with their hidden states; half an hour of a CPU core for 10,400 texts."""
    rows = [as_text(labelled(text.rows)) for text in learned]
    known = read([*rows, *(question.text for text in learned for question in text.questions)], hidden)
    return [
        Lesson(text, known[rows], [known[question.text] for question in text.questions])
        for text, rows in zip(learned, rows, strict=True)
    ]


def decisions(questions: Sequence[Question], hidden: HiddenStates) -> list[Decision]:
    """Yes-or-no questions and their proofs with their hidden states."""
    known = read([text for question in questions for text in (question.text, question.answer)], hidden)
    return [Decision(question, known[question.text], known[question.answer]) for question in questions]


def rarity(learned: Sequence[Text]) -> dict[str, float]:
    """Of stems: how seldom texts, or their questions, have them (lav2.reading.pages.overlaps)."""
    met: Counter[str] = Counter()
    for text in learned:
        read = [cell for row in text.rows for cell in row] + [question.text for question in text.questions]
        met.update({stem(word) for one in read for word in words(one)})
    return {one: round(math.log(1 + len(learned) / count), 2) for one, count in sorted(met.items()) if count >= RARE}


def learn(
    learned: Sequence[Text],
    seed: int = 0,
    epochs: float = 1.0,
    llm: str = EMBEDDED.llm,
    saved: Path | None = None,
    decided: Sequence[Text] = (),
) -> TextReader:
    """A reader of texts; four and a half hours of a CPU core for 15,000 texts.

    Args:
        epochs: share of the usual number.
        llm: the language model whose hidden states and word vectors are used.
        saved: folder where a run that was interrupted goes on; None: nothing is saved.
        decided: texts whose yes-or-no questions teach verdicts; (): those of `learned`.

    Raises:
        LAV2Error: there are no yes-or-no questions, or what is saved is of another run.
    """
    if not any(question.yes is not None for text in learned for question in text.questions):
        raise LAV2Error("The documents have no yes-or-no questions.", "Give some with answers such as 'No: Cash only.'")
    torch.manual_seed(seed)
    hidden = text_reader.hidden_states(llm)
    model = TextReader(rarity(learned), ReaderConfig(llm, hidden.width), DROPOUT)

    def of(fit: Fit, at: int) -> Fit:
        return fit._replace(name=f"{fit.name} {at + 1}", epochs=fit.epochs * epochs, seed=seed, folder=saved)

    texts_read = lessons(learned, hidden)
    for at, chooser in enumerate(model.choosers):
        _choose(chooser, texts_read, of(CHOOSING, at))
    del texts_read
    known = decisions(_once(decided or learned), hidden)
    made = decisions(_limits(min(KNOWN_LIMITS, len(known)), seed), hidden)
    for at, decider in enumerate(model.deciders):
        _decide(decider, known, made, of(DECIDING, at))
    return model.eval()


def _choose(chooser: Chooser, learned: Sequence[Lesson], fit: Fit) -> None:
    _spread(chooser, [lesson.tokens.states for lesson in learned[:: max(1, len(learned) // 200)]])

    def loss(part: Sequence[Lesson], rng: random.Random) -> Tensor:
        """The mean of questions, so that a text with few of them weighs as little."""
        return torch.cat([_misses(chooser, lesson, rng) for lesson in part]).mean()

    fit(chooser, learned, loss)


def _misses(chooser: Chooser, lesson: Lesson, rng: random.Random) -> Tensor:
    """What some questions of a text cost [Q]."""
    questions, text = lesson.text.questions, lesson.page
    some = rng.sample(range(len(questions)), min(QUESTIONS, len(questions)))
    chosen = chooser(text, [lesson.question(at) for at in some])
    return torch.stack([_missed(text, chosen, row, questions[at], rng) for row, at in enumerate(some)])


def _missed(text: Page, chosen: Chosen, row: int, question: Question, rng: random.Random) -> Tensor:
    """What question `row` of those asked of a text costs: its candidates, whether it is answered by yes or no, and in one
    candidate the first and the last word of an answer."""
    if not question.places:
        return -chosen.candidates[row, -1]
    closed = torch.tensor(float(question.yes is not None))
    missed = F.binary_cross_entropy_with_logits(chosen.closed[row], closed)
    missed = missed - chosen.candidates[row, list(question.places)].logsumexp(0)
    if question.yes is not None:
        return missed
    at = rng.choice(question.places)
    first, end = text.spans[at]
    known = [
        (text.words[at][start][0], text.words[at][last][1] - 1) for place, start, last in question.spans if place == at
    ]
    for side in (0, 1):
        chances = chosen.ends[row, first:end, side].log_softmax(0)
        missed = missed - chances[[span[side] - first for span in known]].logsumexp(0) / 2
    return missed


def _once(learned: Sequence[Text]) -> list[Question]:
    """The yes-or-no questions, each of its kind once."""
    known = [question for text in learned for question in text.questions if question.yes is not None]
    return [*{(question.text, question.answer, question.under): question for question in known}.values()]


def _decide(decider: Decider, known: Sequence[Decision], made: Sequence[Decision], fit: Fit) -> None:
    """made: of limits, some of which stand beside the documents' questions."""
    _spread(decider, [side.states for one in known[:: max(1, len(known) // 1000)] for side in (one.asked, one.proof)])
    once: list[Decision | None] = [*known, *[None] * min(LIMITS, len(made))]

    def loss(part: Sequence[Decision | None], rng: random.Random) -> Tensor:
        asks = [one or rng.choice(made) for one in part]
        said = decider([one.pair for one in asks])
        return F.binary_cross_entropy_with_logits(said, torch.tensor([float(bool(one.question.yes)) for one in asks]))

    fit(decider, once, loss)


def _spread(network: Chooser | Decider, states: Sequence[Tensor]) -> None:
    """Of some hidden states the mean and how far they spread."""
    some = torch.cat([*states]).float()
    network.mean.copy_(some.mean(0))
    network.scale.copy_(some.std(0) + 1e-3)


def _limits(count: int, seed: int) -> list[Question]:
    rng = random.Random(seed)
    made = [(sames if rng.random() < SAMES else limits).drawn(rng) for _ in range(count)]
    return [Question(one.question, asked(one.question), (), one.row, one.yes, under=one.under) for one in made]


@torch.inference_mode()
def score(model: TextReader, held: Sequence[Text]) -> dict[str, float]:
    """Shares of yes-or-no questions whose likeliest candidate decides them, whose verdict is right of the true proof,
    and whose verdict is right of the likeliest one; of others whose likeliest candidate holds the answer, and whose
    likeliest words are the answer; of both that are told apart; of questions that no row answers that are told as such."""
    shares: dict[str, list[bool]] = {}
    for lesson in lessons(held, model.hidden):
        text = lesson.page
        chosen = model.choose(text, [lesson.question(at) for at in range(len(lesson.asked))])
        for at in range(len(lesson.asked)):
            for name, right in _scores(model, lesson.text, text, chosen, at).items():
                shares.setdefault(name, []).append(right)
    counts = {f"questions of {name}": len(shares.get(name, ())) for name in ("row", "answer", "none")}
    return {name: round(sum(right) / len(right), 3) for name, right in shares.items()} | counts


def _scores(model: TextReader, text: Text, read: Page, chosen: Chosen, at: int) -> dict[str, bool]:
    question, chances = text.questions[at], chosen.candidates[at]
    best = int(chances[:-1].argmax())
    kind = {"yes or no": bool(chosen.closed[at] > 0) == (question.yes is not None)}
    if not question.places:
        return {"none": int(chances.argmax()) == len(text.found)}
    if question.yes is not None:
        likely = alone(text.found[best].text, text.found[best].marks[-2:])
        said = model.decide(model.pairs(question.text, question.words, [question.proof, likely])) > 0
        given, whole = (bool(one) == question.yes for one in said)
        return kind | {"row": best in question.places, "verdict of the true row": given, "verdict": whole}
    said_words = likeliest(text.found[best], *text_reader.bounds(read, best, chosen.ends[at]))[0][0]
    meant = letters(question.answer)
    return kind | {"row of the answer": meant in letters(text.found[best].text), "answer": letters(said_words) == meant}


def teach(
    folder: Path,
    documents: Path = written.FOLDER,
    sets: Path | None = None,
    seed: int = 0,
    llm: str = EMBEDDED.llm,
    epochs: float = 1.0,
) -> dict[str, float]:
    """Write a reader of texts into a chat adapter's folder; its `score` on the documents that are held out. A run that
    was interrupted goes on.

    Args:
        documents: folder of written documents.
        sets: folder of public question sets (lav2.documents.answered.question_sets).
        llm, epochs: as of `learn`.
    """
    learned, decided = (texts(written.templates(documents), draws) for draws in DRAWS)
    learned += made_up(MADE_UP, seed)
    learned += question_sets(sets, seed) if sets else []
    saved = folder / "reader"
    model = learn(learned, seed, epochs, llm, saved, decided)
    scores = score(model, texts(written.templates(documents, held=True), 1))
    text_reader.save(model, folder, {"texts": len(learned), "seed": seed, "held out": scores})
    files.remove(saved)
    return scores


def main(argv: Sequence[str] | None = None) -> int:
    """Teach the reader of texts the written documents, and say how often it is right on those that are held out."""
    parser = argparse.ArgumentParser(
        prog="python -m lav2.documents.reader", description=main.__doc__, formatter_class=Help
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the chat adapter; a run that was stopped goes on"
    )
    parser.add_argument("--documents", type=Path, default=written.FOLDER, help="folder of written documents")
    parser.add_argument("--sets", type=Path, help="folder of public question sets, text_qa_*.jsonl")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    options = parser.parse_args(argv)
    scores = teach(options.out, options.documents, options.sets, options.seed)
    print(", ".join(f"{name} {value}" for name, value in scores.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
