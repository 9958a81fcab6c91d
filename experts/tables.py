"""Cells of a table below the heading that they stand under, by their place: where a row lacks one, as timetables and
plans of a week do, the others must not move up. Lines of a cell that has several belong together.

Lengths are in text heights, so that the photo's size does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experts.gutters import Boxes, Row
from experts.headings import is_label, of_trains

COLUMNS = 3  # headings of a table, at least
ROWS = 2  # below them
FULL = 0.65  # of its columns: so many cells has a row of a table with gaps
NOTES = 2  # rows of a cell that may stand between those of a table
_DIGIT, _LETTERS = re.compile(r"\d"), re.compile(r"[^\W\d_]{3}")


def aligned(rows: Sequence[Row], boxes: Boxes) -> list[Row]:
    """The rows, those below headings with a cell for each: empty ones, [], where a row has none there, and one cell of
    several lines instead of several rows.

    Args:
        boxes: of the texts that the rows hold; without what they say nothing is changed.
    """
    read = [list(row) for row in rows]
    at = 0
    while boxes.texts is not None and at < len(read):
        heads = _heads(read[at], boxes)
        below = [] if heads is None else _below(read[at + 1 :], heads, boxes)
        last = max((k + 1 for k, line in enumerate(below) if len(line.read) > 1), default=0)
        for length in sorted({len(below), last}, reverse=True):  # a note below the table, or a cell's last line
            if joined := _lines_joined(below[:length], boxes):
                read[at + 1 : at + 1 + length] = joined
                at += len(joined)
                break
        else:
            read[at + 1 : at + 1 + last] = _with_gaps(below[:last], boxes)
            at += last
        at += 1
    return read


class _Line(NamedTuple):
    """A row of a table as it was read, and its cells by column."""

    read: Row
    cells: Row


class _Heads(NamedTuple):
    """Left and right `ends` of headings [n, 2] px; whether they are numbers behind a word, or all of them labels."""

    ends: np.ndarray
    numbered: bool
    sure: bool


def _heads(row: Row, boxes: Boxes) -> _Heads | None:
    """The headings; None where the row has none: words of labels, or a word of labels and numbers, of trains."""
    texts = [_said(cell, boxes) for cell in row]
    if len(row) < COLUMNS or len(set(texts)) < len(texts):
        return None
    numbered = of_trains(texts)
    labels = sum(map(is_label, texts))
    if not numbered and labels < len(row) - 1:
        return None
    ends = np.array([(boxes.x[cell[0], 0], boxes.x[cell, 1].max()) for cell in row])
    return _Heads(ends, numbered, labels == len(row))


def _below(rows: Sequence[Row], heads: _Heads, boxes: Boxes) -> list[_Line]:
    """The rows that stand below the headings, one after the other; [] where these are too few, or none has a gap."""
    first = [(boxes.x[row[0][0], 0], boxes.x[row[0], 1].max()) for row in rows[: len(heads.ends)] if len(row) > 1]
    outside = [end for _, end in first if end < heads.ends[0, 0]]
    ends = heads.ends
    if len(outside) > len(first) / 2:  # names of rows that have no heading
        ends = np.array([(min(left for left, _ in first), max(outside)), *heads.ends])
    found: list[_Line] = []
    for row in rows:
        labels = len(row) > 1 and all(is_label(_said(cell, boxes)) for cell in row)
        placed = None if labels else _placed(row, ends, heads.numbered, boxes)
        if placed is None or (len(row) == 1 and all(len(line.read) == 1 for line in found[-NOTES:])):
            break
        found.append(_Line(row, placed))
    gaps = any(line.read != line.cells for line in found)
    enough = 1 if heads.sure else ROWS
    return found if gaps and sum(len(line.read) > 1 for line in found) >= enough else []


def _placed(row: Row, ends: np.ndarray, numbered: bool, boxes: Boxes) -> Row | None:
    """The cells by column; None where one stands across two, or two stand in one: that of the rows' names apart."""
    placed: Row = [[] for _ in ends]
    centres, loose = ends.mean(1), -1
    for number, cell in enumerate(_apart(row, ends, boxes)):
        covered = _covered(cell, ends, boxes)
        if len(covered) > 1 and len(row) > 1:
            return None
        middle = (boxes.x[cell[0], 0] + boxes.x[cell, 1].max()) / 2
        column = int(covered[0]) if len(covered) else int(np.abs(centres - middle).argmin())
        if placed[column] and column == loose:  # "Ferrensee | dep" names one row
            placed[0], placed[column] = placed[0] + placed[column], []
        if placed[column]:
            return None
        loose = column if numbered and number == 1 and not len(covered) else loose
        placed[column] = cell
    return placed


def _apart(row: Row, ends: np.ndarray, boxes: Boxes) -> Row:
    """The cells, those taken apart whose texts stand under headings of their own: a date close to a time."""
    found: Row = []
    for cell in row:
        columns = [_covered([text], ends, boxes).tolist() for text in cell]
        clear = len(_covered(cell, ends, boxes)) > 1 and all(len(one) == 1 for one in columns)
        last = None
        for text, one in zip(cell, columns, strict=True):
            if found and last is not None and (not clear or one == last):
                found[-1] = [*found[-1], text]
            else:
                found.append([text])
            last = one
    return found


def _covered(cell: Sequence[int], ends: np.ndarray, boxes: Boxes) -> np.ndarray:
    """The columns that a cell stands under with half of it, or under half of whose headings it stands."""
    left, right = boxes.x[cell[0], 0], boxes.x[cell, 1].max()
    over = np.minimum(ends[:, 1], right) - np.maximum(ends[:, 0], left)
    return np.flatnonzero(over > 0.5 * np.minimum(ends[:, 1] - ends[:, 0], right - left))


def _with_gaps(lines: Sequence[_Line], boxes: Boxes) -> list[Row]:
    """The cells by column of the rows that have a name, which stands in the first column that most whole rows have; the
    others (sums, notes) and what stands alone across the middle ("12:10 | LUNCH") as they were read."""
    columns = len(lines[0].cells) if lines else 0
    whole = [line.cells for line in lines if sum(map(bool, line.cells)) >= columns - 1]
    name = next((at for at in range(columns) if 2 * sum(bool(cells[at]) for cells in whole) > len(whole)), 0)
    filled = [[boxes.x[cells[at]] for cells in whole if cells[at]] for at in range(columns)]
    ends = np.array([(np.concatenate(x)[:, 0].min(), np.concatenate(x)[:, 1].max()) if x else (0, 0) for x in filled])

    def fits(line: _Line) -> bool:
        few = not line.cells[name] or len(line.read) < FULL * columns
        return not few and not _across(line.cells, name) and _inside(line.cells, ends, boxes)

    return [line.cells if fits(line) else line.read for line in lines]


def _inside(cells: Row, ends: np.ndarray, boxes: Boxes) -> bool:
    """Whether each cell stands where whole rows have those of its column."""
    for (left, right), cell in zip(ends, cells, strict=True):
        x = boxes.x[cell]
        shared = min(x[:, 1].max(), right) - max(x[:, 0].min(), left) if cell else 0.0
        if cell and shared < 0.5 * min(x[:, 1].max() - x[:, 0].min(), right - left):
            return False
    return True


def _across(cells: Row, name: int) -> bool:
    beside = [at for at in range(name + 1, len(cells)) if cells[at]]
    return len(beside) == 1 and 2 * beside[0] == name + len(cells)


def _lines_joined(lines: Sequence[_Line], boxes: Boxes) -> list[Row]:
    """The rows of a table whose cells have several lines; [] where it has none: rows without a cell in the first column
    are further lines of the nearest row that has one, or of the one above."""
    table = [line.cells for line in lines]
    named = [at for at, row in enumerate(table) if row[0]]
    if not named or len(named) > 2 / 3 * len(table):
        return []
    heights = np.array([boxes.middle[[i for cell in row for i in cell]].mean() for row in table])
    if named[0]:
        owner = np.abs(heights[:, None] - heights[named]).argmin(1)
    else:  # names stand beside the first line
        owner = np.searchsorted(named, np.arange(len(table)), side="right") - 1
    steps, same = np.diff(heights), owner[1:] == owner[:-1]
    if not same.any() or steps[same].max() > 2 * np.median(boxes.height):
        return []
    if not same.all() and steps[~same].min() <= steps[same].max():
        return []
    parts = [[table[at] for at in np.flatnonzero(owner == number)] for number in range(len(named))]
    if len(parts) < 2 or any(_values(part, boxes) for part in parts):
        return []
    return [[[i for line in part for i in line[column]] for column in range(len(table[0]))] for part in parts]


def _values(lines: Sequence[Row], boxes: Boxes) -> bool:
    """Whether two lines have a number in the same column, as rows of their own have: prices, times."""
    for cells in zip(*lines, strict=True):
        said = [_said(cell, boxes) for cell in cells]
        if sum(bool(_DIGIT.search(text)) and not _LETTERS.search(text) for text in said) > 1:
            return True
    return False


def _said(cell: Sequence[int], boxes: Boxes) -> str:
    return " ".join(boxes.texts[i] for i in cell) if boxes.texts is not None else ""
