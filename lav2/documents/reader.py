"""Questions of written documents with the rows and words that answer them, for the reader of texts
(`python -m lav2.documents.reader` makes the shipped file).
"""

from __future__ import annotations

import argparse
import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from experts.evidence import from_json
from experts.headings import labelled
from experts.prompt_block import text_rows
from lav2.config import EMBEDDED
from lav2.documents import limits, written
from lav2.documents.kinds import Ask
from lav2.documents.layout import ocr_json
from lav2.errors import LAV2Error
from lav2.model.llm import load_llm
from lav2.model.word_vectors import word_vectors
from lav2.options import Help
from lav2.reading import text_reader
from lav2.reading.candidates import Candidate, alone, candidates
from lav2.reading.matcher import VECTOR
from lav2.reading.networks import Decider
from lav2.reading.spans import likeliest
from lav2.reading.text_reader import ReaderConfig, TextReader
from lav2.reading.words import asked, key, letters, places
from lav2.text.proofs import parted
from lav2.text.weighing import ABSENT

DROPOUT, WEIGHT_DECAY, CLIP = 0.25, 0.02, 1.0
DRAWS, MISREAD = 2, 0.004  # of each document; share of its characters
CHOOSING = {"epochs": 5, "documents": 4, "questions": 8, "lr": 2e-3}  # a step
DECIDING = {"epochs": 6, "questions": 64, "lr": 1.5e-3}
LIMITS = 9_000  # made-up limits beside what the documents ask, others each time
LONGEST = 90  # candidates of a document that is learned from
COMMON = 6  # words that stand in so many places are learned one by one
LENGTH = 8.0  # of the language model's vectors


class Question(NamedTuple):
    """A question and what answers it.

    Attributes:
        words: of the question.
        places: of the candidates that answer it; () for none.
        answer: how the text has it; of a yes or no its proof.
        yes: what the proof says; None: it is no yes-or-no question.
        spans: of other answers: [place of a candidate, first word, last word].
        under: of a yes or no what stands above its proof (lav2.reading.candidates.denied).
    """

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
    """A document's candidates and its questions."""

    rows: list[Candidate]
    questions: list[Question]


def texts(templates: Sequence[written.Template], draws: int) -> list[Text]:
    """Each document `draws` times with other values and wordings, laid out as the text of a photo is."""
    found = []
    for at, template in enumerate(templates):
        for draw in range(draws):
            document = written.drawn(random.Random(f"proofs {draw} {at}"), template, MISREAD)
            rows = text_rows({"ocr": from_json("ocr", ocr_json(document.rows))})
            known = candidates(rows, labelled(rows))
            questions = [told for ask in document.asks if (told := _question(ask, known)) is not None]
            if questions and len(known) <= LONGEST:
                found.append(Text(known, questions))
    return found


def _question(ask: Ask, known: Sequence[Candidate]) -> Question | None:
    """None: no candidate holds its answer."""
    read = asked(ask.question, ask.history[-1][0] if ask.history else "")
    if ask.answer == ABSENT or not read:
        return Question(read, (), "") if read else None
    verdict, proof = parted(ask.answer)
    written_as, meant = [letters(one.text) for one in known], letters(proof or ask.answer)
    if verdict:
        exact = [at for at, text in enumerate(written_as) if text == meant]
        holding = exact or [at for at, text in enumerate(written_as) if len(meant) > 3 and meant in text]
        found = _of_shortest(Question(read, tuple(holding), proof, verdict == "Yes"), written_as)
        return found and found._replace(under=known[found.places[0]].marks[-2:])
    spans = [
        (at, *span)
        for at, one in enumerate(known)
        if meant and meant in written_as[at]
        for span in _spans(ask.answer, one)
    ]
    return _of_shortest(Question(read, tuple({at for at, *_ in spans}), ask.answer, spans=tuple(spans)), written_as)


def _of_shortest(question: Question, written_as: Sequence[str]) -> Question | None:
    """The question with the shortest of its candidates alone: of a row and its cell the cell."""
    shortest = min((len(written_as[at]) for at in question.places), default=0)
    kept = tuple(sorted(at for at in question.places if len(written_as[at]) == shortest))
    spans = tuple(span for span in question.spans if span[0] in kept)
    return question._replace(places=kept, spans=spans) if kept else None


def _spans(answer: str, row: Candidate) -> list[tuple[int, int]]:
    """First and last word of the candidate, wherever the answer stands in it as whole words."""
    known, found = places(row.text)[: len(row.parts[0])], []
    for match in re.finditer(rf"(?<!\w){re.escape(answer.strip().rstrip('.'))}(?!\w)", row.text):
        inside = [at for at, (start, end) in enumerate(known) if match.start() <= start and end <= match.end()]
        if inside:
            found.append((inside[0], inside[-1]))
    return found


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
    read = Counter(key(word) for text in learned for one in text.rows for part in one.parts for word in part)
    read.update(key(word) for text in learned for question in text.questions for word in question.words)
    whole = (tokenizer.convert_tokens_to_string([token]) for token in tokenizer.get_vocab())
    known = {text[1:] for text in whole if re.fullmatch(" [a-z]{2,}", text)}
    common = sorted(word for word, count in read.items() if count >= COMMON)
    listed = [*common, *sorted((known | set(read)) - set(common))]
    vectors = word_vectors(llm, tokenizer, [word.replace("#", "5") for word in listed], LENGTH)
    return listed, len(common), torch.cat([torch.zeros(1, vectors.shape[1]), vectors])


def learn(learned: Sequence[Text], seed: int = 0, epochs: float = 1.0, llm: str = EMBEDDED.llm) -> TextReader:
    """A reader of texts; an hour of a CPU core for 9,700 texts.

    Args:
        epochs: share of the usual number.
        llm: the language model whose word vectors are used.

    Raises:
        LAV2Error: there are no yes-or-no questions.
    """
    if not any(question.yes is not None for text in learned for question in text.questions):
        raise LAV2Error("The documents have no yes-or-no questions.", "Give some with answers such as 'No: Cash only.'")
    torch.manual_seed(seed)
    listed, common, vectors = vocabulary(learned, llm)
    model = TextReader(listed, ReaderConfig(common), DROPOUT)
    networks = [part.matcher for part in (model.chooser, *model.deciders)]
    for network in networks:
        network.vectors = _Projected(vectors)
    rng = random.Random(seed)
    _choose(model, learned, rng, CHOOSING["epochs"] * epochs)
    for decider in model.deciders:
        _decide(model, decider, learned, rng, DECIDING["epochs"] * epochs)
    for network in networks:
        network.vectors = network.vectors.folded()
    return model.eval()


def _choose(model: TextReader, learned: Sequence[Text], rng: random.Random, epochs: float) -> None:
    def loss(text: Text) -> Tensor:
        some = rng.sample(text.questions, min(CHOOSING["questions"], len(text.questions)))
        chances = model.choose([question.words for question in some], text.rows)
        meant = [list(question.places) or [len(text.rows)] for question in some]
        rows = -torch.stack([row[places].logsumexp(0) for row, places in zip(chances, meant, strict=True)]).sum()
        spans = [question for question in some if question.spans]
        return (rows + (_bounds_loss(model, text.rows, spans, rng) if spans else 0.0)) / len(some)

    _steps(model.chooser, learned, CHOOSING["documents"], CHOOSING["lr"], epochs, rng, "rows",
           lambda part: torch.stack([loss(text) for text in part]).mean())  # fmt: skip


def _bounds_loss(model: TextReader, rows: Sequence[Candidate], some: Sequence[Question], rng: random.Random) -> Tensor:
    """Of the first and last words of the answers, in one of the candidates of each; the mean of both, summed up."""
    chosen = [rng.choice(question.places) for question in some]
    bounds = model.bounds([question.words for question in some], [rows[at] for at in chosen])
    meant = [[span[1:] for span in question.spans if span[0] == at] for question, at in zip(some, chosen, strict=True)]
    sides = (
        row[side, [span[side] for span in spans]].logsumexp(0)
        for row, spans in zip(bounds, meant, strict=True)
        for side in (0, 1)
    )
    return -torch.stack(list(sides)).sum() / 2


def _decide(model: TextReader, decider: Decider, learned: Sequence[Text], rng: random.Random, epochs: float) -> None:
    known = [question for text in learned for question in text.questions if question.yes is not None]
    once: list[Question | None] = [
        *{(tuple(question.words), question.proof.text, question.under): question for question in known}.values()
    ]
    once += [None] * min(LIMITS, len(once))  # a limit, another one each time

    def loss(part: Sequence[Question | None]) -> Tensor:
        asks = [question or _limit(rng) for question in part]
        said = decider(model.pairs([question.words for question in asks], [question.proof for question in asks]))
        return F.binary_cross_entropy_with_logits(said, torch.tensor([float(bool(question.yes)) for question in asks]))

    _steps(decider, once, DECIDING["questions"], DECIDING["lr"], epochs, rng, "verdicts", loss)


def _limit(rng: random.Random) -> Question:
    made = limits.drawn(rng)
    return Question(asked(made.question), (), made.row, made.yes, under=made.under)


def _steps(
    network: nn.Module, learned: Sequence, size: int, rate: float, epochs: float, rng: random.Random, name: str, loss
) -> None:
    """AdamW with one cycle of the rate (Smith & Topin 2017, arXiv 1708.07120) on parts of `size` of what is learned."""
    tuned = list(network.parameters())
    steps = max(2, int(epochs * len(learned) / size))
    optim = torch.optim.AdamW(tuned, rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optim, rate, total_steps=steps, pct_start=0.1)
    network.train()
    left: list = []
    mean = 0.0
    with tqdm(range(steps), desc=name, unit="step", disable=None) as bar:
        for at in bar:
            if len(left) < size:
                left = [*rng.sample(learned, len(learned)), *left]
            part, left = left[-size:], left[:-size]
            value = loss(part)
            optim.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(tuned, CLIP)
            optim.step()
            schedule.step()
            mean += (value.item() - mean) / min(at + 1, 100)
            bar.set_postfix(loss=f"{mean:.3f}")


@torch.inference_mode()
def score(model: TextReader, held: Sequence[Text]) -> dict[str, float]:
    """Shares of yes-or-no questions whose likeliest candidate decides them, whose verdict is right of the true proof,
    and whose verdict is right of the likeliest one; of others whose likeliest candidate holds the answer, and whose
    likeliest words are the answer; of questions that no row answers that are told as such."""
    shares: dict[str, list[bool]] = {}
    for text in held:
        for question in text.questions:
            for name, right in _scores(model, text.rows, question).items():
                shares.setdefault(name, []).append(right)
    counts = {f"questions of {name}": len(shares.get(name, ())) for name in ("row", "answer", "none")}
    return {name: round(sum(right) / len(right), 3) for name, right in shares.items()} | counts


def _scores(model: TextReader, rows: Sequence[Candidate], question: Question) -> dict[str, bool]:
    logits = model.choose([question.words], rows)[0]
    best = int(logits[:-1].argmax())
    if not question.places:
        return {"none": int(logits.argmax()) == len(rows)}
    if question.yes is not None:
        said = model.decide([question.words] * 2, [question.proof, alone(rows[best].text, rows[best].marks[-2:])]) > 0
        given, whole = (bool(one) == question.yes for one in said)
        return {"row": best in question.places, "verdict of the true row": given, "verdict": whole}
    bounds = model.bounds([question.words], [rows[best]])[0].tolist()
    words = likeliest(rows[best], *bounds)[0][0]
    meant = letters(question.answer)
    return {"row of the answer": meant in letters(rows[best].text), "answer": letters(words) == meant}


def teach(
    folder: Path, documents: Path = written.FOLDER, seed: int = 0, llm: str = EMBEDDED.llm, epochs: float = 1.0
) -> dict[str, float]:
    """Write a reader of texts into a chat adapter's folder; its `score` on the documents that are held out.

    Args:
        documents: folder of written documents.
        llm, epochs: as of `learn`.
    """
    learned = texts(written.templates(documents), DRAWS)
    model = learn(learned, seed, epochs, llm)
    scores = score(model, texts(written.templates(documents, held=True), 1))
    text_reader.save(model, folder, {"texts": len(learned), "seed": seed, "held out": scores})
    return scores


def main(argv: Sequence[str] | None = None) -> int:
    """Teach the reader of texts the written documents, and say how often it is right on those that are held out."""
    parser = argparse.ArgumentParser(
        prog="python -m lav2.documents.reader", description=main.__doc__, formatter_class=Help
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the chat adapter")
    parser.add_argument("--documents", type=Path, default=written.FOLDER, help="folder of written documents")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    options = parser.parse_args(argv)
    scores = teach(options.out, options.documents, options.seed)
    print(", ".join(f"{name} {value}" for name, value in scores.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
