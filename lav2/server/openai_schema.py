"""Bodies of `/v1/chat/completions` as pydantic models, and as the assistant's questions. No torch, no HTTP.

Every field of OpenAI's request is honoured, or refused by its name where its value asks for what is not done here;
docs/API.md has the table. Messages of one role that follow each other are one message; a new photo starts a new
context, as on the page.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any, Literal
from urllib.parse import unquote_to_bytes

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json

from experts.messages import cut
from experts.registry import EXPERT_NAMES
from lav2.errors import LAV2Error
from lav2.events import AUTO, RANGES, Request, Sampling, Turn
from lav2.image import open_image

SHOWN = 60  # characters of a refused value that the message repeats
# A value costs up to 50 us and 2 kB to check, so that a small body of very many would keep a core busy for minutes.
VALUES = 20_000  # of a body: a conversation of some 5,000 messages
COMMAS = 1_000_000  # of a body, before its values are known: one stands between two of them
DOCS = "docs/API.md lists what is taken."
KINDS = {  # pydantic's kind of error -> what was expected
    "model_type": "an object", "model_attributes_type": "an object", "dict_type": "an object", "list_type": "a list",
    "string_type": "text", "int_type": "a whole number", "int_from_float": "a whole number",
    "float_type": "a number", "bool_type": "true or false",
}  # fmt: skip
SYSTEM_NOTE = "System messages are not used: the adapter is trained on one fixed system text."


class Refused(Exception):
    """A request that is not answered, in OpenAI's terms.

    Args:
        message: cause and next step, for the caller.
        param: path of the field, such as `messages[0].content`; None where it is the whole body.
        code: OpenAI's name of the kind of error.
        status: of HTTP.
    """

    def __init__(self, message: str, param: str | None = None, code: str = "invalid_value", status: int = 400):
        super().__init__(message)
        self.param, self.code, self.status = param, code, status


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
    experts: list[Literal[(*EXPERT_NAMES, AUTO)]] = list(EXPERT_NAMES)  # of this server

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
        raise _too_much(None)
    try:
        data = from_json(raw, allow_inf_nan=False)  # refuses half surrogates, which no tokenizer takes
    except ValueError as error:
        raise Refused(f"The request is not JSON ({error}). {DOCS}") from error
    _check_size(data)
    try:
        return ChatBody.model_validate(data)
    except ValidationError as error:
        raise _refusal(data, error) from error


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
    said = [(i, message) for i, message in enumerate(messages) if not isinstance(message, SystemMessage)]
    url, where, asked = None, "", None
    turns: list[Turn] = []
    for role, group in groupby(said, key=lambda item: item[1].role):
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


def _photos(number: int, message: UserMessage) -> Iterator[tuple[str, str]]:
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
        raise Refused(
            f"`{where}` is not in base64. Send data:image/jpeg;base64,...", where, "invalid_base64_image"
        )
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


# ---------------------------------------------------------------- what is wrong with a body, in words


def _check_size(data: Any) -> None:
    """
    Raises:
        Refused: there are more than VALUES values in it; names the field that they are in.
    """
    count = 0
    for name, field in data.items() if isinstance(data, Mapping) else [(None, data)]:
        left = [field]
        while left:
            value = left.pop()
            count += 1
            if count + len(left) > VALUES:
                raise _too_much(name)
            if isinstance(value, Mapping):
                left.extend(value.values())
            elif isinstance(value, list):
                left.extend(value)


def _too_much(field: str | None) -> Refused:
    name = field and cut(field, SHOWN)
    told = f"The request has more than {VALUES:,} values" + (f", most of them in `{name}`" if name else "")
    return Refused(f"{told}. Send less of the conversation; {DOCS}", name, "request_too_large", 413)


def _refusal(data: Any, failed: ValidationError) -> Refused:
    """The first thing that is wrong. Where a field may have several types, of the one that came furthest."""
    errors = failed.errors(include_url=False)
    paths = [_path(data, error["loc"]) for error in errors]
    beside = [i for i, path in enumerate(paths) if path[: len(paths[0])] == paths[0]]
    furthest = max(beside, key=lambda i: (len(paths[i]), errors[i]["type"] not in KINDS))
    error, path = errors[furthest], paths[furthest]
    keys = (f"[{key}]" if isinstance(key, int) else cut(key, SHOWN) for key in path)
    name = re.sub(r"\.\[", "[", ".".join(keys)) or None
    field = f"`{name}`" if name else "The request"
    value, context = _short(error["input"]), error.get("ctx", {})
    match error["type"]:
        case "missing":
            return Refused(f"{field} is missing or null. {DOCS}", name, "missing_required_parameter")
        case "extra_forbidden":
            return Refused(f"{field} is not supported here. Leave it out; {DOCS}", name, "unknown_parameter")
        case "literal_error":
            expected = context["expected"].replace("False", "false")
            why = f"{field} is {value}, which is not supported. Leave it out, or send {expected}."
            return Refused(why, name, "unsupported_value")
        case "too_long" if context["max_length"] == 0:
            return Refused(f"{field} is not supported here. Leave it out; {DOCS}", name, "unsupported_parameter")
        case "union_tag_invalid" if context["discriminator"] == "'role'":
            why = f"{field} has the role {_short(context['tag'])}; no tools or functions are called here."
            why += " Leave out their messages, and those that call them."
            return Refused(why, name, "unsupported_value")
        case "union_tag_invalid":
            why = f"{field} is a part of type {_short(context['tag'])}, which is not read."
            return Refused(f"{why} Send {context['expected_tags']}.", name, "unsupported_value")
        case "union_tag_not_found":
            return Refused(f"{field} has no {context['discriminator']}. {DOCS}", name, "missing_required_parameter")
        case "greater_than_equal" | "less_than_equal":
            bound = "at least" if "ge" in context else "at most"
            number = context.get("ge", context.get("le"))
            return Refused(f"{field} is {value}; it has to be {bound} {number}.", name)
    if error["type"] in KINDS:
        same = (e["type"] for e, other in zip(errors, paths, strict=True) if other == path)
        kinds = [KINDS[kind] for kind in same if kind in KINDS]
        expected = " or ".join(dict.fromkeys(kinds))
        return Refused(f"{field} is {value}; it has to be {expected}. {DOCS}", name, "invalid_type")
    return Refused(f"{field} is {value}: {error['msg']}. {DOCS}", name)


def _path(data: Any, location: Sequence[str | int]) -> list[str | int]:
    """The keys of `location` that lead through `data`: pydantic's also names the models that it tried."""
    path: list[str | int] = []
    for i, key in enumerate(location):
        if isinstance(data, Mapping) and isinstance(key, str) and (key in data or i == len(location) - 1):
            path.append(key)
            data = data.get(key)
        elif isinstance(data, list) and isinstance(key, int) and key < len(data):
            path.append(key)
            data = data[key]
    return path


def _short(value: Any) -> str:
    if isinstance(value, str):
        value = value[: 2 * SHOWN]
    elif isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
