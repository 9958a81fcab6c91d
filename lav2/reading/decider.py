"""Whether the answer to a question is yes, by a proof: a small network on the hidden states of a language model, and
what arithmetic tells.

Each token is fused with those of the other side that are most like it (as in ESIM, Chen et al. 2017, arXiv 1609.06038);
then all of them attend to each other.

Words: B questions with a proof each, T tokens of one side, C width of the language model, D own width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lav2.reading.attending import NO_WORD, SHARPNESS, Layer, two
from lav2.reading.candidates import Candidate
from lav2.reading.pages import Asked
from lav2.reading.relations import RELATIONS, relation
from lav2.reading.words import EARLIER

WIDTH = 128  # D
TOLD = RELATIONS + 3  # numbers of a pair


class Pair(NamedTuple):
    """A question and a proof as the network reads them, and TOLD numbers: what arithmetic tells of both, what stands
    above the proof, whether the question follows another one."""

    question: Asked
    proof: Asked
    told: Sequence[float]


def told(question: Sequence[str], proof: Candidate) -> list[float]:
    """The numbers of a pair.

    Args:
        question: its words (lav2.reading.words.asked).
    """
    return [*relation(question, proof.words, proof.text), *proof.marks[-2:], float(EARLIER in question)]


class _Side(NamedTuple):
    """Tokens of one side [B, T, 2 C], whether the other side has their word [B, T], 0 or 1, and where there is none."""

    tokens: Tensor
    same: Tensor
    ended: Tensor


class Decider(nn.Module):
    """Pairs -> log-odds [B] of yes.

    Args:
        width: C.
        own: D.
        dropout: share that is left out while it learns.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int, own: int = WIDTH, dropout: float = 0.0):
        super().__init__()
        self.dropout = dropout
        self.register_buffer("mean", torch.zeros(width))  # of hidden states, and how far they spread
        self.register_buffer("scale", torch.ones(width))
        self.read = nn.Linear(2 * width, own)
        self.side, self.same = nn.Embedding(2, own), nn.Embedding(2, own)
        self.told = nn.Linear(TOLD, own)
        self.norms = nn.ModuleList(nn.LayerNorm(own) for _ in range(2))  # of words alone, at the end
        self.align, self.sharpness = nn.Linear(own, own), nn.Parameter(torch.tensor(0.0))
        self.fuse = two(4 * own, 2 * own, own, dropout)
        self.layer = Layer(own, dropout, question=False)
        self.yes = two(4 * own + TOLD, own, 1, dropout)

    def forward(self, pairs: Sequence[Pair]) -> Tensor:
        asked = self._side([pair.question for pair in pairs], [pair.proof for pair in pairs])
        found = self._side([pair.proof for pair in pairs], [pair.question for pair in pairs])
        alone = [self.read(F.dropout(side.tokens, self.dropout, self.training)) for side in (asked, found)]
        told = torch.tensor([pair.told for pair in pairs])
        known = self.told(told)[:, None]
        x, y = (
            self.norms[0](words + self.side.weight[at] + self.same(side.same) + known)
            for at, (words, side) in enumerate(zip(alone, (asked, found), strict=True))
        )
        ours, theirs = (F.normalize(self.align(F.layer_norm(words, words.shape[-1:])), dim=-1) for words in alone)
        likeness = ours @ theirs.transpose(1, 2) * (SHARPNESS * self.sharpness.exp())  # [B, T of x, T of y]
        both = torch.cat([_like(self.fuse, x, y, likeness, found.ended),
                          _like(self.fuse, y, x, likeness.transpose(1, 2), asked.ended)], 1)  # fmt: skip
        ended = torch.cat([asked.ended, found.ended], 1)
        both = self.norms[1](self.layer(both, _nowhere(ended)[:, None, None]))
        parts = zip(both.split([x.shape[1], y.shape[1]], 1), (asked.ended, found.ended), strict=True)
        pooled = [one for words, none in parts for one in _pooled(words, none)]
        return self.yes(torch.cat([*pooled, told], -1))[:, 0]

    def _side(self, texts: Sequence[Asked], others: Sequence[Asked]) -> _Side:
        def padded(rows: list[Tensor]) -> Tensor:
            return nn.utils.rnn.pad_sequence(rows, batch_first=True)

        known = [set(other.stems) - {""} for other in others]
        same = [torch.tensor([int(one in have) for one in text.stems]) for text, have in zip(texts, known, strict=True)]
        lengths = torch.tensor([len(text.stems) for text in texts])
        states = (padded([text.states for text in texts]) - self.mean) / self.scale
        tokens = torch.cat([states, padded([text.vectors for text in texts])], -1)
        return _Side(tokens, padded(same), torch.arange(tokens.shape[1]) >= lengths[:, None])


def _nowhere(ended: Tensor) -> Tensor:
    """What is added to scores, so that nothing attends to where a text has ended."""
    return torch.zeros(ended.shape).masked_fill(ended, NO_WORD)


def _like(fuse: nn.Module, x: Tensor, others: Tensor, likeness: Tensor, ended: Tensor) -> Tensor:
    """Each token of x with those of the other side that are like it."""
    like = (likeness + _nowhere(ended)[:, None]).softmax(-1) @ others
    return x + fuse(torch.cat([x, like, x * like, (x - like).abs()], -1))


def _pooled(words: Tensor, ended: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the most of a side [B, D]."""
    mean = words.masked_fill(ended[..., None], 0).sum(1) / (~ended).sum(1, keepdim=True).clamp(min=1)
    return mean, words.masked_fill(ended[..., None], NO_WORD).amax(1)
