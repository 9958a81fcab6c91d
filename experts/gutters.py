"""Gaps between parts of a page that stand side by side and are read one after the other: columns of prose, a menu's two
columns, an address beside the facts of an invoice.

Lengths are in text heights wherever they are compared, so that the photo's size does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from experts.headings import STATES, is_label

Row = list[list[int]]  # cells from left to right, each the indices of its texts

LINES = 4  # on either side make columns
FILLED = 0.78  # of its column: how far prose fills it, half the lines at least; names and dishes differ more
LONG = 7.0  # heights: a line of prose is that long, half the lines at least, where only its shape tells
LETTERS = 0.85  # of letters and digits: how many are letters in prose
GOING_ON = 0.3  # of the lines of prose begin in lower case; entries of a table do not
RAGGED = 0.6  # of its column: how far such lines fill it
# Parts that are no prose: so many lines of either have none of the other beside them, ...
ALONE, SHARE = 2, 0.4  # that share of all lines
PITCH = 2.6  # heights: they stand no further below each other
BESIDE = 0.6  # of the lines of either part that stand amid the other one's
PRICED = 3  # rows with a name and a price on either side
FACTS = 3  # beside an address
WORDS = 0.5  # of the lines of either part have words: prices alone are a table's column
# Heads an address.
_WHOSE = re.compile(r"(?:from|to|bill|ship|sold|send|sender|recipient|deliver|attn|customer|client)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]{3}|[가-힣]{2}")
# With cents, a thousand or a sign beside it, which may be misread; neither a time nor a number of goals.
_PRICE = re.compile(
    r"\W{0,2}\d+[.,]\d{2}(?:\W{0,2}|\s?[A-Z]{2,3})|\W{0,2}\d{1,3}[.,]\d{3}\W{0,2}|[^\w\s.:,(+-]\s?\d[\doO]*|\d+\s?[^\w\s.:,)-]|"
    r"(?:[A-Z]{2,3}|R|kr)\.? ?\d+(?:[.,]\d{2})?|\d+ (?:[A-Z]{2,3}|kr)"
)
_DIGIT = re.compile(r"\d")


@dataclass
class Boxes:
    """Of n texts that lie level: their left and right ends `x` [n, 2], `middle` heights [n] and `height` [n], px, and
    the texts themselves where they are known."""

    x: np.ndarray
    middle: np.ndarray
    height: np.ndarray
    texts: Sequence[str] | None


@dataclass
class _Cells:
    """Of n cells: ends, mean middle and height of their texts ([n] px each), what they say where that is known, and
    their rows [n]."""

    left: np.ndarray
    right: np.ndarray
    middle: np.ndarray
    tall: np.ndarray
    texts: list[str] | None
    row: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Row], boxes: Boxes) -> _Cells:
        cells = [cell for row in rows for cell in row]
        at = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        left, right, middle, tall = np.array([
            (boxes.x[c[0], 0], boxes.x[c, 1].max(), boxes.middle[c].mean(), boxes.height[c].mean()) for c in cells
        ]).T  # fmt: skip
        texts = None if boxes.texts is None else [" ".join(boxes.texts[i] for i in cell) for cell in cells]
        return cls(left, right, middle, tall, texts, at)

    def only(self, kept: np.ndarray) -> _Cells:
        """Those of the indices `kept`."""
        texts = None if self.texts is None else [self.texts[k] for k in kept.tolist()]
        return _Cells(self.left[kept], self.right[kept], self.middle[kept], self.tall[kept], texts, self.row[kept])


class Gutter(NamedTuple):
    """Where the gap between two parts stands: its x in px, the first row, the row after the last."""

    x: float
    first: int
    last: int


def gutter(rows: Sequence[Row], boxes: Boxes) -> Gutter | None:
    """The gap between two parts that stand side by side; of several that with most lines on either side. None where
    there is none."""
    return _prose_or_blocks(rows, boxes) or _facts(rows, boxes)


def _facts(rows: Sequence[Row], boxes: Boxes) -> Gutter | None:
    """The gap before a column of facts beside an address or the like: labels with a colon and their values, or labels
    above their values."""
    if boxes.texts is None or not rows:
        return None
    cells = [[(" ".join(boxes.texts[i] for i in cell), float(boxes.x[cell[0], 0])) for cell in row] for row in rows]
    tall = float(np.median(boxes.height))
    for read in (_with_values, _stacked):
        for at, row in enumerate(cells):
            if len(row) < 2 or row[0][0].rstrip().endswith(":"):
                continue
            edge = row[1][1] - tall
            length, facts = read(_beside(cells[k], edge, 2 * tall) for k in range(at, len(cells)))
            if facts >= FACTS:
                return Gutter(edge, at, at + length)
    return None


def _beside(line: Sequence[tuple[str, float]], edge: float, width: float) -> tuple[list[str], list[str]] | None:
    """What stands before and behind an edge; None where what stands behind does not begin within `width` of it."""
    left = [text for text, x in line if x < edge]
    right = [text for text, _ in line[len(left) :]]
    return (left, right) if not right or line[len(left)][1] < edge + width else None


def _with_values(lines: Iterable[tuple[list[str], list[str]] | None]) -> tuple[int, int]:
    """(how many lines belong to it, how many of them have a fact): one cell at most, and a label with its value. Labels
    end with a colon or, most of them, are known; no two are the same."""
    labels: list[str] = []
    besides, known, end, whose, uneven = 0, 0, 0, False, False
    for at, line in enumerate(lines):
        if line is None or len(line[0]) > 1 or len(line[1]) not in (0, 2):
            break
        label = line[1][0].strip() if line[1] else ""
        sure = label.endswith(":") or is_label(label)
        doubtful = not sure and known <= len(labels) - known
        if label and (label in labels or label[0].isdigit() or doubtful or is_label(line[1][1])):
            break
        whose |= not at and bool(line[0]) and bool(_WHOSE.match(line[0][0]))
        uneven |= not (line[0] and line[1])
        labels += [label] if label else []
        known, besides = known + sure, besides + bool(line[0])
        end = at + 1 if label else end
    facts = besides > 1 and 3 * known >= 2 * len(labels) and (whose or uneven)  # rows of a table are all full
    return end, len(labels) if facts else 0


def _stacked(lines: Iterable[tuple[list[str], list[str]] | None]) -> tuple[int, int]:
    """(how many lines belong to it, how many labels): one cell at most, and a label or its value in turn."""
    right: list[tuple[int, str]] = []
    besides = 0
    for at, line in enumerate(lines):
        if line is None or len(line[0]) > 1 or len(line[1]) > 1:
            break
        if line[0] and is_label(line[0][0]) and (at or not _WHOSE.match(line[0][0])):
            break
        if line[1] and _labels(line[1][0]) == bool(len(right) % 2):
            break
        right += [(at, line[1][0])] if line[1] else []
        besides += bool(line[0]) and not is_label(line[0][0])
    pairs = len(right) // 2
    numbers = all(_DIGIT.search(value) for _, value in right[1 : 2 * pairs : 2])
    found = pairs > 1 and besides > 2 and numbers
    return (right[2 * pairs - 1][0] + 1, pairs + 1) if found else (0, 0)


def _labels(cell: str) -> bool:
    return is_label(cell) and cell.lower().strip(" .:") not in STATES


def _prose_or_blocks(rows: Sequence[Row], boxes: Boxes) -> Gutter | None:
    """The gap between columns of prose, or between parts whose lines stand at heights of their own."""
    if sum(map(len, rows)) < 2 * LINES:
        return None
    flat = _Cells.of(rows, boxes)
    left, right, tall, of = flat.left, flat.right, flat.tall, flat.row
    gaps = np.flatnonzero(of[1:] == of[:-1])  # before the cell after
    if len(gaps) < LINES - 1:
        return None
    middles = (right[gaps] + left[gaps + 1]) / 2
    _, distinct = np.unique(np.round(middles / np.median(tall)), return_index=True)
    best, found = LINES - 1, None
    for at in middles[distinct].tolist():
        crossed = np.unique(of[(left < at - tall / 2) & (right > at + tall / 2)])
        before = (left + right) / 2 < at
        # of each row the last cell before the gap and the first one after it
        ends = np.flatnonzero(before & ~np.append((of[1:] == of[:-1]) & before[1:], False))
        starts = np.flatnonzero(~before & ~np.append(False, (of[1:] == of[:-1]) & ~before[:-1]))
        bounds = np.array([-1, *crossed.tolist(), len(rows)])
        at_ends, at_starts = np.searchsorted(of[ends], bounds), np.searchsorted(of[starts], bounds)
        for k in np.flatnonzero(np.minimum(np.diff(at_ends), np.diff(at_starts)) > best):
            # the row that crosses begins the next stretch: its own cell may lie on either side
            inside = (of > bounds[k]) & (of < bounds[k + 1])
            sides = [side[inside[side]] for side in (ends, starts)]
            lines = min(len(side) for side in sides)
            parts = [flat.only(np.flatnonzero(inside & of_side)) for of_side in (before, ~before)]
            if lines <= best:
                continue
            first, last = int(bounds[k]) + 1, int(bounds[k + 1])
            if not all(_prose(flat.only(side)) for side in sides) and not _apart(*parts):
                first, last = _priced(*parts)
            if first < last:
                best, found = lines, Gutter(at, first, last)
    return found


def _apart(one: _Cells, other: _Cells) -> bool:
    """Whether two parts side by side are no table: their lines stand at heights of their own."""
    if one.texts is None or other.texts is None:
        return False
    rows = [np.unique(side.row) for side in (one, other)]
    alone = [len(np.setdiff1d(*pair)) for pair in (rows, rows[::-1])]
    if min(alone) < ALONE or sum(alone) < SHARE * len(np.union1d(*rows)):
        return False
    lines = [_lines(side) for side in (one, other)]
    tall = float(np.median(np.append(one.tall, other.tall)))
    if any(np.median(np.diff(line)) > PITCH * tall for line in lines):
        return False
    for line, beside in (lines, lines[::-1]):
        near = np.abs(line[:, None] - beside).min(1) < PITCH / 2 * tall
        if near.mean() < BESIDE:
            return False
    return all(np.mean([bool(_WORD.search(text)) for text in side.texts or ()]) >= WORDS for side in (one, other))


def _priced(one: _Cells, other: _Cells) -> tuple[int, int]:
    """(first row, row after the last) of two parts that have rows of a name and a price each, as the columns of a menu
    do, with the headings above and what else stands amid them; (0, 0) where there are none. Units of a table ("roll")
    repeat."""
    texts = [_by_row(side) for side in (one, other)]
    pairs = [{row for row, cells in side.items() if _pair(cells)} for side in texts]
    both = sorted(pairs[0] & pairs[1])
    if len(both) < PRICED or any(len({side[row][0] for row in both}) < len(both) for side in texts):
        return 0, 0
    first, last = both[0], both[-1] + 1
    whole = [[side.get(row, []) for side in texts] for row in range(int(max(one.row.max(), other.row.max())) + 1)]
    while (
        first and any(whole[first - 1]) and not any(_DIGIT.search(text) for side in whole[first - 1] for text in side)
    ):
        first -= 1
    while last < len(whole) and all(len(cells) < 2 or _pair(cells) for cells in whole[last]):
        last += 1
    return first, last


def _by_row(cells: _Cells) -> dict[int, list[str]]:
    texts: dict[int, list[str]] = {}
    for row, text in zip(cells.row.tolist(), cells.texts or (), strict=False):
        texts.setdefault(row, []).append(text)
    return texts


def _pair(cells: Sequence[str]) -> bool:
    """Whether they are a name and a price."""
    name, price = cells if len(cells) == 2 else ("", "")
    return bool(_WORD.search(name) and _PRICE.fullmatch(price)) and not name[0].isdigit()


def _lines(cells: _Cells) -> np.ndarray:
    """Heights of the lines, from above."""
    _, row, number = np.unique(cells.row, return_inverse=True, return_counts=True)
    return np.sort(np.bincount(row, cells.middle) / number)


def _prose(cells: _Cells) -> bool:
    """Whether they are lines of running text: they about fill their column, and are long or, where they are read, begin
    as sentences go on, in lower case."""
    width = cells.right - cells.left
    filled = _rank(width, 0.5) / (_rank(cells.right, 0.9) - _rank(cells.left, 0.1))
    shaped = filled >= FILLED and _rank(width / cells.tall, 0.5) >= LONG
    if cells.texts is None or not (shaped or filled >= RAGGED):
        return bool(shaped)
    if len(set(cells.texts)) < len(cells.texts):  # a table's cells repeat, lines of text do not
        return False
    written = "".join(cells.texts)
    letters = sum(c.isalpha() for c in written)
    if letters < LETTERS * max(1, sum(c.isalnum() for c in written)):
        return False
    if _rank(np.array([sum(part[0].isalpha() for part in text.split()) for text in cells.texts]), 0.5) < 2:
        return False
    going_on = sum(text[:1].islower() for text in cells.texts)
    return going_on >= GOING_ON * len(cells.texts) or (bool(shaped) and not any(c.islower() for c in written))


def _rank(values: np.ndarray, share: float) -> float:
    """The value that `share` of the values are below (np.quantile takes a hundred times as long for a few)."""
    return float(np.sort(values)[int(share * len(values))])
