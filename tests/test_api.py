"""Programs that ask: gradio_client, MCP, OpenAI's client, all over a live server that is refused the network."""

import ast
import asyncio
import base64
import re
import subprocess
import sys
from types import SimpleNamespace

import httpx
import pytest
from live import ROOT, serve
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from experts.evidence import Caption
from lav2 import openai_api
from lav2.errors import LAV2Error
from lav2.events import Done, PromptReady, Queued, Token
from lav2.line import Busy

SIGN = ROOT / "assets/examples/street-sign.webp"
URL = f"data:image/webp;base64,{base64.b64encode(SIGN.read_bytes()).decode()}"


def user(text, url=None):
    image = [{"type": "image_url", "image_url": {"url": url}}] if url else []
    return {"role": "user", "content": [{"type": "text", "text": text}, *image]}


# ---------------------------------------------------------------- OpenAI's shape, without models


def test_messages_become_the_last_question_its_photo_and_the_turns_since():
    said = {"role": "assistant", "content": "Yes."}
    system = {"role": "system", "content": "Be a pirate."}
    body = {"messages": [system, user("Old?"), said, user("A sign?", URL), said, user("What does it say?")], "seed": 3}
    asked = openai_api.to_request(body | {"max_tokens": 9, "experts": ["auto"]})
    assert (asked.question, [turn.question for turn in asked.history]) == ("What does it say?", ["A sign?"])
    assert asked.image.size == Image.open(SIGN).size and asked.experts == ("ocr",)
    assert (asked.sampling.seed, asked.sampling.max_new_tokens, asked.sampling.temperature) == (3, 9, 0.0)
    assert openai_api.to_request({"messages": [user("Hi")]}).experts == ()


@pytest.mark.parametrize(
    "body, cause",
    [
        ({"messages": [user("Q", "https://example.org/a.png")]}, "fetches nothing"),
        ({"messages": [user("Q", "file:///etc/passwd")]}, "fetches nothing"),
        ({"messages": [user("Q", "data:image/png;base64,!!")]}, "base64"),
        ({"messages": [user("Q", "data:image/png;base64,aGVsbG8=")]}, "not a picture"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "not read"),
        ({"messages": [{"role": "assistant", "content": "Hi"}]}, "not a question"),
        ({"messages": [user("Q")], "n": 2}, "one choice"),
        ({"messages": [user("Q")], "temperature": "hot"}, "another shape"),
        ({"messages": [user("Q")], "top_p": 0, "temperature": 1}, "top_p is 0.0"),
        ({"messages": [user("Q")], "temperature": float("nan")}, "temperature is nan"),
        ({"messages": [user("Q")], "seed": 2**70}, "seed is"),
        ({"messages": [user("Q")], "seed": float("inf")}, "another shape"),
        ({"messages": [user("Q")], "max_tokens": -1}, "max_new_tokens is -1"),
        ({"messages": 7}, "another shape"),
        ({}, "another shape"),
    ],
)
def test_a_body_that_cannot_be_answered_is_told_why(body, cause):
    with pytest.raises(LAV2Error, match=cause):
        openai_api.to_request(body)


@pytest.fixture
def door():
    def answer(asked, cancel):
        if asked.question == "bug":
            raise KeyError("secret")
        if asked.question == "crowd":
            raise Busy(17)
        yield Queued(1)
        yield PromptReady("p", 7, 2048, 0, frozenset({3, 2}))
        yield Token("A ")
        if asked.question == "late bug":
            raise KeyError("secret")
        yield Token("sign.")
        found = {"caption": Caption("a sign", 0.1, "test")}
        yield Done("A sign.", found, "p", {}, asked.sampling.seed, "embedded", {}, False, {}, frozenset({3, 2}))

    stand_in = SimpleNamespace(preset="embedded", count_tokens=lambda text: len(text.split()))
    return TestClient(Starlette(routes=openai_api.routes(lambda: stand_in, answer)))


def test_answers_have_openais_shape_and_carry_the_evidence(door):
    answer = door.post("/v1/chat/completions", json={"messages": [user("What?")]}).json()
    assert answer["choices"][0]["message"]["content"] == "A sign." and answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    assert answer["lav2"]["evidence"]["caption"]["text"] == "a sign" and answer["lav2"]["route"] == ""
    assert (answer["lav2"]["left_out"], answer["lav2"]["rule"]) == ([2, 3], "")
    body = {"messages": [user("What does it say?", URL)], "experts": ["auto"]}
    routed = door.post("/v1/chat/completions", json=body).json()["lav2"]
    assert routed["experts"] == ["ocr"] and "it asks about text" in routed["route"]
    short = door.post("/v1/chat/completions", json={"messages": [user("What?")], "max_tokens": 2}).json()
    assert short["choices"][0]["finish_reason"] == "length"
    assert door.get("/v1/models").json()["data"][0]["id"] == "embedded"


def test_failures_have_openais_shape_and_show_no_inside(door):
    plain = door.post("/v1/chat/completions", content="{}", headers={"content-type": "text/plain"})
    broken = door.post("/v1/chat/completions", content="{", headers={"content-type": "application/json"})
    bug = door.post("/v1/chat/completions", json={"messages": [user("bug")]})
    assert (plain.status_code, broken.status_code, bug.status_code) == (415, 400, 500)
    assert "KeyError" in bug.json()["error"]["message"] and "secret" not in bug.text
    for _ in range(openai_api.AT_ONCE + 1):  # every slot comes back
        late = door.post("/v1/chat/completions", json={"messages": [user("late bug")], "stream": True}).text
        assert "A " in late and "Something inside broke (KeyError)" in late and "secret" not in late
    for streamed in (False, True):
        busy = door.post("/v1/chat/completions", json={"messages": [user("crowd")], "stream": streamed})
        assert busy.status_code == 429 and "position 17" in busy.json()["error"]["message"]


def test_too_large_a_body_is_refused_and_every_slot_comes_back(door, monkeypatch):
    monkeypatch.setattr(openai_api, "BODY_LIMIT", 1000)
    for _ in range(openai_api.AT_ONCE + 1):
        assert door.post("/v1/chat/completions", json={"messages": [user("x" * 2000)]}).status_code == 413
        assert door.post("/v1/chat/completions", json={"messages": [user("Q")], "stream": True}).status_code == 200


# ---------------------------------------------------------------- over a live server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("server"), "--mcp") as running:
        yield running


@pytest.mark.slow
def test_the_examples_of_the_documentation_run(server, tmp_path):
    written = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/API.md"))
    examples = re.findall(r"```python\n(.*?)```", written, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        code = example.replace("http://127.0.0.1:7860/", server.address).replace(
            "http://127.0.0.1:7860", server.address.rstrip("/")
        )
        ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        assert ran.returncode == 0 and ran.stdout.strip(), ran.stderr


@pytest.mark.slow
def test_every_door_gives_the_same_answer(server):
    from gradio_client import Client, handle_file
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client
    from openai import OpenAI

    asked = {"question": "What does the sign say?", "experts": ["ocr"], "max_new_tokens": 8, "seed": 0}
    page = Client(server.address, verbose=False).predict(handle_file(str(SIGN)), **asked, api_name="/ask")

    openai = OpenAI(base_url=server.address + "v1", api_key="none")
    options = {"model": "embedded", "messages": [user(asked["question"], URL)], "max_tokens": 8}
    whole = openai.chat.completions.create(**options, extra_body={"experts": ["ocr"]})
    stream = openai.chat.completions.create(**options, extra_body={"experts": ["ocr"]}, stream=True)
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert whole.choices[0].message.content == page["answer"] == "".join(pieces).strip()
    assert len([piece for piece in pieces if piece]) > 1 or whole.usage.completion_tokens < 2, "nothing was streamed"
    assert whole.lav2["prompt"] == page["prompt"]

    async def by_mcp():
        async with (
            streamable_http_client(server.address + "gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            defaults = {"temperature": 0, "top_p": 0.9}
            called = await session.call_tool(next(n for n in tools if "ask" in n), {"image": URL, **asked, **defaults})
            looked = {"image": URL, "experts": ["ocr"]}
            seen = await session.call_tool(next(n for n in tools if "examine" in n), looked)
            return tools, called.content[0].text, seen.content[0].text

    tools, answered, seen = asyncio.run(by_mcp())
    assert "STOP" in [item["text"] for item in ast.literal_eval(seen)["ocr"]["items"]]
    assert all(any(name in tool for tool in tools) for name in ("ask", "compare", "examine"))
    assert all(tool.description for tool in tools.values())
    assert ast.literal_eval(answered)["answer"] == page["answer"]  # Gradio writes a tool's result as Python would


@pytest.mark.slow
def test_no_file_of_the_server_can_be_read(server):
    from urllib.error import HTTPError
    from urllib.request import urlopen

    for path in ("/etc/passwd", str(ROOT / "app.py"), f"{ROOT}/assets/examples/../../app.py"):
        with pytest.raises(HTTPError):
            urlopen(f"{server.address}gradio_api/file={path}")
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}  # as if it had been uploaded
        sent = {"data": [file, ["caption"]]}
        called = httpx.post(f"{server.address}gradio_api/call/experts", json=sent).json()
        told = httpx.get(f"{server.address}gradio_api/call/experts/{called['event_id']}", timeout=None).text
        assert "event: error" in told and "caption" not in told


@pytest.mark.slow
def test_an_upload_larger_than_the_limit_is_refused(server):
    sent = {"files": ("large.png", bytes(32_000_000))}
    assert httpx.post(f"{server.address}gradio_api/upload", files=sent, timeout=None).status_code == 413


@pytest.mark.slow
def test_nothing_tried_the_network_and_nothing_private_is_logged(server):
    assert server.attempts == []
    assert "street-sign" not in server.log and "What does the sign say" not in server.log


@pytest.mark.slow
def test_a_question_on_the_command_line_tries_no_network(tmp_path):
    log = tmp_path / "network.txt"
    quiet = [sys.executable, str(ROOT / "tests/quiet.py"), str(log)]
    probe = tmp_path / "probe.py"
    probe.write_text("import urllib.request\nurllib.request.urlopen('http://example.org')")
    assert "network is refused" in subprocess.run([*quiet, str(probe)], capture_output=True, text=True).stderr
    assert "example.org" in log.read_text()
    log.unlink()
    command = [*quiet, "-m", "lav2", "ask", str(SIGN), "What does the sign say?", "--max-new-tokens", "4"]
    asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr
    assert not log.exists(), log.read_text()
