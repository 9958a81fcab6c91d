"""In which order texts of a photo are read: rows and their cells, column after column where prose stands in columns.

Lengths are in text heights wherever they are compared, so that the photo's size does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experts.gutters import Boxes, Row, gutter
from experts.tables import aligned

OVERLAP = 0.5  # of the smaller height: how far two texts of a row stand at the same height
WIDE = 0.8  # heights: a wider gap parts two cells; between words it is 0.2 to 0.5
PARALLEL = np.radians(30)  # texts that are turned further from each other are ordered apart
STEADY = 4.0  # length over height from which its slope is trusted; a "y" at its end tilts the box of a short word
OBLONG = 1.5  # length over height from which a text's direction is known
FEW = 8  # of fewer texts the skew is not looked for
MOST_SKEW = 0.1  # rise over run; EasyOCR's boxes stand upright up to here, whatever the tilt of what they hold


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
    boxes = Boxes(x, quads[..., 1].mean(1), height, texts)
    return aligned(_columns(rows, boxes), boxes)


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


def _columns(rows: list[Row], boxes: Boxes) -> list[Row]:
    """The rows, those that two columns of prose share taken apart: the left column first, then the right one."""
    cut = gutter(rows, boxes)
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
