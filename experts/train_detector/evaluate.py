"""Scores of detectors on human boxes: AP by pycocotools, precision, recall, seconds, and how many answers to "is there
one?" and "how many?" are right."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image
from tqdm import tqdm

from experts.detection import FAINT, SURE, build, contained
from experts.evidence import Detections
from experts.train_detector.data import Photo
from experts.train_detector.matching import matched, xywh
from experts.train_detector.questions import MOST_COUNTED, counting, presence

LEAST = 0.001  # score or chance from which boxes count for AP
STEPS = (0.35, 0.5, 0.65, 0.8)  # confidences between which boxes are judged together: is the confidence true?
BINS = range(len(STEPS) + 1)


@dataclass(frozen=True)
class Score:
    """`ap50` per class: area under the precision-recall curve at IoU 0.5. `boxes` per class: human boxes."""

    detector: str
    megabytes: float
    classes: list[str]  # scored, and every one of them present in the photos
    ap50: dict[str, float]
    boxes: dict[str, int]
    map: float  # mean over classes and IoU 0.5 to 0.95
    precision: float  # of the boxes that are sure, over all classes together
    recall: float
    reliability: list[tuple[int, float]]  # of BINS: boxes, share of them that is right
    presence: float  # share of right answers, half of them "yes", to "is there one?" of any kind
    presence_known: float  # of kinds that the detector knows
    count: float  # share of right answers to "how many?" of kinds of which there are 1 to 5
    seconds: float  # median a photo, as shipped

    @property
    def map50(self) -> float:
        return sum(self.ap50.values()) / max(len(self.ap50), 1)


def evaluate(detector: str, photos: Sequence[Photo], classes: Sequence[str] | None = None) -> Score:
    """Score a weight file on photos with human boxes, through the expert itself; all of its classes by default.

    A YOLOX export (a file named yolox*.onnx), which ultralytics does not load, is decoded here.
    """
    if Path(detector).name.startswith("yolox"):
        all_boxes, shipped = _yolox(detector, LEAST), _yolox(detector, FAINT)
    else:
        all_boxes, shipped = build(detector, LEAST), build(detector, least=FAINT)
    pictures = tqdm(photos, desc=Path(detector).name, unit="photo")
    found, reported = zip(*((all_boxes(photo), shipped(photo)) for photo in map(_open, pictures)), strict=True)
    labels = list(found[0].classes) if classes is None else list(classes)
    boxes = {c: sum(b.label == c and not b.crowd for p in photos for b in p.boxes) for c in labels}
    labels = [c for c in labels if boxes[c]]
    ap50, overall = _average_precision(photos, found, labels)
    confidence, right, there = _judged(photos, [d.only(d.confidence >= d.sure) for d in reported], labels)
    bins = np.digitize(confidence, STEPS)
    asked = presence(photos)
    yes = [(q.kind in reported[q.photo].labels) == (q.count > 0) for q in asked]
    return Score(
        Path(detector).name,
        Path(detector).stat().st_size / 1e6,
        labels,
        ap50,
        {c: boxes[c] for c in labels},
        overall,
        float(right.mean()) if len(right) else 0.0,
        float(right.sum()) / max(there, 1),
        [(int((bins == i).sum()), float(right[bins == i].mean())) if i in bins else (0, 0.0) for i in BINS],
        float(np.mean(yes)),
        float(np.mean([ok for ok, q in zip(yes, asked, strict=True) if q.kind in found[0].classes])),
        float(np.mean([counted(reported[q.photo], q.kind) == q.count for q in counting(photos)])),
        median(d.seconds for d in reported[1:]),  # the first one warms up
    )


def counted(found: Detections, kind: str) -> int:
    """How many of a kind a detector answers: the boxes that are sure, else one if there is a faint one."""
    own = found.confidence[[label == kind for label in found.labels]] if found.labels else np.zeros(0)
    return max(int((own >= found.sure).sum()), min(len(own), 1))


def _open(photo: Photo) -> Image.Image:
    return Image.open(photo.file).convert("RGB")


def _average_precision(
    photos: Sequence[Photo], found: Sequence[Detections], labels: Sequence[str]
) -> tuple[dict[str, float], float]:
    """AP at IoU 0.5 of each class, and the mean AP at IoU 0.5 to 0.95."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    number = {label: i for i, label in enumerate(labels, start=1)}
    truth = [
        {"image_id": i, "category_id": number[b.label], "bbox": xywh(b.xyxy), "iscrowd": int(b.crowd)}
        for i, photo in enumerate(photos)
        for b in photo.boxes
        if b.label in number
    ]
    for i, row in enumerate(truth, start=1):
        row |= {"id": i, "area": row["bbox"][2] * row["bbox"][3]}
    answers = [
        {"image_id": i, "category_id": number[label], "bbox": xywh(xyxy), "score": float(score)}
        for i, d in enumerate(found)
        for label, score, xyxy in zip(d.labels, d.confidence, d.xyxy.tolist(), strict=True)
        if label in number
    ]
    if not answers:
        return dict.fromkeys(labels, 0.0), 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i} for i in range(len(photos))],
            "annotations": truth,
            "categories": [{"id": n, "name": label} for label, n in number.items()],
        }
        coco.createIndex()
        scoring = COCOeval(coco, coco.loadRes(answers), "bbox")
        scoring.evaluate()
        scoring.accumulate()
    precision = scoring.eval["precision"][:, :, :, 0, -1]  # [IoU 10, recall 101, class]; all areas, 100 boxes a photo
    return dict(zip(labels, precision[0].mean(0).tolist(), strict=True)), float(precision.mean())


def _judged(
    photos: Sequence[Photo], found: Sequence[Detections], labels: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, int]:
    """(confidence [n], whether it is right [n] bool, human boxes in all) at IoU 0.5; boxes in crowds are left out."""
    judged, there = [], 0
    for photo, d in zip(photos, found, strict=True):
        for label in labels:
            truth = [b for b in photo.boxes if b.label == label]
            there += sum(not b.crowd for b in truth)
            mine = [i for i in np.argsort(-d.confidence) if d.labels[i] == label]
            pairs = zip(d.confidence[mine], matched(d.xyxy[mine], truth), strict=True)
            judged += [(confidence, right) for confidence, right in pairs if right is not None]
    confidence, right = np.array(judged, float).reshape(-1, 2).T
    return confidence, right > 0, there


def _yolox(weights: str, confidence: float) -> Callable[[Image.Image], Detections]:
    """YOLOX's own export as an expert: BGR 0..255 fitted into the top left of a square, cells of stride 8, 16, 32."""
    import time

    import torch
    from onnxruntime import InferenceSession
    from torchvision.ops import batched_nms

    with contained():
        from ultralytics.utils import ROOT, YAML
    names = tuple(YAML.load(ROOT / "cfg/datasets/coco.yaml")["names"].values())
    session = InferenceSession(weights)
    entry = session.get_inputs()[0]
    side = entry.shape[-1]
    cells = [(x, y, s) for s in (8, 16, 32) for y in range(side // s) for x in range(side // s)]
    corner, stride = np.array([c[:2] for c in cells]), np.array([c[2:] for c in cells])  # [A,2], [A,1]

    def look(image: Image.Image) -> Detections:
        start = time.perf_counter()
        scale = side / max(image.size)
        small = image.resize([max(1, round(v * scale)) for v in image.size], Image.Resampling.BILINEAR)
        square = np.full((side, side, 3), 114, np.float32)
        square[: small.height, : small.width] = np.asarray(small)[:, :, ::-1]
        (out,) = session.run(None, {entry.name: square.transpose(2, 0, 1)[None]})
        out = out[0]  # [A, 4 + 1 + 80]
        centre, half = (out[:, :2] + corner) * stride, np.exp(out[:, 2:4]) * stride / 2
        xyxy = np.concatenate([centre - half, centre + half], 1) / scale
        xyxy = xyxy.clip(0, np.tile(image.size, 2)).astype(np.float32)
        scores = out[:, 4:5] * out[:, 5:]
        cell, label = np.nonzero(scores >= confidence)
        score = scores[cell, label]
        kept = batched_nms(*(torch.from_numpy(v) for v in (xyxy[cell], score, label)), 0.65)[:300].numpy()
        seconds = time.perf_counter() - start
        labels = tuple(names[i] for i in label[kept])
        return Detections(xyxy[cell][kept], score[kept], labels, seconds, Path(weights).name, names, image.size, SURE)

    return look


def _share(boxes: int, right: float) -> str:
    return f"{right:.2f} of {boxes}" if boxes else "-"


def _spans() -> list[str]:
    return [f"{low:g} to {high:g}" for low, high in pairwise((0, *STEPS, 1))]


def table(scores: Sequence[Score]) -> str:
    """Scores side by side as a Markdown table: totals first, then AP50 of every class of the first."""
    first = scores[0]
    rows = [["", *(s.detector for s in scores)], ["---"] * (len(scores) + 1)]
    rows += [
        [f"mean AP50 ({len(first.classes)} classes)", *(f"{s.map50:.3f}" for s in scores)],
        ["mean AP50-95", *(f"{s.map:.3f}" for s in scores)],
        ["precision / recall of the sure boxes", *(f"{s.precision:.3f} / {s.recall:.3f}" for s in scores)],
        *(
            [f"right of the boxes of {span}", *(_share(*s.reliability[i]) for s in scores)]
            for i, span in enumerate(_spans())
        ),
        ["presence, kinds it knows / all kinds", *(f"{s.presence_known:.3f} / {s.presence:.3f}" for s in scores)],
        [f"count, 1 to {MOST_COUNTED}", *(f"{s.count:.3f}" for s in scores)],
        ["seconds a photo (median)", *(f"{s.seconds:.3f}" for s in scores)],
        ["size, MB", *(f"{s.megabytes:.1f}" for s in scores)],
    ]
    for label in sorted(first.classes, key=lambda c: -first.boxes[c]):
        rows.append([f"{label} ({first.boxes[label]} boxes)", *(f"{s.ap50.get(label, 0):.3f}" for s in scores)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
