"""Where a text answers a question: which row, which words of it, and whether that means yes. What small networks
learned from written documents.

The language model reads a neighbouring row or column at times, or refuses. These networks know tens of thousands of
questions with the places that answer them; how sure they are weighs the model's choice of words (lav2.text.weighing).
Which words: start and end as in extractive question answering (Rajpurkar et al. 2016, arXiv 1606.05250). File: beside
the chat adapter; `python -m lav2.documents.reader` makes it.
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
from lav2.model.checkpoint import READER
from lav2.reading.candidates import Candidate, candidates, proof
from lav2.reading.matcher import Matcher, Pairs, pairs
from lav2.reading.networks import Chooser, Decider
from lav2.reading.spans import likeliest
from lav2.reading.words import asked, words
from lav2.text import weighing
from lav2.text.proofs import awaits_verdict
from lav2.text.weighing import Passage, Told

MOST = 160  # candidates of a text; what follows is not compared
ANSWERING = 5  # candidates whose words are looked through for the answer


@dataclass(frozen=True)
class ReaderConfig:
    """Words that are learned one by one, the width of what is learned of each by the networks that choose and that
    decide, and how many decide."""

    common: int
    choosing: int = 32
    deciding: int = 64
    deciders: int = 3


class TextReader(nn.Module):
    """Questions and rows -> the rows that answer, the words that do, and verdicts. Several networks tell these
    together: they err in different questions.

    Args:
        words: that the networks know.
        config: their sizes.
        dropout: share that is left out while they learn.
    """

    def __init__(self, words: Sequence[str], config: ReaderConfig, dropout: float = 0.0):
        super().__init__()
        self.words, self.config = tuple(words), config
        self._listed = {word: at for at, word in enumerate(self.words, 1)}

        def matcher(own: int) -> Matcher:
            return Matcher(len(self.words), config.common, own, dropout)

        self.chooser = Chooser(matcher(config.choosing))
        self.deciders = nn.ModuleList(Decider(matcher(config.deciding)) for _ in range(config.deciders))
        self.folder: Path | None = None  # that it was read from

    def pairs(self, questions: Sequence[Sequence[str]], rows: Sequence[Candidate]) -> Pairs:
        """Question i, given as words, with candidate i."""
        return pairs(self._listed, questions, rows)

    def choose(self, questions: Sequence[Sequence[str]], rows: Sequence[Candidate]) -> Tensor:
        """Log-chances [questions, candidates + 1] that each candidate answers a question; the last column: none
        does."""
        return self.chooser(
            self.pairs([words for words in questions for _ in rows], [*rows] * len(questions)), len(rows)
        )

    def bounds(self, questions: Sequence[Sequence[str]], rows: Sequence[Candidate]) -> Tensor:
        """Log-chances [B, 2, L] that the answer to question i begins, and ends, with each of L words of candidate i and
        what stands around it, which has no chance."""
        return self.chooser.bounds(self.pairs(questions, rows))

    def decide(self, questions: Sequence[Sequence[str]], proofs: Sequence[Candidate]) -> Tensor:
        """Log-odds [B] of yes, of each question with its proof (lav2.reading.candidates.alone)."""
        asked = self.pairs(questions, proofs)
        return torch.stack([decider(asked) for decider in self.deciders]).mean(0)

    @torch.inference_mode()
    def told(self, rows: Sequence[Sequence[str]], question: str, earlier: str = "") -> Told:
        """What of a text may answer a question.

        Args:
            rows: cells of each row of the text.
            earlier: the question before it in the conversation.
        """
        read, found = asked(question, earlier), candidates(rows, labelled(rows, question))[:MOST]
        if not read or not found:
            return weighing.NOTHING_TOLD
        *chances, none = self.choose([read], found)[0].exp().tolist()
        proofs: dict[str, float] = defaultdict(float)
        for one, chance in zip(found, chances, strict=True):
            proofs[one.text.strip().removesuffix(".")] += chance
        best = sorted(range(len(found)), key=chances.__getitem__, reverse=True)[:ANSWERING]
        bounds = self.bounds([read] * len(best), [found[at] for at in best])
        answers: dict[str, float] = defaultdict(float)
        for at, (starts, ends) in zip(best, bounds.tolist(), strict=True):
            for text, chance in likeliest(found[at], starts, ends):
                answers[text] += chance * chances[at]
        return Told(_passages(proofs), _passages(answers), none)

    def verdict(self, rows: Sequence[Sequence[str]], question: str, earlier: str = "") -> Verdict:
        """What tells yes from no once the model has written a proof. Arguments: as of `told`."""
        return Verdict(self, rows, asked(question, earlier))


def _passages(chances: Mapping[str, float]) -> tuple[Passage, ...]:
    """The likeliest first, without those that weigh nothing."""
    likely = sorted(
        (text for text in chances if chances[text] >= weighing.UNTOLD), key=chances.__getitem__, reverse=True
    )
    return tuple(Passage(text, chances[text]) for text in likely)


class Verdict:
    """What is written so far -> "Yes" or "No" with what it adds to its logit, where one of them comes next."""

    def __init__(self, reader: TextReader, rows: Sequence[Sequence[str]], question: Sequence[str]):
        self._reader, self._rows, self._question = reader, rows, question

    @torch.inference_mode()
    def __call__(self, written: str) -> dict[str, float]:
        text = awaits_verdict(written)
        if not words(text) or not self._question:
            return {}
        yes = weighing.VERDICT * self._reader.decide([self._question], [proof(self._rows, text)]).item()
        return {"Yes": yes} if yes > 0 else {"No": -yes}

    def __reduce__(self):
        """On its way to another process (lav2.cluster) a reader that was read from a folder is read there again."""
        if self._reader.folder is None:
            return Verdict, (self._reader, self._rows, self._question)
        return _reload, (self._reader.folder, self._rows, self._question)


@lru_cache(4)
def _loaded(folder: Path) -> TextReader:
    return load(folder)


def _reload(folder: Path, rows: Sequence[Sequence[str]], question: Sequence[str]) -> Verdict:
    return Verdict(_loaded(folder), rows, question)


def save(model: TextReader, folder: Path, notes: Mapping[str, object] | None = None) -> None:
    """Write the networks in float16 into a chat adapter's folder."""
    facts = {"words": model.words, "config": asdict(model.config), "notes": notes or {}}
    layers.save(model, folder / READER, "reader", facts)


def load(folder: Path) -> TextReader | None:
    """The reader of texts in a chat adapter's folder; None: there is none.

    Raises:
        LAV2Error: the file is damaged.
    """

    def build(facts: dict[str, Any], tensors: dict[str, Tensor]) -> TextReader:
        return TextReader(facts["words"], ReaderConfig(**facts["config"]))

    file = folder / READER
    if not file.exists():
        return None
    model = layers.load(file, "reader", build, "Fetch the adapter again.")
    model.folder = folder
    return model
