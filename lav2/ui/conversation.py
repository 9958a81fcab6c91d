"""A conversation outside its session: in the browser's storage, and as files to keep."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator

from experts.evidence import Caption, Detections, Evidence, ExpertFailure
from experts.registry import in_order
from lav2.assistant import receipt
from lav2.assistant.receipt_form import ExpertName, Receipt
from lav2.errors import LAV2Error
from lav2.events import QUESTION_CHARACTERS, REASONS, Route
from lav2.ui.examples import EXAMPLES
from lav2.ui.messages import display_answer
from lav2.ui.state import Correction, Exchange, Exchanges, Findings
from lav2.ui.texts import expert_label, translated

QUESTIONS = 100  # of one conversation
# Of JSON: browsers keep about 5 million for a site, and Gradio's encryption adds a third.
STORED_CHARACTERS = 2_000_000
FORMAT = "lav2 conversation 1"


class _Route(BaseModel):
    experts: tuple[ExpertName, ...]
    kinds: tuple[str, ...]
    words: tuple[str, ...]

    @field_validator("kinds")
    @classmethod
    def known(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        if not set(kinds) <= set(REASONS):
            raise ValueError("a reason that is not known")
        return kinds


class _Findings(BaseModel):
    """Of `Findings`, what its receipt does not hold."""

    states: dict[ExpertName, Literal["waiting", "running", "done", "failed", "stopped"]] = {}
    tokens: int = 0
    context: int = 0
    trimmed: int = 0
    waited: float = 0.0
    route: _Route | None = None
    corrected: bool = False
    token_breakdown: dict[Literal["findings", "question", "turns", "template"], int] = {}
    left_out: list[int] = []
    rule: str = ""
    part: tuple[Literal["", "page", "frame", "picture"], int] = ("", 1)
    experts: tuple[ExpertName, ...] = ()
    receipt: Receipt | None = None


class _Exchange(BaseModel):
    question: str = Field(max_length=QUESTION_CHARACTERS)
    photo: str | None = None
    before: str | None = None
    answer: str = ""
    state: Literal["pending", "done", "stopped"]
    findings: _Findings = _Findings()


class _Conversation(BaseModel):
    exchanges: list[_Exchange] = Field(max_length=QUESTIONS)


def check_full(exchanges: Exchanges, more: int, texts: Mapping[str, str]) -> None:
    """Raises LAV2Error where so many more questions are too many for a conversation."""
    if len(exchanges) + more > QUESTIONS:
        raise LAV2Error(texts["conversation_full"].format(n=QUESTIONS), texts["conversation_full_next"])


def to_storage(exchanges: Exchanges) -> dict[str, Any]:
    """Plain JSON for the browser's storage. Where all has no room, the oldest answers go without their evidence."""
    stored: list[dict[str, Any]] = []
    free = STORED_CHARACTERS
    for exchange in reversed(exchanges):
        plain = {name: getattr(exchange, name) for name in ("question", "photo", "before", "answer", "state")}
        if exchange.findings.receipt is not None:
            whole = plain | {"findings": _findings(exchange.findings)}
            size = len(str(whole))
            plain = whole if size <= free else plain
            free -= size
        stored.append(plain)
    return {"exchanges": stored[::-1]}


def _findings(findings: Findings) -> dict[str, Any]:
    route = findings.route
    simple = ("tokens", "context", "trimmed", "waited", "corrected", "rule", "receipt")
    return {
        **{name: getattr(findings, name) for name in simple},
        "states": dict(findings.states),
        "route": route and {"experts": route.experts, "kinds": route.kinds, "words": route.words},
        "token_breakdown": dict(findings.token_breakdown),
        "left_out": sorted(findings.left_out),
        "part": list(findings.part),
        "experts": list(findings.experts),
    }


def from_storage(value: Any, uploads: Path) -> Exchanges:
    """The conversation that a browser kept; () where it is none. A browser may send any path: a photo counts only
    where it is one of the examples or lies in `uploads`, under a name that nobody can guess."""
    try:
        stored = _Conversation.model_validate(value).exchanges
        raw = [exchange.get("findings", {}).get("receipt") for exchange in value["exchanges"]]
        return tuple(_exchange(one, raw_exchange, uploads) for one, raw_exchange in zip(stored, raw, strict=True))
    except (LAV2Error, ValidationError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError):
        return ()


def _exchange(checked: _Exchange, raw: Mapping[str, Any] | None, uploads: Path) -> Exchange:
    found = checked.findings
    values = dict(found) | {"left_out": frozenset(found.left_out), "receipt": raw}
    values["route"] = found.route and Route(**dict(found.route))
    if raw is not None:
        asked = receipt.request(raw, None)
        evidence, values["changes"] = asked.evidence, asked.corrections
        values["evidence"] = in_order(evidence)
        values["prompt"] = raw["prompt"]
    findings = Findings(**values)
    correction = Correction(findings.experts, findings.evidence, findings.changes) if findings.corrected else None
    photo = checked.photo if checked.photo and _ours(Path(checked.photo), uploads) else None
    if checked.photo and photo is None:  # shown as one that is no longer kept
        photo = str(uploads / "gone" / Path(checked.photo).name)
    return Exchange(checked.question, photo, correction, checked.before, checked.answer, checked.state, findings)


def _ours(photo: Path, uploads: Path) -> bool:
    return photo in [example.photo for example in EXAMPLES] or photo.resolve().is_relative_to(uploads.resolve())


def to_file(exchanges: Exchanges) -> dict[str, Any]:
    """The conversation as JSON to keep: every question with its answer and receipt, without paths of the server."""
    return {
        "format": FORMAT,
        "exchanges": [
            {
                "question": exchange.question,
                "photo": exchange.photo and Path(exchange.photo).name,
                "answer": exchange.answer,
                "state": exchange.state,
                "receipt": exchange.findings.receipt,
            }
            for exchange in exchanges
        ],
    }


def to_markdown(exchanges: Exchanges, texts: Mapping[str, str]) -> str:
    """The conversation to read: questions and answers, and what each answer rests on."""
    lines = [f"# {texts['title']}", ""]
    for exchange in exchanges:
        if exchange.photo:
            lines += [f"*{texts['photo_sent']}: {_escape_markdown(Path(exchange.photo).name)}*", ""]
        lines += [f"**{_escape_markdown(exchange.question)}**", ""]
        lines += [_escape_markdown(display_answer(exchange.answer, exchange.state, texts)), ""]
        for name, found in exchange.findings.evidence.items():
            lines += [f"- {expert_label(name, texts)}: {_escape_markdown(_finding_text(found, texts))}"]
        lines += [""] if exchange.findings.evidence else []
    return "\n".join(lines)


def _finding_text(found: Evidence, texts: Mapping[str, str]) -> str:
    match found:
        case ExpertFailure():
            return f"{texts['failed']}. {translated(found.cause, texts)}"
        case Caption():
            return found.text
    return ", ".join(found.labels if isinstance(found, Detections) else found.texts) or texts["nothing"]


def _escape_markdown(text: str) -> str:
    """Text of a photo or a visitor, which is no Markdown."""
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]<>#|!" else letter for letter in text)
