"""Text that stands on its head, aslant or letter above letter: which way round a box is to be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from experts.marks import Line, ink

Read = Callable[[np.ndarray], list[Line]]  # quads [n,4,2] -> their lines, each read from its first corner on

OBLONG = 1.2  # length over height from which a box's direction is known
SURE = 0.6  # texts that the reader is less sure of are doubtful
PROBED = 3  # boxes that are read upside down at first, the largest doubtful ones
BETTER = 1.2  # by that factor a reading upside down has to score higher
LETTERS = 3  # stand one above the other, at least
ALIKE = 0.6  # of the tallest: so tall they are all
LEGIBLE = 0.5  # and so sure it has to be, on average
TALL = 1.2  # height over width from which a box may hold a vertical line
HIGHER = 1.5  # than a line beside it: what is no higher belongs to its row

Box = list[int]  # left, right, top, bottom, px


def level(quads: Sequence[Sequence[Sequence[float]]]) -> np.ndarray:
    """Slanted quads [n,4,2] with their corners in the order of a text that is read along the long side, to the right.
    EasyOCR begins at the corner nearest to the photo's, which from 45 degrees on is often that of a short side."""
    turned = np.array(quads, np.float32).reshape(-1, 4, 2)
    for k, quad in enumerate(turned):
        along, across = (np.hypot(*side) for side in _sides(quad))
        if across > OBLONG * along:
            quad = np.roll(quad, -1, axis=0)
        turned[k] = quad if _sides(quad)[0][0] >= 0 else np.roll(quad, 2, axis=0)
    return turned


def _sides(quad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors along a text and down across it."""
    return quad[1] - quad[0] + quad[2] - quad[3], quad[3] - quad[0] + quad[2] - quad[1]


def righted(lines: list[Line], read: Read, score: Callable[[str], float], known: Callable[[str], bool]) -> list[Line]:
    """The lines, read upside down where they stand so. Where most of the text is doubtful, the largest doubtful boxes
    are read again, upside down; if that is clearly better, all that holds no known word is, numbers too.

    Args:
        read: gives a line for each quad.
        score: what a text is worth that is read for sure.
        known: whether a text holds a known word.
    """
    doubtful = [k for k, line in enumerate(lines) if _doubtful(line, known)]
    areas = np.array([_area(line[0]) for line in lines])
    if not doubtful or areas[doubtful].sum() < 0.5 * areas.sum():
        return lines
    doubtful.sort(key=lambda k: -areas[k])

    def worth(line: Line) -> float:
        return line[2] * score(line[1])

    probed: list[Line] = []
    before = after = 0.0
    for k in doubtful[:PROBED]:
        probed += _upended([lines[k]], read)
        before, after = before + worth(lines[k]), after + worth(probed[-1])
        if after <= BETTER * before:  # most photos end here, one box later
            return lines
    written = "".join(text for _, text, _ in probed)
    mean = sum(sure * len(text) for _, text, sure in probed) / len(written)
    if mean < LEGIBLE or 2 * sum(map(str.isalpha, written)) < len(written):  # many numbers can be read either way
        return lines
    first = doubtful[:PROBED]
    rest = [k for k, line in enumerate(lines) if k not in first and not (line[2] >= SURE and known(line[1]))]
    chosen = list(lines)
    for k, line in zip([*first, *rest], probed + _upended([lines[k] for k in rest], read), strict=True):
        if BETTER * worth(line) >= worth(lines[k]):
            chosen[k] = line
    return chosen


def vertical(boxes: Sequence[Box]) -> list[Box]:
    """Boxes that may hold a vertical line: higher than wide, and no single letters of a row in which words stand."""
    level_ones = [box for box in boxes if box[1] - box[0] >= box[3] - box[2]]

    def in_row(box: Box) -> bool:
        return any(
            _beside(box[2], box[3], other) and box[3] - box[2] <= HIGHER * (other[3] - other[2]) for other in level_ones
        )

    return [box for box in boxes if box[3] - box[2] > TALL * (box[1] - box[0]) and not in_row(box)]


def unstacked(boxes: Sequence[Box], grey: np.ndarray) -> list[Box]:
    """The boxes, a column of a table's single digits taken apart: EasyOCR joins those of neighbouring rows to one box.
    Letters of a sign that stand one above the other have no words of their own beside each."""
    level_ones = [box for box in boxes if box[1] - box[0] >= box[3] - box[2]]
    apart: list[Box] = []
    for box in boxes:
        left, right, top, bottom = (max(0, int(side)) for side in box)
        pieces = _pieces(grey[top:bottom, left:right]) if bottom - top > TALL * (right - left) else []
        beside = [
            {k for k, other in enumerate(level_ones) if _beside(top + first, top + last, other)}
            for first, last in pieces
        ]
        if len(pieces) > 1 and all(beside) and not set.intersection(*beside):
            edge = max(1, min(second[0] - first[1] for first, second in pairwise(pieces)) // 2)
            apart += [[left, right, top + first - edge, top + last + edge] for first, last in pieces]
        else:
            apart.append(box)
    return apart


def _beside(top: int, bottom: int, other: Box) -> bool:
    """Whether what stands between two heights and a box stand at one height: each one's middle in the other."""
    return other[2] < (top + bottom) / 2 < other[3] and top < (other[2] + other[3]) / 2 < bottom


def _pieces(part: np.ndarray) -> list[tuple[int, int]]:
    """First row, and the row after the last, of each piece of ink in a grey part [H, W]; [] if their heights differ."""
    if not part.size or min(part.shape) < 2:
        return []
    rows = np.flatnonzero(np.diff(np.pad((ink(part) > 0).any(1).astype(int), 1))).reshape(-1, 2)
    heights = rows[:, 1] - rows[:, 0]
    if len(rows) < 2 or heights.min() < ALIKE * heights.max():
        return []
    return [(int(first), int(last)) for first, last in rows]


def side_by_side(part: np.ndarray) -> np.ndarray | None:
    """Letters that stand one above the other in a grey part [H, W], set side by side; None where they do not: fewer
    than LETTERS pieces, or of unlike heights, or not about as high as the column is wide."""
    if min(part.shape) < LETTERS:
        return None
    shown = ink(part) > 0
    rows = np.flatnonzero(np.diff(np.pad(shown.any(1).astype(int), 1))).reshape(-1, 2)  # first row, row after the last
    heights = rows[:, 1] - rows[:, 0]
    if len(rows) < LETTERS or heights.min() < ALIKE * heights.max():
        return None
    columns = [np.flatnonzero(shown[top:bottom].any(0))[[0, -1]] for top, bottom in rows]
    wide = max(last - first + 1 for first, last in columns)
    if not 0.4 < wide / heights.max() < 2:
        return None
    gap, tall = int(0.2 * heights.max()) + 1, int(heights.max())
    widths = [last - first + 1 for first, last in columns]
    paper = np.median(part[~shown])
    strip = np.full((tall + 2 * gap, sum(widths) + gap * (len(rows) + 1)), paper, part.dtype)
    x = gap
    for (top, bottom), (first, last), width in zip(rows, columns, widths, strict=True):
        y = gap + tall - (bottom - top)
        strip[y : gap + tall, x : x + width] = part[top:bottom, first : last + 1]
        x += width + gap
    return strip


def _doubtful(line: Line, known: Callable[[str], bool]) -> bool:
    _, text, sure = line
    return sure < SURE or (sum(c.isalpha() for c in text) >= 4 and not known(text))


def _upended(lines: list[Line], read: Read) -> list[Line]:
    return read(np.array([np.roll(quad, 2, axis=0) for quad, _, _ in lines], np.float32).reshape(-1, 4, 2))


def _area(quad: np.ndarray) -> float:
    along, across = (np.hypot(*side) for side in _sides(quad))
    return float(along * across)
