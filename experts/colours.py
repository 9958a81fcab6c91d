"""The colour of what stands in a box: a linear model on a histogram of its pixels in CIELAB.

Trained on boxes whose phrase names one colour ("a black dog"); docs/detector.md has how, and how often it is right.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NAMES = ("black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
WEIGHTS = Path(__file__).resolve().parent.parent / "assets" / "detector" / "colours.json"
SIDE = 24  # px: a box is scaled to a square of this before its pixels are counted
MARGINS = (0.05, 0.25)  # of a box's sides, cut off: once most of it, once its middle
LOW, HIGH, BINS = (0.0, -43.0, -82.0), (100.0, 65.0, 62.0), (6, 6, 8)  # of L*, a*, b*; grey is inside a bin
CLEAR, POSSIBLE = 0.45, 0.25  # chance of a colour that is named, and of two that are named as either
SMALLEST = 8  # px: of a box's sides; a smaller one has no colour
TORSO = (0.2, 0.15, 0.8, 0.55)  # of a person's box, left top right bottom: what is worn above the waist


def features(image: Image.Image, box: Any) -> np.ndarray:
    """[576] float32: square roots of the shares of pixels in each cell of L*a*b*, for each of MARGINS.

    Args:
        image: upright RGB.
        box: left, top, right, bottom in its pixels.
    """
    left, top, right, bottom = (float(value) for value in box)
    width, height = right - left, bottom - top
    parts = []
    for margin in MARGINS:
        x, y = margin * width, margin * height
        corners = (int(left + x), int(top + y), int(right - x) + 1, int(bottom - y) + 1)
        pixels = np.asarray(image.crop(corners).resize((SIDE, SIDE), Image.Resampling.BOX), np.float32)  # [S, S, 3]
        scaled = (_lab(pixels.reshape(-1, 3)) - LOW) / np.subtract(HIGH, LOW) * BINS  # [S*S, 3]
        cells = np.clip(scaled.astype(int), 0, np.array(BINS) - 1)
        counts = np.bincount(np.ravel_multi_index(tuple(cells.T), BINS), minlength=int(np.prod(BINS)))
        parts.append(np.sqrt(counts / len(cells)))
    return np.concatenate(parts).astype(np.float32)


def chances(image: Image.Image, box: Any) -> np.ndarray:
    """[11] chance (0..1) of each of NAMES."""
    weights, bias = _model()
    logits = features(image, box) @ weights + bias
    exponents = np.exp(logits - logits.max())
    return np.asarray(exponents / exponents.sum())


def colour_of(image: Image.Image, box: Any, label: str) -> str:
    """The colour of a box in words: "red", "red or pink", "" where it is too small or no colour stands out.

    Of a person it is that of the clothes above the waist.
    """
    left, top, right, bottom = (float(value) for value in box)
    if min(right - left, bottom - top) < SMALLEST:
        return ""
    if label == "person":
        width, height = right - left, bottom - top
        box = (left + TORSO[0] * width, top + TORSO[1] * height, left + TORSO[2] * width, top + TORSO[3] * height)
    chance = chances(image, box)
    first, second = np.argsort(-chance)[:2]
    if chance[first] >= CLEAR and chance[second] < POSSIBLE:
        return NAMES[first]
    return f"{NAMES[first]} or {NAMES[second]}" if chance[second] >= POSSIBLE else ""


def _lab(rgb: np.ndarray) -> np.ndarray:
    """[n, 3] sRGB 0..255 -> L*a*b*, D65 (https://en.wikipedia.org/wiki/CIELAB_color_space)."""
    linear = rgb / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / (0.95047, 1.0, 1.08883)
    roots = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = roots.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


@cache
def _model() -> tuple[np.ndarray, np.ndarray]:
    """[576, 11] weights and [11] bias."""
    found = json.loads(WEIGHTS.read_text(encoding="utf-8"))
    return np.array(found["weights"], np.float32), np.array(found["bias"], np.float32)
