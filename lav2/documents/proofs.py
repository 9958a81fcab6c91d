"""Yes-or-no questions of written documents with the rows that decide them, for the reader of proofs
(`python -m lav2.documents.proofs` makes the shipped file).
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
from lav2.documents.kinds import ABSENT, Ask
from lav2.documents.layout import ocr_json
from lav2.errors import LAV2Error
from lav2.model.llm import load_llm
from lav2.options import Help
from lav2.reading import proof_reader
from lav2.reading.matcher import VECTOR
from lav2.reading.proof_reader import ProofReader, ReaderConfig
from lav2.reading.words import Candidate, asked, candidates, key
from lav2.text.proofs import parted

DROPOUT, WEIGHT_DECAY, CLIP = 0.25, 0.02, 1.0
DRAWS, MISREAD = 2, 0.004  # of each document; share of its characters
CHOOSING = {"epochs": 3, "documents": 4, "questions": 5, "lr": 2e-3}  # a step
DECIDING = {"epochs": 6, "questions": 64, "lr": 1.5e-3}
LIMITS = 9000  # made-up limits beside what the documents ask
LONGEST = 90  # candidates of a document that is learned from
COMMON = 6  # words that stand in so many places are learned one by one
LENGTH = 8.0  # of the language model's vectors
_WHETHER = re.compile(r"\W*(?:and |so |ok |then |but )*(?:is|are|am|was|were|do|does|did|has|have|can|could|may|must|will|"
                      r"would|shall|should)\b", re.IGNORECASE)  # fmt: skip


class Question(NamedTuple):
    """Its words; the places of the candidates that decide it, () for none; what they say and whether that is yes."""

    words: list[str]
    places: tuple[int, ...]
    proof: str
    yes: bool


class Text(NamedTuple):
    """A document's candidates and its yes-or-no questions."""

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
    """None: it is no yes-or-no question, or no candidate holds its proof."""
    read = asked(ask.question, ask.history[-1][0] if ask.history else "")
    verdict, proof = parted(ask.answer)
    if not verdict:
        return Question(read, (), "", False) if ask.answer == ABSENT and _WHETHER.match(ask.question) else None
    letters = [_letters(one.text) for one in known]
    meant = _letters(proof)
    places = [at for at, text in enumerate(letters) if text == meant]
    places = places or [at for at, text in enumerate(letters) if len(meant) > 3 and meant in text]
    shortest = min((len(letters[at]) for at in places), default=0)  # of a row and its cell the cell
    places = [at for at in places if len(letters[at]) == shortest]
    return Question(read, tuple(places), proof, verdict == "Yes") if places and read else None


def _letters(text: str) -> str:
    return re.sub(r"\W", "", text.lower())


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
    table = llm.get_input_embeddings().weight.detach().float()
    parts = [tokenizer(" " + word.replace("#", "5"), add_special_tokens=False).input_ids for word in listed]
    vectors = torch.stack([table[ids].mean(0) if ids else table.mean(0) for ids in parts]) - table.mean(0)
    vectors = F.normalize(vectors, dim=1) * LENGTH
    return listed, len(common), torch.cat([torch.zeros(1, vectors.shape[1]), vectors])


def learn(learned: Sequence[Text], seed: int = 0, epochs: float = 1.0, llm: str = EMBEDDED.llm) -> ProofReader:
    """A reader of proofs; 12 minutes of a CPU core for 8,400 texts.

    Args:
        epochs: share of the usual number.
        llm: the language model whose word vectors are used.

    Raises:
        LAV2Error: there are no yes-or-no questions.
    """
    if not any(question.places for text in learned for question in text.questions):
        raise LAV2Error("The documents have no yes-or-no questions.", "Give some with answers such as 'No: Cash only.'")
    torch.manual_seed(seed)
    listed, common, vectors = vocabulary(learned, llm)
    model = ProofReader(listed, ReaderConfig(common), DROPOUT)
    for network in (model.choosing, model.deciding):
        network.vectors = _Projected(vectors)
    rng = random.Random(seed)
    _choose(model, learned, rng, CHOOSING["epochs"] * epochs)
    _decide(model, learned, rng, DECIDING["epochs"] * epochs)
    for network in (model.choosing, model.deciding):
        network.vectors = network.vectors.folded()
    return model.eval()


def _choose(model: ProofReader, learned: Sequence[Text], rng: random.Random, epochs: float) -> None:
    def loss(text: Text) -> Tensor:
        some = rng.sample(text.questions, min(CHOOSING["questions"], len(text.questions)))
        logits = model.choose([question.words for question in some], text.rows).log_softmax(1)
        meant = [list(question.places) or [len(text.rows)] for question in some]
        return -torch.stack([row[places].logsumexp(0) for row, places in zip(logits, meant, strict=True)]).mean()

    parts = [model.choosing, model.chance, model.none]
    _steps(parts, learned, CHOOSING["documents"], CHOOSING["lr"], epochs, rng, "rows",
           lambda part: torch.stack([loss(text) for text in part]).mean())  # fmt: skip


def _decide(model: ProofReader, learned: Sequence[Text], rng: random.Random, epochs: float) -> None:
    known = [question for text in learned for question in text.questions if question.places]
    once = list({(tuple(question.words), question.proof): question for question in known}.values())
    made = (limits.drawn(rng) for _ in range(min(LIMITS, len(once))))
    once += [Question(asked(one.question), (), one.row, one.yes) for one in made]

    def loss(part: Sequence[Question]) -> Tensor:
        said = model.decide([question.words for question in part], [question.proof for question in part])
        return F.binary_cross_entropy_with_logits(said, torch.tensor([float(question.yes) for question in part]))

    _steps([model.deciding, model.yes], once, DECIDING["questions"], DECIDING["lr"], epochs, rng, "verdicts", loss)


def _steps(parts, learned, size: int, rate: float, epochs: float, rng: random.Random, name: str, loss) -> None:
    """AdamW with one cycle of the rate (Smith & Topin 2017, arXiv 1708.07120) on parts of `size` of what is learned."""
    tuned = [tensor for part in parts for tensor in part.parameters()]
    steps = max(2, int(epochs * len(learned) / size))
    optim = torch.optim.AdamW(tuned, rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optim, rate, total_steps=steps, pct_start=0.1)
    for part in parts:
        part.train()
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
def score(model: ProofReader, held: Sequence[Text]) -> dict[str, float]:
    """Shares of questions whose likeliest candidate decides them, whose verdict is right of the true proof, and whose
    verdict is right of the likeliest one."""
    rows, given, whole = [], [], []
    for text in held:
        some = [question for question in text.questions if question.places]
        for question in some:
            best = int(model.choose([question.words], text.rows)[0, :-1].argmax())
            rows.append(best in question.places)
            said = model.decide([question.words] * 2, [question.proof, text.rows[best].text]) > 0
            given.append(bool(said[0]) == question.yes)
            whole.append(bool(said[1]) == question.yes)
    count = max(1, len(rows))
    shares = {"row": rows, "verdict of the true row": given, "verdict": whole}
    return {name: round(sum(right) / count, 3) for name, right in shares.items()} | {"questions": len(rows)}


def teach(
    folder: Path, documents: Path = written.FOLDER, seed: int = 0, llm: str = EMBEDDED.llm, epochs: float = 1.0
) -> dict[str, float]:
    """Write a reader of proofs into a chat adapter's folder; its `score` on the documents that are held out.

    Args:
        documents: folder of written documents.
        llm, epochs: as of `learn`.
    """
    learned = texts(written.templates(documents), DRAWS)
    model = learn(learned, seed, epochs, llm)
    scores = score(model, texts(written.templates(documents, held=True), 1))
    proof_reader.save(model, folder, {"texts": len(learned), "seed": seed, "held out": scores})
    return scores


def main(argv: Sequence[str] | None = None) -> int:
    """Teach the reader of proofs the written documents, and say how often it is right on those that are held out."""
    parser = argparse.ArgumentParser(
        prog="python -m lav2.documents.proofs", description=main.__doc__, formatter_class=Help
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
