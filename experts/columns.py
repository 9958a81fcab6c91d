"""Single digits of a table's column that EasyOCR's text search overlooks, such as platforms or numbers of pieces: they
are looked for where other rows have theirs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from experts.marks import Line

SURE = 0.8  # digits that the reader is less sure of are left out
MEMBERS = 2  # digits below each other make a column
ALIKE = (0.6, 1.6)  # heights of a digit: so high are the texts of its row
CONTRAST = 0.6  # of that of the column's own digits: what has less is paper


def overlooked(lines: list[Line], grey: np.ndarray, read: Callable[[np.ndarray], list[Line]]) -> list[Line]:
    """The lines, and the digits that stand in a column of single digits beside a row without one.

    Args:
        grey: picture [H, W] of 0..255.
        read: gives a line for each quad of [n, 4, 2].
    """
    low = np.array([quad.min(0) for quad, _, _ in lines]).reshape(-1, 2)
    high = np.array([quad.max(0) for quad, _, _ in lines]).reshape(-1, 2)
    middle, height = (low + high) / 2, high[:, 1] - low[:, 1]
    single = [k for k, (_, text, sure) in enumerate(lines) if len(text) == 1 and text.isdigit() and sure >= SURE]
    words = [k for k, (_, text, _) in enumerate(lines) if sum(map(str.isalnum, text)) > 1]
    found: list[Line] = []
    while single:
        tall = height[single[0]]
        column = [k for k in single if abs(middle[k, 0] - middle[single[0], 0]) < 0.5 * tall]
        single = [k for k in single if k not in column]
        if len(column) < MEMBERS:
            continue
        left, right = low[column, 0].min() - 0.1 * tall, high[column, 0].max() + 0.1 * tall
        least = CONTRAST * min(_contrast(grey, low[k], high[k]) for k in column)
        for y in sorted({round(middle[k, 1]) for k in words if ALIKE[0] * tall < height[k] < ALIKE[1] * tall}):
            top, bottom = y - 0.6 * tall, y + 0.6 * tall
            taken = (low[:, 0] < right) & (high[:, 0] > left) & (low[:, 1] < y) & (high[:, 1] > y)
            if taken.any() or any(abs(quad[:, 1].mean() - y) < 0.5 * tall for quad, _, _ in found):
                continue
            if _contrast(grey, np.array([left, top]), np.array([right, bottom])) < least:
                continue
            quad = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)
            found += [line for line in read(quad[None]) if len(line[1]) == 1 and line[1].isdigit() and line[2] >= SURE]
    return lines + found


def _contrast(grey: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Between the lightest and the darkest pixels of a part of the picture, without the outliers."""
    (left, top), (right, bottom) = low.astype(int).clip(0), np.ceil(high).astype(int)
    part = grey[top:bottom, left:right]
    return float(np.subtract(*np.percentile(part, (97, 3)))) if part.size else 0.0
