"""What a detector's scores are worth: score of a box -> chance that it is right, kind by kind.

A detector trained on few photos of a kind scores it too low or too high. The file beside the weights (NAME.json beside
NAME.onnx) is fitted by `python -m experts.train_detector calibrate` on photos with human boxes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experts.evidence import ExpertError

ROUNDED = 1e-6  # scores nearer to 0 or 1 count as this near
NO_BOX = 0.005  # score of a kind of which there is no box


class KindCalibration(NamedTuple):
    """chance = sigmoid(slope * logit(score) + offset).

    `needed`: the least logit of the score of the surest box, plus Calibration.presence times that of the whole photo's
    chance, that makes "yes" the better answer to "is there one?" where "yes" and "no" are as likely. It depends on how
    often the detector sees the kind where there is none, so kinds differ.
    """

    slope: float
    offset: float
    needed: float


@dataclass(frozen=True)
class Calibration:
    """`kinds` by name; `sure`: chance (0..1) from which a box is listed; `overlap`: IoU from which two boxes of a kind
    are one object; `weights`: SHA-256 of their file; `presence`: what the chance counts that the whole photo gives a
    kind, beside the score of its surest box (0: the detector gives none, see `of_whole_photo`)."""

    kinds: Mapping[str, KindCalibration]
    sure: float
    overlap: float
    weights: str
    presence: float = 0.0

    def chances(self, labels: Sequence[str] | np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Scores [n] in 0..1 -> chances [n] float32, of boxes with these labels."""
        slope, offset, _ = self._columns(labels)
        return sigmoid(slope * logit(scores) + offset).astype(np.float32)

    def answering(self, labels: Sequence[str] | np.ndarray, scores: np.ndarray, shown: np.ndarray) -> np.ndarray:
        """[n] bool: whether a box of score `scores` [n], where the whole photo gives its kind the chance `shown` [n],
        answers "is there one?" with yes."""
        return np.asarray(logit(scores) + self.presence * logit(shown) >= self._columns(labels)[2])

    def least(self, sure: float, faint: bool) -> float:
        """The least score of any kind that matters: of a box that is listed or, if `faint`, that answers."""
        listed = [float(sigmoid((logit(sure) - kind.offset) / kind.slope)) for kind in self.kinds.values()]
        if not faint:
            return min(listed)
        needed = NO_BOX if self.presence else min(float(sigmoid(kind.needed)) for kind in self.kinds.values())
        return min(needed, *listed)

    def _columns(self, labels: Sequence[str] | np.ndarray) -> np.ndarray:
        return np.array([self.kinds[label] for label in labels], float).reshape(-1, 3).T

    def write(self, file: Path) -> None:
        rows = {name: {k: round(v, 4) for k, v in kind._asdict().items()} for name, kind in self.kinds.items()}
        content = {"weights": self.weights, "sure": self.sure, "overlap": self.overlap}
        content |= {"presence": round(self.presence, 4), "kinds": rows}
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def of_whole_photo(xyxy: np.ndarray) -> np.ndarray:
    """[n] bool: boxes [n,4] of no size, which our own detector gives for each kind: their score is the chance that the
    photo as a whole shows the kind (experts.train_detector.model)."""
    return np.asarray((xyxy[:, 2:] <= xyxy[:, :2]).all(1))


def beside(weights: Path) -> Path:
    """Where the calibration of a weight file lies."""
    return weights.with_suffix(".json")


def digest(weights: Path) -> str:
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def read(weights: Path, classes: Sequence[str]) -> Calibration | None:
    """The calibration that lies beside a weight file that knows `classes`; None where there is none.

    Raises:
        ExpertError: the file cannot be read, belongs to other weights, or lacks a class.
    """
    file = beside(weights)
    if not weights.is_file() or not file.is_file():
        return None
    next_step = (
        "Make it again with `python -m experts.train_detector calibrate`, or remove it to have the plain scores."
    )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        kinds = {
            name: KindCalibration(**{k: float(v) for k, v in row.items()}) for name, row in content["kinds"].items()
        }
        sure, overlap, presence = float(content["sure"]), float(content["overlap"]), float(content.get("presence", 0))
        found = Calibration(kinds, sure, overlap, content["weights"], presence)
        if any(kind.slope <= 0 for kind in kinds.values()):
            raise ValueError("a slope is not above 0")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExpertError(f"{file} is no calibration of a detector ({error}).", next_step) from error
    missing = sorted(set(classes) - set(kinds))
    if found.weights != digest(weights) or missing:
        raise ExpertError(f"The calibration {file.name} belongs to other weights than {weights.name}.", next_step)
    return found


def logit(p: np.ndarray | float) -> np.ndarray:
    p = np.clip(np.asarray(p, float), ROUNDED, 1 - ROUNDED)
    return np.log(p / (1 - p))


def sigmoid(x: np.ndarray | float) -> np.ndarray:
    return (1 + np.tanh(np.asarray(x, float) / 2)) / 2
