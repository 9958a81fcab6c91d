"""Whether the answer to a question is yes, by a proof: decomposable attention (Parikh et al. 2016, arXiv 1606.01933) on
word vectors of the language model, and what arithmetic tells.

Words: B pairs of a question and a proof, T words of the question, L of the proof, C width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lav2.reading.candidates import MARKS, Candidate
from lav2.reading.relations import RELATIONS, relation
from lav2.reading.words import key, stem

VECTOR = 64  # of a word's C numbers those that come from the language model's embedding
OWN_SCALE = 4.0  # of what is learned of single words: they are seldom met, so they learn in larger steps
_SUM = 5.0  # words whose sum weighs as much as the largest


class Pairs(NamedTuple):
    """Words as their places in the list, 0: unknown, -1: no word; whether the other side has the word as well, 0 or 1;
    what arithmetic tells of both, and where the proof stands."""

    question: Tensor  # [B, T]
    question_same: Tensor
    row: Tensor  # [B, L]
    row_same: Tensor
    relation: Tensor  # [B, RELATIONS + MARKS]


def pairs(listed: Mapping[str, int], questions: Sequence[Sequence[str]], proofs: Sequence[Candidate]) -> Pairs:
    """Of question i with proof i.

    Args:
        listed: known words, as `lav2.reading.words.key` writes them, with their places in the list, from 1.
    """

    def places(words: Sequence[str]) -> list[int]:
        return [listed.get(key(word), 0) for word in words]

    found: list[list] = [[] for _ in Pairs._fields]
    for question, row in zip(questions, proofs, strict=True):
        for column, value in zip(found, (
            places(question), _same(question, row.words), places(row.words), _same(row.words, question),
            [*relation(question, row.words, row.text), *row.marks],
        ), strict=True):  # fmt: skip
            column.append(value)
    return Pairs(*(_padded(column, -(at in (0, 2))) for at, column in enumerate(found)))


class Decider(nn.Module):
    """Pairs -> log-odds [B] of yes.

    Args:
        known: how many words are known.
        common: the first so many of them are learned one by one, beside their vectors.
        own: width of what is learned of each of these.
        dropout: share that is left out while it learns.
    """

    def __init__(self, known: int, common: int, own: int, dropout: float):
        super().__init__()
        width = VECTOR + own
        self.dropout = dropout
        self.vectors: nn.Module = nn.Embedding(known + 1, VECTOR)
        self.own = nn.Embedding(common + 1, own)
        nn.init.normal_(self.own.weight, std=0.05)
        self.side, self.same = nn.Embedding(2, width), nn.Embedding(2, width)
        self.neighbours = nn.Conv1d(width, width, 3, padding=1)
        self.attend = nn.Linear(width, width)
        self.compare = nn.ModuleList(self._layers(3 * width, width, width) for _ in range(2))
        self.join = nn.Sequential(nn.Linear(4 * width + RELATIONS + MARKS, width), nn.ReLU(), nn.Dropout(dropout))
        self.yes = nn.Linear(width, 1)

    def _layers(self, wide: int, hidden: int, out: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Linear(wide, hidden), nn.ReLU(), nn.Dropout(self.dropout), nn.Linear(hidden, out), nn.ReLU()
        )

    def _read(self, places: Tensor) -> Tensor:
        known = places.clamp(min=0)
        common = known * (known < len(self.own.weight))
        told = torch.cat([self.vectors(known), OWN_SCALE * self.own(common)], -1)
        return F.dropout(told, self.dropout, self.training)

    def _mix(self, words: Tensor, no_word: Tensor) -> Tensor:
        words = words.masked_fill(no_word[..., None], 0)
        return words + F.relu(self.neighbours(words.transpose(1, 2)).transpose(1, 2))

    def forward(self, pairs: Pairs) -> Tensor:
        no_word, no_row = (places < 0 for places in (pairs.question, pairs.row))
        asked = self._read(pairs.question) + self.side.weight[1] + self.same(pairs.question_same)
        row = self._read(pairs.row) + self.side.weight[0] + self.same(pairs.row_same)
        asked, row = (self._mix(*side) for side in ((asked, no_word), (row, no_row)))
        fit = self.attend(asked) @ self.attend(row).transpose(1, 2) / asked.shape[2] ** 0.5  # [B, T, L]
        in_row = fit.masked_fill(no_row[:, None], -1e4).softmax(2) @ row
        in_question = fit.masked_fill(no_word[:, :, None], -1e4).softmax(1).transpose(1, 2) @ asked
        ours = self.compare[0](torch.cat([asked, in_row, asked * in_row], -1)).masked_fill(no_word[..., None], 0)
        theirs = self.compare[1](torch.cat([row, in_question, row * in_question], -1)).masked_fill(no_row[..., None], 0)
        told = [ours.sum(1) / _SUM, ours.amax(1), theirs.sum(1) / _SUM, theirs.amax(1), pairs.relation]
        return self.yes(self.join(torch.cat(told, -1)))[:, 0]


def _same(words: Sequence[str], others: Sequence[str]) -> list[int]:
    known = {stem(word) for word in others}
    return [int(stem(word) in known) for word in words]


def _padded(rows: Sequence[Sequence[float]], value: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])
