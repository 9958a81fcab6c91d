"""The OpenAI-compatible door: every field is honoured or refused by name, and nothing that a caller does keeps a place.

The assistant is a stand-in without a model. tests/test_api.py asks a live server by OpenAI's client.
"""

import asyncio
import base64
import gc
import io
import json
import threading
import time
from types import SimpleNamespace

import pytest
from live import ROOT
from openai.types.chat import completion_create_params
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from experts.evidence import Caption
from lav2.assistant.admission import Busy
from lav2.events import Done, PromptReady, Queued, Routed, Token
from lav2.server import openai_api
from lav2.server.openai_refusal import Refused
from lav2.server.openai_schema import ChatBody, parse, to_asked
from lav2.text import routing

SIGN = ROOT / "assets/examples/street-sign.webp"
CODED = base64.b64encode(SIGN.read_bytes()).decode()
URL = f"data:image/webp;base64,{CODED}"
CHAT = "/v1/chat/completions"


def user(text, *urls):
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"role": "user", "content": [{"type": "text", "text": text}, *images]}


def said(text):
    return {"role": "assistant", "content": text}


def asked(messages, **fields):
    return to_asked(parse(json.dumps({"messages": messages, **fields}).encode()))


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


# ---------------------------------------------------------------- what is answered


class Door:
    """A client of the door and what the stand-in behind it met."""

    def __init__(self):
        self.closed, self.started, self.cancels = 0, 0, []
        stand_in = SimpleNamespace(preset="embedded", count_tokens=lambda text: len(text.split()))
        self.client = TestClient(Starlette(routes=openai_api.routes(lambda: stand_in, self.answer)))

    def answer(self, request, cancel):
        self.started += 1
        self.cancels.append(cancel)
        try:
            if request.question == "bug":
                raise KeyError("secret")
            if request.question == "crowd":
                raise Busy(17)
            _, route = routing.resolve(request)
            yield from [Routed(route)] if route else []
            yield Queued(1)
            yield PromptReady("p", 7, 2048, 0)
            if request.question == "late bug":
                yield Token("A ")
                raise KeyError("secret")
            while request.question == "for ever" and not cancel.is_set():
                yield Token("la ")
                time.sleep(0.01)
            words = ["A ", "big ", "sign", " says ", "ST", "OP ", "here."][: request.sampling.max_new_tokens]
            for i, word in enumerate(words):
                if cancel.is_set():
                    words = words[:i]
                    break
                yield Token(word)
            found = {"caption": Caption("a sign", 0.1, "test")}
            answer = "".join(words).strip()
            if request.question == "rule":
                yield Done("By rule.", {}, "", {}, 0, "embedded", {}, False, {}, rule="other_language", tokens=2)
                return
            end = {"seed": request.sampling.seed, "preset": "embedded", "versions": {}, "stopped": False, "weights": {}}
            yield Done(answer, found, "p", {}, **end, left_out=frozenset({3, 2}), tokens=len(words), route=route)
        finally:
            self.closed += 1

    def post(self, text="What?", *urls, **fields):
        return self.client.post(CHAT, json={"messages": [user(text, *urls)], **fields})

    def chunks(self, text="What?", **fields):
        lines = self.post(text, stream=True, **fields).text.split("\n\n")
        assert lines[-2:] == ["data: [DONE]", ""]
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


@pytest.fixture
def door():
    return Door()


def streamed(chunks):
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"])


def test_answers_have_openais_shape_and_carry_the_evidence(door):
    answer = door.post().json()
    assert answer["object"] == "chat.completion" and answer["choices"][0]["finish_reason"] == "stop"
    assert answer["choices"][0]["message"]["content"] == "A big sign says STOP here."
    assert answer["usage"] == {"prompt_tokens": 7, "completion_tokens": 7, "total_tokens": 14}
    assert answer["lav2"]["evidence"]["caption"]["text"] == "a sign" and answer["lav2"]["route"] == ""
    assert answer["lav2"]["photo"] is None and answer["lav2"]["notes"] == []
    routed = door.post("What does it say?", URL, experts=["auto"]).json()["lav2"]
    assert routed["experts"] == ["ocr"] and "it asks about text" in routed["route"]
    assert routed["photo"]["size"] == list(Image.open(SIGN).size)


def test_an_answer_tells_what_had_no_room_which_rule_answered_and_what_of_the_photo_was_looked_at(door):
    size = list(Image.open(SIGN).size)
    for more in (door.post("What?", URL).json()["lav2"], door.chunks()[-1]["lav2"]):
        assert (more["left_out"], more["rule"], more["seed"], more["prompt"]) == ([2, 3], "", 0, "p")
    assert door.post("What?", URL).json()["lav2"]["photo"] == {
        "size": size, "file_size": size, "part": "", "number": 1,
    }  # fmt: skip
    ruled = door.post("rule", max_tokens=1).json()
    assert ruled["lav2"]["rule"] == "other_language" and ruled["lav2"]["left_out"] == []
    assert ruled["choices"][0]["finish_reason"] == "stop"  # no model reached a length
    table = (ROOT / "docs/API.md").read_text(encoding="utf-8")
    assert [name for name in ruled["lav2"] if f"`{name}`" not in table] == []


def test_a_photo_with_several_pages_says_which_was_taken(door):
    pages = [Image.new("RGB", (30, 20), "white"), Image.effect_noise((30, 20), 90).convert("RGB")]
    file = io.BytesIO()
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    url = f"data:image/tiff;base64,{base64.b64encode(file.getvalue()).decode()}"
    assert door.post("What?", url).json()["lav2"]["photo"] == {
        "size": [30, 20], "file_size": [30, 20], "part": "page", "number": 2,
    }  # fmt: skip


def test_a_length_beyond_the_room_left_is_clamped_and_told(door):
    for limit in ({"max_tokens": 2}, {"max_completion_tokens": 2}):
        short = door.post(**limit).json()
        assert short["choices"][0]["finish_reason"] == "length" and short["usage"]["completion_tokens"] == 2
        assert door.chunks(**limit)[-1]["choices"][0]["finish_reason"] == "length"
    long = door.post(max_tokens=10**12)
    assert long.status_code == 200 and long.json()["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        ("STOP", "A big sign says"),
        (["never", "OP h"], "A big sign says ST"),
        (["says", "big"], "A"),
        ("A", ""),
        ("here.!", "A big sign says STOP here."),
        ([], "A big sign says STOP here."),
    ],
)
def test_an_answer_ends_before_a_stop_text_in_plain_and_in_streamed_form(door, stop, expected):
    plain = door.post(stop=stop).json()["choices"][0]
    chunks = door.chunks(stop=stop)
    assert (plain["message"]["content"], plain["finish_reason"]) == (expected, "stop")
    assert (streamed(chunks).strip(), chunks[-1]["choices"][0]["finish_reason"]) == (expected, "stop")


def test_a_stop_text_ends_the_work_too(door):
    assert door.post("for ever", stop="la la").json()["choices"][0]["message"]["content"] == ""
    assert door.cancels[0].is_set()


def test_usage_comes_with_a_stream_when_it_is_asked_for(door):
    plain = door.chunks()
    assert all("usage" not in chunk for chunk in plain) and "lav2" in plain[-1]
    *chunks, last = door.chunks(stream_options={"include_usage": True})
    assert all(chunk["usage"] is None for chunk in chunks) and last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 7, "completion_tokens": 7, "total_tokens": 14}


def test_models_are_listed_and_the_wrong_one_is_refused(door):
    listed = door.client.get("/v1/models").json()
    assert listed["object"] == "list" and [model["id"] for model in listed["data"]] == ["embedded"]
    assert door.client.get("/v1/models/embedded").json() == listed["data"][0]
    for wrong in (door.client.get("/v1/models/gpt-4o"), door.post(model="gpt-4o")):
        assert wrong.status_code == 404 and wrong.json()["error"]["code"] == "model_not_found"
        assert "'embedded'" in wrong.json()["error"]["message"]
    assert door.post(model="embedded").status_code == 200


def test_failures_have_openais_shape_and_show_no_inside(door):
    plain = door.client.post(CHAT, content="{}", headers={"content-type": "text/plain"})
    broken = door.client.post(CHAT, content="{", headers={"content-type": "application/json"})
    elsewhere, method = door.client.get("/v1/embeddings"), door.client.get(CHAT)
    wrong, bug = door.post(n=2), door.post("bug")
    found = [plain, broken, elsewhere, method, wrong, bug]
    assert [answer.status_code for answer in found] == [415, 400, 404, 405, 400, 500]
    assert all(set(answer.json()["error"]) == {"message", "type", "param", "code"} for answer in found)
    assert wrong.json()["error"]["param"] == "n" and wrong.json()["error"]["type"] == "invalid_request_error"
    assert "KeyError" in bug.json()["error"]["message"] and "secret" not in bug.text
    for _ in range(openai_api.AT_ONCE + 1):  # every slot comes back
        late = door.post("late bug", stream=True).text
        assert "A " in late and "Something inside broke (KeyError)" in late and "secret" not in late
    for stream in (False, True):
        busy = door.post("crowd", stream=stream)
        assert busy.status_code == 429 and "position 17" in busy.json()["error"]["message"]
        assert busy.headers["retry-after"] and busy.json()["error"]["code"] == "rate_limit_exceeded"


def test_too_large_a_body_is_refused_and_every_slot_comes_back(door, monkeypatch):
    monkeypatch.setattr(openai_api, "BODY_LIMIT", 1000)
    for _ in range(openai_api.AT_ONCE + 1):
        assert door.post("x" * 2000).status_code == 413
        assert door.post("Q", stream=True).status_code == 200


# ---------------------------------------------------------------- callers that stop in the middle


def body(text="What?", **fields) -> bytes:
    return json.dumps({"messages": [user(text)], **fields}).encode()


async def call(door, *pieces, more=False, hang_up=None, pause=0.0):
    """(status, what was sent) of one request by the ASGI protocol. The body comes in `pieces`, each after a `pause`;
    with `more`, it never ends. `hang_up`: the caller leaves when it is set, or once something was answered."""
    left = list(pieces)

    async def receive():
        if pause:
            await asyncio.sleep(pause)
        if left:
            return {"type": "http.request", "body": left.pop(0), "more_body": more or bool(left)}
        await (hang_up or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    sent, status = bytearray(), None

    async def send(message):
        nonlocal status
        status = message.get("status", status)
        sent.extend(message.get("body", b""))
        if hang_up is not None and b"la " in sent:
            hang_up.set()

    scope = {
        "type": "http", "method": "POST", "path": CHAT, "raw_path": CHAT.encode(), "query_string": b"",
        "headers": [(b"content-type", b"application/json")], "http_version": "1.1", "scheme": "http",
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "root_path": "", "asgi": {"version": "3.0"},
    }  # fmt: skip
    await door.client.app(scope, receive, send)
    return status, bytes(sent)


def test_half_sent_bodies_take_no_place_and_are_ended(door, monkeypatch):
    monkeypatch.setattr(openai_api, "IDLE_SECONDS", 3.0)

    async def play():
        halves = [asyncio.create_task(call(door, body()[:20], more=True)) for _ in range(3 * openai_api.AT_ONCE)]
        await asyncio.sleep(0)
        between, _ = await call(door, body())
        assert not any(half.done() for half in halves)
        return between, await asyncio.gather(*halves)

    between, ended = asyncio.run(play())
    assert between == 200 and {status for status, _ in ended} == {408}
    assert all(json.loads(text)["error"]["code"] == "request_timeout" for _, text in ended)


def test_a_body_that_trickles_ends_at_its_deadline(door, monkeypatch):
    monkeypatch.setattr(openai_api, "BODY_SECONDS", 0.5)
    status, _ = asyncio.run(call(door, *[b" "] * 1000, pause=0.05))
    assert status == 408


def test_large_bodies_that_are_being_received_are_bounded_together(door, monkeypatch):
    monkeypatch.setattr(openai_api, "BODIES_LIMIT", 300_000)
    monkeypatch.setattr(openai_api, "IDLE_SECONDS", 1.0)

    async def play():
        large = [asyncio.create_task(call(door, b" " * 250_000, more=True)) for _ in range(3)]
        await asyncio.sleep(0)
        small, _ = await call(door, body())
        return small, sorted([status for status, _ in await asyncio.gather(*large)])

    assert asyncio.run(play()) == (200, [408, 408, 429])
    assert door.post("x" * 200_000).status_code == 200  # all was given back


async def _hung_up(door, stream):
    gone = asyncio.Event()
    if not stream:  # nothing is sent that could be waited for
        asyncio.get_running_loop().call_later(0.1, gone.set)
    await call(door, body("for ever", stream=stream), hang_up=gone)


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_who_hangs_up_frees_the_model_and_every_place(door, monkeypatch, stream):
    """Also one who never reads: the generator is closed by the thread that runs it, not by the garbage collector."""
    monkeypatch.setattr(openai_api, "HEARTBEAT", 0.05)
    gc.disable()
    try:
        for _ in range(openai_api.AT_ONCE + 2):
            asyncio.run(_hung_up(door, stream))
        deadline = time.monotonic() + 60
        while door.closed < door.started and time.monotonic() < deadline:
            time.sleep(0.01)
        assert door.closed == door.started and all(cancel.is_set() for cancel in door.cancels)
    finally:
        gc.enable()
    assert door.post().status_code == 200


def test_a_thread_that_cannot_be_started_keeps_no_place(door, monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    for _ in range(openai_api.AT_ONCE + 1):
        with monkeypatch.context() as patched:
            patched.setattr(openai_api.threading, "Thread", type("Refusing", (threading.Thread,), {"start": refuse}))
            answered = door.post()
        assert answered.status_code == 503 and answered.headers["retry-after"]
        assert "no further thread" in answered.json()["error"]["message"]
        assert answered.json()["error"]["type"] == "server_error"
    assert door.post().status_code == 200
