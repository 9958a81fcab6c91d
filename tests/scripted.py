"""What stands where the assistant stands, and the page's handlers called as Gradio calls them. No browser."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import app
from experts.evidence import Caption, Detections, ExpertFailure, OcrLines
from lav2.events import (
    Done,
    Routed,
)
from lav2.text import routing
from lav2.ui import answering

ROOT = Path(__file__).parent.parent
ENGLISH = SimpleNamespace(headers={"accept-language": "en-GB,en;q=0.9"}, session_hash="anna")
KOREAN = SimpleNamespace(headers={"accept-language": "ko-KR,ko;q=0.9"}, session_hash="bora")
SETTINGS = (["caption", "detection", "ocr"], 0.0, 0.9, 128, 7)
ATTACK = "<img src=x onerror=alert(1)>"

CAPTION = Caption(ATTACK, 0.5, "test")
OBJECTS = Detections(
    np.array([[10, 10, 60, 90]]), np.array([0.9]), ("dog",), 0.2, "test.pt", ("dog", "cat"), (100, 100)
)
TEXT = OcrLines(np.array([[[70, 5], [95, 5], [95, 20], [70, 20]]]), np.array([0.8]), (ATTACK,), 0.3, (100, 100))
FAILURE = ExpertFailure("ocr", "The weights are <missing>.", "Install them.", 0.1)


def done(answer="A dog.", evidence=None, stopped=False) -> Done:
    timings, versions, weights = {"total": 1.0}, {"lav2": "0"}, {"base": "0"}
    return Done(answer, evidence or {}, "the prompt", timings, 7, "embedded", versions, stopped, weights)


class Scripted:
    """Stands where the assistant stands and plays what a test wants to see on the page."""

    def __init__(self, *events):
        self.events = events
        self.requests = []

    def count_tokens(self, text):
        return len(text.split())

    def answer(self, request, cancel):
        self.requests.append(request)
        _, route = routing.resolve(request)
        if route:
            yield Routed(route)
        for event in self.events:
            if isinstance(event, Exception):
                raise event
            yield replace(event, route=route) if isinstance(event, Done) else event


@pytest.fixture
def photo(tmp_path) -> str:
    path = tmp_path / "photo.png"
    Image.new("RGB", (100, 100), "white").save(path)
    return str(path)


@pytest.fixture
def play(monkeypatch):
    def start(*events) -> Scripted:
        scripted = Scripted(*events)
        monkeypatch.setattr(answering, "ASSISTANT", scripted)
        return scripted

    return start


CHAT, COMPARE = app.demo.chat, app.demo.compare


def page_of(updates) -> dict:
    """The page after several updates."""
    page = {}
    for update in updates:
        page |= update
    return page


def ask(question, photo=None, exchanges=(), request=ENGLISH) -> dict:
    """The page after a question was sent and answered."""
    taken = CHAT.submit({"text": question, "files": [photo] if photo else []}, exchanges, request)
    answered = CHAT.reply(taken[CHAT.exchanges], taken[CHAT.cancel], request, *SETTINGS)
    return page_of([taken, *answered])


def value(update):
    return update["value"] if isinstance(update, dict) else update


def spoken(page) -> str:
    """The last answer."""
    return [m["content"] for m in page[CHAT.chat] if "lav2-verdict" not in m["content"]][-1]


def judged(page) -> str:
    """The verdict under the last answer."""
    return page[CHAT.chat][-1]["content"]


def compare(photo, mode="pair", experts=("ocr",), request=ENGLISH, also=()) -> dict:
    message = {"text": "Q", "files": [photo]}
    taken = COMPARE.submit(message, mode, also, None, request)
    cancel = taken[COMPARE.cancel]
    return page_of([taken, *COMPARE.reply(message, mode, also, cancel, request, list(experts), *SETTINGS[1:])])
