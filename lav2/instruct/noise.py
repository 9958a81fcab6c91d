"""Findings with the errors of real experts: dropped, misread, mistaken."""

import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from experts.evidence import BUILT_IN, Caption, Detections, OcrLines, from_json, to_json
from experts.registry import in_order
from lav2.instruct.photos import DETECTED, Box, EvidenceSource, Photo
from lav2.instruct.questions import side_of
from lav2.instruct.reading import speaks_of_text
from lav2.instruct.sentences import sentence
from lav2.instruct.world import World
from lav2.text import claims, grounding
from lav2.text.grounding import OPPOSITE, RELATIONS

Row = dict


# --- what is asked for --------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Noise:
    """Errors put into evidence; all but the two widths are probabilities."""

    drop_item: float = 0.05  # an object or a text line is not found
    swap_label: float = 0.02  # an object gets the name of one that often comes with it
    add_item: float = 0.02  # per photo: an object that is not there
    wrong_caption: float = 0.02  # the caption of another photo
    character: float = 0.01  # per character: OCR takes it for a look-alike or misses it
    confidence: float = 0.05  # standard deviation added to confidences
    box: float = 0.01  # standard deviation of box edges, in box sizes


@dataclass(frozen=True)
class Augment:
    """How often evidence is missing, and how wrong it is."""

    no_experts: float = 0.2  # all experts off: the answer comes from the photo alone
    drop_expert: float = 0.15  # each expert, of the other rows
    real: Noise = Noise()  # on top of the experts' own errors
    # Truth used as evidence: about the misses of a small detector, a small captioner and EasyOCR.
    simulated: Noise = Noise(0.2, 0.04, 0.1, 0.3, 0.02, 0.1, 0.04)
    fill: bool = True  # experts that gave nothing on a photo where others did are simulated
    misled: float = 0.25  # of the questions whose answer the boxes get wrong (see is_misled), the share that is kept


# For evaluation: what the experts said, all on, right or wrong.
NOISY = Augment()
CLEAN = Augment(0.0, 0.0, real=Noise(0, 0, 0, 0, 0, 0, 0), fill=False, misled=1.0)


# --- evidence -----------------------------------------------------------------------------------------------
def simulated_evidence(photo: Photo, answer: str, rng: random.Random, world: World) -> dict[str, dict]:
    """The truth in the form of evidence, for photos that no expert has looked at. The caption is never the
    answer itself.
    """
    found = {}
    captions = [c for c in photo.captions if not answer.startswith(sentence(c))]
    if captions:
        found["caption"] = to_json(Caption(sentence(rng.choice(captions)).lower().rstrip("."), 0.0, "simulated"))
    if photo.boxes is not None:
        boxes = [b for b in photo.boxes if not b.crowd and b.area > 0]
        found["detection"] = to_json(
            Detections(
                xyxy=np.array([b.xyxy for b in boxes], np.float32).reshape(-1, 4),
                confidence=[min(b.confidence, rng.triangular(0.3, 0.98, 0.9)) for b in boxes],
                labels=tuple(b.label for b in boxes),
                seconds=0.0,
                detector="simulated",
                classes=tuple(sorted(set(world.labels) | {b.label for b in boxes})),
                size=photo.size,
            )
        )
    if photo.size is not None and (photo.signs or not speaks_of_text(photo)):
        found["ocr"] = to_json(
            OcrLines(
                quads=np.array([quad for _, quad in photo.signs], np.float32).reshape(-1, 4, 2),
                confidence=[rng.triangular(0.4, 1.0, 0.95) for _ in photo.signs],
                texts=tuple(text for text, _ in photo.signs),
                seconds=0.0,
                size=photo.size,
            )
        )
    return found


_LOOKALIKES = {
    **{
        "O": "0",
        "0": "O",
        "I": "l",
        "l": "1",
        "1": "I",
        "S": "5",
        "5": "S",
        "B": "8",
        "8": "B",
        "Z": "2",
        "2": "Z",
    },
    **{
        "G": "6",
        "6": "G",
        "E": "F",
        "e": "c",
        "c": "e",
        "a": "o",
        "o": "a",
        "n": "h",
        "u": "v",
        "t": "f",
        "i": "j",
    },
}


def corrupt(evidence: Mapping[str, dict], noise: Noise, rng: random.Random, world: World) -> dict[str, dict]:
    """A copy of the evidence (JSON form) with the errors of `noise`; failures stay as they are."""
    result = json.loads(json.dumps(evidence))
    caption, objects, lines = (result.get(name, {}) for name in BUILT_IN)
    if "text" in caption and world.captions and rng.random() < noise.wrong_caption:
        caption["text"] = sentence(rng.choice(world.captions)).lower().rstrip(".")
    if "items" in objects:
        sure = objects.get("sure", 0.0)
        faint = [i for i in objects["items"] if i["confidence"] < sure]
        objects["items"] = [i for i in objects["items"] if i["confidence"] >= sure]
        labels = [i["label"] for i in objects["items"]]
        known = set(objects["classes"])
        remaining = [i for i in objects["items"] if rng.random() >= noise.drop_item]
        for item in remaining:
            if rng.random() < noise.swap_label:
                item["label"] = world.companion([item["label"]], rng, known.__contains__) or item["label"]
            left, top, right, bottom = item["xyxy"]
            edges = [rng.gauss(0, noise.box) for _ in range(4)]
            xs = sorted((left + edges[0] * (right - left), right + edges[1] * (right - left)))
            ys = sorted((top + edges[2] * (bottom - top), bottom + edges[3] * (bottom - top)))
            width, height = objects["size"]
            xs, ys = [min(max(x, 0), width) for x in xs], [min(max(y, 0), height) for y in ys]
            item["xyxy"] = [round(v, 2) for v in (xs[0], ys[0], xs[1], ys[1])]
        false = world.companion(labels, rng, lambda x: x in known and x not in labels)
        if false and rng.random() < noise.add_item:
            width, height = objects["size"]
            x, y = (
                sorted(rng.uniform(0, width) for _ in range(2)),
                sorted(rng.uniform(0, height) for _ in range(2)),
            )
            box = [round(v, 2) for v in (x[0], y[0], x[1], y[1])]
            remaining.append({"label": false, "confidence": round(rng.uniform(0.25, 0.6), 4), "xyxy": box})
        objects["items"] = remaining
    if "items" in lines:
        lines["items"] = [i for i in lines["items"] if rng.random() >= noise.drop_item]
        for item in lines["items"]:
            item["text"] = _misread(item["text"], noise.character, rng)
    for found, least in ((objects, DETECTED), (lines, 0.01)):
        for item in found.get("items", ()):
            confidence = item["confidence"] + rng.gauss(0, noise.confidence)
            item["confidence"] = round(min(max(confidence, least), 1.0), 4)
    if "items" in objects:
        objects["items"] += faint
    return result


def _misread(text: str, share: float, rng: random.Random) -> str:
    read = []
    for c in text:
        if rng.random() >= share:
            read.append(c)
        elif rng.random() < 0.8:
            read.append(_LOOKALIKES.get(c, c.swapcase()))
    return "".join(read) or text


def evidence_for(
    photo: Photo,
    answer: str,
    source: EvidenceSource | None,
    augment: Augment,
    rng: random.Random,
    world: World,
) -> dict[str, dict]:
    """Evidence of a photo, by expert: what the real experts found with `augment.real` noise, where they looked; of the
    others the truth with `augment.simulated` noise.

    Raises:
        ValueError: evidence of `source` has a wrong shape.
    """
    real = source(photo.image) if source else None
    evidence = {}
    if real is None or augment.fill:
        evidence = corrupt(simulated_evidence(photo, answer, rng, world), augment.simulated, rng, world)
    if real is not None:
        evidence |= corrupt(real, augment.real, rng, world)
    for name, value in evidence.items():
        from_json(name, value)  # shapes are checked where the evidence is made
    return evidence


def drop_experts(evidence: Mapping[str, dict], augment: Augment, rng: random.Random) -> dict[str, dict]:
    """What is left for the prompt: sometimes no expert is on, sometimes one is off. Which questions are asked does not
    depend on it."""
    if rng.random() < augment.no_experts:
        return {}
    return {name: found for name, found in in_order(evidence).items() if rng.random() >= augment.drop_expert}


def is_misled(row: Row, evidence: Mapping[str, dict]) -> bool:
    """Whether the boxes, where the detector ran, give another number, another side, or lack an object of the answer."""
    kind, question, answer, truth = (row[key] for key in ("kind", "question", "answer", "truth"))
    if "items" not in evidence.get("detection", {}):
        return False
    found = grounding.filter_for_question(from_json("detection", evidence["detection"]), question)
    counts = Counter(found.labels)
    kinds = claims.asked(question)
    if kind == "count":
        return len(kinds) == 1 and kinds[0] in found.classes and counts[kinds[0]] != truth
    if kind == "which":
        return not set(truth) <= set(counts)
    if kind == "spatial":
        boxes = [Box(label, tuple(box)) for label, box in zip(found.labels, found.xyxy.tolist(), strict=True)]
        pair = [box for name in kinds for box in boxes if box.label == name]
        side = side_of(*pair, found.size) if len(pair) == len(kinds) == 2 else None
        return side is None or not any(
            f"{one} is {RELATIONS[way]} the {other}" in answer.lower()
            for one, other, way in ((*kinds, side), (*kinds[::-1], OPPOSITE[side]))
        )
    return False
