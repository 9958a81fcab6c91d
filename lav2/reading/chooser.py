"""Which part of a text answers a question, and where in it the answer begins and ends: a small transformer on the
hidden states of a language model.

Each token of the text is fused with the words of the question that are most like it (as in ESIM, Chen et al. 2017,
arXiv 1609.06038); two layers then attend to the question and to the text, which know how cells stand to each other
(relative places as in Shaw et al. 2018, arXiv 1803.02155). Answers begin and end as in extractive question answering
(Rajpurkar et al. 2016, arXiv 1606.05250).

Words: Q questions, T tokens of one, L of the text, R candidates, C width of the language model, D own width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lav2.reading.attending import FORWARD, HEADS, NO_WORD, SHARPNESS, Layer, two
from lav2.reading.candidates import MARKS
from lav2.reading.pages import PLACES, Asked, Page, met, overlaps

WIDTH = 160  # D
LAYERS = 2  # that attend to the question
ROWS, COLUMNS = 32, 8  # that are told apart


class Chosen(NamedTuple):
    """Log-chances [Q, R + 1] that each candidate answers, the last: none does; scores [Q, L, 2] that the answer begins,
    and ends, with each token; log-odds [Q] that the question is answered by yes or no."""

    candidates: Tensor
    ends: Tensor
    closed: Tensor


class Chooser(nn.Module):
    """Questions beside one text -> Chosen.

    Args:
        width: C, of the language model.
        rarity: of stems, how seldom they are met (lav2.reading.pages.overlaps).
        own: D.
        dropout: share that is left out while it learns.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int, rarity: Mapping[str, float], own: int = WIDTH, dropout: float = 0.0):
        super().__init__()
        self.rarity, self.dropout = dict(rarity), dropout
        self.register_buffer("mean", torch.zeros(width))  # of hidden states, and how far they spread
        self.register_buffer("scale", torch.ones(width))
        self.read = nn.Linear(2 * width, own)
        self.own, self.same, self.met = nn.Embedding(2, own), nn.Embedding(2, own), nn.Embedding(2, own)
        self.cell, self.overlap = nn.Linear(MARKS, own), nn.Linear(3, own)
        self.rows, self.columns = nn.Embedding(ROWS, own), nn.Embedding(COLUMNS, own)
        self.near = nn.ModuleList(nn.Embedding(PLACES, HEADS) for _ in range(1 + LAYERS))
        for table in self.near:
            nn.init.zeros_(table.weight)
        self.norms = nn.ModuleList(nn.LayerNorm(own) for _ in range(3))  # of the text, the question, at the end
        self.asking, self.text = (Layer(own, dropout, question=False) for _ in range(2))
        self.align, self.sharpness = nn.Linear(own, own), nn.Parameter(torch.tensor(0.0))
        self.fuse = two(4 * own + 1, FORWARD, own, dropout)
        self.layers = nn.ModuleList(Layer(own, dropout, question=True) for _ in range(LAYERS))
        self.chance = two(3 * own + MARKS, own, 1, dropout)
        self.none = two(2 * own, own, 1, 0.0)
        self.ends, self.closed = nn.Linear(2 * own, 2), nn.Linear(2 * own, 1)

    def forward(self, text: Page, questions: Sequence[Asked]) -> Chosen:
        seen, near = self._words(text.states, text.vectors), [table(text.near).permute(2, 0, 1) for table in self.near]
        x = self.norms[0](
            seen + self.own(text.own) + self.cell(text.cell_marks) + self.rows(text.rows.clamp(max=ROWS - 1))
            + self.columns(text.columns.clamp(max=COLUMNS - 1))
        )  # fmt: skip
        x = self.text(x[None], near[0])
        heard, y, ended = self._asked(text, questions)
        no_word = torch.zeros(ended.shape).masked_fill(ended, NO_WORD)
        y = self.asking(y, no_word[:, None, None])
        x = self._fused(text, questions, (seen, x), (heard, y), no_word)
        for layer, bias in zip(self.layers, near[1:], strict=True):
            x = layer(x, bias, y, no_word[:, None, None])
        x = self.norms[2](x)
        whole = y.masked_fill(ended[..., None], 0).sum(1) / (~ended).sum(1, keepdim=True)  # the question's mean [Q, D]
        means, most = (
            torch.stack([pool(x[:, first:end]) for first, end in text.spans], 1)
            for pool in (lambda part: part.mean(1), lambda part: part.amax(1))
        )
        of_all = whole[:, None].expand(-1, len(text.spans), -1), text.marks.expand(len(x), -1, -1)
        found = torch.cat([means, most, *of_all], -1)  # [Q, R, 3 D + MARKS]
        about = torch.cat([x.amax(1), whole], -1)
        ends = self.ends(torch.cat([x, whole[:, None].expand(-1, x.shape[1], -1)], -1))
        chances = torch.cat([self.chance(found)[..., 0], self.none(about)], 1).log_softmax(1)
        return Chosen(chances, ends, self.closed(about)[:, 0])

    def _words(self, states: Tensor, vectors: Tensor) -> Tensor:
        told = torch.cat([(states - self.mean) / self.scale, vectors], -1)
        return self.read(F.dropout(told, self.dropout, self.training))

    def _asked(self, text: Page, questions: Sequence[Asked]) -> tuple[Tensor, Tensor, Tensor]:
        """Words of the questions [Q, T, D], the same with whether the text has them, and where there is none [Q, T]."""
        words = nn.utils.rnn.pad_sequence([self._words(one.states, one.vectors) for one in questions], batch_first=True)
        known = nn.utils.rnn.pad_sequence([met(text, one) for one in questions], batch_first=True)
        lengths = torch.tensor([len(one.stems) for one in questions])
        return words, self.norms[1](words + self.met(known)), torch.arange(words.shape[1]) >= lengths[:, None]

    def _fused(
        self, text: Page, questions: Sequence[Asked], rows: tuple[Tensor, Tensor], asked: tuple[Tensor, Tensor],
        no_word: Tensor,
    ) -> Tensor:  # fmt: skip
        """Each token with the words of the question that are like it [Q, L, D]; sides: words alone, and read."""
        ours, theirs = (
            F.normalize(self.align(F.layer_norm(side[0], side[0].shape[-1:])), dim=-1) for side in (rows, asked)
        )
        likeness = ours @ theirs.transpose(1, 2) + no_word[:, None]  # [Q, L, T]
        like = (likeness * (SHARPNESS * self.sharpness.exp())).softmax(-1) @ asked[1]
        x = rows[1].expand_as(like)
        fused = self.fuse(torch.cat([x, like, x * like, (x - like).abs(), likeness.amax(-1, keepdim=True)], -1))
        told = [overlaps(text, one, self.rarity) for one in questions]
        same, shares = (torch.stack(side) for side in zip(*told, strict=True))
        return x + fused + self.same(same) + self.overlap(shares)
