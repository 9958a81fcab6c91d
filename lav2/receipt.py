"""The JSON of an answer, and its receipt: all that is needed to get the same answer again. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict

from PIL import Image

from experts.evidence import Caption, Evidence, ExpertFailure, from_json, to_json
from lav2.errors import LAV2Error
from lav2.events import Done, Request, Sampling
from lav2.prompts import Turn
from lav2.routing import Route

FORMAT = "lav2 receipt 1"
SIZE_LIMIT = 1_000_000  # bytes
COMPARED = ("prompt", "preset", "weights", "versions")  # what may explain another answer
KINDS = {  # what a replay reads beside the request
    "question": str, "image": (dict, type(None)), "answer": str, "stopped": bool, "prompt": str, "preset": str,
    "weights": dict, "versions": dict,
}  # fmt: skip


class Answer(TypedDict):
    """What `ask --json`, `batch` and the endpoint /ask return."""

    answer: str
    evidence: dict[str, Any]
    prompt: str
    timings: dict[str, float]
    seed: int
    preset: str
    versions: dict[str, str]
    route: str
    left_out: list[int]
    rule: str


def answer(done: Done, route: Route | None = None) -> Answer:
    """`route`: why these experts, where `auto` chose them. `left_out`: numbers of the findings that the model was not
    given for want of room; they count the caption, the objects by falling confidence and the texts from 1."""
    return Answer(
        answer=done.answer,
        evidence={name: to_json(found) for name, found in done.evidence.items()},
        prompt=done.prompt,
        timings=done.timings,
        seed=done.seed,
        preset=done.preset,
        versions=done.versions,
        route=str(route or ""),
        left_out=sorted(done.left_out),
        rule=done.rule,
    )


def image_hash(image: Image.Image) -> str:
    """sha256 of the upright RGB photo's size and pixels: the same for every file that shows the same picture."""
    return hashlib.sha256(b"%d %d " % image.size + image.tobytes()).hexdigest()


def receipt(request: Request, done: Done) -> dict[str, Any]:
    """Plain JSON. `evidence` is what the prompt was made of, whether the experts found it or a reader corrected it
    (`corrected`)."""
    image = request.image
    return {
        "format": FORMAT,
        "image": None if image is None else {"sha256": image_hash(image), "size": list(image.size)},
        "question": request.question,
        "history": [asdict(turn) for turn in request.history],
        "experts": list(request.experts),
        "corrected": request.evidence is not None,
        "evidence": {name: _exactly(found) for name, found in done.evidence.items()},
        "prompt": done.prompt,
        "sampling": asdict(request.sampling),
        "preset": done.preset,
        "weights": done.weights,
        "versions": done.versions,
        "answer": done.answer,
        "stopped": done.stopped,
    }


def read(path: Path) -> dict[str, Any]:
    """A receipt from its file.

    Raises:
        LAV2Error: it cannot be read or is no receipt.
    """
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise ValueError(f"it is larger than {SIZE_LIMIT:,} bytes")
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["format"] != FORMAT:
            raise ValueError(f"its format is {value['format']!r}, not {FORMAT!r}")
        request(value, None)
        for name, kind in KINDS.items():
            if not isinstance(value[name], kind):
                raise ValueError(f"{name} is {value[name]!r}")
        photo = value["image"]
        if photo is not None and not (isinstance(photo["sha256"], str) and len(photo["size"]) == 2):
            raise ValueError(f"image is {photo!r}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else error  # its text has the whole path
        raise LAV2Error(
            f"{path.name} is no receipt ({type(error).__name__}: {why}).", "Download it again from the page."
        ) from error
    return value


def request(value: Mapping[str, Any], image: Image.Image | None) -> Request:
    """The question that a receipt is about, with the evidence that it was answered on."""
    return Request(
        value["question"],
        image,
        tuple(Turn(**turn) for turn in value["history"]),
        tuple(value["experts"]),
        Sampling(**value["sampling"]),
        {name: from_json(name, found) for name, found in value["evidence"].items()},
    )


def check_image(value: Mapping[str, Any], image: Image.Image | None) -> None:
    """Raises LAV2Error where the photo is not the one that the receipt was made on."""
    expected = value["image"] and value["image"]["sha256"]
    if expected != (image and image_hash(image)):
        known = f"a photo of {' x '.join(map(str, value['image']['size']))} pixels" if expected else "no photo"
        given = f"one of {image.width} x {image.height} pixels" if image else "none"
        raise LAV2Error(
            f"The receipt was made on {known}, and the photo given is another one ({given}).",
            "Give the file that was sent with the question.",
        )


def same_answer(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether two receipts agree; of an answer that was stopped, only the part that was said is known."""
    if before["stopped"]:
        return after["answer"].startswith(before["answer"])
    return after["answer"] == before["answer"]


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """One line for each thing in which two receipts differ, the answer first."""
    found = [] if same_answer(before, after) else [_differs("answer", before["answer"], after["answer"])]
    for name in COMPARED:
        one, other = before[name], after[name]
        if isinstance(one, Mapping):
            keys = sorted(one.keys() | other.keys())
            found += [_differs(f"{name}: {k}", one.get(k), other.get(k)) for k in keys if one.get(k) != other.get(k)]
        elif one != other:
            found.append(_differs(name, one, other))
    return found


def _differs(name: str, before: Any, after: Any) -> str:
    return f"{name}: {before!r} in the receipt, {after!r} now"


def _exactly(found: Evidence) -> dict[str, Any]:
    """`to_json` without rounded confidences: 0.98496 is 0.98 in the prompt, 0.985 could become 0.99."""
    value = to_json(found)
    if not isinstance(found, Caption | ExpertFailure):
        for item, confidence in zip(value["items"], found.confidence, strict=True):
            item["confidence"] = float(str(confidence))  # the shortest number that is this float32
    return value
