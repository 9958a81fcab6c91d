"""Bodies of `/v1/chat/completions` as pydantic models, and as the assistant's questions. No torch, no HTTP.

Every field of OpenAI's request is honoured, or refused by its name where its value asks for what is not done here;
docs/API.md has the table. Messages of one role that follow each other are one message; a new photo starts a new
context, as on the page.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any, Literal
from urllib.parse import unquote_to_bytes

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json

from experts.registry import EXPERT_NAMES
from lav2.errors import LAV2Error
from lav2.events import AUTO, RANGES, Request, Sampling, Turn
from lav2.image import open_image
from lav2.server.openai_refusal import COMMAS, DOCS, Refused, check_size, refusal, too_much

SYSTEM_NOTE = "System messages are not used: the adapter is trained on one fixed system text."


class _Strict(BaseModel):
    """No other fields and no other types; null counts as left out, as OpenAI's own client sends it."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_null(cls, data: Any) -> Any:
        return {k: v for k, v in data.items() if v is not None} if isinstance(data, Mapping) else data


class TextPart(_Strict):
    type: Literal["text"]
    text: str


class RefusalPart(_Strict):
    type: Literal["refusal"]
    refusal: str


class ImageUrl(_Strict):
    url: str
    detail: Literal["auto", "high", "original"] = "auto"  # the whole photo is always looked at


class ImagePart(_Strict):
    type: Literal["image_url"]
    image_url: ImageUrl


class SystemMessage(_Strict):
    role: Literal["system", "developer"]
    content: str | list[TextPart]


class UserMessage(_Strict):
    role: Literal["user"]
    content: str | Annotated[list[Annotated[TextPart | ImagePart, Field(discriminator="type")]], Field(min_length=1)]


class AssistantMessage(_Strict):
    """What was answered before; also as a client sends the message object of an answer back."""

    role: Literal["assistant"]
    content: str | list[Annotated[TextPart | RefusalPart, Field(discriminator="type")]] = ""
    refusal: str = ""
    tool_calls: Annotated[list[Any], Field(max_length=0)] = []
    annotations: Annotated[list[Any], Field(max_length=0)] = []


Message = Annotated[SystemMessage | UserMessage | AssistantMessage, Field(discriminator="role")]
Positive = Annotated[int, Field(ge=1)]
Nothing = Annotated[list[Any], Field(max_length=0)]


class ResponseFormat(_Strict):
    type: Literal["text"]


class StreamOptions(_Strict):
    include_usage: bool = False
    include_obfuscation: Literal[False] = False


class ChatBody(_Strict):
    """Fields of `/v1/chat/completions`; one that is neither here nor of OpenAI is refused as unknown."""

    model: str = ""
    messages: Annotated[list[Message], Field(min_length=1)]
    temperature: Annotated[float, Field(ge=RANGES["temperature"][0], le=RANGES["temperature"][1])] = 0.0
    top_p: Annotated[float, Field(ge=RANGES["top_p"][0], le=RANGES["top_p"][1])] = Sampling.top_p
    max_tokens: Positive | None = None
    max_completion_tokens: Positive | None = None
    seed: Annotated[int, Field(ge=RANGES["seed"][0], le=RANGES["seed"][1])] = Sampling.seed
    stop: (
        Annotated[str, Field(max_length=200)]
        | Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=4)]
    ) = ""
    stream: bool = False
    stream_options: StreamOptions | None = None
    experts: list[Literal[(*EXPERT_NAMES, AUTO)]] = list(EXPERT_NAMES)  # type: ignore[valid-type]  # of this server

    # The caller's own labels: nothing is kept of them, and no answer depends on them.
    user: str = ""
    metadata: dict[str, str] = {}
    safety_identifier: str = ""
    prompt_cache_key: str = ""

    # What is not done here, with the values that ask for nothing.
    n: Literal[1] = 1
    logprobs: Literal[False] = False
    top_logprobs: Literal[0] = 0
    frequency_penalty: Literal[0] = 0
    presence_penalty: Literal[0] = 0
    logit_bias: Annotated[dict[str, Any], Field(max_length=0)] = {}
    response_format: ResponseFormat = ResponseFormat(type="text")
    modalities: list[Literal["text"]] = ["text"]
    tools: Nothing = []
    tool_choice: Literal["none", "auto"] = "none"
    functions: Nothing = []
    function_call: Literal["none", "auto"] = "none"
    parallel_tool_calls: bool = False
    reasoning_effort: Literal["none"] = "none"
    verbosity: Literal["medium"] = "medium"
    store: Literal[False] = False
    service_tier: Literal["auto", "default"] = "auto"


@dataclass(frozen=True)
class Asked:
    """What a body asks for: the assistant's `request`, and how its answer is given.

    `route` says why these experts look, where `auto` chose them; `notes` what of the body had no effect.
    """

    request: Request
    model: str
    stop: tuple[str, ...]
    stream: bool
    include_usage: bool
    notes: tuple[str, ...]


def parse(raw: bytes) -> ChatBody:
    """A body's JSON, checked.

    Raises:
        Refused: it is no JSON, or a field is unknown, missing, of another type, out of its range or not supported.
    """
    if raw.count(b",") > COMMAS:
        raise too_much(None)
    try:
        data = from_json(raw, allow_inf_nan=False)  # refuses half surrogates, which no tokenizer takes
    except ValueError as error:
        raise Refused(f"The request is not JSON ({error}). {DOCS}") from error
    check_size(data)
    try:
        return ChatBody.model_validate(data)
    except ValidationError as error:
        raise refusal(data, error) from error


def to_asked(body: ChatBody) -> Asked:
    """The last question with its photo, and the turns since that photo.

    Raises:
        Refused: there is no question, several photos are sent with one, a photo cannot be opened, or fields contradict
            each other.
    """
    if body.stream_options is not None and not body.stream:
        raise Refused("`stream_options` is only for streams. Leave it out, or set `stream` to true.", "stream_options")
    one, other = body.max_completion_tokens, body.max_tokens
    if one and other and one != other:
        raise Refused("`max_tokens` and `max_completion_tokens` differ. Send one of them.", "max_tokens")
    question, photo, turns = _conversation(body.messages)
    experts = (AUTO,) if AUTO in body.experts else tuple(name for name in EXPERT_NAMES if name in body.experts)
    sampling = Sampling(
        temperature=body.temperature,
        top_p=body.top_p,
        max_new_tokens=min(one or other or Sampling.max_new_tokens, RANGES["max_new_tokens"][1]),
        seed=body.seed,
    )
    request = Request(question, photo, turns, experts if photo else (), sampling)
    system = any(isinstance(message, SystemMessage) for message in body.messages)
    return Asked(
        request,
        body.model,
        tuple(filter(None, [body.stop] if isinstance(body.stop, str) else body.stop)),
        body.stream,
        bool(body.stream_options and body.stream_options.include_usage),
        (SYSTEM_NOTE,) if system else (),
    )


def _conversation(messages: Sequence[Message]) -> tuple[str, Image.Image | None, tuple[Turn, ...]]:
    """(last question, the photo that it is about, the turns since that photo)."""
    dialogue = [(i, message) for i, message in enumerate(messages) if not isinstance(message, SystemMessage)]
    url, where, asked = None, "", None
    turns: list[Turn] = []
    for role, group in groupby(dialogue, key=lambda item: item[1].role):
        numbered = list(group)
        text = "\n".join(filter(None, (_text(message) for _, message in numbered)))
        if role == "assistant":
            if asked is not None:
                turns.append(Turn(asked, text))
            asked = None
            continue
        photos = [found for i, message in numbered for found in _photos(i, message)]
        if len(photos) > 1:
            raise Refused(f"`{photos[1][0]}` is a second photo. Send one with each question.", photos[1][0])
        if photos:
            (where, url), turns = photos[0], []
        asked = text
    if asked is None:
        raise Refused("The last message is not a question. End `messages` with one of the role user.", "messages")
    if not asked.strip():
        raise Refused("`messages` ends without a question. Send a text beside the photo.", "messages")
    return asked, None if url is None else _opened(url, where), tuple(turns)


def _text(message: UserMessage | AssistantMessage) -> str:
    if isinstance(message.content, str):
        text = message.content
    else:
        parts = (part for part in message.content if not isinstance(part, ImagePart))
        text = "\n".join(part.text if isinstance(part, TextPart) else part.refusal for part in parts)
    return text or getattr(message, "refusal", "")


def _photos(number: int, message: UserMessage | AssistantMessage) -> Iterator[tuple[str, str]]:
    """(path of the field, URL) of each photo in a message."""
    if not isinstance(message.content, str):
        for i, part in enumerate(message.content):
            if isinstance(part, ImagePart):
                yield f"messages[{number}].content[{i}].image_url.url", part.image_url.url


def _opened(url: str, where: str) -> Image.Image:
    """The photo in a data: URL, whatever type it names: its bytes say what it is."""
    head, comma, data = url.partition(",")
    scheme, _, kind = head.strip().lower().partition(":")
    if scheme != "data" or not comma:
        raise Refused(
            f"`{where}` is no data: URL, and this server fetches nothing. Send the photo itself: "
            "data:image/jpeg;base64,...",
            where,
            "invalid_image_url",
        )
    if kind.rpartition(";")[2].strip() != "base64":
        raise Refused(f"`{where}` is not in base64. Send data:image/jpeg;base64,...", where, "invalid_base64_image")
    try:
        return open_image(_decoded(data))
    except LAV2Error as error:
        raise Refused(f"`{where}`: {error}", where, "invalid_image") from error
    except ValueError as error:
        raise Refused(
            f"`{where}` is not valid base64 ({error}). Encode the file's bytes again.", where, "invalid_base64_image"
        ) from error


def _decoded(data: str) -> bytes:
    """Base64 with or without line breaks, padding and percent signs, in either alphabet.

    Raises:
        ValueError: other characters, or a length that no bytes give.
    """
    plain = unquote_to_bytes(data) if "%" in data else data.encode("ascii")
    plain = plain.translate(bytes.maketrans(b"-_", b"+/"), b" \t\r\n\f\v").rstrip(b"=")
    try:
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
