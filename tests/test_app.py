"""The app around its tabs: start, examples, endpoints, uploads and Spaces. No browser, no models."""

import gc
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import httpx
import pytest
from PIL import Image
from scripted import CHAT, ENGLISH, FAILURE, KOREAN, OBJECTS, ROOT, SETTINGS, TEXT, ask, done

import app
from experts.registry import EXPERT_NAMES
from lav2.errors import LAV2Error
from lav2.events import (
    Done,
    EvidenceFound,
    PromptReady,
    Token,
)
from lav2.ui import answering, api, examples, inputs, state
from lav2.ui.page import KEEP_UPLOADS, fallback_notice, labels_js

pytest_plugins = ["scripted"]


def test_importing_the_app_loads_no_heavy_package():
    heavy = ("torch", "transformers", "ultralytics", "easyocr", "spaces")
    code = f"import sys, app; print(*[name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_the_api_returns_plain_json_and_failures_as_messages(play, photo):
    play(done(evidence={"detection": OBJECTS, "ocr": FAILURE}))
    answer = json.loads(json.dumps(api.ask(photo, "Q", *SETTINGS)))
    assert (answer["left_out"], answer["rule"]) == ([], "")
    assert answer["evidence"]["detection"]["items"][0]["label"] == "dog"
    assert answer["evidence"]["ocr"]["error"] == FAILURE.cause
    both = api.compare(photo, "What does it say?", ["auto"], *SETTINGS[1:])
    assert (answer["route"], both["off"]["route"]) == ("", "") and "asks about text" in both["on"]["route"]
    with pytest.raises(gr.Error, match="no photo to compare on"):
        api.compare(None, "Q", *SETTINGS)
    play(LAV2Error("Too long.", "Shorten it."))
    with pytest.raises(gr.Error, match=r"Too long\. Shorten it\."):
        api.ask(photo, "Q", *SETTINGS)
    with pytest.raises(gr.Error, match="question is empty"):
        api.ask(photo, "", *SETTINGS)


def test_three_endpoints_are_public_and_described():
    named = app.demo.get_api_info()["named_endpoints"]
    assert set(named) == {"/ask", "/compare", "/experts"}
    assert all(endpoint["description"] for endpoint in named.values())
    choices = {
        name: next(p["type"]["items"]["enum"] for p in found["parameters"] if p["parameter_name"] == "experts")
        for name, found in named.items()
    }
    assert choices["/experts"] == [*EXPERT_NAMES] and choices["/ask"] == [*EXPERT_NAMES, "auto"]


def test_before_loading_the_page_says_so(monkeypatch):
    monkeypatch.setattr(answering, "ASSISTANT", None)
    assert "still loading" in ask("Q")[CHAT.notice]["value"]


def test_examples_exist_and_are_small_where_they_are_ours():
    assert len(examples.EXAMPLES) == 8
    for example in examples.EXAMPLES:
        Image.open(example.photo).verify()
    assert all(path.stat().st_size < 40_000 for path in (ROOT / "assets/examples").iterdir())


def test_an_example_is_asked_in_the_pages_language_and_its_follow_up_waits_in_the_box():
    index = next(i for i, example in enumerate(examples.EXAMPLES) if example.then)
    for request, language in ((ENGLISH, "en"), (KOREAN, "ko")):
        taken = CHAT.example((), SimpleNamespace(index=index), request)
        assert taken[CHAT.exchanges][-1].question == examples.EXAMPLES[index].question[language]
        assert taken[CHAT.box].value == {"text": examples.EXAMPLES[index].then[language], "files": []}
        assert json.dumps(examples.EXAMPLES[index].shown(language)) in labels_js()
    plain = CHAT.example((), SimpleNamespace(index=0), ENGLISH)
    assert plain[CHAT.box].value == {"text": "", "files": []}


def test_a_photo_in_use_is_kept_for_another_while(play, photo):
    play(PromptReady("p", 1, 2, 0), done())
    asked = ask("One?", photo)
    os.utime(photo, (0, 0))
    ask("Two?", exchanges=asked[CHAT.exchanges])
    assert os.stat(photo).st_mtime > 0  # what Gradio goes by, ctime, cannot be set, but changes with it


def test_uploads_are_deleted_after_use(monkeypatch, photo):
    """By the page's own server, with a second in place of half an hour."""
    assert KEEP_UPLOADS[1] <= 1800
    monkeypatch.setattr(app.demo, "delete_cache", (1, 1))
    try:
        _, address, _ = app.demo.launch(prevent_thread_lock=True, quiet=True)
        sent = {"files": ("kumquat.png", Path(photo).read_bytes())}
        (path,) = httpx.post(f"{address}gradio_api/upload", files=sent, timeout=60).json()
        assert Path(path).is_relative_to(gr.utils.get_upload_folder())
        for _ in range(600):
            if not Path(path).exists():
                break
            time.sleep(0.1)
        assert not Path(path).exists()
    finally:
        app.demo.close()


def test_a_missing_preset_ends_the_start_with_cause_and_next_step():
    command = [sys.executable, "app.py", "--preset", "no-such-preset"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "no-such-preset" in ended.stderr and "Traceback" not in ended.stderr


def test_on_zero_gpu_what_crosses_to_the_lent_process_can_be_pickled_and_stop_still_works(monkeypatch, play, photo):
    play(EvidenceFound("ocr", TEXT), PromptReady("p", 1, 2, 0), Token("A "), Token("dog."), done())
    answering.ASSISTANT.preset, answering.ASSISTANT.versions, answering.ASSISTANT.hashes = "embedded", {}, {}

    def lent(request):
        events = answering.assistant().answer(pickle.loads(pickle.dumps(request)), None)
        return (pickle.loads(pickle.dumps(event)) for event in events)

    monkeypatch.setattr(answering, "ON_ZERO_GPU", True)
    monkeypatch.setattr(answering, "zerogpu_answer", lent)
    asked = inputs.make_request("Q", Image.open(photo).convert("RGB"), (), *SETTINGS)
    assert [type(event) for event in answering.answer(asked, state.Cancellation())][-1] is Done
    run = state.Cancellation()
    events = answering.answer(asked, run)
    seen = [next(events) for _ in range(3)]
    assert isinstance(seen[-1], Token)
    run.set()
    (end,) = events
    assert (end.answer, end.stopped, end.prompt, list(end.evidence)) == ("A ", True, "p", ["ocr"])


def test_on_spaces_a_preset_that_cannot_run_gives_way_to_the_embedded_one_with_a_notice(monkeypatch):
    class Loader:
        def load(preset, **_):
            if preset != "embedded":
                raise LAV2Error("There is no GPU.", "Rent one.")
            return SimpleNamespace(preset=preset)

    monkeypatch.setitem(sys.modules, "lav2.assistant.service", SimpleNamespace(Assistant=Loader))
    monkeypatch.setattr(answering, "ASSISTANT", None)
    monkeypatch.setattr(answering, "FALLBACK", {})
    assert fallback_notice(ENGLISH)["visible"] is False
    with pytest.raises(LAV2Error, match="no GPU"):
        answering.load("llama-7b-bias", None)
    monkeypatch.setattr(answering, "ON_SPACES", True)
    answering.load("llama-7b-bias", None)
    assert answering.ASSISTANT.preset == "embedded"
    notice = fallback_notice(KOREAN)["value"]
    assert "llama-7b-bias" in notice and "no GPU" in notice and "기본 모델" in notice


def test_a_warm_up_that_fails_is_told_and_memory_is_cleaned_up_from_then_on(monkeypatch, capsys):
    def fails(report):
        raise RuntimeError("no room")

    monkeypatch.setattr(answering, "ASSISTANT", SimpleNamespace(load_experts=fails))
    gc.disable()
    try:
        answering.warm()
        assert gc.isenabled() and "no room" in capsys.readouterr().out
    finally:
        gc.enable()
        gc.unfreeze()
