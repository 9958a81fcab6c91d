"""The networks of a reader of texts: which candidate answers, with which of its words; whether a proof means yes.

B pairs of a question and a candidate, L words of the candidate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lav2.reading.matcher import Matcher, Pairs


class Chooser(nn.Module):
    """Which candidate answers a question, and where in it the answer begins and ends."""

    def __init__(self, matcher: Matcher):
        super().__init__()
        self.matcher, wide = matcher, matcher.width
        self.chance, self.none = nn.Linear(wide, 1), nn.Linear(wide, 1)
        self.ends = nn.Sequential(nn.Linear(2 * wide, wide), nn.ReLU(), nn.Linear(wide, 2))

    def forward(self, pairs: Pairs, rows: int) -> Tensor:
        """Log-chances [questions, rows + 1] that each of as many candidates answers a question; the last column: none
        does. Pairs are in the order of questions."""
        hidden = self.matcher(pairs)[0].unflatten(0, (-1, rows))
        return torch.cat([self.chance(hidden)[..., 0], self.none(hidden.amax(1))], 1).log_softmax(1)

    def bounds(self, pairs: Pairs) -> Tensor:
        """Log-chances [B, 2, L] that the answer begins, and ends, with each word of a candidate; none for the words
        around it."""
        own = (pairs.row_part == 0) & (pairs.row >= 0)
        return self.ends(self.matcher(pairs)[1]).transpose(1, 2).masked_fill(~own[:, None], -1e4).log_softmax(-1)


class Decider(nn.Module):
    """Log-odds [B] that the answer to a question is yes, by its proof."""

    def __init__(self, matcher: Matcher):
        super().__init__()
        self.matcher, self.yes = matcher, nn.Linear(matcher.width, 1)

    def forward(self, pairs: Pairs) -> Tensor:
        return self.yes(self.matcher(pairs)[0])[:, 0]
