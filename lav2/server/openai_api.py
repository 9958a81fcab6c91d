"""The OpenAI-compatible API over HTTP: `/v1/chat/completions`, plain and streamed, and `/v1/models`. No torch.

What a body may hold is in lav2.server.openai_schema. The answer carries `lav2` with evidence and prompt beside OpenAI's
fields. Photos come as data: URLs only; nothing is ever fetched.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from experts.evidence import to_json
from lav2.assistant.admission import Busy
from lav2.errors import LAV2Error, Unavailable, no_thread
from lav2.events import Done, Event, PromptReady, Request, Token
from lav2.image import facts
from lav2.server.openai_refusal import Refused
from lav2.server.openai_schema import Asked, parse, to_asked

if TYPE_CHECKING:
    from lav2.assistant.service import Assistant

BODY_LIMIT = 45_000_000  # bytes: a photo of 30 MB in base64, and room for the text
BODIES_LIMIT = 10 * BODY_LIMIT  # bytes of all bodies that are being read; bodies below FREE_BYTES do not count
FREE_BYTES = 100_000
BODY_SECONDS = 120  # for a whole body
IDLE_SECONDS = 15  # until its next piece
AT_ONCE = 8  # requests; one more is told to come back (429)
HEARTBEAT = 1.0  # seconds between two looks whether the caller is still there
CHAT, MODELS = "/v1/chat/completions", "/v1/models"

Answer = Callable[[Request, threading.Event], Generator[Event, None, None]]


def routes(assistant: Callable[[], Assistant], answer: Answer) -> list[Route]:
    """Starlette routes; `assistant` is called at each request and may raise LAV2Error while it is loading. `answer`
    is its own, or one that runs it where the GPU is; it makes a generator."""
    slots = threading.Semaphore(AT_ONCE)
    bodies = _Bodies()

    async def complete(http: HttpRequest) -> Response:
        try:
            raw = await bodies.read(http)
            ready = _loaded(assistant)
            asked, running = await _start(raw, ready, http.client.host if http.client else None)
            return await _respond(http, ready, asked, running)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except Exception as error:
            return _error(error)

    async def _start(raw: bytes, ready: Assistant, client: str | None) -> tuple[Asked, _Running]:
        if not slots.acquire(blocking=False):
            message = f"{AT_ONCE} requests are being answered. Try again in a few seconds."
            raise Refused(message, None, "rate_limit_exceeded", 429)
        try:
            asked = await run_in_threadpool(lambda: to_asked(parse(raw)))
            _check_model(asked.model, ready)
            return asked, _Running(answer, replace(asked.request, client=client), slots.release)
        except BaseException:  # also where the task is cancelled
            slots.release()
            raise

    async def models(http: HttpRequest) -> Response:
        try:
            ready = _loaded(assistant)
            name = http.path_params.get("name")
            if name is not None:
                _check_model(name, ready)
        except Refused as error:
            return _error(error)
        model = {"id": ready.preset, "object": "model", "created": started, "owned_by": "lav2"}
        return JSONResponse(model if name is not None else {"object": "list", "data": [model]})

    async def unknown(http: HttpRequest) -> Response:
        path = http.url.path
        known = path in (CHAT, MODELS) or path.startswith(MODELS + "/")
        message = f"{http.method} {path} is not served here. There are POST {CHAT} and GET {MODELS}."
        return _error(Refused(message, None, "unknown_url", 405 if known else 404))

    started = int(time.time())
    return [
        Route(CHAT, complete, methods=["POST"]),
        Route(MODELS, models, methods=["GET"]),
        Route(MODELS + "/{name:path}", models, methods=["GET"]),
        Route("/v1/{rest:path}", unknown, methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
    ]


def _loaded(assistant: Callable[[], Assistant]) -> Assistant:
    try:
        return assistant()
    except LAV2Error as error:
        raise Refused(str(error), None, "not_ready", 503) from error


def _check_model(name: str, assistant: Assistant) -> None:
    if name not in ("", assistant.preset):
        message = f"The model {name[:60]!r} does not exist here; {assistant.preset!r} does."
        raise Refused(message, "model", "model_not_found", 404)


# ---------------------------------------------------------------- the body


class _Bodies:
    """Reads bodies within limits of bytes and time, so that half-sent ones take neither a slot nor all memory."""

    def __init__(self) -> None:
        self._held = 0  # bytes of bodies that are being read, beyond FREE_BYTES of each

    async def read(self, http: HttpRequest) -> bytes:
        # A page of another site may send text/plain without asking first, but not this type.
        if http.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refused("The request is not application/json. Set its Content-Type.", None, "invalid_type", 415)
        too_large = Refused(
            f"The request is larger than {BODY_LIMIT:,} bytes. Send a smaller photo.", None, "request_too_large", 413
        )
        declared = http.headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > BODY_LIMIT:
            raise too_large
        read, counted = bytearray(), 0
        clock = asyncio.get_running_loop().time
        end = clock() + BODY_SECONDS
        try:
            async with asyncio.timeout_at(min(end, clock() + IDLE_SECONDS)) as limit:
                async for piece in http.stream():
                    limit.reschedule(min(end, clock() + IDLE_SECONDS))
                    read += piece
                    if len(read) > BODY_LIMIT:
                        raise too_large
                    more = max(0, len(read) - FREE_BYTES) - counted
                    counted += more
                    self._held += more
                    if more and self._held > BODIES_LIMIT:
                        message = "Too many large requests are being received. Try again in a few seconds."
                        raise Refused(message, None, "rate_limit_exceeded", 429)
        except TimeoutError:
            message = (
                f"The request took longer than {BODY_SECONDS} s, or stood still for {IDLE_SECONDS} s. Send it again."
            )
            raise Refused(message, None, "request_timeout", 408) from None
        finally:
            self._held -= counted
        return bytes(read)


# ---------------------------------------------------------------- the answer


class _Running:
    """An answer that a thread of its own makes. The thread closes the assistant's generator, which frees its slot in
    the queue, and calls `ended`, however the answer ends: the caller's task may be gone by then."""

    def __init__(self, answer: Answer, request: Request, ended: Callable[[], None]):
        self.cancel = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event | Exception] = asyncio.Queue()
        self._answer, self._request, self._ended = answer, request, ended
        self._look = self._loop.time() + HEARTBEAT  # when it is looked next whether the caller is there
        try:
            threading.Thread(target=self._run, daemon=True, name="openai").start()
        except RuntimeError as error:
            raise no_thread() from error

    def _run(self) -> None:
        try:
            with closing(self._answer(self._request, self.cancel)) as events:
                for event in events:
                    self._hand_over(event)
            self._hand_over(RuntimeError("The answer had no end."))  # after Done, nobody reads it
        except Exception as error:
            self._hand_over(error)
        finally:
            self._ended()

    def _hand_over(self, event: Event | Exception) -> None:
        with suppress(RuntimeError):  # the server is being closed
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def next(self, http: HttpRequest) -> Event:
        """The next event, or its failure raised. Where the caller hangs up, the answer is stopped."""
        while True:
            now = self._loop.time()
            if now >= self._look:
                self._look = now + HEARTBEAT
                if await http.is_disconnected():
                    self.cancel.set()
            try:
                event = await asyncio.wait_for(self._events.get(), HEARTBEAT)
            except TimeoutError:
                continue
            if isinstance(event, Exception):
                raise event
            return event


class _Stop:
    """Text as it comes, up to the first of `words`; what may be the beginning of one is held back."""

    def __init__(self, words: tuple[str, ...]):
        self._words, self._held, self.found = words, "", False

    def feed(self, piece: str, last: bool = False) -> str:
        if self.found:
            return ""
        text = self._held + piece
        positions = [position for word in self._words if (position := text.find(word)) >= 0]
        self.found = bool(positions)
        if self.found:
            cut = min(positions)
        else:
            beginnings = (n for word in self._words for n in range(1, len(word)) if text.endswith(word[:n]))
            cut = len(text) - (0 if last else max(beginnings, default=0))
        self._held = "" if self.found else text[cut:]
        return text[:cut]


class _Reply:
    """What of the events goes into an answer of OpenAI's shape."""

    def __init__(self, assistant: Assistant, asked: Asked, running: _Running):
        self._assistant, self._asked, self._running = assistant, asked, running
        self._stop, self._said = _Stop(asked.stop), ""
        self._prompt_tokens, self._most = 0, asked.request.sampling.max_new_tokens
        self.reason: str | None = None
        self.usage: dict[str, int] = {}
        self.more: dict[str, Any] = {}

    def text(self, event: Event) -> str:
        """What an event adds to the answer."""
        match event:
            case PromptReady():
                self._prompt_tokens = event.tokens
                self._most = min(self._most, event.context - event.tokens)
                return ""
            case Token(piece):
                text = self._stop.feed(piece)
                if self._stop.found:
                    self._running.cancel.set()
            case Done():
                text = self._stop.feed("", last=True)
            case _:
                return ""
        self._said += text
        if isinstance(event, Done):
            self._end(event)
        return text

    @property
    def whole(self) -> str:
        return self._said.strip()

    def _end(self, done: Done) -> None:
        tokens = self._assistant.count_tokens(self._said) if self._stop.found else done.tokens
        self.reason = "length" if tokens >= self._most and not self._stop.found and not done.rule else "stop"
        total = self._prompt_tokens + tokens
        self.usage = {"prompt_tokens": self._prompt_tokens, "completion_tokens": tokens, "total_tokens": total}
        request = self._asked.request
        self.more = {
            "experts": list(done.experts(request)),
            "route": str(done.route or ""),
            "evidence": {name: to_json(found) for name, found in done.evidence.items()},
            "prompt": done.prompt,
            "seed": done.seed,
            "photo": facts(request.image) if request.image else None,
            "notes": list(self._asked.notes),
            "left_out": sorted(done.left_out),
            "rule": done.rule,
        }


async def _respond(http: HttpRequest, assistant: Assistant, asked: Asked, running: _Running) -> Response:
    """The response, once the first event is there: a full queue is told by the status."""
    reply = _Reply(assistant, asked, running)
    streamed = False
    try:
        event = await running.next(http)
        if asked.stream:
            streamed = True
            pieces = _pieces(http, assistant, asked, running, reply, event)
            return _Stream(running, pieces, media_type="text/event-stream", headers={"cache-control": "no-cache"})
        while True:
            reply.text(event)
            if reply.reason:
                break
            event = await running.next(http)
    finally:
        if not streamed:
            running.cancel.set()
    message = {"role": "assistant", "content": reply.whole, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.reason}
    more = {"choices": [choice], "usage": reply.usage, "lav2": reply.more}
    return JSONResponse({**_head(assistant, "chat.completion"), **more})


class _Stream(StreamingResponse):
    """Stops its answer when it ends, however it ends: a caller who hangs up frees the model."""

    def __init__(self, running: _Running, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._running = running

    async def __call__(self, *args: Any) -> None:
        try:
            await super().__call__(*args)
        finally:
            self._running.cancel.set()


async def _pieces(
    http: HttpRequest, assistant: Assistant, asked: Asked, running: _Running, reply: _Reply, event: Event
) -> AsyncIterator[str]:
    head = _head(assistant, "chat.completion.chunk")
    usage = {"usage": None} if asked.include_usage else {}

    def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return _data({**head, "choices": [choice], **usage, **more})

    try:
        yield chunk({"role": "assistant", "content": ""})
        while True:
            if text := reply.text(event):
                yield chunk({"content": text})
            if reply.reason:
                break
            event = await running.next(http)
        yield chunk({}, reply.reason, lav2=reply.more)
        if asked.include_usage:
            yield _data({**head, "choices": [], "usage": reply.usage})
        yield "data: [DONE]\n\n"
    except Exception as error:
        yield _data(_status_and_body(error)[1])


def _data(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def _head(assistant: Assistant, kind: str) -> dict[str, Any]:
    made = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time())}
    return {**made, "object": kind, "model": assistant.preset}


def _error(error: Exception) -> JSONResponse:
    status, body = _status_and_body(error)
    return JSONResponse(body, status, {"retry-after": "5"} if status in (429, 503) else None)


def _status_and_body(error: Exception) -> tuple[int, dict[str, Any]]:
    """(status, body in OpenAI's shape) of a failure. Of a bug only its kind is told; the log has its trace."""
    param, code, status, message = None, None, 400, str(error)
    match error:
        case Refused():
            param, code, status = error.param, error.code, error.status
        case Busy():
            code, status = "rate_limit_exceeded", 429
        case Unavailable():
            code, status = "unavailable", 503
        case LAV2Error():
            code = "invalid_value"
        case _:
            logging.getLogger("lav2.server.openai_api").error("A request could not be answered.", exc_info=error)
            message = f"Something inside broke ({type(error).__name__}). The server's log has the details."
            code, status = "internal_error", 500
    kind = "invalid_request_error" if status < 429 else "rate_limit_error" if status == 429 else "server_error"
    return status, {"error": {"message": message, "type": kind, "param": param, "code": code}}
