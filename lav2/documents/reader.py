"""The reader of texts learns written documents (`python -m lav2.documents.reader` makes the shipped file)."""

from __future__ import annotations

import argparse
import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from experts.headings import labelled
from lav2 import files
from lav2.config import EMBEDDED
from lav2.documents import limits, written
from lav2.documents.answered import Question, Text, made_up, question_sets, texts
from lav2.documents.fitting import Fit
from lav2.errors import LAV2Error
from lav2.model.hidden_states import HiddenStates, Tokens
from lav2.model.llm import load_llm
from lav2.model.word_vectors import word_vectors
from lav2.options import Help
from lav2.reading import text_reader
from lav2.reading.candidates import alone
from lav2.reading.chooser import Chooser, Chosen
from lav2.reading.decider import VECTOR, Decider
from lav2.reading.pages import Asked, Page, as_text, page
from lav2.reading.pages import asked as asked_tokens
from lav2.reading.spans import likeliest
from lav2.reading.text_reader import ReaderConfig, TextReader
from lav2.reading.words import asked, key, letters, stem, words

DROPOUT = (0.1, 0.25)  # of the networks that choose, of those that decide
DRAWS, MADE_UP = 2, 6_000  # of each document; other documents, most of them written ones, which are left out
CHOOSING, DECIDING = Fit("rows", 4, 1e-3, 2.7), Fit("verdicts", 64, 1.5e-3, 6.0)  # of texts, of questions
QUESTIONS = 8  # of a text in a step
LIMITS = 9_000  # made-up limits beside what the documents ask, others each time
COMMON = 6  # words that stand in so many places are learned one by one
RARE = 2  # texts that a word must stand in to have a rarity of its own
LENGTH = 8.0  # of the language model's vectors


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


def lessons(learned: Sequence[Text], hidden: HiddenStates) -> list[Lesson]:
    """The hidden states of texts and questions: 1.2 kB a token; half an hour of a CPU core for 10,400 texts."""
    known: dict[str, Tokens] = {}
    wanted = [as_text(labelled(text.rows)) for text in learned]
    wanted += [question.text for text in learned for question in text.questions]
    left = sorted(set(wanted), key=lambda text: (len(text), text))
    with tqdm(range(0, len(left), 64), desc="hidden states", disable=None) as bar:
        for at in bar:
            part = left[at : at + 64]
            known |= zip(part, hidden.of(part), strict=True)
    return [
        Lesson(text, known[read], [known[question.text] for question in text.questions])
        for text, read in zip(learned, wanted, strict=False)
    ]


class _Projected(nn.Module):
    """Vectors of the language model, narrowed by a matrix that is learned; `folded`: as a plain table."""

    def __init__(self, table: Tensor):
        super().__init__()
        self.register_buffer("table", table, persistent=False)
        self.narrow = nn.Linear(table.shape[1], VECTOR, bias=False)

    def forward(self, places: Tensor) -> Tensor:
        return self.narrow(self.table[places])

    def folded(self) -> nn.Embedding:
        return nn.Embedding.from_pretrained(self.narrow(self.table).detach())


def vocabulary(learned: Sequence[Text], source: str = EMBEDDED.llm) -> tuple[list[str], int, Tensor]:
    """Words of the texts, and whole words that a language model knows (`source` of lav2.weights); how many of the first
    stand in COMMON places or more; vectors [words + 1, C] of all, that of an unknown word, 0, first."""
    llm, tokenizer = load_llm(source)
    read = Counter(key(word) for text in learned for row in text.rows for cell in row for word in words(cell))
    read.update(key(word) for text in learned for question in text.questions for word in question.words)
    whole = (tokenizer.convert_tokens_to_string([token]) for token in tokenizer.get_vocab())
    known = {text[1:] for text in whole if re.fullmatch(" [a-z]{2,}", text)}
    common = sorted(word for word, count in read.items() if count >= COMMON)
    listed = [*common, *sorted((known | set(read)) - set(common))]
    vectors = word_vectors(llm, tokenizer, [word.replace("#", "5") for word in listed], LENGTH)
    return listed, len(common), torch.cat([torch.zeros(1, vectors.shape[1]), vectors])


def rarity(learned: Sequence[Text]) -> dict[str, float]:
    """Of stems: how seldom texts, or their questions, have them (lav2.reading.pages.overlaps)."""
    met: Counter[str] = Counter()
    for text in learned:
        read = [cell for row in text.rows for cell in row] + [question.text for question in text.questions]
        met.update({stem(word) for one in read for word in words(one)})
    return {one: round(math.log(1 + len(learned) / count), 2) for one, count in sorted(met.items()) if count >= RARE}


def learn(
    learned: Sequence[Text], seed: int = 0, epochs: float = 1.0, llm: str = EMBEDDED.llm, saved: Path | None = None
) -> TextReader:
    """A reader of texts; three hours of a CPU core for 15,000 texts.

    Args:
        epochs: share of the usual number.
        llm: the language model whose hidden states and word vectors are used.
        saved: folder where a run that was interrupted goes on; None: nothing is saved.

    Raises:
        LAV2Error: there are no yes-or-no questions, or what is saved is of another run.
    """
    if not any(question.yes is not None for text in learned for question in text.questions):
        raise LAV2Error("The documents have no yes-or-no questions.", "Give some with answers such as 'No: Cash only.'")
    torch.manual_seed(seed)
    listed, common, vectors = vocabulary(learned, llm)
    hidden = text_reader.hidden_states(llm)
    model = TextReader(listed, rarity(learned), ReaderConfig(llm, hidden.width, common), DROPOUT)
    for decider in model.deciders:
        decider.vectors = _Projected(vectors)

    def of(fit: Fit, at: int) -> Fit:
        return fit._replace(name=f"{fit.name} {at + 1}", epochs=fit.epochs * epochs, seed=seed, folder=saved)

    read = lessons(learned, hidden)
    for at, chooser in enumerate(model.choosers):
        _choose(chooser, read, of(CHOOSING, at))
    for at, decider in enumerate(model.deciders):
        _decide(model, decider, learned, of(DECIDING, at))
        decider.vectors = decider.vectors.folded()
    return model.eval()


def _choose(chooser: Chooser, learned: Sequence[Lesson], fit: Fit) -> None:
    some = torch.cat([lesson.tokens.states for lesson in learned[:: max(1, len(learned) // 200)]]).float()
    chooser.mean.copy_(some.mean(0))
    chooser.scale.copy_(some.std(0) + 1e-3)

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


def _decide(model: TextReader, decider: Decider, learned: Sequence[Text], fit: Fit) -> None:
    known = [question for text in learned for question in text.questions if question.yes is not None]
    once: list[Question | None] = [
        *{(tuple(question.words), question.proof.text, question.under): question for question in known}.values()
    ]
    once += [None] * min(LIMITS, len(once))  # a limit, another one each time

    def loss(part: Sequence[Question | None], rng: random.Random) -> Tensor:
        asks = [question or _limit(rng) for question in part]
        said = decider(model.pairs([question.words for question in asks], [question.proof for question in asks]))
        return F.binary_cross_entropy_with_logits(said, torch.tensor([float(bool(question.yes)) for question in asks]))

    fit(decider, once, loss)


def _limit(rng: random.Random) -> Question:
    made = limits.drawn(rng)
    return Question(made.question, asked(made.question), (), made.row, made.yes, under=made.under)


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
        said = model.decide([question.words] * 2, [question.proof, likely]) > 0
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
    learned = texts(written.templates(documents), DRAWS) + made_up(MADE_UP, seed)
    learned += question_sets(sets, seed) if sets else []
    saved = folder / "reader"
    model = learn(learned, seed, epochs, llm, saved)
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
