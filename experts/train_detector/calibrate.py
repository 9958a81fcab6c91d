"""Scores of a detector on photos with human boxes -> what they are worth (experts.calibration)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.optimize import minimize
from tqdm import tqdm

from experts.calibration import Calibration, Kind, digest, logit, sigmoid
from experts.detection import build
from experts.evidence import Detections
from experts.train_detector.data import Photo
from experts.train_detector.matching import matched
from experts.train_detector.questions import presence

LEAST = 0.005  # score of a kind of which there is no box
PRIOR_STRENGTH = (4.0, 8.0)  # how firmly a kind's offset and slope are held to those of all kinds together
SURE = 0.5  # chance from which a box is listed; precision, counts and presence by cross-validation: docs/detector.md
OVERLAP = 0.5  # ultralytics' 0.7 leaves an object two boxes too often


class Examples(NamedTuple):
    """[n] each: score of a box or of a kind's surest box, number of the kind, whether it is right, weight."""

    score: np.ndarray
    kind: np.ndarray
    right: np.ndarray
    weight: np.ndarray


def calibrate(weights: Path, photos: Sequence[Photo], found: Sequence[Detections], sure: float = SURE) -> Calibration:
    """Fit on photos that the weights were not trained on, and what they found there from score LEAST on."""
    classes = found[0].classes
    slope, offset = fit(box_examples(photos, found), len(classes))
    asked_slope, asked_offset = fit(asked_examples(photos, found), len(classes))
    asked = np.clip(sigmoid(-asked_offset / asked_slope), LEAST, 0.999)
    values = zip(slope.tolist(), offset.tolist(), asked.tolist(), strict=True)
    return Calibration(dict(zip(classes, (Kind(*v) for v in values), strict=True)), sure, OVERLAP, digest(weights))


def look(weights: Path, photos: Sequence[Photo]) -> list[Detections]:
    """What a detector finds from score LEAST on."""
    expert = build(str(weights), LEAST, calibrated=False, overlap=OVERLAP)
    return [expert(Image.open(photo.file).convert("RGB")) for photo in tqdm(photos, desc=weights.name, unit="photo")]


def box_examples(photos: Sequence[Photo], found: Sequence[Detections]) -> Examples:
    """Every box of a kind whose objects a person drew: is it one of them (IoU 0.5 or more)?"""
    rows = []
    for photo, d in zip(photos, found, strict=True):
        for label in {label for label in d.labels if photo.absence(label) == 1}:
            mine = np.array([i for i in np.argsort(-d.confidence) if d.labels[i] == label])
            for i, right in zip(mine, matched(d.xyxy[mine], [b for b in photo.boxes if b.label == label]), strict=True):
                if right is not None:
                    rows.append((d.confidence[i], d.classes.index(label), right, 1.0))
    return Examples(*np.array(rows, float).reshape(-1, 4).T)


def asked_examples(photos: Sequence[Photo], found: Sequence[Detections]) -> Examples:
    """Every "is there one?": the score of the surest box, the answer; "yes" and "no" weigh the same for each kind."""
    classes = found[0].classes
    questions = [q for q in presence(photos, several=3) if q.kind in classes]
    score = [surest(found[q.photo], q.kind) for q in questions]
    kind = np.array([classes.index(q.kind) for q in questions])
    right = np.array([q.count > 0 for q in questions], float)
    weight = np.ones(len(kind))
    for k in range(len(classes)):
        for answer in (0, 1):
            those = (kind == k) & (right == answer)
            weight[those] = (kind == k).sum() / 2 / max(those.sum(), 1)
    return Examples(np.array(score), kind, right, weight)


def surest(found: Detections, kind: str) -> float:
    """The score of the kind's surest box; LEAST where there is none."""
    pairs = zip(found.labels, found.confidence, strict=True)
    return max((float(score) for label, score in pairs if label == kind), default=LEAST)


def fit(examples: Examples, kinds: int) -> tuple[np.ndarray, np.ndarray]:
    """Logistic regression of `right` on logit(score): slopes [kinds], offsets [kinds].

    Each kind's are those of all kinds together plus a difference that costs PRIOR_STRENGTH times half its square: a
    kind seen a few times keeps to the others.
    """
    x, k = logit(examples.score), examples.kind.astype(int)
    strength = np.repeat([PRIOR_STRENGTH[1], PRIOR_STRENGTH[0]], kinds)

    def loss(p: np.ndarray) -> tuple[float, np.ndarray]:
        slope, offset, own_slope, own_offset = np.exp(p[0]), p[1], p[2 : 2 + kinds], p[2 + kinds :]
        steep = slope * np.exp(own_slope)  # above 0: a higher score is never a lower chance
        z = steep[k] * x + offset + own_offset[k]
        nll = examples.weight * (np.logaddexp(0, z) - examples.right * z)
        dz = examples.weight * (sigmoid(z) - examples.right)
        by_kind = np.bincount(k, dz * x, kinds) * steep, np.bincount(k, dz, kinds)
        own = p[2:]
        gradient = np.concatenate([[by_kind[0].sum(), by_kind[1].sum()], *by_kind]) + np.append([0, 0], strength * own)
        return float(nll.sum() + (strength * own**2).sum() / 2), gradient

    p = minimize(loss, np.zeros(2 + 2 * kinds), jac=True, method="L-BFGS-B", options={"maxiter": 2000}).x
    return np.exp(p[0] + p[2 : 2 + kinds]), p[1] + p[2 + kinds :]
