"""The OpenAI-compatible API: every field is honoured or refused by name, and nothing that a caller does keeps a place.

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
from openai_calls import CHAT, SIGN, URL, user
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from experts.evidence import Caption
from lav2.assistant.admission import Busy
from lav2.events import Done, PromptReady, Queued, Routed, Token
from lav2.server import openai_api
from lav2.text import routing

# ---------------------------------------------------------------- what is answered


class Api:
    """A client of the API and what the stand-in behind it met."""

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
def api():
    return Api()


def streamed(chunks):
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"])


def test_answers_have_openais_shape_and_carry_the_evidence(api):
    answer = api.post().json()
    assert answer["object"] == "chat.completion" and answer["choices"][0]["finish_reason"] == "stop"
    assert answer["choices"][0]["message"]["content"] == "A big sign says STOP here."
    assert answer["usage"] == {"prompt_tokens": 7, "completion_tokens": 7, "total_tokens": 14}
    assert answer["lav2"]["evidence"]["caption"]["text"] == "a sign" and answer["lav2"]["route"] == ""
    assert answer["lav2"]["photo"] is None and answer["lav2"]["notes"] == []
    routed = api.post("What does it say?", URL, experts=["auto"]).json()["lav2"]
    assert routed["experts"] == ["ocr"] and "it asks about text" in routed["route"]
    assert routed["photo"]["size"] == list(Image.open(SIGN).size)


def test_an_answer_tells_what_had_no_room_which_rule_answered_and_what_of_the_photo_was_looked_at(api):
    size = list(Image.open(SIGN).size)
    for more in (api.post("What?", URL).json()["lav2"], api.chunks()[-1]["lav2"]):
        assert (more["left_out"], more["rule"], more["seed"], more["prompt"]) == ([2, 3], "", 0, "p")
    assert api.post("What?", URL).json()["lav2"]["photo"] == {
        "size": size, "file_size": size, "part": "", "number": 1,
    }  # fmt: skip
    ruled = api.post("rule", max_tokens=1).json()
    assert ruled["lav2"]["rule"] == "other_language" and ruled["lav2"]["left_out"] == []
    assert ruled["choices"][0]["finish_reason"] == "stop"  # no model reached a length
    table = (ROOT / "docs/API.md").read_text(encoding="utf-8")
    assert [name for name in ruled["lav2"] if f"`{name}`" not in table] == []


def test_a_photo_with_several_pages_says_which_was_taken(api):
    pages = [Image.new("RGB", (30, 20), "white"), Image.effect_noise((30, 20), 90).convert("RGB")]
    file = io.BytesIO()
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    url = f"data:image/tiff;base64,{base64.b64encode(file.getvalue()).decode()}"
    assert api.post("What?", url).json()["lav2"]["photo"] == {
        "size": [30, 20], "file_size": [30, 20], "part": "page", "number": 2,
    }  # fmt: skip


def test_a_length_beyond_the_room_left_is_clamped_and_told(api):
    for limit in ({"max_tokens": 2}, {"max_completion_tokens": 2}):
        short = api.post(**limit).json()
        assert short["choices"][0]["finish_reason"] == "length" and short["usage"]["completion_tokens"] == 2
        assert api.chunks(**limit)[-1]["choices"][0]["finish_reason"] == "length"
    long = api.post(max_tokens=10**12)
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
def test_an_answer_ends_before_a_stop_text_in_plain_and_in_streamed_form(api, stop, expected):
    plain = api.post(stop=stop).json()["choices"][0]
    chunks = api.chunks(stop=stop)
    assert (plain["message"]["content"], plain["finish_reason"]) == (expected, "stop")
    assert (streamed(chunks).strip(), chunks[-1]["choices"][0]["finish_reason"]) == (expected, "stop")


def test_a_stop_text_ends_the_work_too(api):
    assert api.post("for ever", stop="la la").json()["choices"][0]["message"]["content"] == ""
    assert api.cancels[0].is_set()


def test_usage_comes_with_a_stream_when_it_is_asked_for(api):
    plain = api.chunks()
    assert all("usage" not in chunk for chunk in plain) and "lav2" in plain[-1]
    *chunks, last = api.chunks(stream_options={"include_usage": True})
    assert all(chunk["usage"] is None for chunk in chunks) and last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 7, "completion_tokens": 7, "total_tokens": 14}


def test_models_are_listed_and_the_wrong_one_is_refused(api):
    listed = api.client.get("/v1/models").json()
    assert listed["object"] == "list" and [model["id"] for model in listed["data"]] == ["embedded"]
    assert api.client.get("/v1/models/embedded").json() == listed["data"][0]
    for wrong in (api.client.get("/v1/models/gpt-4o"), api.post(model="gpt-4o")):
        assert wrong.status_code == 404 and wrong.json()["error"]["code"] == "model_not_found"
        assert "'embedded'" in wrong.json()["error"]["message"]
    assert api.post(model="embedded").status_code == 200


def test_failures_have_openais_shape_and_show_no_inside(api):
    plain = api.client.post(CHAT, content="{}", headers={"content-type": "text/plain"})
    broken = api.client.post(CHAT, content="{", headers={"content-type": "application/json"})
    elsewhere, method = api.client.get("/v1/embeddings"), api.client.get(CHAT)
    wrong, bug = api.post(n=2), api.post("bug")
    found = [plain, broken, elsewhere, method, wrong, bug]
    assert [answer.status_code for answer in found] == [415, 400, 404, 405, 400, 500]
    assert all(set(answer.json()["error"]) == {"message", "type", "param", "code"} for answer in found)
    assert wrong.json()["error"]["param"] == "n" and wrong.json()["error"]["type"] == "invalid_request_error"
    assert "KeyError" in bug.json()["error"]["message"] and "secret" not in bug.text
    for _ in range(openai_api.AT_ONCE + 1):  # every slot comes back
        late = api.post("late bug", stream=True).text
        assert "A " in late and "Something inside broke (KeyError)" in late and "secret" not in late
    for stream in (False, True):
        busy = api.post("crowd", stream=stream)
        assert busy.status_code == 429 and "position 17" in busy.json()["error"]["message"]
        assert busy.headers["retry-after"] and busy.json()["error"]["code"] == "rate_limit_exceeded"


def test_too_large_a_body_is_refused_and_every_slot_comes_back(api, monkeypatch):
    monkeypatch.setattr(openai_api, "BODY_LIMIT", 1000)
    for _ in range(openai_api.AT_ONCE + 1):
        assert api.post("x" * 2000).status_code == 413
        assert api.post("Q", stream=True).status_code == 200


# ---------------------------------------------------------------- callers that stop in the middle


def body(text="What?", **fields) -> bytes:
    return json.dumps({"messages": [user(text)], **fields}).encode()


async def call(api, *pieces, more=False, hang_up=None, pause=0.0):
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
    await api.client.app(scope, receive, send)
    return status, bytes(sent)


def test_half_sent_bodies_take_no_place_and_are_ended(api, monkeypatch):
    monkeypatch.setattr(openai_api, "IDLE_SECONDS", 3.0)

    async def play():
        halves = [asyncio.create_task(call(api, body()[:20], more=True)) for _ in range(3 * openai_api.AT_ONCE)]
        await asyncio.sleep(0)
        between, _ = await call(api, body())
        assert not any(half.done() for half in halves)
        return between, await asyncio.gather(*halves)

    between, ended = asyncio.run(play())
    assert between == 200 and {status for status, _ in ended} == {408}
    assert all(json.loads(text)["error"]["code"] == "request_timeout" for _, text in ended)


def test_a_body_that_trickles_ends_at_its_deadline(api, monkeypatch):
    monkeypatch.setattr(openai_api, "BODY_SECONDS", 0.5)
    status, _ = asyncio.run(call(api, *[b" "] * 1000, pause=0.05))
    assert status == 408


def test_large_bodies_that_are_being_received_are_bounded_together(api, monkeypatch):
    monkeypatch.setattr(openai_api, "BODIES_LIMIT", 300_000)
    monkeypatch.setattr(openai_api, "IDLE_SECONDS", 1.0)

    async def play():
        large = [asyncio.create_task(call(api, b" " * 250_000, more=True)) for _ in range(3)]
        await asyncio.sleep(0)
        small, _ = await call(api, body())
        return small, sorted([status for status, _ in await asyncio.gather(*large)])

    assert asyncio.run(play()) == (200, [408, 408, 429])
    assert api.post("x" * 200_000).status_code == 200  # all was given back


async def _hung_up(api, stream):
    gone = asyncio.Event()
    if not stream:  # nothing is sent that could be waited for
        asyncio.get_running_loop().call_later(0.1, gone.set)
    await call(api, body("for ever", stream=stream), hang_up=gone)


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_who_hangs_up_frees_the_model_and_every_place(api, monkeypatch, stream):
    """Also one who never reads: the generator is closed by the thread that runs it, not by the garbage collector."""
    monkeypatch.setattr(openai_api, "HEARTBEAT", 0.05)
    gc.disable()
    try:
        for _ in range(openai_api.AT_ONCE + 2):
            asyncio.run(_hung_up(api, stream))
        deadline = time.monotonic() + 60
        while api.closed < api.started and time.monotonic() < deadline:
            time.sleep(0.01)
        assert api.closed == api.started and all(cancel.is_set() for cancel in api.cancels)
    finally:
        gc.enable()
    assert api.post().status_code == 200


def test_a_thread_that_cannot_be_started_keeps_no_place(api, monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    for _ in range(openai_api.AT_ONCE + 1):
        with monkeypatch.context() as patched:
            patched.setattr(openai_api.threading, "Thread", type("Refusing", (threading.Thread,), {"start": refuse}))
            answered = api.post()
        assert answered.status_code == 503 and answered.headers["retry-after"]
        assert "no further thread" in answered.json()["error"]["message"]
        assert answered.json()["error"]["type"] == "server_error"
    assert api.post().status_code == 200
