"""Whoever leaves frees his place in line at once, at every interface, and without the garbage collector's help."""

import gc
import socket
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import httpx
import pytest
import uvicorn
from PIL import Image
from starlette.applications import Starlette

import app
from lav2.assistant.admission import AdmissionQueue
from lav2.events import Done, PromptReady, Queued, Token
from lav2.server import openai_api
from lav2.ui import answering, panel, state

PATIENCE = 120  # seconds, for a busy machine; the collector, which would free the places too, is off
ASKING = SimpleNamespace(headers={"accept-language": "en"}, session_hash="anna")
SETTINGS = (["ocr"], 0.0, 0.9, 128, 7)


class Talker:
    """Answers as the assistant does, from a place in a line of `at_once`, and has no end. Something else refers to its
    answers, as a trace in a log or a cycle does, so that only those who close them free their places."""

    preset, versions, hashes = "embedded", {}, {}

    def __init__(self, at_once=2, waiting=64):
        self.line, self.begun = AdmissionQueue(at_once, waiting), threading.Semaphore(0)
        self.answers = []

    def count_tokens(self, text):
        return len(text.split())

    def answer(self, request, cancel):
        self.answers.append(self._answer(cancel))
        return self.answers[-1]

    def _answer(self, cancel):
        with self.line.slot() as place:
            for position in self.line.positions(place, cancel):
                self.begun.release()
                yield Queued(position)
            yield PromptReady("p", 1, 2048, 0)
            self.begun.release()
            while not cancel.is_set():
                time.sleep(0.01)
                yield Token("word ")
            yield Done("word", {}, "p", {}, 0, "embedded", {}, True, {})

    def examine(self, photo, experts, client, cancel):
        for _ in self._answer(cancel):
            pass
        return {}

    def free(self) -> bool:
        """Whether everybody is out of the line within PATIENCE."""
        end = time.monotonic() + PATIENCE
        while self.line._slots and time.monotonic() < end:
            time.sleep(0.01)
        return not self.line._slots


@pytest.fixture
def talker(monkeypatch):
    made, answer = Talker(), answering.answer
    monkeypatch.setattr(answering, "ASSISTANT", made)
    monkeypatch.setattr(answering, "answer", lambda *given: made.answers.append(answer(*given)) or made.answers[-1])
    gc.disable()
    yield made
    gc.enable()


@pytest.fixture
def photo(tmp_path) -> str:
    Image.new("RGB", (100, 100), "white").save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


@contextmanager
def listening(talker):
    """The port of a real server with the OpenAI-compatible API."""
    routes = openai_api.routes(lambda: talker, talker.answer)
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


def caller(port: int, stream: bool) -> socket.socket:
    """Somebody who has sent a question and reads nothing."""
    body = b'{"messages": [{"role": "user", "content": "Hi"}], "stream": %s}' % str(stream).lower().encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    one = socket.create_connection(("127.0.0.1", port))
    one.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return one


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_callers_who_hang_up_on_the_openai_api_leave_neither_place_nor_slot_behind(talker, stream):
    with listening(talker) as port:
        for _ in range(3):  # more than there are slots, and more than are answered at once: most wait in line
            callers = [caller(port, stream) for _ in range(openai_api.AT_ONCE)]
            for _ in callers:
                assert talker.begun.acquire(timeout=PATIENCE)
            for one in callers:
                one.close()
            assert talker.free()
            while talker.begun.acquire(blocking=False):
                pass
        last = caller(port, stream)
        assert talker.begun.acquire(timeout=PATIENCE)
        last.close()
        assert talker.free()


def test_a_page_that_is_closed_leaves_no_place_behind(talker, photo):
    message = {"text": "Q", "files": [photo]}
    chat, compared = app.demo.chat, app.demo.compare
    for replies in (
        chat.reply((state.Exchange("Q", photo),), state.Cancellation(), ASKING, *SETTINGS),
        compared.reply(message, "grid", (), state.Cancellation(), ASKING, *SETTINGS),
    ):
        next(replies)
        next(replies)
        replies.close()
        assert talker.free()
    assert len(talker.answers) == 2 * (1 + 8)


def test_where_a_part_of_the_page_breaks_the_place_is_freed(talker, photo, monkeypatch):
    monkeypatch.setattr(panel, "meter_html", lambda *given: 1 / 0)
    list(app.demo.chat.reply((state.Exchange("Q", photo),), state.Cancellation(), ASKING, *SETTINGS))
    list(app.demo.compare.reply({"text": "Q", "files": [photo]}, "pair", (), state.Cancellation(), ASKING, *SETTINGS))
    assert len(talker.answers) == 2 * 3 and talker.free()


@pytest.fixture(scope="module")
def page():
    """The address of the whole app, listening."""
    try:
        yield app.demo.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, server_name="127.0.0.1")[1]
    finally:
        app.demo.close(verbose=False)


QUESTION = ["Q", ["ocr"], 0.0, 0.9, 128, 0]


@pytest.mark.parametrize("way", ["call", "queue"])
@pytest.mark.parametrize(("name", "inputs"), [("ask", QUESTION), ("compare", QUESTION), ("experts", [["ocr"]])])
def test_a_program_that_hangs_up_on_an_endpoint_ends_what_it_asked_for(talker, page, photo, way, name, inputs):
    with httpx.Client(base_url=f"{page}gradio_api/", timeout=PATIENCE) as client:
        with open(photo, "rb") as file:
            (path,) = client.post("upload", files={"files": file}).json()
        data = [{"path": path, "meta": {"_type": "gradio.FileData"}}, *inputs]
        if way == "call":
            where = f"call/{name}/{client.post(f'call/{name}', json={'data': data}).json()['event_id']}"
        else:  # as gradio_client asks
            number = next(i for i, block in app.demo.fns.items() if block.api_name == name)
            client.post("queue/join", json={"data": data, "fn_index": number, "session_hash": f"s-{name}"})
            where = f"queue/data?session_hash=s-{name}"
        with client.stream("GET", where) as response:
            for _ in range(2 if name == "compare" else 1):
                assert talker.begun.acquire(timeout=PATIENCE)
            assert response.status_code == 200
    assert talker.free()
