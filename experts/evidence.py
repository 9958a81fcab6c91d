"""What an expert hands back: plain values, checked when made, and their JSON form."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from experts.messages import Message

if TYPE_CHECKING:
    from PIL import Image

BUILT_IN = ("caption", "detection", "ocr")  # the experts of this package, in the order of the prompt
EXPERT_NAME = r"[a-z][a-z0-9_]{0,29}"  # of an expert that another package adds (experts.registry)

# Python's import system can hand one thread a half-made module when two threads import big libraries that
# share parts (torch, torchvision, cv2). Experts start side by side, so each does its heavy imports while
# holding this.
IMPORTS = threading.Lock()


@dataclass(frozen=True)
class Caption:
    """One sentence about the whole photo.

    `seconds` is the expert's own time without loading; `source` names the model that wrote it. `concepts`: words
    that people would say of the photo with the chance of each, 0..1 (visual concepts, Fang et al., arXiv 1411.4952);
    () where the captioner tells none. `candidates`: short answers to the question `asked` with the chance that each is
    right (answer heuristics, Shao et al., arXiv 2303.01903); `ask` tells those of any question, where the expert can.
    `certain`: a reader wrote the sentence.
    """

    text: str
    seconds: float
    source: str
    concepts: tuple[tuple[str, float], ...] = ()
    candidates: tuple[tuple[str, float], ...] = ()
    asked: str = ""
    certain: bool = False
    ask: Callable[[str], Sequence[tuple[str, float]]] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise ValueError(f"Caption.text is {self.text!r}, and must be a text.")
        for name in ("concepts", "candidates"):
            pairs = tuple((str(text), float(chance)) for text, chance in getattr(self, name))
            object.__setattr__(self, name, pairs)
            if not all(0 <= chance <= 1 for _, chance in pairs):
                raise ValueError(f"Caption.{name} has values outside 0..1.")


@dataclass(frozen=True, eq=False)
class Detections:
    """Objects found in a photo.

    Shapes: `xyxy` [n,4] float32, pixels of the upright original (left, top, right, bottom); `confidence` [n]
    float32 in 0..1, with a calibrated detector the chance that the box is right; `labels` n names, each one
    of `classes`. `detector` is the weight file's name, `classes` every class that this detector knows (so
    that "no dog found" and "dogs are not in my classes" differ), `size` the width and height of the upright
    original in pixels. Boxes less confident than `sure` are kept for questions that name their kind
    (lav2.text.grounding.filter_for_question). `colours`: of each box, "" where none stands out (experts.colours);
    () if nobody looked. The arrays are read-only: the same value is handed to every user of the cache.

    Raises ValueError when shapes, ranges or names do not fit.
    """

    xyxy: np.ndarray
    confidence: np.ndarray
    labels: tuple[str, ...]
    seconds: float
    detector: str
    classes: tuple[str, ...]
    size: tuple[int, int]
    sure: float = 0.0
    colours: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.labels)
        object.__setattr__(self, "xyxy", _array("Detections.xyxy", self.xyxy, (n, 4)))
        object.__setattr__(self, "confidence", _confidence("Detections.confidence", self.confidence, n))
        object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "colours", tuple(self.colours))
        if len(self.colours) not in (0, n):
            raise ValueError(f"Detections.colours has {len(self.colours)} entries for {n} boxes.")
        object.__setattr__(self, "size", _size("Detections.size", self.size))
        if (self.xyxy[:, :2] > self.xyxy[:, 2:]).any():
            raise ValueError("Detections.xyxy has a box whose left/top lies beyond its right/bottom.")
        unknown = sorted(set(self.labels) - set(self.classes))
        if unknown:
            raise ValueError(f"Detections.labels has {unknown}, which Detections.classes does not list.")

    def only(self, kept: np.ndarray) -> Detections:
        """The boxes where `kept` ([n] bool) is True."""
        labels = tuple(label for label, keep in zip(self.labels, kept, strict=True) if keep)
        colours = tuple(colour for colour, keep in zip(self.colours, kept, strict=True) if keep) if self.colours else ()
        return replace(self, xyxy=self.xyxy[kept], confidence=self.confidence[kept], labels=labels, colours=colours)


@dataclass(frozen=True, eq=False)
class OcrLines:
    """Text found in a photo, in reading order.

    Shapes: `quads` [n,4,2] float32, pixels (x, y) of the upright original, clockwise from the text's own top
    left (so a rotated text keeps its angle); `confidence` [n] float32 in 0..1; `texts` n strings; `reliable` [n]
    bool: False where letters were made out but not what they say (foreign script, blur); default: all True. `size`
    is the width and height of the upright original in pixels. The arrays are read-only.

    Raises ValueError when shapes or ranges do not fit.
    """

    quads: np.ndarray
    confidence: np.ndarray
    texts: tuple[str, ...]
    seconds: float
    size: tuple[int, int]
    reliable: np.ndarray = None  # type: ignore[assignment]  # __post_init__ makes it

    def __post_init__(self) -> None:
        n = len(self.texts)
        reliable = np.ones(n, bool) if self.reliable is None else np.array(self.reliable)  # a copy
        if reliable.shape != (n,) or reliable.dtype != bool:
            raise ValueError(
                f"OcrLines.reliable is {reliable.dtype} of shape {list(reliable.shape)}, expected bool of [{n}]."
            )
        reliable.flags.writeable = False
        object.__setattr__(self, "reliable", reliable)
        object.__setattr__(self, "quads", _array("OcrLines.quads", self.quads, (n, 4, 2)))
        object.__setattr__(self, "confidence", _confidence("OcrLines.confidence", self.confidence, n))
        object.__setattr__(self, "texts", tuple(self.texts))
        object.__setattr__(self, "size", _size("OcrLines.size", self.size))


@dataclass(frozen=True, eq=False)
class Observations:
    """What an expert of another package finds (experts.registry): short texts, the most important first.

    Shapes: `texts` n strings; `confidence` [n] float32 in 0..1; `size` the width and height of the upright original in
    pixels; `boxes` n of (left, top, right, bottom) in pixels of the upright original, None for what has no place in the
    photo; () where nothing has one. The array is read-only.

    Raises ValueError when shapes or ranges do not fit.
    """

    texts: tuple[str, ...]
    confidence: np.ndarray
    seconds: float
    size: tuple[int, int]
    boxes: tuple[tuple[float, ...] | None, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.texts)
        if isinstance(self.texts, str) or not all(isinstance(text, str) for text in self.texts):
            raise ValueError("Observations.texts must be a sequence of texts.")
        object.__setattr__(self, "texts", tuple(self.texts))
        object.__setattr__(self, "confidence", _confidence("Observations.confidence", self.confidence, n))
        object.__setattr__(self, "size", _size("Observations.size", self.size))
        boxes = tuple(self.boxes) or (None,) * n
        if len(boxes) != n:
            raise ValueError(f"Observations.boxes has {len(boxes)} entries for {n} texts.")
        found = _array("Observations.boxes", [box for box in boxes if box is not None] or np.zeros((0, 4)),
                       (sum(box is not None for box in boxes), 4))  # fmt: skip
        if (found[:, :2] > found[:, 2:]).any():
            raise ValueError("Observations.boxes has a box whose left/top lies beyond its right/bottom.")
        plain = tuple(box if box is None else tuple(float(side) for side in box) for box in boxes)
        object.__setattr__(self, "boxes", plain)


@dataclass(frozen=True)
class ExpertFailure:
    """An expert that gave nothing: why, what the user can do, and how long it ran."""

    expert: str
    cause: str
    next_step: str
    seconds: float


Evidence = Caption | Detections | OcrLines | Observations | ExpertFailure


class ExpertError(Exception):
    """A failure that the expert can explain; {name} in either sentence stands for one of `values`. str() is "cause
    next_step"."""

    def __init__(self, cause: str, next_step: str, **values: Any):
        self.cause, self.next_step = Message(cause, **values), Message(next_step, **values)
        super().__init__(f"{self.cause} {self.next_step}")


class Expert(Protocol):
    """A program that looks at a photo. `name` is its key in the evidence."""

    name: str

    def load(self) -> None:
        """Load the weights if they are not loaded yet. Raises ExpertError where it cannot run here."""

    def __call__(self, image: Image.Image) -> Evidence:
        """Look at an upright RGB image without changing it. Raises ExpertError if it cannot and knows why."""


class LazyExpert:
    """What every expert here shares: weights load once, at `load()` or the first call; one photo at a time.

    A subclass gives `name`, `_open()` -> model and `_look(model, image)` -> fields of the evidence but
    `seconds`, and `kind`, the evidence type. The lock is there because the models behind the experts keep
    state between calls.
    """

    name: str
    kind: Callable[..., Evidence]

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._model: Any = None

    def load(self) -> None:
        with self._lock:
            if self._model is None:
                self._model = self._open()

    def __call__(self, image: Image.Image) -> Evidence:
        with self._lock:
            self.load()
            start = time.perf_counter()
            fields = self._look(self._model, image)
            return self.kind(**fields, seconds=time.perf_counter() - start)

    def _open(self) -> Any:
        raise NotImplementedError

    def _look(self, model: Any, image: Image.Image) -> dict[str, Any]:
        raise NotImplementedError


def to_json(evidence: Evidence) -> dict[str, Any]:
    """Evidence as plain JSON values, pixels rounded to 0.01, confidences to 0.0001."""
    if isinstance(evidence, Caption):
        value = {"text": evidence.text, "seconds": evidence.seconds, "source": evidence.source}
        if evidence.certain:
            value["certain"] = True
        if evidence.concepts:
            value["concepts"] = [[word, round(chance, 4)] for word, chance in evidence.concepts]
        if evidence.candidates:
            value["candidates"] = [[answer, round(chance, 4)] for answer, chance in evidence.candidates]
            value["asked"] = evidence.asked
        return value
    if isinstance(evidence, Detections):
        items = [
            {"label": label, "confidence": round(float(c), 4), "xyxy": [round(float(v), 2) for v in box]}
            for label, c, box in zip(evidence.labels, evidence.confidence, evidence.xyxy, strict=True)
        ]
        for item, colour in zip(items, evidence.colours, strict=False):  # there may be none
            item["colour"] = colour
        return {
            "items": items,
            "seconds": evidence.seconds,
            "detector": evidence.detector,
            "classes": list(evidence.classes),
            "size": list(evidence.size),
            "sure": evidence.sure,
        }
    if isinstance(evidence, OcrLines):
        items = [
            {
                "text": text,
                "confidence": round(float(c), 4),
                "quad": [[round(float(v), 2) for v in p] for p in quad],
                "reliable": bool(reliable),
            }
            for text, c, quad, reliable in zip(
                evidence.texts, evidence.confidence, evidence.quads, evidence.reliable, strict=True
            )
        ]
        return {"items": items, "seconds": evidence.seconds, "size": list(evidence.size)}
    if isinstance(evidence, Observations):
        items = [
            {"text": text, "confidence": round(float(c), 4), "xyxy": box and [round(side, 2) for side in box]}
            for text, c, box in zip(evidence.texts, evidence.confidence, evidence.boxes, strict=True)
        ]
        return {"items": items, "seconds": evidence.seconds, "size": list(evidence.size)}
    return {"error": evidence.cause, "next_step": evidence.next_step, "seconds": evidence.seconds}


def from_json(name: str, value: dict[str, Any]) -> Evidence:
    """The evidence of expert `name` that `to_json` wrote; of one that is not BUILT_IN, Observations, whether it is
    installed here or not. Raises ValueError for what is no name of an expert, or a wrong shape."""
    if not re.fullmatch(EXPERT_NAME, name):
        raise ValueError(f"{name!r} is no name of an expert: those are of a-z, 0-9 and _.")
    if "error" in value:
        return ExpertFailure(name, value["error"], value["next_step"], value["seconds"])
    if name == "caption":
        concepts, candidates = (tuple(map(tuple, value.get(key, ()))) for key in ("concepts", "candidates"))
        facts = value["text"], value["seconds"], value["source"]
        told = {"asked": value.get("asked", ""), "certain": value.get("certain", False)}
        return Caption(*facts, concepts=concepts, candidates=candidates, **told)
    items = value["items"]
    confidence = np.array([i["confidence"] for i in items], np.float32)
    size = tuple(value["size"])
    if name == "detection":
        return Detections(
            xyxy=np.array([i["xyxy"] for i in items], np.float32).reshape(-1, 4),
            confidence=confidence,
            labels=tuple(i["label"] for i in items),
            seconds=value["seconds"],
            detector=value["detector"],
            classes=tuple(value["classes"]),
            size=size,
            sure=value.get("sure", 0.0),  # evidence recorded before 2026-11-25 has none
            colours=tuple(i["colour"] for i in items) if all("colour" in i for i in items) else (),
        )
    if name not in BUILT_IN:
        return Observations(
            texts=tuple(i["text"] for i in items),
            confidence=confidence,
            seconds=value["seconds"],
            size=size,
            boxes=tuple(i["xyxy"] and tuple(i["xyxy"]) for i in items),
        )
    return OcrLines(
        quads=np.array([i["quad"] for i in items], np.float32).reshape(-1, 4, 2),
        confidence=confidence,
        texts=tuple(i["text"] for i in items),
        seconds=value["seconds"],
        size=size,
        reliable=np.array([i.get("reliable", True) for i in items], bool),  # recorded before 2026-11-28: none
    )


def _array(what: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.array(value, np.float32)  # a copy, so that nobody else holds it
    if array.shape != shape:
        raise ValueError(f"{what} has shape {list(array.shape)}, expected {list(shape)}.")
    if not np.isfinite(array).all():
        raise ValueError(f"{what} has values that are not finite.")
    array.flags.writeable = False
    return array


def _confidence(what: str, value: Any, n: int) -> np.ndarray:
    array = _array(what, value, (n,))
    if ((array < 0) | (array > 1)).any():
        raise ValueError(f"{what} has values outside 0..1.")
    return array


def _size(what: str, value: Any) -> tuple[int, int]:
    width, height = (int(v) for v in value)
    if width < 1 or height < 1:
        raise ValueError(f"{what} is {width} x {height}; both must be at least 1 pixel.")
    return width, height
