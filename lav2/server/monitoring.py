"""What an operator sees of the answers: metrics for Prometheus, a JSON line an answer, and what is loaded.

Counts, seconds and the keys of messages only: no photo, question, answer, finding, address or EXIF gets here. No torch.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Collection, Generator
from contextlib import closing
from dataclasses import dataclass, field
from functools import wraps
from logging.handlers import WatchedFileHandler
from typing import Any, Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from experts.evidence import ExpertFailure
from experts.messages import Message
from lav2.errors import LAV2Error
from lav2.events import Done, Event, EvidenceFound, ExpertStarted, PromptReady, Queued, Request, Routed, Token

METRICS, HEALTH = "/metrics", "/health"
SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3, 6, 12, 25, 50, 100)  # upper bounds of the histograms' buckets
RATES = (1, 2, 5, 10, 20, 40, 80, 160, 320, 640)  # tokens/s
WAITING, ANSWERING = "waiting", "answering"
log = logging.getLogger("lav2.answers")


class AssistantStatus(Protocol):
    """What /health tells of an assistant (lav2.assistant.service)."""

    preset: str
    versions: dict[str, str]
    experts: tuple[str, ...]
    load_seconds: dict[str, float]
    expert_failures: dict[str, ExpertFailure]


@dataclass
class _Watched:
    """One answer on its way."""

    request: Request
    state: str = ANSWERING
    begun: float = field(default_factory=time.perf_counter)
    first_token: float | None = None  # seconds from the question on
    position: int = 0  # its first one in the queue; 0: it did not wait
    prompt_tokens: int = 0
    experts: dict[str, dict[str, Any]] = field(default_factory=dict)


class Monitor:
    """Watches the events of every answer that goes through `observed`.

    Args:
        keys: of the messages that may be told (experts.messages.Message.key): texts that were written beforehand, so
            that a metric has few values, and nothing of a visitor's in it. Another failure is told by its kind.
    """

    def __init__(self, keys: Collection[str] = ()):
        self._keys = frozenset(keys)
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)

        def made(kind: type, name: str, documentation: str, labels: tuple[str, ...] = (), **more: Any) -> Any:
            return kind(f"lav2_{name}", documentation, labels, registry=self.registry, **more)

        self._questions = made(Gauge, "questions", "Questions under way, by state", ("state",))
        self._answers = made(Counter, "answers", "Answers that ended, by how", ("outcome",))
        self._failures = made(Counter, "failures", "Questions that got no answer, by the error's key", ("error",))
        self._queue = made(Histogram, "queue_seconds", "Seconds in line", buckets=SECONDS)
        self._first = made(Histogram, "first_token_seconds", "Seconds from question to first token", buckets=SECONDS)
        self._total = made(Histogram, "answer_seconds", "Seconds from question to the answer's end", buckets=SECONDS)
        self._rate = made(Histogram, "tokens_per_second", "Tokens/s of an answer", buckets=RATES)
        self._tokens = made(Counter, "tokens", "Tokens of prompts and answers", ("kind",))
        self._looked = made(Histogram, "expert_seconds", "Seconds of an expert's look", ("expert",), buckets=SECONDS)
        self._kept = made(Counter, "expert_remembered", "Findings that were kept from an earlier look", ("expert",))
        self._blind = made(Counter, "expert_failures", "Looks that failed, by the error's key", ("expert", "error"))
        for state in (WAITING, ANSWERING):
            self._questions.labels(state)
        for outcome in ("answered", "rule", "stopped", "abandoned", "failed"):
            self._answers.labels(outcome)

    def observed(
        self, answer: Callable[[Request, Any], Generator[Event, None, None]]
    ) -> Callable[..., Generator[Event, None, None]]:
        """A function of a request and what cancels it, whose events are counted on their way; they stay as they are."""

        @wraps(answer)
        def wrapped(request: Request, cancel: Any) -> Generator[Event, None, None]:
            seen, outcome = _Watched(request), "abandoned"
            self._questions.labels(seen.state).inc()
            error: BaseException | None = None
            try:
                with closing(answer(request, cancel)) as events:
                    for event in events:
                        self._take(seen, event)
                        if isinstance(event, Done):
                            outcome = "rule" if event.rule else "stopped" if event.stopped else "answered"
                            self._done(seen, event)
                        yield event
            except Exception as failure:
                outcome, error = "failed", failure
                raise
            finally:
                self._questions.labels(seen.state).dec()
                self._answers.labels(outcome).inc()
                if error is not None:
                    self._failures.labels(self.key(error)).inc()
                log.info(outcome, extra={"answer": self._line(seen, outcome, error)})

        return wrapped

    def key(self, error: BaseException | ExpertFailure) -> str:
        """The message of a failure without what stands in it, or its kind where that is none of `keys`."""
        if isinstance(error, LAV2Error | ExpertFailure):
            cause = error.cause
            key = cause.key if isinstance(cause, Message) else cause
            if key in self._keys:
                return key
        return type(error).__name__

    def _take(self, seen: _Watched, event: Event) -> None:
        state = WAITING if isinstance(event, Queued) else seen.state if isinstance(event, Routed) else ANSWERING
        if state != seen.state:
            self._questions.labels(seen.state).dec()
            self._questions.labels(state).inc()
            seen.state = state
        match event:
            case Queued(position):
                seen.position = seen.position or position
            case ExpertStarted(name):
                seen.experts.setdefault(name, {})
            case EvidenceFound(name, found, remembered):
                self._found(seen, name, found, remembered)
            case PromptReady():
                seen.prompt_tokens = event.tokens
                self._tokens.labels("prompt").inc(event.tokens)
            case Token() if seen.first_token is None:
                seen.first_token = time.perf_counter() - seen.begun
                self._first.observe(seen.first_token)

    def _found(self, seen: _Watched, name: str, found: Any, remembered: bool) -> None:
        if name not in seen.experts:  # nobody looked: the request had it with it
            return
        about = seen.experts[name] = {"seconds": round(found.seconds, 4), "remembered": remembered}
        if isinstance(found, ExpertFailure):
            about["error"] = self.key(found)
            self._blind.labels(name, about["error"]).inc()
        elif remembered:
            self._kept.labels(name).inc()
        else:
            self._looked.labels(name).observe(found.seconds)

    def _done(self, seen: _Watched, done: Done) -> None:
        self._total.observe(time.perf_counter() - seen.begun)
        self._queue.observe(done.timings.get("queued", 0.0))
        self._tokens.labels("answer").inc(done.tokens)
        if rate := done.timings.get("tokens_per_second"):
            self._rate.observe(rate)
        seen.experts = {name: seen.experts[name] for name in seen.experts if name in done.evidence}

    def _line(self, seen: _Watched, outcome: str, error: BaseException | None) -> dict[str, Any]:
        sampling = seen.request.sampling
        line = {
            "outcome": outcome,
            "seconds": round(time.perf_counter() - seen.begun, 4),
            "first_token": None if seen.first_token is None else round(seen.first_token, 4),
            "position": seen.position,
            "photo": seen.request.image is not None,
            "turns": len(seen.request.history),
            "experts": seen.experts,
            "prompt_tokens": seen.prompt_tokens,
            "max_new_tokens": sampling.max_new_tokens,
        }
        return line if error is None else {**line, "error": self.key(error)}

    def routes(
        self, assistant: Callable[[], AssistantStatus], ending: Callable[[], bool] = lambda: False
    ) -> list[Route]:
        """Starlette routes of /metrics and /health.

        Args:
            assistant: is called at each request and may raise LAV2Error while it is loading.
            ending: whether the server takes no more questions.
        """

        def metrics(http: HttpRequest) -> Response:
            return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)

        def health(http: HttpRequest) -> JSONResponse:
            try:
                ready = assistant()
            except LAV2Error as error:
                return JSONResponse({"status": "loading", "cause": error.cause}, 503, {"retry-after": "5"})
            status = {"status": "ending"} if ending() else {"status": "ready"}
            return JSONResponse({**status, **loaded(ready)}, 503 if ending() else 200)

        return [Route(METRICS, metrics, methods=["GET"]), Route(HEALTH, health, methods=["GET"])]


def loaded(assistant: AssistantStatus) -> dict[str, Any]:
    """The parts of an assistant: seconds that each took to load, and of each expert whether it can look: `loaded`,
    `not loaded` (the first question about a photo loads it) or why it cannot run."""
    seconds, failed = assistant.load_seconds, assistant.expert_failures
    parts = {name: round(took, 2) for name, took in seconds.items()}
    experts = {
        name: failed[name].cause if name in failed else "loaded" if name in seconds else "not loaded"
        for name in assistant.experts
    }
    return {"preset": assistant.preset, "parts": parts, "experts": experts, "versions": dict(assistant.versions)}


class JsonLines(logging.Formatter):
    """One JSON object a record: its time (UTC), and what Monitor put into it."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        return json.dumps({"time": at, **vars(record)["answer"]}, ensure_ascii=False)


def log_answers(target: str) -> None:
    """Write a line an answer from now on.

    Args:
        target: a file, which is opened anew where it was moved away (logrotate), or `-` for standard error.

    Raises:
        LAV2Error: it cannot be written.
    """
    try:
        handler = logging.StreamHandler(sys.stderr) if target == "-" else WatchedFileHandler(target, encoding="utf-8")
    except OSError as error:
        raise LAV2Error(
            "The log {file} cannot be written ({why}).", "Choose another --log.", file=target, why=error.strerror
        ) from error
    handler.setFormatter(JsonLines())
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
