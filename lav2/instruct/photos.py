"""Photos with what people said and marked of them, and findings of the real experts."""

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lav2.errors import LAV2Error
from lav2.files import json_rows
from lav2.instruct.sentences import mentions

EvidenceSource = Callable[
    [Path], Mapping[str, dict] | None
]  # photo -> {expert: JSON}, None where it was never looked at

# --- the truth about a photo --------------------------------------------------------------------------------
DETECTED = 0.25  # confidence from which the detection expert reports an object
LISTED = 0.4  # a teacher's confidence from which `presence_captions` says that a kind is there
SURE = 0.55  # a teacher's box below this is neither a yes nor a no


@dataclass(frozen=True)
class Box:
    """One object; xyxy in pixels; confidence 1 from people, the teacher's otherwise; a crowd is not one
    object.
    """

    label: str
    xyxy: tuple[float, float, float, float]
    confidence: float = 1.0
    crowd: bool = False

    @property
    def sure(self) -> bool:
        return self.confidence >= SURE and not self.crowd

    @property
    def area(self) -> float:
        return max(0.0, self.xyxy[2] - self.xyxy[0]) * max(0.0, self.xyxy[3] - self.xyxy[1])

    @property
    def centre(self) -> tuple[float, float]:
        return (self.xyxy[0] + self.xyxy[2]) / 2, (self.xyxy[1] + self.xyxy[3]) / 2


@dataclass(frozen=True)
class Photo:
    """What is known about a photo. `boxes` is None where nobody looked for objects."""

    image: Path
    captions: tuple[str, ...] = ()
    size: tuple[int, int] | None = None  # width, height px; None without boxes
    boxes: tuple[Box, ...] | None = None
    signs: tuple[tuple[str, tuple[tuple[float, float], ...]], ...] = ()  # drawn lines: text, quad px

    @property
    def counts(self) -> dict[str, int]:
        """Objects whose number is sure, largest first."""
        boxes = sorted(self.boxes or (), key=lambda b: -b.area)
        unsure = {b.label for b in boxes if not b.sure}
        return Counter(b.label for b in boxes if b.label not in unsure)

    def lacks(self, label: str) -> bool:
        """True where objects were looked for, and neither a box, however unsure, nor a caption speaks of it."""
        words = {w for caption in self.captions for w in re.findall(r"[a-z]+", caption.lower())}
        words |= {w.removesuffix("s") for w in words}
        looked = self.boxes is not None and all(b.label != label for b in self.boxes)
        return looked and not words & mentions(label)


def read_photos(files: Sequence[str | Path], root: str | Path, split: str | None = None) -> list[Photo]:
    """Photos of captions.jsonl, boxes.jsonl and teacher_boxes.jsonl, joined by image; human boxes win over a teacher's.

    Args:
        split: train or val, which is kept; a row without a split (a teacher's) follows the photo's row in the other
            files and is train otherwise. None: all.

    Raises:
        LAV2Error: a row has no image, named by file and line, or a file cannot be read.
    """
    found: dict[str, dict] = {}
    for file in files:
        for number, row in json_rows(file):
            try:
                known = found.setdefault(row["image"], {"captions": (), "split": None, "boxes": None, "human": False})
                known["split"] = row.get("split") or known["split"]
                known["captions"] = tuple(row.get("captions", ())) or known["captions"]
                human = not any("conf" in b for b in row.get("boxes", ()))
                if "boxes" in row and (known["boxes"] is None or (human and not known["human"])):
                    known["boxes"] = tuple(
                        Box(b["label"], tuple(b["xyxy"]), b.get("conf", 1.0), b.get("crowd", False))
                        for b in row["boxes"]
                    )
                    known["size"], known["human"] = (row["width"], row["height"]), human
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise LAV2Error(
                    f"{file}, line {number} is not a row with an image ({type(error).__name__}: {error}).",
                    "Mend or remove that line.",
                ) from error
    return [
        Photo(Path(root) / image, k["captions"], k.get("size"), k["boxes"])
        for image, k in sorted(found.items())
        if split is None or (k["split"] or "train") == split
    ]


def read_evidence(*files: str | Path) -> EvidenceSource:
    """Real experts' outputs: JSON lines {"image": path relative to the file, "evidence": {expert: JSON}}. Several
    rows of a photo add up.

    Raises:
        LAV2Error: a file cannot be read, or a row is not of that form; it is named by file and line.
    """
    found: dict[str, dict] = {}
    for file in files:
        for number, row in json_rows(file):
            try:
                found.setdefault(os.path.abspath(Path(file).parent / row["image"]), {}).update(row["evidence"])
            except (ValueError, KeyError, TypeError) as error:
                cause = f"{file}, line {number} is not an image with evidence."
                raise LAV2Error(cause, "Mend or remove that line.") from error
    return lambda image: found.get(os.path.abspath(image))
