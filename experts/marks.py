"""Small marks that EasyOCR loses or takes for others, told by the picture: colons of times, dashes between texts."""

from __future__ import annotations

import itertools
import re

import numpy as np

Line = tuple[np.ndarray, str, float]  # quad [4,2] px, text, confidence

# What a time becomes: EasyOCR takes most colons for points, some for a 3.
CLOCK = re.compile(r"([01]?\d|2[0-4])[.,3]([0-5]\d)")
DIGITS = str.maketrans("iIlO", "1110")  # of a time, where letters are read
LEGIBLE = 96  # px: height that a line has at least, to tell its dots
STROKES = ("-", "=")
LOW = 0.6  # of a text's height: what a dash's own box does not reach, and texts of a row share
WIDE = 2.5  # text heights: how wide a gap is looked at for a dash
FLAT = 1.5  # width over height of a dash, at least


def timed(line: Line, grey: np.ndarray) -> Line:
    """The line, a time with its colon where the picture [H, W] has one."""
    quad, text, sure = line
    time = CLOCK.fullmatch(text.strip().translate(DIGITS))
    return (quad, ":".join(time.groups()) if time and has_colon(grey, quad) else text, sure)


def has_colon(grey: np.ndarray, quad: np.ndarray) -> bool:
    """Whether two dots of a size stand one above the other between digits; of a point there is one.

    Args:
        grey: picture [H, W] of 0..255.
        quad: [4, 2] px, where the line is.
    """
    boxes, centres = _blots(grey, quad)
    if not len(boxes):
        return False
    tall = boxes[:, 3].max()
    digits = centres[boxes[:, 3] > 0.6 * tall, 0]
    small = (boxes[:, 2:4] < 0.4 * tall).all(1) & (boxes[:, 4] > 3)
    dots = [i for i in np.flatnonzero(small) if digits.min() < centres[i, 0] < digits.max()]
    for pair in itertools.combinations(dots, 2):
        aside, above = np.abs(np.subtract(*centres[list(pair)]))
        alike = boxes[list(pair), 4].max() < 2.5 * boxes[list(pair), 4].min()
        if alike and aside < 0.25 * tall and above > 0.2 * tall:
            return True
    return False


def dashed(lines: list[Line], grey: np.ndarray) -> list[Line]:
    """The lines, with a dash (or an equals sign) where nothing but a flat stroke (or two) stands amid the gap between
    two texts of a level row, as sure as the less sure one of them. EasyOCR finds most of these no box, and reads the
    others as 5, ~ or nothing; such a reading is left out."""
    texts = [k for k, line in enumerate(lines) if _level(line) and sum(c.isalnum() for c in line[1])]
    if len(texts) < 2:
        return lines
    low = np.array([quad.min(0) for quad, _, _ in lines])  # [n, 2]
    high = np.array([quad.max(0) for quad, _, _ in lines])
    height = high[:, 1] - low[:, 1]
    found, dropped = [], set()
    for k in texts:
        overlap = np.minimum(high[k, 1], high[texts, 1]) - np.maximum(low[k, 1], low[texts, 1])
        gap = low[texts, 0] - high[k, 0]
        fits = (overlap > LOW * height[texts]) & (overlap > LOW * height[k]) & (gap > 0.1 * height[k])
        beside = np.array(texts)[fits & (gap < WIDE * height[k])]
        if not len(beside):
            continue
        after = beside[np.argmin(low[beside, 0])]
        edge = 0.2 * height[k]  # boxes reach beyond their letters, and over a dash
        left, right = high[k, 0], low[after, 0]
        top, bottom = low[[k, after], 1].min(), high[[k, after], 1].max()
        if mark := _strokes(grey, np.array([[left - edge, top], [right + edge, bottom]])):
            quad = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)
            found.append((quad, mark, min(lines[k][2], lines[after][2])))
            inside = (low[:, 0] > left - height / 2) & (high[:, 0] < right + height / 2) & (height < LOW * height[k])
            dropped |= set(np.flatnonzero(inside & (low[:, 1] > top) & (high[:, 1] < bottom)).tolist())
    return [line for k, line in enumerate(lines) if k not in dropped] + found


def _level(line: Line) -> bool:
    along = line[0][1] - line[0][0]
    return bool(abs(along[1]) < 0.1 * along[0])


def _strokes(grey: np.ndarray, part: np.ndarray) -> str:
    """What of STROKES a part ([2, 2] px, its corners) of the grey picture holds alone; else ""."""
    boxes, centres = _blots(grey, part)
    high, wide = LEGIBLE, LEGIBLE * (part[1, 0] - part[0, 0]) / (part[1, 1] - part[0, 1])
    whole = (boxes[:, 0] > 0) & (boxes[:, 0] + boxes[:, 2] < wide - 1) & (boxes[:, 4] > 0.002 * high * high)
    boxes, centres = boxes[whole], centres[whole]  # what touches an end is a letter
    flat = (boxes[:, 2] >= FLAT * boxes[:, 3]) & (boxes[:, 3] < 0.25 * high) & (boxes[:, 2] > 0.12 * high)
    if not len(boxes) or not flat.all() or abs(centres[:, 1].mean() / high - 0.55) > 0.15:
        return ""
    alike = len(boxes) == 2 and np.ptp(boxes[:, 2]) < 0.2 * boxes[:, 2].max() and np.ptp(centres[:, 0]) < 0.1 * high
    return STROKES[0] if len(boxes) == 1 else STROKES[1] if alike else ""


def _blots(grey: np.ndarray, quad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pieces of ink in a line's part of the picture, enlarged to be LEGIBLE: boxes [n, 5] (left, top, width, height,
    area) and centres [n, 2], px."""
    import cv2

    left, top = np.floor(quad.min(0)).astype(int).clip(0)
    right, bottom = np.ceil(quad.max(0)).astype(int)
    part = np.ascontiguousarray(grey[top:bottom, left:right])
    if not part.size:
        return np.zeros((0, 5), int), np.zeros((0, 2))
    times = max(1.0, LEGIBLE / len(part))
    part = cv2.resize(part, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)
    _, _, boxes, centres = cv2.connectedComponentsWithStats(ink(part))
    return boxes[1:], centres[1:]  # without the paper


def ink(part: np.ndarray) -> np.ndarray:
    """Letters as 255 on 0, of a grey part [H, W] uint8 with its rim of paper."""
    import cv2

    _, found = cv2.threshold(part, 0, 255, cv2.THRESH_OTSU)
    rim = np.concatenate([found[0], found[-1], found[:, 0], found[:, -1]])
    return np.asarray(255 - found if rim.mean() > 127 else found)  # dark letters: the rim is paper
