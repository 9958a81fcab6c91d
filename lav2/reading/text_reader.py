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
from lav2.model.hidden_states import HiddenStates
from lav2.reading.candidates import Candidate, candidates, proof
from lav2.reading.chooser import Chooser, Chosen
from lav2.reading.decider import Decider, Pair
from lav2.reading.decider import told as told_of_pair
from lav2.reading.pages import Asked, Page, as_text, page, question_text
from lav2.reading.pages import asked as asked_tokens
from lav2.reading.spans import likeliest
from lav2.reading.words import asked, words
from lav2.text import weighing
from lav2.text.proofs import awaits_verdict
from lav2.text.weighing import Passage, Told

MOST = 160  # candidates of a text; what follows is not compared
ANSWERING = 5  # candidates whose words are looked through for the answer
REMEMBERED = 8  # texts whose hidden states are kept for the next question


@dataclass(frozen=True)
class ReaderConfig:
    """The language model whose hidden states are read (a source of lav2.weights), and its width; how many networks
    choose, and how many decide."""

    llm: str
    width: int
    choosers: int = 2
    deciders: int = 2


class TextReader(nn.Module):
    """Questions and rows -> the rows that answer, the words that do, and verdicts, of which several networks tell: they
    err in different questions.

    Args:
        rarity: of stems, for the networks that choose (lav2.reading.pages.overlaps).
        config: sizes.
        dropout: shares that are left out while those that choose, and those that decide, learn.
    """

    def __init__(
        self, rarity: Mapping[str, float], config: ReaderConfig, dropout: tuple[float, float] = (0.0, 0.0)
    ):  # fmt: skip
        super().__init__()
        self.config, self.rarity = config, dict(rarity)
        self.choosers = nn.ModuleList(Chooser(config.width, rarity, dropout=dropout[0]) for _ in range(config.choosers))
        self.deciders = nn.ModuleList(Decider(config.width, dropout=dropout[1]) for _ in range(config.deciders))
        self.folder: Path | None = None  # that it was read from

    @property
    def hidden(self) -> HiddenStates:
        """The first layers of the language model, which are loaded when they are first wanted.

        Raises:
            LAV2Error: the language model is not there.
        """
        return hidden_states(self.config.llm)

    def decide(self, pairs: Sequence[Pair]) -> Tensor:
        """Log-odds [B] of yes, of each question with its proof (lav2.reading.candidates.alone)."""
        return torch.stack([decider(pairs) for decider in self.deciders]).mean(0)

    def pairs(self, text: str, question: Sequence[str], proofs: Sequence[Candidate]) -> list[Pair]:
        """A question with each of some proofs, as the networks read them that decide.

        Args:
            text: of the question (lav2.reading.pages.question_text).
            question: its words (lav2.reading.words.asked).
        """
        read = (text, *(one.text for one in proofs))
        first, *others = (asked_tokens(*both) for both in zip(read, self.hidden.of(read), strict=True))
        return [Pair(first, other, told_of_pair(question, one)) for other, one in zip(others, proofs, strict=True)]

    def choose(self, text: Page, questions: Sequence[Asked]) -> Chosen:
        """What the networks that choose tell together: the mean of their log-chances."""
        each = [chooser(text, questions) for chooser in self.choosers]
        chances, ends, closed = (torch.stack(told).mean(0) for told in zip(*each, strict=True))
        return Chosen(chances.log_softmax(1), ends, closed)

    @torch.inference_mode()
    def told(self, rows: Sequence[Sequence[str]], question: str, earlier: str = "") -> Told:
        """What of a text may answer a question.

        Args:
            rows: cells of each row of the text.
            earlier: the question before it in the conversation.
        """
        found, text = _read(self.config.llm, tuple(map(tuple, rows))) if words(question) else ([], None)
        if text is None:
            return weighing.NOTHING_TOLD
        written = question_text(question, earlier)
        chosen = self.choose(text, [asked_tokens(written, self.hidden(written))])
        *chances, none = chosen.candidates[0].exp().tolist()
        proofs: dict[str, float] = defaultdict(float)
        for one, chance in zip(found, chances, strict=True):
            proofs[one.text.strip().removesuffix(".")] += chance
        answers: dict[str, float] = defaultdict(float)
        for at in sorted(range(len(found)), key=chances.__getitem__, reverse=True)[:ANSWERING]:
            for words_of_it, chance in likeliest(found[at], *bounds(text, at, chosen.ends[0])):
                answers[words_of_it] += chance * chances[at]
        return Told(_passages(proofs), _passages(answers), none, chosen.closed.item())

    def verdict(self, rows: Sequence[Sequence[str]], question: str, earlier: str = "") -> Verdict:
        """What tells yes from no once the model has written a proof. Arguments: as of `told`."""
        return Verdict(self, rows, question, earlier)


@lru_cache(REMEMBERED)
def _read(source: str, rows: tuple[tuple[str, ...], ...]) -> tuple[list[Candidate], Page | None]:
    """The candidates of a text and what a language model makes of its tokens; None: there is no candidate."""
    found = candidates(rows)[:MOST]
    if not found:
        return [], None
    kept = rows[: found[-1].place[0] + 1]
    headed = labelled(rows)[: len(kept)]
    return found, page(kept, headed, found, hidden_states(source)(as_text(headed)))


def bounds(text: Page, at: int, ends: Tensor) -> tuple[list[float], list[float]]:
    """Log-chances that the answer begins, and ends, with each word of candidate `at`.

    Args:
        ends: scores of each token [L, 2] (lav2.reading.chooser).
    """
    first, end = text.spans[at]
    starts, lasts = ends[first:end].log_softmax(0).T.tolist()
    known = text.words[at]
    return [starts[token - first] for token, _ in known], [lasts[behind - 1 - first] for _, behind in known]


@lru_cache(2)
def hidden_states(source: str) -> HiddenStates:
    """The first layers of a language model, shared by those who read with it."""
    return HiddenStates(source)


def _passages(chances: Mapping[str, float]) -> tuple[Passage, ...]:
    """The likeliest first, without those that weigh nothing."""
    likely = sorted(
        (text for text in chances if chances[text] >= weighing.UNTOLD), key=chances.__getitem__, reverse=True
    )
    return tuple(Passage(text, chances[text]) for text in likely)


class Verdict:
    """What is written so far -> "Yes" or "No" with what it adds to its logit, where one of them comes next."""

    def __init__(self, reader: TextReader, rows: Sequence[Sequence[str]], question: str, earlier: str = ""):
        self._reader, self._asked = reader, (rows, question, earlier)

    @torch.inference_mode()
    def __call__(self, written: str) -> dict[str, float]:
        rows, question, earlier = self._asked
        text, read = awaits_verdict(written), asked(question, earlier)
        if not words(text) or not read:
            return {}
        pairs = self._reader.pairs(question_text(question, earlier), read, [proof(rows, text)])
        yes = weighing.VERDICT * self._reader.decide(pairs).item()
        return {"Yes": yes} if yes > 0 else {"No": -yes}

    def __reduce__(self):
        """On its way to another process (lav2.cluster) a reader that was read from a folder is read there again."""
        if self._reader.folder is None:
            return Verdict, (self._reader, *self._asked)
        return _reload, (self._reader.folder, *self._asked)


@lru_cache(4)
def _loaded(folder: Path) -> TextReader:
    return load(folder)


def _reload(folder: Path, rows: Sequence[Sequence[str]], question: str, earlier: str) -> Verdict:
    return Verdict(_loaded(folder), rows, question, earlier)


def save(model: TextReader, folder: Path, notes: Mapping[str, object] | None = None) -> None:
    """Write the networks in float16 into a chat adapter's folder."""
    facts = {
        "rarity": model.rarity,
        "config": asdict(model.config),
        "notes": notes or {},
    }
    layers.save(model, folder / READER, "reader", facts)


def load(folder: Path) -> TextReader | None:
    """The reader of texts in a chat adapter's folder; None: there is none.

    Raises:
        LAV2Error: the file is damaged.
    """

    def build(facts: dict[str, Any], tensors: dict[str, Tensor]) -> TextReader:
        return TextReader(facts["rarity"], ReaderConfig(**facts["config"]))

    file = folder / READER
    if not file.exists():
        return None
    model = layers.load(file, "reader", build, "Fetch the adapter again.")
    model.folder = folder
    return model
