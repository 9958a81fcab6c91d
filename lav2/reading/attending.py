"""Layers of the small transformers that read: tokens of a text attend to each other, and to a question.

Words: B texts, L tokens of one, S of what they attend to, D width.
"""

from __future__ import annotations

from torch import Tensor, nn

HEADS, FORWARD = 4, 384  # of attention; of a feed-forward
SHARPNESS = 10.0  # of the likeness of words, before it learns
NO_WORD = -1e4  # what is added to a score where there is no word


class Attention(nn.Module):
    """Of x [B, L, D] to y [B or 1, S, D].

    Args:
        width: D.
    """

    def __init__(self, width: int):
        super().__init__()
        self.query, self.key_value, self.out = (
            nn.Linear(width, width),
            nn.Linear(width, 2 * width),
            nn.Linear(width, width),
        )

    def forward(self, x: Tensor, y: Tensor, bias: Tensor) -> Tensor:
        """bias: that is added to the scores, broadcast to [B, HEADS, L, S]."""
        query = self.query(x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        key, value = self.key_value(y).unflatten(-1, (2, HEADS, -1)).permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5 + bias
        return self.out((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))


def two(wide: int, hidden: int, out: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(wide, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, out))


class Layer(nn.Module):
    """Tokens that attend to the question, if there is one, then to each other.

    Args:
        width: D.
        question: whether there is one.
    """

    def __init__(self, width: int, dropout: float, question: bool):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3 if question else 2))
        self.text, self.feed = Attention(width), two(width, FORWARD, width, dropout)
        self.question = Attention(width) if question else None

    def forward(self, x: Tensor, bias: Tensor, asked: Tensor | None = None, no_word: Tensor | None = None) -> Tensor:
        """bias: of the text to itself [HEADS, L, L]; no_word: what is added where a question has ended [Q, 1, 1, T]."""
        if self.question is not None and asked is not None and no_word is not None:
            x = x + self.question(self.norms[2](x), asked, no_word)
        known = self.norms[0](x)
        x = x + self.text(known, known, bias)
        return x + self.feed(self.norms[1](x))
