"""What is wrong with a body of `/v1/chat/completions`, in OpenAI's terms and in words. No torch, no HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from experts.messages import cut

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


def check_size(data: Any) -> None:
    """Raises Refused where there are more than VALUES values in a body; names the field that they are in."""
    count = 0
    for name, field in data.items() if isinstance(data, Mapping) else [(None, data)]:
        left = [field]
        while left:
            value = left.pop()
            count += 1
            if count + len(left) > VALUES:
                raise too_much(name)
            if isinstance(value, Mapping):
                left.extend(value.values())
            elif isinstance(value, list):
                left.extend(value)


def too_much(field: str | None) -> Refused:
    """A body with too many values, most of them in `field`."""
    name = field and cut(field, SHOWN)
    cause = f"The request has more than {VALUES:,} values" + (f", most of them in `{name}`" if name else "")
    return Refused(f"{cause}. Send less of the conversation; {DOCS}", name, "request_too_large", 413)


def refusal(data: Any, failed: ValidationError) -> Refused:
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
