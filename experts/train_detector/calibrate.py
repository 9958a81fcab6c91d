"""Scores of a detector on photos with human boxes -> what they are worth (experts.calibration)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.optimize import minimize
from tqdm import tqdm

from experts.calibration import NO_BOX, Calibration, KindCalibration, digest, logit, of_whole_photo, sigmoid
from experts.detection import build
from experts.evidence import Detections
from experts.train_detector.data import Photo
from experts.train_detector.matching import matched
from experts.train_detector.questions import presence

PRIOR_STRENGTH = (4.0, 8.0)  # how firmly a kind's offset and slope are held to those of all kinds together
SURE = 0.5  # chance from which a box is listed; precision, counts and presence by cross-validation: docs/detector.md
OVERLAP = 0.5  # ultralytics' 0.7 leaves an object two boxes too often


class Examples(NamedTuple):
    """[n] each: score of a box (or two scores of a question), number of the kind, whether it is right, weight."""

    score: np.ndarray
    kind: np.ndarray
    right: np.ndarray
    weight: np.ndarray


class DetectorOutput(NamedTuple):
    """What a detector gives on a photo from score NO_BOX on, and the chance of each kind that the whole photo shows it
    (none of a detector that does not tell)."""

    boxes: Detections
    shown: Mapping[str, float]


def calibrate(
    weights: Path, photos: Sequence[Photo], found: Sequence[DetectorOutput], sure: float = SURE
) -> Calibration:
    """Fit on photos that the weights were not trained on, and what they found there."""
    classes = found[0].boxes.classes
    slope, offset = fit(box_examples(photos, [one.boxes for one in found]), len(classes))
    (of_box, of_photo), own = fit_asked(asked_examples(photos, found), len(classes))
    values = zip(slope.tolist(), offset.tolist(), (-own / of_box).tolist(), strict=True)
    kinds = dict(zip(classes, (KindCalibration(*v) for v in values), strict=True))
    return Calibration(kinds, sure, OVERLAP, digest(weights), of_photo / of_box)


def detect(weights: Path, photos: Sequence[Photo]) -> list[DetectorOutput]:
    """What a detector finds."""
    expert = build(str(weights), NO_BOX, calibrated=False, overlap=OVERLAP)
    pictures = tqdm(photos, desc=weights.name, unit="photo")
    return [separated(expert(Image.open(photo.file).convert("RGB"))) for photo in pictures]


def separated(found: Detections) -> DetectorOutput:
    """Boxes, and what the whole photo tells of each kind."""
    whole = of_whole_photo(found.xyxy)
    shown = {label: float(found.confidence[i]) for i, label in enumerate(found.labels) if whole[i]}
    return DetectorOutput(found.only(~whole) if whole.any() else found, shown)


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


def asked_examples(photos: Sequence[Photo], found: Sequence[DetectorOutput]) -> Examples:
    """Every "is there one?" and its answer; scores [n,2]: of the kind's surest box, and the whole photo's chance of it.
    "Yes" and "no" weigh the same for each kind."""
    classes = found[0].boxes.classes
    questions = [q for q in presence(photos, several=3) if q.kind in classes]
    pairs = [(surest(found[q.photo].boxes, q.kind), found[q.photo].shown.get(q.kind, NO_BOX)) for q in questions]
    kind = np.array([classes.index(q.kind) for q in questions])
    right = np.array([q.count > 0 for q in questions], float)
    weight = np.ones(len(kind))
    for k in range(len(classes)):
        for answer in (0, 1):
            those = (kind == k) & (right == answer)
            weight[those] = (kind == k).sum() / 2 / max(those.sum(), 1)
    return Examples(np.array(pairs).reshape(-1, 2), kind, right, weight)


def surest(found: Detections, kind: str) -> float:
    """The score of the kind's surest box; NO_BOX where there is none."""
    pairs = zip(found.labels, found.confidence, strict=True)
    return max((float(score) for label, score in pairs if label == kind), default=NO_BOX)


def fit_asked(asked: Examples, kinds: int) -> tuple[np.ndarray, np.ndarray]:
    """Logistic regression of `right` on the logits of scores [n,2]: two slopes that all kinds share, offsets [kinds].

    A kind's offset is that of all kinds plus a difference that costs PRIOR_STRENGTH times half its square. Where the
    detector tells nothing of the whole photo the second slope is 0.
    """
    logits, k = logit(asked.score), asked.kind.astype(int)
    has_presence = float(np.ptp(logits[:, 1]) > 0)
    x = logits * [1.0, has_presence]

    def loss(p: np.ndarray) -> tuple[float, np.ndarray]:
        slopes, offset, own = np.exp(p[:2]), p[2], p[3:]
        z = x @ slopes + offset + own[k]
        nll = asked.weight * (np.logaddexp(0, z) - asked.right * z)
        dz = asked.weight * (sigmoid(z) - asked.right)
        gradient = np.concatenate([(x.T @ dz) * slopes, [dz.sum()], np.bincount(k, dz, kinds)])
        gradient[3:] += PRIOR_STRENGTH[0] * own
        return float(nll.sum() + PRIOR_STRENGTH[0] * (own**2).sum() / 2), gradient

    p = minimize(loss, np.zeros(3 + kinds), jac=True, method="L-BFGS-B", options={"maxiter": 2000}).x
    return np.exp(p[:2]) * [1.0, has_presence], p[2] + p[3:]


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
