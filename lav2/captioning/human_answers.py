"""Questions with what people answered -> a model of candidates (lav2.captioning.candidates).

Nine of ten words stand in few of the questions, so words and answers also have vectors of the language model, narrowed
by layers that are learned: what is learned of "sofa" serves "couch". They are folded into the model's own tables at the
end. Several such models differ in their seed; the mean of their logits is one model as wide as all of them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from lav2.captioning.candidates import CandidateModel, words_of
from lav2.config import VisionConfig
from lav2.errors import LAV2Error
from lav2.metrics.vqa import vqa_normalise

CLIP = 2.0  # of the gradient's norm; without it the layers of the photo died with one seed of three (docs/LOG.md)
NARROW = 128  # numbers that are made of an answer's vector


class Example(NamedTuple):
    """A question, the share of people (0..1) that each answer satisfies, and the photo's place; -1: photo unknown."""

    question: str
    answers: Mapping[str, float]
    photo: int


@dataclass(frozen=True)
class CandidateConfig:
    """What is learned, and how long."""

    least_words: int = 8  # questions that a word, or a pair of words, must stand in
    least_answers: int = 4  # questions that an answer must be given to
    hidden: int = 256
    epochs: int = 8
    batch: int = 512  # questions per step
    lr: float = 3e-3  # peak; OneCycle
    weight_decay: float = 0.05
    dropout: float = 0.5
    seen: int = 3  # how often an epoch has the questions on known photos
    models: int = 2  # that tell together
    seed: int = 0  # of the first one


_Row = tuple[list[int], dict[int, float], int]  # places of words, of answers with their shares, of the photo
Vectors = Callable[[Sequence[str]], Tensor]  # words -> [words, V]


def learn(
    examples: Sequence[Example],
    photos: Tensor,
    vision: VisionConfig,
    settings: CandidateConfig = CandidateConfig(),
    vectors: Vectors | None = None,
    report: Callable[[str], None] = print,
) -> CandidateModel:
    """A model of human answers; three minutes on a CPU for 100,000 questions and each of its `models`.

    Args:
        examples: those without answers teach which questions have no candidates.
        photos: [photos, 2C] `pooled`.
        vision: the encoder that made them.
        vectors: of words and answers (lav2.model.word_vectors); None: they are learned one by one alone.

    Raises:
        LAV2Error: too few questions.
    """
    answer_shares = [_shares(example.answers) for example in examples]
    count = Counter(word for example in examples for word in set(words_of(example.question)))
    words = _often(count, settings.least_words)
    best = Counter(max(shares, key=shares.get) for shares in answer_shares if shares)
    answers = _often(best, settings.least_answers)
    if not words or not answers:
        raise LAV2Error(
            f"{len(examples)} questions with answers are too few.", "Give a few hundred with answers that come again."
        )
    report(f"{len(words)} words, {len(answers)} answers of {len(examples)} questions on {len(photos)} photos")
    mean, spread = photos.float().mean(0), photos.float().std(0) + 1e-3
    features = torch.cat([(photos.float() - mean) / spread, torch.zeros(1, photos.shape[1])])  # the last: no photo
    index = {answer: i for i, answer in enumerate(answers)}
    known = {word: i for i, word in enumerate(words)}
    rows = [
        ([known[word] for word in words_of(example.question) if word in known],
         {index[a]: share for a, share in shares.items() if a in index}, example.photo)
        for example, shares in zip(examples, answer_shares, strict=True)
    ]  # fmt: skip
    told = None if vectors is None else (_single(words, vectors(words)), vectors(answers))
    models = []
    for seed in range(settings.seed, settings.seed + settings.models):
        torch.manual_seed(seed)
        model = _Learner(words, answers, vision, settings.hidden, told)
        _fit(model, rows, features, settings, seed)
        with torch.no_grad():  # photos come as they are from here on
            model.photo.weight /= spread
            model.photo.bias -= model.photo.weight @ mean
        models.append(model)
    return _together(models, words, answers, vision, settings.hidden)


def _single(words: Sequence[str], vectors: Tensor) -> Tensor:
    """Vectors of single words; of pairs and beginnings none."""
    return vectors * torch.tensor([[float(word.isalnum())] for word in words])


class _Learner(CandidateModel):
    """A CandidateModel while it learns: its tables have a part that comes from vectors of words and of answers."""

    def __init__(
        self,
        words: Sequence[str],
        answers: Sequence[str],
        vision: VisionConfig,
        hidden: int,
        vectors: tuple[Tensor, Tensor] | None,
    ):
        super().__init__(words, answers, vision, hidden)
        self.question.weight.data.mul_(0.1)
        self.by_question.bias.data.fill_(-5.0)
        of_words, of_answers = vectors or (torch.zeros(len(words), 1), torch.zeros(len(answers), 1))
        self.register_buffer("of_words", of_words)
        self.register_buffer("of_answers", of_answers)
        self.narrow = nn.Linear(of_words.shape[1], hidden, bias=False)
        self.narrow_answers = nn.Linear(of_answers.shape[1], NARROW)
        self.from_question, self.from_both = (nn.Linear(hidden, NARROW, bias=False) for _ in range(2))
        for layer in (self.narrow, self.from_question, self.from_both):
            layer.weight.data.mul_(0.3)

    def _asked(self, words: Tensor, starts: Tensor) -> Tensor:
        return super()._asked(words, starts) + self.narrow(F.embedding_bag(words, self.of_words, starts, mode="sum"))

    def _answered(self, asked: Tensor, both: Tensor) -> Tensor:
        by_vectors = (self.from_question(asked) + self.from_both(both)) @ self.narrow_answers(self.of_answers).T
        return super()._answered(asked, both) + by_vectors

    @torch.no_grad()
    def tables(self) -> tuple[Tensor, ...]:
        """Of words, of answers by question, of answers by both, with what the vectors tell."""
        answers = self.narrow_answers(self.of_answers)  # [A, NARROW]
        return (
            self.question.weight + self.narrow(self.of_words),
            self.by_question.weight + answers @ self.from_question.weight,
            self.by_both.weight + answers @ self.from_both.weight,
        )


@torch.no_grad()
def _together(
    models: Sequence[_Learner], words: Sequence[str], answers: Sequence[str], vision: VisionConfig, hidden: int
) -> CandidateModel:
    """One model, `hidden` times as wide as there are models, whose logits are the mean of theirs."""
    model = CandidateModel(words, answers, vision, hidden * len(models))
    of_words, by_question, by_both = zip(*(one.tables() for one in models), strict=True)
    model.question.weight.copy_(torch.cat(of_words, 1))
    model.by_question.weight.copy_(torch.cat(by_question, 1) / len(models))
    model.by_both.weight.copy_(torch.cat(by_both, 1) / len(models))
    model.by_question.bias.copy_(torch.stack([one.by_question.bias for one in models]).mean(0))
    model.photo.weight.copy_(torch.cat([one.photo.weight for one in models]))
    model.photo.bias.copy_(torch.cat([one.photo.bias for one in models]))
    return model.eval()


def _fit(model: CandidateModel, rows: Sequence[_Row], features: Tensor, settings: CandidateConfig, seed: int) -> None:
    epoch = [row for row in rows for _ in range(settings.seen if row[2] >= 0 else 1)]
    steps = settings.epochs * -(-len(epoch) // settings.batch)
    optim = torch.optim.AdamW(model.parameters(), settings.lr, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optim, settings.lr, total_steps=steps, pct_start=0.1)
    rng, at = random.Random(seed), len(epoch)
    with tqdm(range(steps), desc="candidates", unit="step", disable=None) as bar:
        for _ in bar:
            if at >= len(epoch):
                rng.shuffle(epoch)
                at = 0
            part, at = epoch[at : at + settings.batch], at + settings.batch
            logits = model(*_batch(part), features[[photo for _, _, photo in part]], settings.dropout)
            truth = _truth(part, len(model.answers))
            loss = F.binary_cross_entropy_with_logits(logits, truth, reduction="sum") / len(part)
            optim.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optim.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.2f}")


def _shares(answers: Mapping[str, float]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for text, share in answers.items():
        plain = vqa_normalise(text)
        shares[plain] = max(share, shares.get(plain, 0.0))
    return shares


def _often(count: Counter[str], least: int) -> list[str]:
    return [text for text, n in sorted(count.items(), key=lambda pair: (-pair[1], pair[0])) if n >= least]


def _batch(rows: Sequence[_Row]) -> tuple[Tensor, Tensor]:
    words = [word for asked, _, _ in rows for word in asked]
    lengths = torch.tensor([0, *(len(asked) for asked, _, _ in rows)])
    return torch.tensor(words, dtype=torch.long), lengths.cumsum(0)[:-1]


def _truth(rows: Sequence[_Row], width: int) -> Tensor:
    truth = torch.zeros(len(rows), width)
    at = [(row, answer) for row, (_, shares, _) in enumerate(rows) for answer in shares]
    if at:
        truth[tuple(zip(*at, strict=True))] = torch.tensor([v for _, shares, _ in rows for v in shares.values()])
    return truth
