"""The OpenAI-compatible door: `/v1/chat/completions` with image parts and streaming, and `/v1/models`. No torch.

Photos come as data: URLs only; nothing is ever fetched. As on the page, a new photo starts a new context. System
messages are not used: the adapter is trained on one fixed system text. `experts` (names, or ["auto"]) may be sent
beside the usual fields, and the answer carries `lav2` with evidence and prompt.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from anyio import CancelScope
from PIL import Image
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from experts.evidence import EXPERT_NAMES, to_json
from lav2 import routing
from lav2.errors import LAV2Error
from lav2.events import Done, Event, PromptReady, Request, Sampling, Token
from lav2.image import open_image
from lav2.line import Busy
from lav2.prompts import Turn

if TYPE_CHECKING:
    from lav2.assistant import Assistant

End = Callable[[Done, int], tuple[str, dict, dict]]  # _end of one request: the answer and the prompt's tokens

BODY_LIMIT = 45_000_000  # bytes: a photo of 30 MB in base64, and room for the text
AT_ONCE = 8  # requests; one more is told to come back (429)
SHAPE = 'See docs/API.md: {"messages": [{"role": "user", "content": [{"type": "text", ...}, ...]}]}.'


class _Refused(Exception):
    """An HTTP status and its message."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def routes(
    assistant: Callable[[], Assistant], answer: Callable[[Request, threading.Event], Iterator[Event]]
) -> list[Route]:
    """Starlette routes; `assistant` is called at each request and may raise LAV2Error while it is loading. `answer`
    is its own, or one that lends it the GPU."""
    slots = threading.Semaphore(AT_ONCE)

    async def complete(http: HttpRequest) -> Response:
        if not slots.acquire(blocking=False):
            return _error(429, f"{AT_ONCE} requests are being answered. Try again in a few seconds.")
        release = True
        try:
            body = await _body(http)
            ready = assistant()
            asked = await run_in_threadpool(to_request, body)
            _, route = routing.choose(_given(body, "experts", ()) if asked.image else (), asked.question)
            end = partial(_end, ready, asked, str(route or ""))
            asked = replace(asked, client=http.client.host if http.client else None)
            cancel = threading.Event()
            given = answer(asked, cancel)
            streamed = None
            try:
                async with _watched(http.receive, cancel):
                    first = await run_in_threadpool(next, given)  # where the line is full, it is told here
                    events = chain([first], given)
                    if not body.get("stream"):
                        return JSONResponse(await run_in_threadpool(_whole, ready, events, end))
                usage = bool((body.get("stream_options") or {}).get("include_usage"))
                streamed = _Streamed(_stream(ready, events, end, usage), given, cancel, slots.release)
            finally:
                if streamed is None:
                    await _give_back(given, cancel)
            release = False  # the response does, at its end, and gives the rest back
            return streamed
        except _Refused as error:
            return _error(error.status, str(error))
        except Busy as error:
            return _error(429, str(error))
        except LAV2Error as error:
            return _error(400, str(error))
        except Exception as error:
            return _error(500, _broken(error))
        finally:
            if release:
                slots.release()

    async def models(_: HttpRequest) -> Response:
        try:
            name = assistant().preset
        except LAV2Error as error:
            return _error(503, str(error))
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model", "owned_by": "lav2"}]})

    return [
        Route("/v1/chat/completions", complete, methods=["POST"]),
        Route("/v1/models", models, methods=["GET"]),
    ]


def to_request(body: Mapping[str, Any]) -> Request:
    """A request body as a question: the last user message, the last photo, and the turns since that photo.

    Raises:
        LAV2Error: the body has another shape, or the photo is no data: URL or cannot be opened.
    """
    try:
        return _to_request(body)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise LAV2Error(f"The request has another shape ({type(error).__name__}: {error}).", SHAPE) from error


def _to_request(body: Mapping[str, Any]) -> Request:
    if (body.get("n") or 1) != 1:
        raise LAV2Error("Only one choice is given (n = 1).", "Ask again with another seed for another answer.")
    turns: list[Turn] = []
    photo, asked = None, None
    for message in body["messages"]:
        text, image = _content(message["content"])
        if message["role"] == "user":
            if image is not None:
                photo, turns = image, []
            asked = text
        elif message["role"] == "assistant" and asked is not None:
            turns.append(Turn(asked, text))
            asked = None
    if asked is None:
        raise LAV2Error("The last message is not a question.", "End `messages` with one of the role user.")
    default = Sampling()
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or default.max_new_tokens
    sampling = Sampling(
        temperature=float(_given(body, "temperature", default.temperature)),
        top_p=float(_given(body, "top_p", default.top_p)),
        max_new_tokens=int(limit),
        seed=int(_given(body, "seed", default.seed)),
    )
    experts, _ = routing.choose(_given(body, "experts", EXPERT_NAMES), asked)
    return Request(asked, photo, tuple(turns), experts if photo is not None else (), sampling)


def _given(body: Mapping[str, Any], name: str, default: Any) -> Any:
    return default if body.get(name) is None else body[name]


def _content(content: str | list[dict[str, Any]]) -> tuple[str, Image.Image | None]:
    if isinstance(content, str):
        return content, None
    texts, photo = [], None
    for part in content:
        if part["type"] == "text":
            texts.append(part["text"])
        elif part["type"] == "image_url":
            photo = _photo(part["image_url"]["url"])
        else:
            raise LAV2Error(f"Parts of type {part['type']!r} are not read.", "Send text and image_url parts.")
    return "\n".join(texts), photo


def _photo(url: str) -> Image.Image:
    head, comma, data = url.partition(",")
    if not (head.startswith("data:image/") and head.endswith(";base64") and comma):
        raise LAV2Error(
            "The image is no data: URL, and this server fetches nothing.",
            "Send the photo itself: data:image/jpeg;base64,...",
        )
    try:
        return open_image(base64.b64decode(data, validate=True))
    except binascii.Error as error:
        raise LAV2Error(f"The image is not valid base64 ({error}).", "Encode the file's bytes again.") from error


async def _body(http: HttpRequest) -> dict[str, Any]:
    # A page of another site may send text/plain without asking first, but not this type.
    if http.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise _Refused(415, "The request is not application/json. Set its Content-Type.")
    read = bytearray()
    async for piece in http.stream():
        read += piece
        if len(read) > BODY_LIMIT:
            raise _Refused(413, f"The request is larger than {BODY_LIMIT:,} bytes. Send a smaller photo.")
    try:
        body = json.loads(read)
        if not isinstance(body, dict):
            raise ValueError("no object")
    except ValueError as error:
        raise _Refused(400, f"The request is not JSON ({error}). {SHAPE}") from error
    return body


def _error(status: int, message: str) -> JSONResponse:
    kind = "invalid_request_error" if status < 429 else "server_error"
    return JSONResponse({"error": {"message": message, "type": kind, "param": None, "code": None}}, status)


def _broken(error: Exception) -> str:
    """What the caller is told of a bug; the log has its trace."""
    logging.getLogger("lav2.openai_api").error("A request could not be answered.", exc_info=error)
    return f"Something inside broke ({type(error).__name__}). The server's log has the details."


def _head(assistant: Assistant, kind: str) -> dict[str, Any]:
    made = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time())}
    return {**made, "object": kind, "model": assistant.preset}


def _end(assistant: Assistant, asked: Request, route: str, done: Done, prompt_tokens: int) -> tuple[str, dict, dict]:
    """(finish reason, usage, what else the answer carries)."""
    said = assistant.count_tokens(done.answer)
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": said, "total_tokens": prompt_tokens + said}
    evidence = {name: to_json(found) for name, found in done.evidence.items()}
    more = {"experts": list(asked.experts), "route": route, "evidence": evidence, "prompt": done.prompt}
    more |= {"seed": done.seed, "left_out": sorted(done.left_out), "rule": done.rule}
    return ("length" if said >= asked.sampling.max_new_tokens else "stop"), usage, more


def _whole(assistant: Assistant, events: Iterator[Event], end: End) -> dict[str, Any]:
    tokens = 0
    for event in events:
        if isinstance(event, PromptReady):
            tokens = event.tokens
        if isinstance(event, Done):
            reason, usage, more = end(event, tokens)
            message = {"role": "assistant", "content": event.answer, "refusal": None}
            choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
            return {**_head(assistant, "chat.completion"), "choices": [choice], "usage": usage, "lav2": more}
    raise RuntimeError("The answer had no end.")


async def _give_back(events: Iterator[Event], cancel: threading.Event) -> None:
    """End an answer and free its place in line at once, whether it is over, was left, or has not begun."""
    cancel.set()
    with CancelScope(shield=True):  # the caller has hung up, and this is still to be done
        await run_in_threadpool(events.close)


@asynccontextmanager
async def _watched(receive: Receive, cancel: threading.Event) -> AsyncIterator[None]:
    """`cancel` is set as soon as the caller hangs up, also while nothing is sent to him."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        cancel.set()

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()


class _Streamed(StreamingResponse):
    """Server-sent events. What they hold is given back however the response ends; the generators of a stream that is
    not read to its end would be closed only when the cyclic garbage collector comes by."""

    def __init__(self, content: AsyncIterator[str], events: Iterator[Event], cancel: threading.Event, end: Callable):
        super().__init__(content, media_type="text/event-stream")
        self._events, self._cancel, self._end = events, cancel, end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with _watched(receive, self._cancel):
                await super().__call__(scope, receive, send)
        finally:
            try:
                await _give_back(self._events, self._cancel)
            finally:
                self._end()


async def _stream(
    assistant: Assistant,
    events: Iterator[Event],
    end: End,
    with_usage: bool,
) -> AsyncIterator[str]:
    head = _head(assistant, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return f"data: {json.dumps({**head, 'choices': [choice], **more}, ensure_ascii=False)}\n\n"

    tokens = 0
    try:
        yield chunk({"role": "assistant", "content": ""})
        async for event in iterate_in_threadpool(events):
            match event:
                case PromptReady():
                    tokens = event.tokens
                case Token(text):
                    yield chunk({"content": text})
                case Done():
                    reason, usage, more = end(event, tokens)
                    yield chunk({}, reason, lav2=more)
                    if with_usage:
                        yield f"data: {json.dumps({**head, 'choices': [], 'usage': usage})}\n\n"
        yield "data: [DONE]\n\n"
    except Exception as error:
        message = str(error) if isinstance(error, LAV2Error) else _broken(error)
        yield f"data: {json.dumps({'error': {'message': message, 'type': 'server_error'}})}\n\n"
