"""Which row of a text decides a yes-or-no question, and how: what small networks learned from written documents.

The language model copies a row and then says yes or no (lav2.text.proofs). These networks know thousands of questions
with the row that decides them; how sure they are weighs the model's choice (lav2.text.weighing). File: beside the chat
adapter; `python -m lav2.documents.proofs` makes it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experts.headings import labelled
from lav2.captioning import layers
from lav2.model.checkpoint import PROOFS
from lav2.reading.matcher import Matcher
from lav2.reading.words import Candidate, alone, asked, candidates, words
from lav2.text import weighing
from lav2.text.proofs import Proof, awaits_verdict

MOST = 160  # candidates of a text; what follows is not compared


@dataclass(frozen=True)
class ReaderConfig:
    """Words that are learned one by one, and the width of what is learned of each by either network."""

    common: int
    choosing: int = 32
    deciding: int = 64


class ProofReader(nn.Module):
    """Questions and rows -> the rows that prove, and their verdicts.

    Args:
        words: that the networks know.
        config: their sizes.
        dropout: share that is left out while they learn.
    """

    def __init__(self, words: Sequence[str], config: ReaderConfig, dropout: float = 0.0):
        super().__init__()
        self.words, self.config = tuple(words), config
        places = {word: at for at, word in enumerate(self.words, 1)}
        self.choosing = Matcher(places, config.common, config.choosing, dropout)
        self.deciding = Matcher(places, config.common, config.deciding, dropout)
        self.chance = nn.Linear(self.choosing.join[0].out_features, 1)
        self.none = nn.Linear(self.choosing.join[0].out_features, 1)
        self.yes = nn.Linear(self.deciding.join[0].out_features, 1)
        self.folder: Path | None = None  # that it was read from

    def choose(self, questions: Sequence[Sequence[str]], rows: Sequence[Candidate]) -> Tensor:
        """Logits [questions, candidates + 1] that each candidate decides a question, given as words; the last column:
        none does."""
        pairs = self.choosing.pairs([words for words in questions for _ in rows], [*rows] * len(questions))
        hidden = self.choosing(pairs).unflatten(0, (len(questions), len(rows)))
        return torch.cat([self.chance(hidden)[..., 0], self.none(hidden.amax(1))], 1)

    def decide(self, questions: Sequence[Sequence[str]], proofs: Sequence[str]) -> Tensor:
        """Log-odds [B] of yes, of each question, given as words, with its proof."""
        return self.yes(self.deciding(self.deciding.pairs(questions, [alone(text) for text in proofs])))[:, 0]

    @torch.inference_mode()
    def told(self, rows: Sequence[Sequence[str]], question: str, earlier: str = "") -> tuple[Proof, ...]:
        """Rows and cells of a text that may decide a question, the likeliest first.

        Args:
            rows: cells of each row of the text.
            earlier: the question before it in the conversation.
        """
        read, found = asked(question, earlier), candidates(rows, labelled(rows, question))[:MOST]
        if not read or not found:
            return ()
        chances: dict[str, float] = defaultdict(float)
        for one, chance in zip(found, self.choose([read], found)[0].softmax(0).tolist(), strict=False):
            chances[one.text.strip().removesuffix(".")] += chance
        likely = sorted((text for text in chances if chances[text] >= weighing.UNTOLD), key=chances.get, reverse=True)
        return tuple(Proof(text, chances[text]) for text in likely)

    def verdict(self, question: str, earlier: str = "") -> Verdict:
        """What tells yes from no once the model has written a proof."""
        return Verdict(self, asked(question, earlier))


class Verdict:
    """What is written so far -> "Yes" or "No" with what it adds to its logit, where one of them comes next."""

    def __init__(self, reader: ProofReader, question: Sequence[str]):
        self._reader, self._question = reader, question

    @torch.inference_mode()
    def __call__(self, written: str) -> dict[str, float]:
        proof = awaits_verdict(written)
        if not words(proof) or not self._question:
            return {}
        yes = weighing.VERDICT * self._reader.decide([self._question], [proof]).item()
        return {"Yes": yes} if yes > 0 else {"No": -yes}

    def __reduce__(self):
        """On its way to another process (lav2.cluster) a reader that was read from a folder is read there again."""
        if self._reader.folder is None:
            return Verdict, (self._reader, self._question)
        return _reload, (self._reader.folder, self._question)


@lru_cache(4)
def _loaded(folder: Path) -> ProofReader:
    return load(folder)


def _reload(folder: Path, question: Sequence[str]) -> Verdict:
    return Verdict(_loaded(folder), question)


def save(model: ProofReader, folder: Path, notes: Mapping[str, object] | None = None) -> None:
    """Write the networks in float16 into a chat adapter's folder."""
    facts = {"words": model.words, "config": asdict(model.config), "notes": notes or {}}
    layers.save(model, folder / PROOFS, "proofs", facts)


def load(folder: Path) -> ProofReader | None:
    """What tells proofs; None: the chat adapter's folder has nothing of the kind.

    Raises:
        LAV2Error: the file is damaged.
    """

    def build(facts: dict[str, Any], tensors: dict[str, Tensor]) -> ProofReader:
        return ProofReader(facts["words"], ReaderConfig(**facts["config"]))

    file = folder / PROOFS
    if not file.exists():
        return None
    model = layers.load(file, "proofs", build, "Fetch the adapter again.")
    model.folder = folder
    return model
