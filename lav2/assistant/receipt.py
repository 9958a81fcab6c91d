"""The JSON of an answer, and its receipt: all that is needed to get the same answer again. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict

from PIL import Image
from pydantic import ValidationError

from experts.evidence import Caption, Evidence, ExpertFailure, from_json, to_json
from experts.messages import Message, cut
from experts.orchestrator import fingerprint
from lav2.assistant.receipt_form import FORMAT, Receipt
from lav2.errors import LAV2Error
from lav2.events import Change, Done, Request, Sampling, Turn
from lav2.image import Facts, facts

SIZE_LIMIT = 1_000_000  # bytes
AROUND = 40  # characters shown before the place where two texts begin to differ
COMPARED = ("prompt", "preset", "weights", "versions")  # what may explain another answer


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
    photo: Facts | None


def answer(done: Done, image: Image.Image | None = None) -> Answer:
    """`route`: why these experts, where AUTO chose them. `left_out`: numbers of the findings that the model was not
    given for want of room; they count the caption, the objects by falling confidence, the texts, what experts of
    other packages found and the caption's words from 1. `photo`: what of its file `image` shows."""
    return Answer(
        answer=done.answer,
        evidence={name: to_json(found) for name, found in done.evidence.items()},
        prompt=done.prompt,
        timings=done.timings,
        seed=done.seed,
        preset=done.preset,
        versions=done.versions,
        route=str(done.route or ""),
        left_out=sorted(done.left_out),
        rule=done.rule,
        photo=facts(image) if image else None,
    )


def image_hash(image: Image.Image) -> str:
    """sha256 of the upright RGB photo's size and pixels: the same for every file that shows the same picture."""
    return fingerprint(image).hex()


def receipt(request: Request, done: Done) -> dict[str, Any]:
    """Plain JSON. `evidence` is what the prompt was made of, whether the experts found it or a reader corrected it
    (`corrected`; `corrections` has each change). `left_out`: as in `answer`."""
    image = request.image
    return {
        "format": FORMAT,
        "image": None if image is None else {"sha256": image_hash(image), "size": list(image.size)},
        "question": request.question,
        "history": [asdict(turn) for turn in request.history],
        "experts": list(done.experts(request)),
        "corrected": request.evidence is not None,
        "corrections": [asdict(change) for change in request.corrections],
        "evidence": {name: _exactly(found) for name, found in done.evidence.items()},
        "left_out": sorted(done.left_out),
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
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8-sig"))
        Receipt.model_validate(value)
        json.dumps(value, ensure_ascii=False).encode()  # halves of characters, which no tokenizer takes
        request(value, None)
    except (OSError, ValueError, ArithmeticError, RecursionError) as error:
        raise LAV2Error(
            "{name} is no receipt ({why}).",
            "Download it again from the page.",
            name=path.name,
            why=f"{type(error).__name__}: {_reason(error)}",
        ) from error
    return value


def _reason(error: Exception) -> str:
    """What is wrong, in a line; neither the whole path nor the whole file."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
    return str(error)


def request(value: Mapping[str, Any], image: Image.Image | None) -> Request:
    """The question that a receipt is about, with the evidence that it was answered on."""
    return Request(
        value["question"],
        image,
        tuple(Turn(**turn) for turn in value["history"]),
        tuple(value["experts"]),
        Sampling(**value["sampling"]),
        {name: from_json(name, found) for name, found in value["evidence"].items()},
        corrections=tuple(
            Change(**{**change, "corners": tuple(map(tuple, change["corners"]))})
            for change in value.get("corrections", ())  # receipts before 2026-11-29 have none
        ),
    )


def check_image(value: Mapping[str, Any], image: Image.Image | None) -> None:
    """Raises LAV2Error where the photo is not the one that the receipt was made on."""
    expected = value["image"] and value["image"]["sha256"]
    if expected != (image and image_hash(image)):
        known, given = Message("no photo"), Message("none")
        if expected:
            known = Message("a photo of {size} pixels", size=" x ".join(map(str, value["image"]["size"])))
        if image:
            given = Message("one of {size} pixels", size=f"{image.width} x {image.height}")
        raise LAV2Error(
            "The receipt was made on {known}, and the photo given is another one ({given}).",
            "Give the file that was sent with the question.",
            known=known,
            given=given,
        )


def same_answer(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether two receipts agree; of an answer that was stopped, only the part that was said is known."""
    first, second = str(before["answer"]), str(after["answer"])
    return second.startswith(first) if before["stopped"] else second == first


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Message]:
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


def _differs(name: str, before: str | None, after: str | None) -> Message:
    one, other = before or "", after or ""
    same = next((i for i, pair in enumerate(zip(one, other, strict=False)) if len(set(pair)) > 1), 0)
    quoted = [text if text is None else _from(text, same) for text in (before, after)]
    return Message(
        "{name}: {before} in the receipt, {after} now", name=name, before=repr(quoted[0]), after=repr(quoted[1])
    )


def _from(text: str, place: int) -> str:
    """A text as it is quoted; a long one from shortly before `place`."""
    start = place - AROUND if place > 2 * AROUND else 0
    return "…" * bool(start) + cut(text[start:], 2 * AROUND)


def _exactly(found: Evidence) -> dict[str, Any]:
    """`to_json` without rounded confidences: 0.98496 is 0.98 in the prompt, 0.985 could become 0.99."""
    value = to_json(found)
    if not isinstance(found, Caption | ExpertFailure):
        for item, confidence in zip(value["items"], found.confidence, strict=True):
            item["confidence"] = float(str(confidence))  # the shortest number that is this float32
    return value
