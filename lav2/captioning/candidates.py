"""Which short answers a photo and a question make likely: candidates with their chances, which the language model reads
beside the findings (answer heuristics: Prophet, Shao et al., arXiv 2303.01903, Sec. 3.2).

A small language model learns slowly what people mean by thousands of questions on photos; two layers on the words of
the question (arXiv 1512.02167) and on the image encoder's features learn it in minutes, and know how sure they are. The
language model decides: it has the caption, boxes and text as well.

Words: B batch, N image tokens, C their width, H hidden width, A answers.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from lav2.captioning import layers
from lav2.captioning.reranker import pooled
from lav2.config import VisionConfig, from_json
from lav2.errors import LAV2Error
from lav2.metrics.vqa import vqa_normalise
from lav2.model.checkpoint import CAPTION_ANSWERS
from lav2.text.grounding import NUMBERS

MAX_CANDIDATES, LEAST_CHANCE = 4, 0.05  # candidates of a question at most; chance from which one is told
_BEGIN = "^"  # before the first words of a question
_WORDS = re.compile(r"[a-z0-9']+")

Candidates = tuple[tuple[str, float], ...]  # (answer, chance 0..1), the likeliest first


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
    seed: int = 0


def words_of(question: str) -> list[str]:
    """Words, pairs of neighbouring words and the first one, two and three words of a question, in American spelling as
    the questions that are learned have it."""
    words = _WORDS.findall(question.lower().replace("colour", "color").replace("grey", "gray"))
    pairs = [f"{one} {other}" for one, other in pairwise(words)]
    return words + pairs + [_BEGIN + " ".join(words[:n]) for n in (1, 2, 3) if len(words) >= n]


class CandidateModel(nn.Module):
    """A question's words and a photo -> logits [B, A]: does the answer satisfy people?

    Args:
        words: known `words_of` questions.
        answers: as `lav2.metrics.vqa.vqa_normalise` writes them.
        vision: the image encoder whose tokens are read.
        hidden: width between the layers.
    """

    def __init__(self, words: Sequence[str], answers: Sequence[str], vision: VisionConfig, hidden: int):
        super().__init__()
        self.words, self.answers, self.vision = tuple(words), tuple(answers), vision
        self.question = nn.EmbeddingBag(len(words), hidden, mode="sum")
        self.photo = nn.Linear(2 * vision.width, hidden)
        self.by_question = nn.Linear(hidden, len(answers))
        self.by_both = nn.Linear(hidden, len(answers), bias=False)
        self._place = {word: i for i, word in enumerate(self.words)}
        self.folder: Path | None = None  # that it was read from

    def forward(self, words: Tensor, starts: Tensor, photos: Tensor, dropout: float = 0.0) -> Tensor:
        """Logits [B, A] of the questions whose words stand one behind the other in `words`, each from its place in
        `starts` [B], on photos [B, 2C] that are `pooled`; zeros: the photo is not known. `dropout`: share of each
        layer's inputs that is left out."""
        asked = F.dropout(self.question(words, starts), dropout)
        photo = F.relu(self.photo(F.dropout(photos, dropout)))
        photo = photo * (photos != 0).any(1, keepdim=True)
        both = F.dropout(torch.tanh(asked) * photo, dropout)
        return self.by_question(F.gelu(asked)) + self.by_both(both)

    def places(self, question: str) -> list[int]:
        return [self._place[word] for word in words_of(question) if word in self._place]

    @torch.inference_mode()
    def told(self, photo: Tensor, question: str) -> Candidates:
        """The likeliest answers to a question on a photo [2C]; () where none is likely (questions about a text)."""
        words = torch.tensor(self.places(question), dtype=torch.long, device=photo.device)
        start = torch.zeros(1, dtype=torch.long, device=photo.device)
        chances = self(words, start, photo[None])[0].sigmoid()
        found = zip(*(part.tolist() for part in chances.topk(min(MAX_CANDIDATES, len(chances)))), strict=True)
        return tuple((_worded(self.answers[at]), chance) for chance, at in found if chance >= LEAST_CHANCE)

    def on(self, clip_tokens: Tensor) -> PhotoCandidates:
        """What is asked about one photo, clip_tokens [1, N, C]."""
        return PhotoCandidates(self, pooled(clip_tokens.to(self.photo.weight.device, torch.float32))[0])


class PhotoCandidates:
    """question -> candidates, of one photo: its features [2C], `pooled`."""

    def __init__(self, model: CandidateModel, features: Tensor):
        self._model, self._features = model, features

    def __call__(self, question: str) -> Candidates:
        return self._model.told(self._features, question)

    def __reduce__(self):
        """On its way to another process (lav2.cluster) a model that was read from a folder is read there again."""
        model, features = self._model, self._features.cpu()
        if model.folder is None:
            return PhotoCandidates, (model, features)
        return _reload, (model.folder, model.vision, features)


@lru_cache(4)
def _loaded(folder: Path, vision: VisionConfig) -> CandidateModel:
    return load(folder, vision)


def _reload(folder: Path, vision: VisionConfig, features: Tensor) -> PhotoCandidates:
    return PhotoCandidates(_loaded(folder, vision), features)


def _worded(answer: str) -> str:
    """Small numbers as words, as the chat writes them."""
    return NUMBERS[int(answer)] if answer.isdigit() and int(answer) < len(NUMBERS) else answer


# --- learning ------------------------------------------------------------------------------------------------


def learn(
    examples: Sequence[Example],
    photos: Tensor,
    vision: VisionConfig,
    settings: CandidateConfig = CandidateConfig(),
    report: Callable[[str], None] = print,
) -> CandidateModel:
    """A model of human answers; three minutes on a CPU for 100,000 questions.

    Args:
        examples: those without answers teach which questions have no candidates.
        photos: [photos, 2C] `pooled`.
        vision: the encoder that made them.

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
    torch.manual_seed(settings.seed)
    model = CandidateModel(words, answers, vision, settings.hidden)
    model.question.weight.data.mul_(0.1)
    model.by_question.bias.data.fill_(-5.0)
    mean, spread = photos.float().mean(0), photos.float().std(0) + 1e-3
    features = torch.cat([(photos.float() - mean) / spread, torch.zeros(1, photos.shape[1])])  # the last: no photo
    index = {answer: i for i, answer in enumerate(answers)}
    rows = [
        (model.places(example.question), {index[a]: share for a, share in shares.items() if a in index}, example.photo)
        for example, shares in zip(examples, answer_shares, strict=True)
    ]
    epoch = [row for row in rows for _ in range(settings.seen if row[2] >= 0 else 1)]
    steps = settings.epochs * -(-len(epoch) // settings.batch)
    optim = torch.optim.AdamW(model.parameters(), settings.lr, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optim, settings.lr, total_steps=steps, pct_start=0.1)
    rng, at = random.Random(settings.seed), len(epoch)
    with tqdm(range(steps), desc="candidates", unit="step", disable=None) as bar:
        for _ in bar:
            if at >= len(epoch):
                rng.shuffle(epoch)
                at = 0
            part, at = epoch[at : at + settings.batch], at + settings.batch
            logits = model(*_batch(part), features[[photo for _, _, photo in part]], settings.dropout)
            loss = F.binary_cross_entropy_with_logits(logits, _truth(part, len(answers)), reduction="sum") / len(part)
            optim.zero_grad(set_to_none=True)
            loss.backward()
            optim.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.2f}")
    with torch.no_grad():  # photos come as they are from here on
        model.photo.weight /= spread
        model.photo.bias -= model.photo.weight @ mean
    return model.eval()


def _shares(answers: Mapping[str, float]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for text, share in answers.items():
        plain = vqa_normalise(text)
        shares[plain] = max(share, shares.get(plain, 0.0))
    return shares


def _often(count: Counter[str], least: int) -> list[str]:
    return [text for text, n in sorted(count.items(), key=lambda pair: (-pair[1], pair[0])) if n >= least]


_Row = tuple[list[int], dict[int, float], int]


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


# --- on disk -------------------------------------------------------------------------------------------------


def save(model: CandidateModel, folder: Path, notes: Mapping[str, object] | None = None) -> None:
    """Write the layers in float16 into a caption adapter's folder."""
    facts = {"words": model.words, "answers": model.answers, "vision": asdict(model.vision), "notes": notes or {}}
    layers.save(model, folder / CAPTION_ANSWERS, "answers", facts)


def load(folder: Path, vision: VisionConfig | None) -> CandidateModel | None:
    """What tells candidates; None: the caption adapter's folder has nothing of the kind.

    Args:
        vision: the image encoder of the captioner.

    Raises:
        LAV2Error: the file is damaged, or was learned on another image encoder.
    """
    file = folder / CAPTION_ANSWERS
    if vision is None or not file.exists():
        return None

    def build(facts: dict[str, Any], tensors: dict[str, Tensor]) -> CandidateModel:
        if from_json(VisionConfig, facts["vision"]) != vision:
            raise LAV2Error(f"{file} was learned on another image encoder.", "Make it for this one, or delete it.")
        return CandidateModel(facts["words"], facts["answers"], vision, len(tensors["photo.bias"]))

    model = layers.load(file, "answers", build, "Get it again.")
    model.folder = folder
    return model
