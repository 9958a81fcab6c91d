"""In which order texts of a photo are read: rows and their cells, column after column where prose stands in columns.

Lengths are in text heights wherever they are compared, so that the photo's size does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Row = list[list[int]]  # cells from left to right, each the indices of its texts

OVERLAP = 0.5  # of the smaller height: how far two texts of a row stand at the same height
WIDE = 0.8  # heights: a wider gap parts two cells; between words it is 0.2 to 0.5
PARALLEL = np.radians(30)  # texts that are turned further from each other are ordered apart
STEADY = 4.0  # length over height from which its slope is trusted; a "y" at its end tilts the box of a short word
OBLONG = 1.5  # length over height from which a text's direction is known
FEW = 8  # of fewer texts the skew is not looked for
MOST_SKEW = 0.1  # rise over run; EasyOCR's boxes stand upright up to here, whatever the tilt of what they hold
LINES = 4  # of prose on either side make columns
FILLED = 0.78  # of its column: how far prose fills it, half the lines at least; names and dishes differ more
LONG = 7.0  # heights: a line of prose is that long, half the lines at least, where only its shape tells
LETTERS = 0.85  # of letters and digits: how many are letters in prose
GOING_ON = 0.3  # of the lines of prose begin in lower case; entries of a table do not
RAGGED = 0.6  # of its column: how far such lines fill it


def rows_of(quads: np.ndarray, texts: Sequence[str] | None = None) -> list[Row]:
    """Texts in reading order: rows, in each the cells from left to right, in each the indices of the texts that belong
    together, such as the words of a phrase.

    Rows of a table, a receipt or a timetable keep their cells side by side. Columns of running prose are read one after
    the other, what stands above them across both first. Tilted texts are ordered along their tilt, and vertical ones
    along their own direction.

    Args:
        quads: [n, 4, 2] px, y downwards, each clockwise from the text's own top left.
        texts: what they say, n of them, which tells prose from tables more surely than its shape alone.
    """
    quads = np.asarray(quads, float).reshape(-1, 4, 2)
    ordered: list[tuple[float, Row]] = []  # (height at which it stands, row)
    turned = None
    left = np.arange(len(quads))
    while len(left):
        angle, near = _direction(quads[left])
        if turned is None:
            turned = quads @ _turn(angle)
        members = left[near]
        member_texts = None if texts is None else [texts[i] for i in members]
        rows = _upright(quads[members] @ _turn(angle), member_texts)
        rows = [[[int(members[i]) for i in cell] for cell in row] for row in rows]
        heights = [turned[[i for cell in row for i in cell], :, 1].mean() for row in rows]
        at = len(ordered)
        if ordered:  # what is turned otherwise stays together, where its middle is
            middle = float(np.mean(heights))
            at = next((k for k, (height, _) in enumerate(ordered) if height > middle), at)
        ordered[at:at] = zip(heights, rows, strict=True)
        left = left[~near]
    return [row for _, row in ordered]


def _turn(angle: float) -> np.ndarray:
    """[2, 2]: points [..., 2] times this are turned so that a text at `angle` lies level."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _direction(quads: np.ndarray) -> tuple[float, np.ndarray]:
    """The angle of most of the texts, by length, and which ones are about parallel to it ([n] bool)."""
    along, height = _sides(quads)
    length = np.hypot(*along.T)
    angles = np.arctan2(along[:, 1], along[:, 0])
    oblong = length > OBLONG * height
    if not oblong.any():
        oblong = np.ones_like(oblong)
    weights = np.where(oblong, length, 0) + 1e-9
    steps = np.radians(np.arange(0, 360, 5))
    around = np.abs(_between(angles[:, None], steps)) < np.radians(15)  # [n, 72]
    peak = steps[np.argmax((weights[:, None] * around).sum(0))]
    apart = _between(angles, peak)
    close = np.flatnonzero((np.abs(apart) < np.radians(20)) & oblong)
    if len(close):
        close = close[np.argsort(apart[close])]
        total = np.cumsum(weights[close])
        peak = peak + apart[close[np.searchsorted(total, total[-1] / 2)]]
    return float(peak), (np.abs(_between(angles, peak)) < PARALLEL) | ~oblong


def _sides(quads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Along each text ([n, 2] px) and its height ([n] px), both the mean of two sides."""
    along = (quads[:, 1] - quads[:, 0] + quads[:, 2] - quads[:, 3]) / 2
    return along, np.hypot(*((quads[:, 3] - quads[:, 0] + quads[:, 2] - quads[:, 1]) / 2).T)


def _between(angles: np.ndarray, other: np.ndarray | float) -> np.ndarray:
    """Differences of angles, -pi..pi."""
    return (angles - other + np.pi) % (2 * np.pi) - np.pi


@dataclass
class _Boxes:
    """Of n texts that lie level: their left and right ends `x` [n, 2], `middle` heights [n] and `height` [n], px, and
    the texts themselves where they are known."""

    x: np.ndarray
    middle: np.ndarray
    height: np.ndarray
    texts: Sequence[str] | None


@dataclass
class _Cells:
    """Of n cells: ends and mean height of their texts ([n] px each), and what they say where that is known."""

    left: np.ndarray
    right: np.ndarray
    tall: np.ndarray
    texts: list[str] | None

    @classmethod
    def of(cls, cells: list[list[int]], boxes: _Boxes) -> _Cells:
        left, right, tall = np.array([(boxes.x[c[0], 0], boxes.x[c, 1].max(), boxes.height[c].mean()) for c in cells]).T
        texts = None if boxes.texts is None else [" ".join(boxes.texts[i] for i in cell) for cell in cells]
        return cls(left, right, tall, texts)

    def only(self, kept: np.ndarray) -> _Cells:
        texts = None if self.texts is None else [self.texts[k] for k in kept.tolist()]
        return _Cells(self.left[kept], self.right[kept], self.tall[kept], texts)


def _upright(quads: np.ndarray, texts: Sequence[str] | None) -> list[Row]:
    """rows_of texts that lie about level."""
    quads = quads.copy()
    height = np.maximum(_sides(quads)[1], 1.0)
    # each as a whole: a box that stands upright stays upright
    quads[..., 1] -= _skew(quads, height) * quads[..., 0].mean(1)[:, None]
    x = np.stack([quads[:, [0, 3], 0].mean(1), quads[:, [1, 2], 0].mean(1)], axis=1)  # [n, 2] left and right end
    x.sort(axis=1)
    rows = []
    for chain in _chains(quads, x, height):
        row, last = [[chain[0]]], chain[0]
        for i in chain[1:]:
            if x[i, 0] - x[last, 1] > WIDE * min(height[i], height[last]):
                row.append([i])
            else:
                row[-1].append(i)
            last = i
        rows.append(row)
    return _columns(rows, _Boxes(x, quads[..., 1].mean(1), height, texts))


def _skew(quads: np.ndarray, height: np.ndarray) -> float:
    """Rise over run at which most texts stand beside others at their height; 0 where that is no clear gain."""
    middle, n = quads.mean(1), len(quads)  # [n, 2]
    if n < FEW:
        return 0.0
    step = np.median(height) / 10

    def beside(slope: float) -> float:
        """Pairs of texts, each counted by how near they are: 1 at one height, 0 half a height apart."""
        at = (middle[:, 1] - slope * middle[:, 0]) / step
        counts = np.bincount((at - at.min()).astype(int)).astype(float)
        apart = range(min(5, len(counts)))
        return float(sum((1 + (k > 0)) * (1 - k / 5) * counts[k:] @ counts[: len(counts) - k] for k in apart)) - n

    slopes = np.linspace(-MOST_SKEW, MOST_SKEW, 41)
    found = [beside(slope) for slope in slopes]
    best = int(np.argmax(found))
    return float(slopes[best]) if found[best] > max(1.5 * beside(0.0), n / 2) else 0.0


def _chains(quads: np.ndarray, x: np.ndarray, height: np.ndarray) -> list[list[int]]:
    """Texts of a row each, from left to right: every text is followed by the nearest on its right that stands at its
    height; a text that several would be followed by goes to the one whose height fits best."""
    n = len(quads)
    middle, centre = quads[..., 1].mean(1), x.mean(1)
    width = np.maximum(x[:, 1] - x[:, 0], 1e-6)
    slope = (quads[:, [1, 2], 1].mean(1) - quads[:, [0, 3], 1].mean(1)) / width
    slope *= np.minimum(1, width / (STEADY * height))
    ends = middle[:, None] + slope[:, None] * width[:, None] * np.array([-0.5, 0.5])  # [n, 2] height at either end
    reach = height.max() + 1.5 * np.abs(ends[:, 1] - ends[:, 0]).max()  # further apart, none overlap
    by_height = np.argsort(middle, kind="stable")
    low, high = (np.searchsorted(middle[by_height], middle + sign * reach) for sign in (-1, 1))
    after, before, fits = np.full(n, -1), np.full(n, -1), np.full(n, np.inf)
    for i in range(n):
        near = by_height[low[i] : high[i]]
        near = near[centre[near] > centre[i]]
        gap = x[near, 0] - x[i, 1]
        ahead = np.maximum(gap, 0) / 2  # either is carried on half-way, but not further than it is long
        theirs = ends[near, 0] - slope[near] * np.minimum(ahead, width[near])
        apart = np.abs(theirs - ends[i, 1] - slope[i] * np.minimum(ahead, width[i]))
        smaller = np.minimum(height[near], height[i])
        fitting = (height[near] + height[i]) / 2 - apart >= OVERLAP * smaller
        fitting &= gap > -0.5 * np.minimum(width[near], width[i])
        if not fitting.any():
            continue
        nearest = np.argmin(np.where(fitting, gap, np.inf))
        j, fit = near[nearest], apart[nearest] + 0.01 * max(gap[nearest], 0)
        if fit < fits[j]:
            if before[j] >= 0:
                after[before[j]] = -1
            after[i], before[j], fits[j] = j, i, fit
    chains = []
    for first in np.flatnonzero(before < 0).tolist():
        chain = [first]
        while after[chain[-1]] >= 0:
            chain.append(int(after[chain[-1]]))
        chains.append(chain)
    return sorted(chains, key=lambda chain: (middle[chain].mean(), x[chain[0], 0]))


def _columns(rows: list[Row], boxes: _Boxes) -> list[Row]:
    """The rows, those that two columns of prose share taken apart: the left column first, then the right one."""
    cut = _gutter(rows, boxes)
    if cut is None:
        return rows
    at, first, last = cut
    sides: tuple[list[Row], list[Row]] = ([], [])
    for row in rows[first:last]:
        left = [cell for cell in row if boxes.x[cell].mean() < at]
        for side, cells in zip(sides, (left, row[len(left) :]), strict=True):
            if cells:
                side.append(cells)
    for side in sides:
        side.sort(key=lambda row: boxes.middle[[i for cell in row for i in cell]].mean())
    parts = (rows[:first], *sides, rows[last:])
    return [row for part in parts for row in _columns(part, boxes)]


def _gutter(rows: list[Row], boxes: _Boxes) -> tuple[float, int, int] | None:
    """Where prose stands on both sides of a gap that many rows share: (x of the gap, first row, row after the last)."""
    cells = [cell for row in rows for cell in row]
    of = np.repeat(np.arange(len(rows)), [len(row) for row in rows])  # each cell's row
    gaps = np.flatnonzero(of[1:] == of[:-1])  # before the cell after
    if len(gaps) < LINES - 1:
        return None
    flat = _Cells.of(cells, boxes)
    left, right, tall = flat.left, flat.right, flat.tall
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
            behind = ends[of[ends] > bounds[k]], starts[of[starts] > bounds[k]]
            sides = [side[of[side] < bounds[k + 1]] for side in behind]
            lines = min(len(side) for side in sides)
            if lines > best and all(_prose(flat.only(side)) for side in sides):
                best, found = lines, (at, int(bounds[k]) + 1, int(bounds[k + 1]))
    return found


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
