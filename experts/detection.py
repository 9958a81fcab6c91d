"""The detection expert: any weights that ultralytics loads (.pt, .onnx, .tflite ...)."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

from experts import calibration
from experts.colours import colour_of
from experts.evidence import IMPORTS, Detections, ExpertError, LazyExpert
from experts.folders import cache_dir

OTHER_DETECTOR = (
    "Give a detector with `--detector FILE` or LAV2_DETECTOR (.pt, .onnx or .tflite; yolo11n.pt is fetched by name)."
)
CHECK_PATH = f"Check the path. {OTHER_DETECTOR}"
CHECK_FILE = f"Check the file. {OTHER_DETECTOR}"
CONNECT = f"Connect to the network. {OTHER_DETECTOR}"

LFS_POINTER = b"version https://git-lfs"  # how a file begins that git has not fetched
SURE = 0.25  # of a detector without calibration: ultralytics' default
# Boxes from here on (0..1) are of use to questions that name their kind, if the detector has no calibration. On 1,600
# questions whether a kind is in a COCO val photo, half of them yes, a box of 0.05 tells better than one of the usual
# threshold: 85 instead of 78 % right with YOLOv8n (docs/LOG.md, 2026-11-25).
FAINT = 0.05
TOGETHER = 8  # photos in one step on a GPU, as many as a replica of the language model answers at once
ELSEWHERE = 0.9  # share of Detections.sure that the chance of a kind without a box is at most: no box of it is right


def build(
    weights: str,
    confidence: float | None = None,
    device: str | None = None,
    least: float | None = None,
    calibrated: bool = True,
    overlap: float | None = None,
) -> Detector:
    """A detector from a weight file, or from a name like "yolo11n.pt" that ultralytics fetches where it can.

    Where a calibration lies beside the file (experts.calibration), scores become chances of being right.

    Args:
        confidence: score or chance (0..1) below which a box is not sure (Detections.sure); None: what the calibration
            says, or SURE.
        device: of torch; None: a GPU if there is one.
        least: boxes that are not sure are reported from this score on; with a calibration, of a kind without a sure box
            the surest one if there is one of the kind (Calibration.answering). None: not at all.
        calibrated: False leaves boxes and scores as the weights give them, for a calibration.
        overlap: IoU (0..1) from which two boxes of a kind are one object; None: what the calibration says, or
            ultralytics' own.

    Loading raises ExpertError where the file is missing, cannot be fetched or read, or is no detector.
    """
    return Detector(weights, confidence, device, least, calibrated, overlap)


class Detector(LazyExpert):
    """An ultralytics model as an expert; evidence: Detections."""

    name = "detection"
    kind = Detections

    def __init__(
        self,
        weights: str,
        confidence: float | None,
        device: str | None,
        least: float | None,
        calibrated: bool,
        overlap: float | None,
    ):
        super().__init__()
        self._weights = weights
        self._sure, self._least = confidence, least
        self._calibrated = calibrated
        self._calibration: calibration.Calibration | None = None
        self._how = {"device": device, "verbose": False} | ({"iou": overlap} if overlap else {})

    def _open(self) -> Any:
        if not self._weights:
            raise ExpertError("There are no weights for the detection expert.", OTHER_DETECTOR)
        with contained():
            with IMPORTS:
                import torch  # noqa: F401  before ultralytics, which would hold torch to one thread through OMP_NUM_THREADS
                from ultralytics import YOLO
                from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES
            path = Path(self._weights).expanduser()
            if not path.is_file():
                path = self._fetched(path, GITHUB_ASSETS_NAMES, YOLO)
            try:
                model = YOLO(str(path), task="detect")
                # The first photo builds the backend; on a blank one here, errors come while loading.
                (result,) = model.predict(Image.new("RGB", (64, 64)), **self._how)
            except ImportError as error:
                raise ExpertError(
                    "The detector {file} needs the Python package {package}, which is not installed.",
                    "Run `pip install -r requirements.txt` (.tflite needs ai-edge-litert, .onnx needs onnxruntime).",
                    file=path.name,
                    package=error.name,
                ) from error
            except Exception as error:  # each backend of ultralytics raises its own types for a file it cannot read
                raise _unreadable(path, error) from error
        if result.boxes is None:
            raise ExpertError("{file} is no detector: it gives no upright boxes.", OTHER_DETECTOR, file=path.name)
        found = calibration.read(path, tuple(model.names.values())) if self._calibrated else None
        if self._sure is None:
            self._sure = found.sure if found else SURE
        lowest = min(self._sure, self._sure if self._least is None else self._least)
        self._how["conf"] = found.least(self._sure, self._least is not None) if found else lowest
        if found:
            self._how.setdefault("iou", found.overlap)
        self._calibration = found
        return model

    def _fetched(self, path: Path, names: frozenset[str], yolo: type) -> Path:
        """Where a released weight file lies after ultralytics has fetched it into the user's cache."""
        if path.parent != Path(".") or path.name not in names:
            raise ExpertError("There is no detector file {file}.", CHECK_PATH, file=self._weights)
        path = cache_dir() / path.name
        if not path.is_file():
            try:
                yolo(str(path), task="detect")
            except Exception as error:  # no network, refused, no room on the disk
                raise ExpertError(
                    "The detector {file} is not on this machine and could not be fetched ({why}).",
                    CONNECT,
                    file=path.name,
                    why=f"{type(error).__name__}: {_first_line(error)}",
                ) from error
        return path

    @property
    def together(self) -> int:
        """How many photos are best given to `several` at once: TOGETHER where torch computes on a GPU, else 1. An
        exported file takes one photo a step, and a CPU is busy with one."""
        self.load()
        used = self._model.predictor
        return TOGETHER if used.device.type == "cuda" and used.model.format == "pt" else 1

    def several(self, images: Sequence[Image.Image]) -> list[Detections]:
        """What it finds on photos; those of one size go through the model in one step, whose `seconds` they share.
        Others would be padded to a square there, and boxes differ with the padding."""
        found: dict[int, Detections] = {}
        with self._lock:
            self.load()
            for size in {image.size for image in images}:
                alike = [place for place, image in enumerate(images) if image.size == size]
                start = time.perf_counter()
                results = self._model.predict([images[place] for place in alike], **self._how)
                fields = [self._told(result, images[place]) for place, result in zip(alike, results, strict=True)]
                seconds = (time.perf_counter() - start) / len(alike)
                for place, values in zip(alike, fields, strict=True):
                    found[place] = Detections(**values, seconds=seconds)
        return [found[place] for place in range(len(images))]

    def _look(self, model: Any, image: Image.Image) -> dict[str, Any]:
        # A PIL image is RGB for ultralytics; a NumPy array would be taken for BGR.
        (result,) = model.predict(image, **self._how)
        return self._told(result, image)

    def _told(self, result: Any, image: Image.Image) -> dict[str, Any]:
        """A result of ultralytics as the evidence's fields."""
        names = result.names
        boxes = result.boxes
        labels = np.array([names[int(c)] for c in boxes.cls], object)
        confidence = np.clip(boxes.conf.float().cpu().numpy(), 0, 1)  # [n]
        xyxy = boxes.xyxy.float().cpu().numpy().reshape(-1, 4)  # [n,4] px of `image`
        if self._calibrated:
            labels, confidence, xyxy = self._calibrate(labels, confidence, xyxy, image.size)
        return {
            "xyxy": xyxy,
            "confidence": confidence,
            "labels": tuple(labels),
            "colours": tuple(colour_of(image, box, label) for box, label in zip(xyxy, labels, strict=True)),
            "detector": Path(self._weights).name,
            "classes": tuple(names.values()),
            "size": image.size,
            "sure": self._sure,
        }

    def _calibrate(
        self, labels: np.ndarray, scores: np.ndarray, xyxy: np.ndarray, size: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes [n] as the weights give them -> (labels, chances, xyxy) of those that are sure, and of a kind that has
        none but is there the surest one. A kind that only the whole photo shows has a faint box around the photo, of
        `size` px."""
        whole = calibration.of_whole_photo(xyxy)
        shown = dict(zip(labels[whole], scores[whole], strict=True))
        labels, scores, xyxy = labels[~whole], scores[~whole], xyxy[~whole]
        if not self._calibration or self._sure is None:  # `_open` sets both
            return labels, scores, xyxy
        chances = self._calibration.chances(labels, scores)
        kept = chances >= self._sure
        if self._least is None:
            return labels[kept], chances[kept], xyxy[kept]
        boxless = sorted(shown.keys() - set(labels))
        n = len(boxless)
        labels = np.concatenate([labels, np.array(boxless, object)])
        scores = np.concatenate([scores, np.full(n, calibration.NO_BOX)])
        faint = [min(shown[label], ELSEWHERE * self._sure) for label in boxless]
        chances = np.concatenate([chances, np.array(faint, np.float32)])
        xyxy = np.concatenate([xyxy, np.tile(np.array([0, 0, *size], np.float32), (n, 1))])
        kept = np.concatenate([kept, np.zeros(n, bool)])
        by_photo = np.array([shown.get(label, calibration.NO_BOX) for label in labels])
        answering = self._calibration.answering(labels, scores, by_photo)
        for label in set(labels[answering]) - set(labels[kept]):
            kept[np.argmax(np.where(labels == label, chances, -1))] = True
        return labels[kept], chances[kept], xyxy[kept]


@contextlib.contextmanager
def contained(verbose: bool = False) -> Iterator[None]:
    """Load ultralytics without what it does to the rest of the program and machine.

    At import it reads the environment once: no installing by itself, no telemetry (off when it believes to be
    offline; a download by name still works), quiet unless `verbose`, its settings file in our cache and not in
    the home. It also sets OMP_NUM_THREADS and NumPy's print format, and torch's threads to one less than the
    cores when a model loads: a thread that computed something meanwhile would keep that number for its life.
    And it puts its own function in the place of `PIL.Image.open`, which installs a package for a file that is
    no picture.
    """
    import torch

    quiet = {
        "YOLO_AUTOINSTALL": "false",
        "YOLO_OFFLINE": "true",
        "YOLO_VERBOSE": str(verbose).lower(),
        "YOLO_CONFIG_DIR": os.environ.get("YOLO_CONFIG_DIR", str(cache_dir())),
    }
    touched = (*quiet, "OMP_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG")
    before = {key: os.environ.get(key) for key in touched}
    printing, opener = np.get_printoptions(), Image.open
    os.environ.update(quiet)
    try:
        with patch.object(torch, "set_num_threads"):
            yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
        np.set_printoptions(**printing)
        Image.open = opener


def _unreadable(path: Path, error: Exception) -> ExpertError:
    with contextlib.suppress(OSError), path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            return ExpertError(
                "{file} is only a git-lfs pointer; the file itself was not fetched.",
                "Run git lfs pull in its folder (install git-lfs first), or download the file itself.",
                file=path,
            )
    why = f"{type(error).__name__}: {_first_line(error)}"
    return ExpertError("ultralytics cannot load {file} ({why}).", CHECK_FILE, file=path, why=why)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or "no message").splitlines()[0][:200]
