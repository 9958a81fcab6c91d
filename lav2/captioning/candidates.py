"""Which short answers a photo and a question make likely: candidates with their chances, which the language model reads
beside the findings (answer heuristics: Prophet, Shao et al., arXiv 2303.01903, Sec. 3.2).

A small language model learns slowly what people mean by thousands of questions on photos; two layers on the words of
the question (arXiv 1512.02167) and on the image encoder's features learn it in minutes, and know how sure they are. The
language model decides: it has the caption, boxes and text as well.

Words: B batch, N image tokens, C their width, H hidden width, A answers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lav2.captioning import layers, worn
from lav2.captioning.reranker import pooled
from lav2.captioning.scenes import WordChance
from lav2.captioning.seen_words import gains, weighed
from lav2.config import VisionConfig, from_json
from lav2.errors import LAV2Error
from lav2.model.checkpoint import CAPTION_ANSWERS
from lav2.text.grounding import NUMBERS

MAX_CANDIDATES, LEAST_CHANCE = 4, 0.05  # candidates of a question at most; chance from which one is told
_BEGIN = "^"  # before the first words of a question
_WORDS = re.compile(r"[a-z0-9']+")

Candidates = tuple[tuple[str, float], ...]  # (answer, chance 0..1), the likeliest first


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
        # Neither yes nor no nor a number; [A].
        self._named = torch.tensor([not (answer in ("yes", "no") or answer.isdigit()) for answer in self.answers])
        self.folder: Path | None = None  # that it was read from

    def forward(self, words: Tensor, starts: Tensor, photos: Tensor, dropout: float = 0.0) -> Tensor:
        """Logits [B, A] of the questions whose words stand one behind the other in `words`, each from its place in
        `starts` [B], on photos [B, 2C] that are `pooled`; zeros: the photo is not known. `dropout`: share of each
        layer's inputs that is left out."""
        asked = F.dropout(self._asked(words, starts), dropout)
        photo = F.relu(self.photo(F.dropout(photos, dropout)))
        photo = photo * (photos != 0).any(1, keepdim=True)
        return self._answered(F.gelu(asked), F.dropout(torch.tanh(asked) * photo, dropout))

    def _asked(self, words: Tensor, starts: Tensor) -> Tensor:
        return self.question(words, starts)

    def _answered(self, asked: Tensor, both: Tensor) -> Tensor:
        return self.by_question(asked) + self.by_both(both)

    def places(self, question: str) -> list[int]:
        return [self._place[word] for word in words_of(question) if word in self._place]

    @torch.inference_mode()
    def told(self, photo: Tensor, question: str, gain: Tensor | None = None) -> Candidates:
        """The likeliest answers to a question on a photo [2C]; () where none is likely (questions about a text).

        Args:
            gain: [A] of the photo's words (lav2.captioning.seen_words.gains), which weigh the answers where the
                likeliest is neither yes nor no nor a number; None: they are not known.
        """
        words = torch.tensor(self.places(question), dtype=torch.long, device=photo.device)
        twice, starts = words.repeat(2), words.new_tensor([0, len(words)])
        seen, blind = self(twice, starts, torch.stack([photo, torch.zeros_like(photo)]))
        log_odds, may_be = seen, worn.asked(question)
        if gain is not None and (self._named[int(seen.argmax())] or may_be):
            together = weighed(seen, blind, gain.to(seen))
            log_odds = torch.where(self._named.to(seen.device), together, together.minimum(seen))
        chances = log_odds.sigmoid()
        if may_be:
            fits = torch.tensor(worn.fits(self.answers, may_be), device=log_odds.device)
            chances = log_odds.where(fits, -math.inf).softmax(0).nan_to_num()  # one of them
        found = zip(*(part.tolist() for part in chances.topk(min(MAX_CANDIDATES, len(chances)))), strict=True)
        return tuple((_worded(self.answers[at]), chance) for chance, at in found if chance >= LEAST_CHANCE)

    def on(self, clip_tokens: Tensor, words: Mapping[str, WordChance] | None = None) -> PhotoCandidates:
        """What is asked about one photo, clip_tokens [1, N, C], whose captions are expected to have `words`."""
        found = PhotoCandidates(self, pooled(clip_tokens.to(self.photo.weight.device, torch.float32))[0])
        return found.weighed_by(words) if words else found


class PhotoCandidates:
    """question -> candidates, of one photo: its features [2C], `pooled`, and what its words gain [A]."""

    def __init__(self, model: CandidateModel, features: Tensor, gain: Tensor | None = None):
        self._model, self._features, self._gain = model, features, gain

    def weighed_by(self, words: Mapping[str, WordChance]) -> PhotoCandidates:
        """The same of a photo whose captions are expected to have `words`."""
        return PhotoCandidates(self._model, self._features, gains(self._model.answers, words))

    def __call__(self, question: str) -> Candidates:
        return self._model.told(self._features, question, self._gain)

    def __reduce__(self):
        """On its way to another process (lav2.cluster) a model that was read from a folder is read there again."""
        model, features = self._model, self._features.cpu()
        if model.folder is None:
            return PhotoCandidates, (model, features, self._gain)
        return _reload, (model.folder, model.vision, features, self._gain)


@lru_cache(4)
def _loaded(folder: Path, vision: VisionConfig) -> CandidateModel:
    return load(folder, vision)


def _reload(folder: Path, vision: VisionConfig, features: Tensor, gain: Tensor | None = None) -> PhotoCandidates:
    return PhotoCandidates(_loaded(folder, vision), features, gain)


def _worded(answer: str) -> str:
    """Small numbers as words, as the chat writes them."""
    return NUMBERS[int(answer)] if answer.isdigit() and int(answer) < len(NUMBERS) else answer


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
