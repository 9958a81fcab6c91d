"""What the OpenAI-compatible API takes, and what it refuses by name."""

import json
import time

import pytest
from live import ROOT
from openai.types.chat import completion_create_params
from openai_calls import CODED, SIGN, URL, asked, said, user
from PIL import Image

from lav2.server.openai_refusal import Refused
from lav2.server.openai_schema import ChatBody, parse

# ---------------------------------------------------------------- what is asked


def test_messages_become_the_last_question_its_photo_and_the_turns_since():
    messages = [user("Old?"), said("Yes."), user("A sign?", URL), said("Yes."), user("What does it say?")]
    request = asked(messages, seed=3, max_tokens=9, experts=["auto"]).request
    assert (request.question, [turn.question for turn in request.history]) == ("What does it say?", ["A sign?"])
    assert request.image.size == Image.open(SIGN).size and request.experts == ("auto",)
    sampling = request.sampling
    assert (sampling.seed, sampling.max_new_tokens, sampling.temperature) == (3, 9, 0.0)
    assert asked([user("Hi")]).request.experts == ()


def test_consecutive_messages_of_a_role_and_several_text_parts_are_one():
    photo = {"role": "user", "content": user("", URL)["content"][1:]}
    request = asked([user("What does"), user("it say?"), photo]).request
    assert request.question == "What does\nit say?" and request.image is not None
    parts = {"role": "user", "content": [{"type": "text", "text": text} for text in ("one", "two")]}
    request = asked([user("Q", URL), said("A"), said("B"), parts, photo, user("three")]).request
    assert request.question == "one\ntwo\nthree" and request.history == ()  # a new photo starts a new context
    request = asked([user("Q", URL), said("A"), said("B"), parts]).request
    assert [(turn.question, turn.answer) for turn in request.history] == [("Q", "A\nB")]


def test_null_counts_as_left_out_and_an_answers_message_can_be_sent_back():
    answered = {"role": "assistant", "content": "A", "refusal": None, "annotations": [], "audio": None,
                "function_call": None, "tool_calls": None}  # fmt: skip
    nulls = dict.fromkeys(("temperature", "stop", "tools", "response_format", "n", "max_tokens", "stream_options"))
    request = asked([user("Q"), answered, user("R")], **nulls).request
    assert (request.history[0].answer, request.question) == ("A", "R")
    empty = asked([user("Q"), {"role": "assistant", "content": None}, user("R")]).request
    assert (empty.history[0].answer, empty.question) == ("", "R")


def test_system_messages_are_told_to_have_no_effect():
    system = {"role": "system", "content": "Be a pirate."}
    assert "System messages are not used" in asked([system, user("Q")]).notes[0]
    assert asked([user("Q")]).notes == ()


@pytest.mark.parametrize(
    "url",
    [
        f"data:application/octet-stream;base64,{CODED}",
        f"DATA:IMAGE/WEBP;BASE64,{CODED}",
        f"data:image/png;base64,{CODED}",  # its bytes say what it is
        f"data:image/webp;charset=utf-8;base64,{CODED}",
        f"data:;base64,{CODED}",
        "data:image/webp;base64,\r\n" + "\r\n".join(CODED[i : i + 76] for i in range(0, len(CODED), 76)) + "\n",
        f"data:image/webp;base64,{CODED.rstrip('=')}",
        f"data:image/webp;base64,{CODED.translate(str.maketrans('+/', '-_'))}",
        f"data:image/webp;base64,{CODED.replace('+', '%2B').replace('/', '%2F').replace('=', '%3D')}",
    ],
    ids=["octet-stream", "upper case", "other type", "parameter", "no type", "lines", "not padded", "URL-safe", "%"],
)
def test_a_photo_is_taken_whatever_its_data_url_looks_like(url):
    assert asked([user("Q", url)]).request.image.size == Image.open(SIGN).size


BAD = [
    ({}, "messages", "missing"),
    ({"messages": 7}, "messages", "has to be a list"),
    ({"messages": []}, "messages", "at least 1"),
    ({"messages": ["Q"]}, "messages[0]", "has to be an object"),
    ({"messages": [{"content": "Q"}]}, "messages[0]", "no 'role'"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "missing or null"),
    ({"messages": [user("Q"), said("A")]}, "messages", "not a question"),
    ({"messages": [user("  ", URL)]}, "messages", "without a question"),
    ({"messages": [{"role": "tool", "content": "Q", "tool_call_id": "1"}]}, "messages[0]", 'the role "tool"'),
    ({"messages": [{**said(None), "tool_calls": [{"id": "1"}]}, user("Q")]}, "messages[0].tool_calls", "not supported"),
    ({"messages": [{**user("Q"), "name": "Ann"}]}, "messages[0].name", "not supported"),
    ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0]", "input_audio"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text", "missing"),
    ({"messages": [user("Q", "https://example.org/a.png")]}, "messages[0].content[1].image_url.url", "fetches nothing"),
    ({"messages": [user("Q", "file:///etc/passwd")]}, "messages[0].content[1].image_url.url", "fetches nothing"),
    ({"messages": [user("Q", "/etc/passwd")]}, "messages[0].content[1].image_url.url", "fetches nothing"),
    ({"messages": [user("Q", "data:image/png;base64,!!")]}, "messages[0].content[1].image_url.url", "not valid base64"),
    ({"messages": [user("Q", "data:image/svg+xml,<svg/>")]}, "messages[0].content[1].image_url.url", "not in base64"),
    ({"messages": [user("Q", "data:image/png;base64,aGVsbG8=")]}, "messages[0].content[1].image_url.url", "not a pic"),
    ({"messages": [user("Q", URL, URL)]}, "messages[0].content[2].image_url.url", "second photo"),
    ({"messages": [user("Q", URL), user("R", URL)]}, "messages[1].content[1].image_url.url", "second photo"),
    ({"n": 2}, "n", "is 2"),
    ({"temperature": "hot"}, "temperature", "has to be a number"),
    ({"temperature": -1}, "temperature", "is -1"),
    ({"top_p": 0}, "top_p", "is 0"),
    ({"seed": 2**70}, "seed", "at most"),
    ({"seed": 1.5}, "seed", "a whole number"),
    ({"max_tokens": -1}, "max_tokens", "is -1"),
    ({"max_completion_tokens": 0}, "max_completion_tokens", "is 0"),
    ({"max_tokens": "many"}, "max_tokens", '"many"'),
    ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens", "differ"),
    ({"stop": ["a", 3]}, "stop[1]", "is 3"),
    ({"stop": ["a"] * 5}, "stop", "at most 4"),
    ({"stop": [""]}, "stop[0]", "at least 1"),
    ({"stream_options": "x"}, "stream_options", "an object"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "only for streams"),
    ({"stream": "yes"}, "stream", "true or false"),
    ({"response_format": {"type": "json_object"}}, "response_format.type", "json_object"),
    ({"logprobs": True}, "logprobs", "send false"),
    ({"tools": [{"type": "function"}]}, "tools", "not supported"),
    ({"tool_choice": "required"}, "tool_choice", "required"),
    ({"experts": ["smell"]}, "experts[0]", "smell"),
    ({"experts": "auto"}, "experts", "a list"),
    ({"top_k": 40}, "top_k", "not supported"),
]


@pytest.mark.parametrize(("fields", "param", "cause"), BAD, ids=[f"{param}: {cause}" for _, param, cause in BAD])
def test_what_cannot_be_done_is_refused_by_its_name(fields, param, cause):
    with pytest.raises(Refused) as refused:
        asked(**({"messages": [user("Q")]} if fields and "messages" not in fields else {"messages": None}) | fields)
    assert refused.value.param == param and param in str(refused.value) and cause in str(refused.value)
    assert refused.value.status == 400


def test_every_field_of_openais_client_is_honoured_or_refused_by_name():
    fields = set(completion_create_params.CompletionCreateParamsBase.__annotations__)
    known = set(ChatBody.model_fields)
    for name in sorted(fields - known):
        with pytest.raises(Refused, match=f"`{name}` is not supported"):
            asked([user("Q")], **{name: "x"})
    table = (ROOT / "docs/API.md").read_text(encoding="utf-8")
    assert [name for name in sorted(fields | known) if f"`{name}`" not in table] == []


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"7", b'{"messages": NaN}', b"[" * 100_000, b'"\\ud800"'])
def test_what_is_not_json_is_told(raw):
    with pytest.raises(Refused, match=r"not JSON|has to be an object"):
        parse(raw)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"messages": [user("Q")], "experts": [0] * 1_500_000}, "experts"),
        ({"messages": [user("Q")], "metadata": {str(i): 1 for i in range(100_000)}}, "metadata"),
        ({"messages": [user("Q")] * 10_000}, "messages"),
        ({"messages": [{"role": "user", "content": user("Q")["content"] * 10_000}]}, "messages"),
        ({f"field{i}": 1 for i in range(100_000)}, "field"),
        ({"messages": [[[]] * 900_000]}, "messages"),
    ],
    ids=["experts", "metadata", "messages", "parts", "fields", "lists"],
)
def test_a_body_of_very_many_values_is_refused_at_once(fields, name):
    """2 MB of noughts once kept a core busy for a minute and took 2 GB: one error was made for each."""
    raw = json.dumps(fields).encode()
    before = time.process_time()
    with pytest.raises(Refused, match="more than 20,000 values") as refused:
        parse(raw)
    assert time.process_time() - before < 5 and refused.value.status == 413
    assert str(refused.value.param).startswith(name) or raw.count(b",") > 1_000_000


def test_a_body_that_would_fill_the_memory_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr("lav2.server.openai_schema.from_json", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(Refused, match="more than 20,000 values"):
        parse(b'{"messages": [' + b"[]," * 1_100_000 + b"[]]}")


def test_a_conversation_of_eight_hundred_turns_is_no_such_body():
    turns = [message for i in range(800) for message in (user(f"Q{i}"), said(f"A{i}, and more, and more"))]
    assert len(asked([*turns, user("Q")]).request.history) == 800


def test_what_a_refusal_repeats_of_a_body_is_cut():
    for fields in ({"x" * 5000: 1}, {"metadata": {"y" * 5000: 7}}, {"stop": "z" * 5000}):
        with pytest.raises(Refused) as refused:
            asked([user("Q")], **fields)
        assert len(str(refused.value)) < 300 and len(refused.value.param) < 200
