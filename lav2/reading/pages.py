"""Rows of a text and a question -> what the network that chooses reads of each token: its hidden state, the cell it
stands in, the words that both have.

Words: L tokens of the text, T of the question, R candidates, C width of the language model.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lav2.model.hidden_states import Tokens
from lav2.reading.candidates import MARKS, Candidate
from lav2.reading.words import places, stem, words

BETWEEN = " | "  # cells of a row
NEAR = 15  # kinds of place of one token to another, of each distance in rows
PLACES = 8 * NEAR
LONGEST_QUESTION = 48  # tokens
UNKNOWN = 9.0  # how rare a word is that was not met


@dataclass(frozen=True)
class Page:
    """A text as the network reads it.

    Attributes:
        text: all rows, cells parted by BETWEEN, below headings as "heading: cell".
        places: of each token in the text.
        states, vectors: of each token [L, C] (lav2.model.hidden_states).
        own: whether a token is of a cell, not of its heading or between cells [L].
        rows, columns: in which each stands [L].
        near: how each token stands to each other one [L, L], below PLACES.
        marks, cell_marks: of candidates [R, MARKS], of the cell of each token [L, MARKS].
        spans: first token of each candidate, and the one behind its last.
        words: of each candidate, first token of each of its words, and the one behind the last.
        stems: of the word that each token belongs to.
    """

    text: str
    places: Sequence[tuple[int, int]]
    states: Tensor
    vectors: Tensor
    own: Tensor
    rows: Tensor
    columns: Tensor
    near: Tensor
    marks: Tensor
    cell_marks: Tensor
    spans: Sequence[tuple[int, int]]
    words: Sequence[Sequence[tuple[int, int]]]
    stems: Sequence[str]


@dataclass(frozen=True)
class Asked:
    """A question as the network reads it: states and vectors [T, C], stems of its words."""

    states: Tensor
    vectors: Tensor
    stems: Sequence[str]


def as_text(labelled: Sequence[Sequence[str]]) -> str:
    """The rows of a text as the language model reads them here.

    Args:
        labelled: cells of each row, beside the headings above them (experts.headings.labelled).
    """
    return "".join(f"{BETWEEN.join(row)}\n" for row in labelled)


def page(
    rows: Sequence[Sequence[str]],
    labelled: Sequence[Sequence[str]],
    found: Sequence[Candidate],
    tokens: Tokens,
) -> Page:
    """A text whose tokens were read.

    Args:
        found: the text's candidates, or the first of them.
        tokens: of `as_text(labelled)`.
    """
    text = as_text(labelled)
    cells = _cells(rows, labelled)
    row, column = _standing(text, tokens.places)
    own, cell_marks = torch.zeros(len(tokens.places), dtype=torch.long), torch.zeros(len(tokens.places), MARKS)
    for place in cells.values():
        own[slice(*_within(tokens.places, *place))] = 1
    spans, known = [], []
    for one in found:
        at, only = one.place
        within = [cells[at, k] for k in range(len(rows[at])) if (at, k) in cells and only in (None, k)]
        spans.append((_within(tokens.places, *within[0])[0], _within(tokens.places, *within[-1])[1]))
        known.append(
            [
                _within(tokens.places, begin + start, begin + end)
                for begin, last in within
                for start, end in places(text[begin:last])
            ][: len(one.words)]
        )
        if only is not None:
            cell_marks[slice(*spans[-1])] = torch.tensor(one.marks)
    return Page(
        text, tokens.places, tokens.states.float(), tokens.vectors, own, row, column, _near(row, column),
        torch.tensor([one.marks for one in found]), cell_marks, spans, known, _stems(text, tokens.places),
    )  # fmt: skip


def question_text(question: str, earlier: str = "") -> str:
    """A question as the language model reads it here, behind the one before it in the conversation."""
    return f"{earlier}\n{question}" if earlier else question


def asked(text: str, tokens: Tokens) -> Asked:
    """A question whose tokens were read.

    Args:
        tokens: of `text` (question_text).
    """
    read = tokens.places[:LONGEST_QUESTION]
    return Asked(tokens.states[: len(read)].float(), tokens.vectors[: len(read)], _stems(text, read))


def overlaps(text: Page, question: Asked, rarity: Mapping[str, float]) -> tuple[Tensor, Tensor]:
    """Whether each token's word stands in the question [L], 0 or 1; how much of the question's words stands in its row,
    in the row that has most of them, how rare its own word is that both have [L, 3].

    Args:
        rarity: of stems, log-odds against meeting them in a text.
    """
    weights = {known: rarity.get(known, UNKNOWN) for known in set(question.stems) - {""}}
    total = sum(weights.values()) or 1.0
    rows = text.rows.tolist()
    standing: dict[int, set[str]] = {}
    for row, known in zip(rows, text.stems, strict=True):
        standing.setdefault(row, set()).add(known)
    shares = {
        row: sum(weights[known] for known in sorted(have & weights.keys())) / total for row, have in standing.items()
    }
    most = max(shares.values())
    same = torch.tensor([int(known in weights) for known in text.stems])
    told = [(shares[row], most, weights.get(known, 0.0) / UNKNOWN) for row, known in zip(rows, text.stems, strict=True)]
    return same, torch.tensor(told)


def met(text: Page, question: Asked) -> Tensor:
    """Whether each token of a question is of a word that the text has [T], 0 or 1."""
    known = set(text.stems) - {""}
    return torch.tensor([int(one in known) for one in question.stems])


def _cells(rows: Sequence[Sequence[str]], labelled: Sequence[Sequence[str]]) -> dict[tuple[int, int], tuple[int, int]]:
    """Row and column of each cell that is not empty -> where it begins and ends in the text, without its heading."""
    cells, begin = {}, 0
    for at, row in enumerate(labelled):
        for column, cell in enumerate(row):
            end = begin + len(cell)
            if rows[at][column]:
                cells[at, column] = (end - len(rows[at][column]), end)
            begin = end + len(BETWEEN if column < len(row) - 1 else "\n")
    return cells


def _within(found: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, int]:
    """The first token that overlaps a part of a text, and the one behind the last."""
    first = bisect_right(found, start, key=lambda place: place[1])
    return first, max(first + 1, bisect_left(found, end, key=lambda place: place[0]))


def _standing(text: str, found: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Row and column of each token; what parts two rows or cells stands in the first of them."""
    rows = [text.count("\n", 0, start) for start, _ in found]
    lines = [text.rfind("\n", 0, start) + 1 for start, _ in found]
    columns = [text.count(" |", line, start) for line, (start, _) in zip(lines, found, strict=True)]
    return torch.tensor(rows), torch.tensor(columns)


def _near(row: Tensor, column: Tensor) -> Tensor:
    """Rows apart (-3 to 4), columns apart (-1 to 1), tokens apart (-2 to 2), as one number."""
    order = torch.arange(len(row))
    apart = [((places[:, None] - places).clamp(-most, more) + most) for places, most, more in
             ((row, 3, 4), (column, 1, 1), (order, 2, 2))]  # fmt: skip
    return apart[0] * NEAR + apart[1] * 5 + apart[2]


def _stems(text: str, found: Sequence[tuple[int, int]]) -> list[str]:
    """Of the word that each token belongs to; "" of none."""
    where, known = places(text), words(text)
    told, at = [], 0
    for start, end in found:
        while at < len(where) and where[at][1] <= start:
            at += 1
        told.append(stem(known[at]) if at < len(where) and where[at][0] < end else "")
    return told
