"""Programs that ask: gradio_client, MCP, OpenAI's client, all over a live server that is refused the network."""

import ast
import asyncio
import base64
import re
import subprocess
import sys

import httpx
import pytest
from live import ROOT, serve, visitor

SIGN = ROOT / "assets/examples/street-sign.webp"
URL = f"data:image/webp;base64,{base64.b64encode(SIGN.read_bytes()).decode()}"


def user(text, url=None):
    image = [{"type": "image_url", "image_url": {"url": url}}] if url else []
    return {"role": "user", "content": [{"type": "text", "text": text}, *image]}


# ---------------------------------------------------------------- over a live server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("server"), "--mcp") as running:
        yield running


@pytest.mark.slow
def test_the_examples_of_the_documentation_run(server, tmp_path):
    written = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/API.md"))
    examples = re.findall(r"```python\n(.*?)```", written, re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        code = example.replace("http://127.0.0.1:7860/", server.address).replace(
            "http://127.0.0.1:7860", server.address.rstrip("/")
        )
        ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        assert ran.returncode == 0 and ran.stdout.strip(), ran.stderr


@pytest.mark.slow
def test_every_interface_gives_the_same_answer(server):
    from gradio_client import handle_file
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client
    from openai import OpenAI

    asked = {"question": "What does the sign say?", "experts": ["ocr"], "max_new_tokens": 8, "seed": 0}
    page = visitor(server.address).predict(handle_file(str(SIGN)), **asked, api_name="/ask")

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
def test_openais_client_gets_what_it_asks_for_or_a_reason(server):
    from openai import BadRequestError, NotFoundError, OpenAI

    client = OpenAI(base_url=server.address + "v1", api_key="none", max_retries=0)
    assert [model.id for model in client.models.list()] == ["embedded"]
    assert client.models.retrieve("embedded").id == "embedded"

    def ask(*messages, model="embedded", **fields):
        return client.chat.completions.create(model=model, messages=list(messages) or [user("Hi")], **fields)

    long = ask(user("Tell me a long story."), max_tokens=6).choices[0]
    assert long.finish_reason == "length" and long.message.content
    word = long.message.content.split()[2]
    for stop in (word, ["never said", word]):
        plain = ask(user("Tell me a long story."), max_tokens=6, stop=stop).choices[0]
        assert plain.finish_reason == "stop" and word not in plain.message.content
        chunks = list(ask(user("Tell me a long story."), max_tokens=6, stop=stop, stream=True))
        assert "".join(c.choices[0].delta.content or "" for c in chunks).strip() == plain.message.content
        assert chunks[-1].choices[0].finish_reason == "stop"
    *_, last = ask(max_tokens=2, stream=True, stream_options={"include_usage": True})
    assert last.choices == [] and last.usage.completion_tokens == 2
    assert ask(user("Say yes."), max_completion_tokens=4096, stop="e", response_format={"type": "text"}).choices
    split = ask(user("What does the sign"), user("say?", URL), max_tokens=2, extra_body={"experts": ["ocr"]})
    assert "What does the sign\nsay?" in split.lav2["prompt"] and "STOP" in split.lav2["prompt"]
    empty = {"role": "assistant", "content": None}
    assert ask(user("Hi"), empty, user("Hello?"), max_tokens=2).choices

    for param, fields in {
        "tools": {"tools": [{"type": "function", "function": {"name": "f"}}]},
        "response_format.type": {"response_format": {"type": "json_object"}},
        "logprobs": {"logprobs": True},
        "max_tokens": {"max_tokens": -1},
        "stream_options": {"extra_body": {"stream_options": "x"}},
        "top_k": {"extra_body": {"top_k": 3}},
    }.items():
        with pytest.raises(BadRequestError) as refused:
            ask(**fields)
        assert refused.value.param == param and refused.value.type == "invalid_request_error"
    honoured = {
        "temperature": 0.7, "top_p": 0.5, "seed": 3, "n": 1, "user": "u", "metadata": {"a": "b"}, "store": False,
        "safety_identifier": "s", "prompt_cache_key": "k", "response_format": {"type": "text"}, "modalities": ["text"],
        "logprobs": False, "top_logprobs": 0, "frequency_penalty": 0, "presence_penalty": 0, "logit_bias": {},
        "tools": [], "tool_choice": "auto", "functions": [], "function_call": "none", "parallel_tool_calls": False,
        "reasoning_effort": "none", "verbosity": "medium", "service_tier": "auto",
    }  # fmt: skip
    first, second = (ask(max_tokens=3, **honoured).choices[0].message.content for _ in range(2))
    assert first == second  # the same seed
    refused = {
        "temperature": -1, "top_p": 0, "seed": -1, "n": 2, "metadata": {"a": 1}, "store": True, "modalities": ["audio"],
        "top_logprobs": 2, "frequency_penalty": 1, "presence_penalty": 1, "logit_bias": {"1": 1},
        "tool_choice": "required", "functions": [{"name": "f"}], "function_call": {"name": "f"},
        "reasoning_effort": "high", "verbosity": "low", "service_tier": "flex", "audio": {"voice": "x"},
        "prediction": {"type": "content"}, "web_search_options": {}, "moderation": {}, "prompt_cache_retention": "24h",
    }  # fmt: skip
    for name, value in refused.items():
        with pytest.raises(BadRequestError) as raised:
            ask(extra_body={name: value})
        assert raised.value.param.split(".")[0].split("[")[0] == name, raised.value.body
    detail = user("What does the sign say?", URL)
    detail["content"][1]["image_url"]["detail"] = "high"
    seen = ask(detail, max_tokens=2, extra_body={"experts": ["auto"]}).lav2
    assert seen["experts"] == ["ocr"] and seen["route"] and seen["photo"]["part"] == "" and seen["left_out"] == []
    assert ask(user("¿Qué hay en la foto?")).lav2["rule"]
    system = ask({"role": "developer", "content": "Be a pirate."}, user("Hi"), max_tokens=1)
    assert "System messages" in system.lav2["notes"][0]
    with pytest.raises(BadRequestError, match="second photo"):
        ask(user("Same?", URL), user("Really?", URL))
    with pytest.raises(NotFoundError) as refused:
        ask(model="gpt-4o")
    assert refused.value.code == "model_not_found"


@pytest.mark.slow
def test_a_wrong_input_of_an_endpoint_is_named_to_every_program(server):
    client = visitor(server.address)
    settings = {"question": "Q", "experts": ["caption"], "max_new_tokens": 2}
    for fields, name in (
        ({**settings, "image": str(SIGN)}, "image"),
        ({**settings, "image": "aGVsbG8="}, "image"),
        ({**settings, "image": None, "experts": "caption"}, "experts"),
        ({**settings, "image": None, "max_new_tokens": "many"}, "max_new_tokens"),
    ):
        with pytest.raises(Exception, match=f"`{name}`"):
            client.predict(**fields, api_name="/ask")
    with pytest.raises(Exception, match="photo"):
        client.predict(None, ["caption"], api_name="/experts")
    for data, name in (
        (["/etc/passwd", "Q", [], 0, 0.9, 2, 0], "image"),
        ([None, "Q", None, None, None, None, None], None),  # null: the usual value
        ([None, None, [], 0, 0.9, 2, 0], "question"),
        ([None, "Q", [], "hot", 0.9, 2, 0], "temperature"),
    ):
        called = httpx.post(f"{server.address}gradio_api/call/ask", json={"data": data}, timeout=None).json()
        response = httpx.get(f"{server.address}gradio_api/call/ask/{called['event_id']}", timeout=None).text
        assert ("event: complete" in response) if name is None else ("event: error" in response and name in response), (
            response
        )


@pytest.mark.slow
def test_no_file_of_the_server_can_be_read(server):
    from urllib.error import HTTPError
    from urllib.request import urlopen

    for path in ("/etc/passwd", str(ROOT / "app.py"), f"{ROOT}/assets/examples/../../app.py"):
        with pytest.raises(HTTPError):
            urlopen(f"{server.address}gradio_api/file={path}")
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}  # as if it had been uploaded
        sent = {"data": [file, ["caption"]]}
        called = httpx.post(f"{server.address}gradio_api/call/experts", json=sent, timeout=None).json()
        response = httpx.get(f"{server.address}gradio_api/call/experts/{called['event_id']}", timeout=None).text
        assert "event: error" in response and "caption" not in response


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
