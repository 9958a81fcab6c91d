"""The page's handlers: every event and every failure becomes an update of the page. No browser, no models."""

import ast
import asyncio
import base64
import gc
import html
import importlib
import io
import json
import os
import pickle
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import httpx
import numpy as np
import pytest
from PIL import Image

import app
import lav2.image
from experts import colours
from experts.evidence import Caption, Detections, ExpertFailure, OcrLines
from experts.messages import Message
from experts.orchestrator import Orchestrator
from experts.registry import EXPERT_NAMES
from lav2.assistant import receipt, votes
from lav2.assistant.admission import Busy
from lav2.errors import LAV2Error
from lav2.events import (
    REASONS,
    Done,
    EvidenceFound,
    ExpertStarted,
    PromptReady,
    Queued,
    Request,
    Routed,
    Sampling,
    Token,
    Turn,
)
from lav2.image import open_image
from lav2.text import routing
from lav2.ui import answering, api, examples, inputs, messages, state, texts, views
from lav2.ui.page import KEEP_UPLOADS, TERMS, fallback_notice, labels_js

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
    taken = CHAT.take({"text": question, "files": [photo] if photo else []}, exchanges, request)
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


def test_importing_the_app_loads_no_heavy_package():
    heavy = ("torch", "transformers", "ultralytics", "easyocr", "spaces")
    code = f"import sys, app; print(*[name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_a_question_shows_findings_prompt_and_answer(play, photo):
    found = {"caption": CAPTION, "detection": OBJECTS, "ocr": TEXT}
    play(
        *(ExpertStarted(name) for name in found),
        *(EvidenceFound(name, evidence) for name, evidence in found.items()),
        PromptReady("the exact prompt", 42, 2048, 0),
        Token("A "),
        Token("dog."),
        done(evidence=found),
    )
    page = ask("What is there?", photo)
    assert spoken(page) == "A dog." and "2 “dog”" in judged(page)
    assert [row[1] for row in page[CHAT.panel.table]["value"]] == ["1", "2 ✓", "3"]
    assert page[CHAT.panel.table]["value"][1] == [True, "2 ✓", "dog", "Objects", "0.90", "center"]
    assert page[CHAT.panel.prompt]["value"] == "the exact prompt"
    assert "42" in page[CHAT.panel.fold]["label"]
    assert "42 of 2048 tokens used, 2006 free" in value(page[CHAT.panel.meter])
    assert page[CHAT.panel.picture]["value"].getpixel((10, 30)) != (255, 255, 255)  # the box's edge
    assert page[CHAT.exchanges][0].state == "done"


def test_experts_go_from_waiting_over_running_to_done_or_failed_with_the_reason(play, photo):
    play(ExpertStarted("ocr"), EvidenceFound("ocr", FAILURE), PromptReady("p", 1, 2, 0), done())
    taken = CHAT.take({"text": "Q", "files": [photo]}, (), ENGLISH)
    updates = list(CHAT.reply(taken[CHAT.exchanges], taken[CHAT.cancel], ENGLISH, ["ocr"], *SETTINGS[1:]))
    states = [value(update[CHAT.panel.status]) for update in updates if CHAT.panel.status in update]
    assert ["waiting" in states[0], "running" in states[1], "failed" in states[2]] == [True, True, True]
    assert "The weights are &lt;missing&gt;. Install them." in states[2]


def test_tokens_stream_before_the_end(play):
    play(PromptReady("p", 1, 2, 0), Token("One "), Token("two"), done("One two"))
    taken = CHAT.take({"text": "Q", "files": []}, (), ENGLISH)
    updates = list(CHAT.reply(taken[CHAT.exchanges], taken[CHAT.cancel], ENGLISH, *SETTINGS))
    assert [spoken(update) for update in updates][-2:] == ["One ", "One two"]


def test_a_follow_up_reuses_the_photo_and_a_new_photo_starts_a_marked_new_context(play, photo, tmp_path):
    other = tmp_path / "other.png"
    Image.new("RGB", (50, 50), "black").save(other)
    scripted = play(PromptReady("p", 1, 2, 0), done())
    first = ask("One?", photo)
    second = ask("Two?", exchanges=first[CHAT.exchanges])
    third = ask("Three?", str(other), exchanges=second[CHAT.exchanges])
    assert scripted.requests[1].image.size == (100, 100)
    assert scripted.requests[1].history == (Turn("One?", "A dog."),)
    assert (scripted.requests[2].image.size, scripted.requests[2].history) == ((50, 50), ())
    assert any("New photo" in str(m["content"]) for m in third[CHAT.chat])


def test_settings_reach_the_request_and_experts_need_a_photo(play, photo):
    scripted = play(PromptReady("p", 1, 2, 0), done())
    ask("With", photo)
    ask("Without")
    assert scripted.requests[0].sampling == Sampling(0.0, 0.9, 128, 7)
    assert [r.experts for r in scripted.requests] == [("caption", "detection", "ocr"), ()]
    assert inputs.make_request("Q", None, (), (), 0.0, 0.9, 128, None).sampling.seed == 0  # the field was emptied


def test_the_sliders_start_at_the_assistants_own_values():
    settings = CHAT.settings
    shown = [c.value for c in (settings.temperature, settings.top_p, settings.max_new_tokens, settings.seed)]
    default = Sampling()
    assert shown == [default.temperature, default.top_p, default.max_new_tokens, default.seed]


def test_trimmed_turns_are_told(play):
    play(PromptReady("p", 2000, 2048, 3), done())
    assert "oldest 3 turns" in value(ask("Q")[CHAT.panel.meter])


@pytest.mark.parametrize(
    "events",
    [(LAV2Error("Too long.", "Shorten it."),), (Token("Half"), LAV2Error("Too long.", "Shorten it."))],
    ids=["at once", "in the middle"],
)
def test_a_question_that_cannot_be_answered_returns_to_the_box_with_cause_and_next_step(play, photo, events):
    play(*events)
    page = ask("What?", photo)
    assert page[CHAT.box].value["text"] == "What?" and page[CHAT.box].value["files"]
    assert (page[CHAT.exchanges], page[CHAT.chat]) == ((), [])
    assert "Too long." in page[CHAT.notice]["value"] and "Shorten it." in page[CHAT.notice]["value"]


def test_a_bug_shows_its_kind_and_no_trace(play):
    play(KeyError("secret detail"))
    shown = ask("What?")[CHAT.notice]["value"]
    assert "KeyError" in shown and "secret" not in shown and "Traceback" not in shown


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n broken"], ids=["empty", "text", "cut off"])
def test_a_bad_file_is_named_and_the_question_stays(content, tmp_path):
    bad = tmp_path / "<b>bad.png"
    bad.write_bytes(content)
    update = CHAT.take({"text": "What?", "files": [str(bad)]}, (), ENGLISH)
    assert "&lt;b&gt;bad.png" in update[CHAT.notice]["value"] and "<b>bad" not in update[CHAT.notice]["value"]
    assert str(tmp_path) not in update[CHAT.notice]["value"]
    assert set(update) == {CHAT.notice, CHAT.each}  # neither the box nor the conversation changes


def test_a_photo_of_too_many_pixels_is_refused_at_every_door(monkeypatch, photo):
    monkeypatch.setattr(lav2.image, "MAX_PIXELS", 9_999)  # it has 10,000
    for tab, settings in ((CHAT, ((), ENGLISH)), (COMPARE, ("pair", (), None, ENGLISH))):
        update = tab.take({"text": "What?", "files": [photo]}, *settings)
        assert "100 x 100 pixels" in update[tab.notice]["value"] and set(update) <= {tab.notice, CHAT.each}
    for called in (lambda: api.ask(photo, "Q", *SETTINGS), lambda: api.examine(photo, ["ocr"])):
        with pytest.raises(gr.Error, match="100 x 100 pixels"):
            called()


def test_an_empty_question_and_one_asked_too_early_are_refused_with_a_next_step():
    empty = CHAT.take({"text": "  ", "files": []}, (), ENGLISH)
    early = CHAT.take({"text": "Q", "files": []}, (state.Exchange("first"),), ENGLISH)
    assert "Type a question" in empty[CHAT.notice]["value"]
    assert "stop it first" in early[CHAT.notice]["value"]


def test_stop_keeps_what_was_said_and_says_so(play):
    play(PromptReady("p", 1, 2, 0), Token("A do"), done("A do", stopped=True))
    page = ask("Q")
    assert page[CHAT.exchanges][0].answer == "A do"
    assert spoken(page).startswith("A do") and "stopped" in spoken(page)
    run = state.Cancellation()
    inputs.stop_answer(run)
    assert run.is_set()


def test_experts_that_were_stopped_no_longer_look_busy(play, photo):
    play(ExpertStarted("caption"), ExpertStarted("ocr"), EvidenceFound("ocr", TEXT), PromptReady("p", 1, 2, 0),
         done("", {"ocr": TEXT}, stopped=True))  # fmt: skip
    page = ask("Q", photo)
    states = re.findall('<li class="(\\w+)"', value(page[CHAT.panel.status]))
    assert states == ["stopped", "stopped", "done"]  # one was not even begun
    fold = next(m for m in page[CHAT.chat] if m.get("metadata"))
    assert fold["metadata"]["status"] == "done" and "Scene: stopped" in fold["content"]
    assert "stopped" in value(compare(photo)[COMPARE.panel.status])


def test_a_photo_that_was_deleted_meanwhile_locks_no_conversation(play, photo):
    found = {"detection": OBJECTS}
    scripted = play(EvidenceFound("detection", OBJECTS), PromptReady("p", 1, 2, 0), done(evidence=found))
    asked = ask("One?", photo)
    Path(photo).unlink()  # as Gradio does half an hour after the last use
    page = ask("Two?", exchanges=asked[CHAT.exchanges])
    assert len(scripted.requests) == 1
    assert page[CHAT.box].value["text"] == "Two?" and "no longer kept" in page[CHAT.notice]["value"]
    assert [exchange.state for exchange in page[CHAT.exchanges]] == ["done"]
    assert CHAT.evidence.choose(page[CHAT.exchanges], None, SimpleNamespace(row_value=["true", "1"])) == inputs.NOTHING
    undone = CHAT.undo(page[CHAT.exchanges], ENGLISH)
    assert undone[CHAT.exchanges] == () and undone[CHAT.box].value["files"] == []
    CHAT.chat.postprocess(page[CHAT.chat])
    assert all(message["content"] != {"path": photo} for message in page[CHAT.chat])  # Gradio would raise


def test_while_an_answer_comes_nothing_is_taken_back_and_the_drawn_findings_stay(photo):
    asked = (state.Exchange("Q", photo),)
    undone = CHAT.undo(asked, ENGLISH)
    assert "stop it first" in undone[CHAT.notice]["value"] and CHAT.exchanges not in undone
    assert undone[CHAT.chat] == messages.messages(asked, texts.TEXTS["en"])
    assert CHAT.evidence.choose(asked, None, SimpleNamespace(row_value=["true", "1"])) == inputs.NOTHING


@pytest.mark.parametrize("name", ["undo", "choose", "vote", "reply"])
def test_what_changes_nothing_is_no_error_for_gradio(name):
    for handler in app.demo.fns.values():
        if handler.name == name:
            values = asyncio.run(app.demo.postprocess_data(handler, dict(inputs.NOTHING), None))
            shown = [v for v, output in zip(values, handler.outputs, strict=True) if not output.stateful]
            assert shown and all("value" not in update for update in shown)


def test_one_who_waits_in_line_sees_the_position_until_it_is_his_turn(play, photo):
    play(Queued(2), Queued(1), PromptReady("p", 1, 2, 0), Token("A"), done())
    asked = CHAT.reply((state.Exchange("Q"),), state.Cancellation(), ENGLISH, *SETTINGS)
    compared = COMPARE.reply({"text": "Q", "files": [photo]}, "pair", (), state.Cancellation(), ENGLISH, *SETTINGS)
    for tab, updates in ((CHAT, asked), (COMPARE, compared)):
        notices = [value(update[tab.notice]) for update in updates if tab.notice in update]
        assert "Busy, position 2." in notices[0] and "Stop to leave the line" in notices[0]
        assert any("position 1." in text for text in notices)
        assert notices[-1] == ""


def test_a_full_line_gives_the_question_back_with_the_position_it_would_have_had(play):
    play(Busy(17))
    page = ask("Q")
    assert "yours would have position 17" in value(page[CHAT.notice])
    assert page[CHAT.box].value["text"] == "Q" and page[CHAT.exchanges] == ()


def test_a_closed_page_stops_the_answer(play):
    play(PromptReady("p", 1, 2, 0), Token("A"), done())
    run = state.Cancellation()
    replies = CHAT.reply((state.Exchange("Q"),), run, ENGLISH, *SETTINGS)
    next(replies)
    replies.close()
    assert run.is_set()


def test_a_cleared_page_stays_clear(play):
    play(PromptReady("p", 1, 2, 0), Token("A"), done())
    run = state.Cancellation()
    replies = CHAT.reply((state.Exchange("Q"),), run, ENGLISH, *SETTINGS)
    next(replies)
    assert CHAT.clear(run, (), ENGLISH)[CHAT.exchanges] == ()
    assert list(replies) == []


def test_clear_can_be_undone_until_the_next_question(play, photo):
    play(PromptReady("p", 1, 2, 0), done())
    asked = ask("One?", photo)
    cleared = CHAT.clear(None, asked[CHAT.exchanges], ENGLISH)
    assert cleared[CHAT.exchanges] == () and cleared[CHAT.stored] == {"exchanges": []}
    assert cleared[CHAT.unclear]["visible"]
    back = CHAT.restore(cleared[CHAT.cleared], ENGLISH)
    assert back[CHAT.exchanges] == asked[CHAT.exchanges] and not back[CHAT.unclear]["visible"]
    assert not ask("Two?")[CHAT.unclear]["visible"]
    assert CHAT.restore((), ENGLISH) == inputs.NOTHING


def test_every_answer_opens_its_own_evidence_and_receipt(play, photo):
    play(EvidenceFound("detection", OBJECTS), PromptReady("p", 1, 2, 0), done("A dog.", {"detection": OBJECTS}))
    first = ask("What?", photo)
    play(EvidenceFound("caption", CAPTION), PromptReady("p2", 1, 2, 0), done("A cat.", {"caption": CAPTION}))
    exchanges = ask("And?", exchanges=first[CHAT.exchanges])[CHAT.exchanges]
    shown = messages.messages(exchanges, texts.TEXTS["en"])
    index = next(i for i, m in enumerate(shown) if m["content"] == "A dog.")

    def click(i, opened):
        return CHAT.evidence.open(exchanges, opened, SimpleNamespace(index=i), ENGLISH)

    opened = click(index, None)
    assert opened[CHAT.evidence.opened] == 0 and "“What?”" in opened[CHAT.evidence.heading]
    assert opened[CHAT.panel.table]["value"][0][2] == "dog" and opened[CHAT.panel.prompt]["value"] == "p"
    assert not opened[CHAT.panel.again]["visible"]  # it would ask the last question
    data = re.search(r'base64,([^"]+)"', value(opened[CHAT.panel.researchers]))[1]
    assert json.loads(base64.b64decode(data))["answer"] == "A dog."
    picture = CHAT.evidence.choose(exchanges, 0, SimpleNamespace(row_value=["true", "1"]))[CHAT.panel.picture]
    assert max(picture.getpixel((90, 90))) < 100
    back = click(len(shown) - 1, 0)
    assert back[CHAT.evidence.opened] == 1 and back[CHAT.panel.again]["visible"]
    assert click(index, 0) == inputs.NOTHING and click(len(shown) - 1, None) == inputs.NOTHING


def test_two_photos_in_the_box_are_asked_about(photo):
    message = {"text": "What?", "files": [photo, photo]}
    for tab, settings in ((CHAT, ((), ENGLISH)), (COMPARE, ("pair", (), None, ENGLISH))):
        update = tab.take(message, *settings)
        assert "2 photos" in update[tab.notice]["value"] and "Which one is meant?" in update[tab.notice]["value"]
        assert set(update) <= {tab.notice, CHAT.each}  # they stay in the box


def test_good_news_is_no_alert(play, photo, tmp_path):
    play(EvidenceFound("detection", OBJECTS), PromptReady("p", 1, 2, 0), done("A dog.", {"detection": OBJECTS}))
    file = tmp_path / "receipt.json"
    kept = ask("What?", photo)[CHAT.exchanges][0].findings.receipt
    for answer, good in (("A dog.", True), ("A cat.", False)):
        file.write_text(json.dumps({**kept, "answer": answer}))
        told = CHAT.replaying.replay(str(file), photo, ENGLISH)["value"]
        assert ("good" in told, "alert" in told) == (good, not good)


def test_a_refused_question_changes_nothing_but_the_notice_and_answers_nothing_again(play, photo):
    scripted = play(PromptReady("p", 1, 2, 0), done())
    answered = ask("One?", photo)
    for exchanges in (answered[CHAT.exchanges], (state.Exchange("being answered"),)):
        run = state.Cancellation()
        run.begun = True
        assert set(CHAT.take({"text": " ", "files": []}, exchanges, ENGLISH)) <= {CHAT.notice, CHAT.each}
        # no update at all would empty the page
        assert list(CHAT.reply(exchanges, run, ENGLISH, *SETTINGS)) == [inputs.NOTHING]
        message = {"text": "Q", "files": [photo]}
        assert set(COMPARE.take(message, "pair", (), run, ENGLISH)) == {COMPARE.notice}
        assert list(COMPARE.reply(message, "pair", (), run, ENGLISH, *SETTINGS)) == [inputs.NOTHING]
    assert len(scripted.requests) == 1
    COMPARE.give_back(run)
    assert COMPARE.cancel in COMPARE.take(message, "pair", (), run, ENGLISH)


def test_retry_edit_and_undo_find_their_exchange(play, photo):
    play(PromptReady("p", 1, 2, 0), done())
    page = ask("Two?", exchanges=ask("One?", photo)[CHAT.exchanges])
    last_question = max(i for i, m in enumerate(page[CHAT.chat]) if m["content"] == "Two?")
    retried = CHAT.retry(page[CHAT.exchanges], SimpleNamespace(index=last_question), ENGLISH)
    edited = CHAT.edit(page[CHAT.exchanges], SimpleNamespace(index=1, value="1 &lt; 2?"), ENGLISH)
    undone = CHAT.undo(page[CHAT.exchanges], ENGLISH)
    assert [(e.question, e.state) for e in retried[CHAT.exchanges]] == [("One?", "done"), ("Two?", "pending")]
    assert [(e.question, e.photo, e.state) for e in edited[CHAT.exchanges]] == [("1 < 2?", photo, "pending")]
    assert [e.question for e in undone[CHAT.exchanges]] == ["One?"] and undone[CHAT.box].value["text"] == "Two?"


def test_untrusted_text_is_escaped_everywhere(play, photo):
    found = {"caption": CAPTION, "ocr": TEXT}
    play(*(EvidenceFound(*item) for item in found.items()), PromptReady(ATTACK, 1, 2, 0), done(ATTACK, found))
    page = ask(ATTACK, photo)
    contents = [m["content"] for m in page[CHAT.chat] if isinstance(m["content"], str)]
    ours = re.compile(r"</?(div|ul|li|a|mark|p)( (class|href)=\"[\w# -]*\")*>")  # of the verdict
    assert all("<" not in ours.sub("", text) for text in contents) and "lav2-verdict" in contents[-1]
    assert "<img" not in value(page[CHAT.panel.status])
    assert all(CHAT.panel.table.datatype[i] == "str" for i in range(1, 6)) and COMPARE.panel.table.datatype == "str"
    assert all("<" not in cell for row in page[CHAT.panel.table]["value"] for cell in row[1:])
    assert "<img" not in value(page[CHAT.panel.researchers])
    assert CHAT.chat.render_markdown is False


def test_choosing_a_row_dims_the_rest_of_the_photo(play, photo):
    play(EvidenceFound("detection", OBJECTS), PromptReady("p", 1, 2, 0), done())
    page = ask("Q", photo)
    event = SimpleNamespace(row_value=["true", "1 ✓"])
    chosen = CHAT.evidence.choose(page[CHAT.exchanges], None, event)[CHAT.panel.picture]
    assert chosen.getpixel((35, 70)) == (255, 255, 255)
    assert max(chosen.getpixel((90, 90))) < 100


def compare(photo, mode="pair", experts=("ocr",), request=ENGLISH, also=()) -> dict:
    message = {"text": "Q", "files": [photo]}
    taken = COMPARE.take(message, mode, also, None, request)
    cancel = taken[COMPARE.cancel]
    return page_of([taken, *COMPARE.reply(message, mode, also, cancel, request, list(experts), *SETTINGS[1:])])


def test_compare_streams_both_sides_with_one_seed_and_marks_what_differs(monkeypatch, play, photo):
    class TwoMinds(Scripted):
        def answer(self, request, cancel):
            self.requests.append(request)
            found = {name: TEXT for name in request.experts}
            yield from (EvidenceFound(*item) for item in found.items())
            yield PromptReady("p", 1, 2, 0)
            yield done("A black dog." if found else "A white dog.", found)

    scripted = TwoMinds()
    monkeypatch.setattr(answering, "ASSISTANT", scripted)
    page = compare(photo)
    page |= COMPARE.unveil(page[COMPARE.shown], ENGLISH)
    shown = page[COMPARE.answers]
    assert re.search("<h2>[AB]: Experts off</h2><p>A <mark>white</mark> dog.", shown)
    assert re.search("<h2>[AB]: Experts on</h2><p>A <mark>black</mark> dog.", shown)
    assert sorted(request.experts for request in scripted.requests) == [(), ("ocr",)]
    assert {request.sampling.seed for request in scripted.requests} == {7}
    assert page[COMPARE.panel.table]["value"]


def test_the_grid_asks_with_all_eight_choices_of_experts(play, photo):
    found = {"caption": CAPTION, "detection": OBJECTS, "ocr": TEXT}
    scripted = play(*(EvidenceFound(*item) for item in found.items()), PromptReady("p", 1, 2, 0), done(ATTACK, found))
    page = compare(photo, "grid")
    assert len({request.experts for request in scripted.requests}) == 8
    assert page[COMPARE.answers].count("<section") == 8 and "<img" not in page[COMPARE.answers]
    assert page[COMPARE.voting.several]["visible"] and not page[COMPARE.voting.two]["visible"]
    assert "Scene + Objects + Text" in COMPARE.unveil(page[COMPARE.shown], ENGLISH)[COMPARE.answers]


def test_a_vote_is_stored_once_with_both_receipts(monkeypatch, play, photo, tmp_path):
    monkeypatch.setenv("LAV2_VOTES", str(tmp_path / "votes"))
    play(PromptReady("p", 1, 2, 0), done())
    page = compare(photo)
    monkeypatch.setenv("LAV2_VOTES", str(photo))  # a file
    assert "LAV2_VOTES" in COMPARE.vote("left", page[COMPARE.shown], ENGLISH)[COMPARE.notice]["value"]
    monkeypatch.setenv("LAV2_VOTES", str(tmp_path / "votes"))
    voted = COMPARE.vote("right", page[COMPARE.shown], ENGLISH)
    assert "stored" in voted[COMPARE.notice]["value"] and voted[COMPARE.voting.two]["visible"] is False
    assert COMPARE.vote("left", page[COMPARE.shown], ENGLISH) == inputs.NOTHING  # a second click before the buttons go
    (line,) = (tmp_path / "votes/votes.jsonl").read_text().splitlines()
    vote = json.loads(line)
    assert vote["vote"] == "right" and sorted(len(vote[side]["experts"]) for side in ("left", "right")) == [0, 1]
    assert COMPARE.vote("left", None, ENGLISH) == inputs.NOTHING


def test_compare_without_a_photo_or_with_a_failure_says_why(play, photo):
    assert "no photo" in COMPARE.take({"text": "Q", "files": []}, "pair", (), None, ENGLISH)[COMPARE.notice]["value"]
    play(ExpertStarted("ocr"), LAV2Error("Too long.", "Shorten <it>."))
    page = compare(photo)
    assert page[COMPARE.answers].count('<p class="failed">Too long. Shorten &lt;it&gt;.</p>') == 2
    assert 'class="stopped"' in value(page[COMPARE.panel.status])  # the experts that nobody waits for


def test_on_compare_a_side_that_fails_says_why_in_its_place_and_the_others_get_marks_and_receipts(monkeypatch, photo):
    class OneFails(Scripted):
        def answer(self, request, cancel):
            yield Queued(1)
            if request.experts == ("ocr",):
                raise LAV2Error("Too long.", "Shorten it.")
            yield PromptReady("p", 1, 2, 0)
            yield done(f"A dog {len(request.experts)}.")

    monkeypatch.setattr(answering, "ASSISTANT", OneFails())
    page = compare(photo, "grid")
    cards = dict(re.findall("<section.*?<h2>[A-H]: (.*?)</h2>(.*?)</section>", page[COMPARE.answers]))
    assert len(cards) == 8 and "Too long. Shorten it." in cards["Text"] and "receipt" not in cards["Text"]
    assert all("lav2-receipt" in card for side, card in cards.items() if side != "Text")
    assert sum("<mark>0</mark>." in card for card in cards.values()) == 1
    pair = compare(photo)
    assert "Too long." in pair[COMPARE.answers] and "<mark>" not in pair[COMPARE.answers]
    assert not pair[COMPARE.voting.two]["visible"]


def test_an_answer_shows_what_it_rests_on_and_offers_its_receipt(play, photo):
    found = {"caption": Caption("a cat on a table", 0.1, "test"), "detection": OBJECTS}
    play(*(EvidenceFound(*item) for item in found.items()), PromptReady("p", 1, 2, 0), done("A purple dog.", found))
    page = ask("What?", photo)
    shown = judged(page)
    assert "<mark>purple</mark>" in shown and "<mark>dog</mark>" not in shown
    assert "“cat”" in shown and "found none" in shown
    data = re.search(r'href="data:application/json;base64,([^"]+)" download', value(page[CHAT.panel.researchers]))[1]
    kept = json.loads(base64.b64decode(data))
    assert (kept["question"], kept["answer"], kept["sampling"]["seed"]) == ("What?", "A purple dog.", 7)


def test_a_receipt_is_replayed_on_the_page(play, photo, tmp_path):
    assert "no receipt" in CHAT.replaying.replay(None, None, ENGLISH)["value"]
    found = {"detection": OBJECTS}
    scripted = play(EvidenceFound("detection", OBJECTS), PromptReady("p", 1, 2, 0), done("A dog.", found))
    kept = ask("What?", photo)[CHAT.exchanges][0].findings.receipt
    file = tmp_path / "receipt.json"
    file.write_text(json.dumps(kept))
    assert "The answer is the same." in CHAT.replaying.replay(str(file), photo, ENGLISH)["value"]
    assert scripted.requests[-1].evidence["detection"].labels == ("dog",)
    file.write_text(json.dumps({**kept, "answer": "<b>A cat.</b>"}))
    other = CHAT.replaying.replay(str(file), photo, ENGLISH)["value"]
    assert "another one" in other and "A cat." in other and "<b>A cat" not in other
    assert "another one (none)" in CHAT.replaying.replay(str(file), None, ENGLISH)["value"]
    file.write_text("{}")
    assert "no receipt" in CHAT.replaying.replay(str(file), photo, ENGLISH)["value"]


def test_corrected_findings_replace_the_experts_in_the_next_answer(play, photo):
    found = {"detection": OBJECTS, "ocr": TEXT}
    scripted = play(*(EvidenceFound(*i) for i in found.items()), PromptReady("p", 1, 2, 0), done("Old.", found))
    page = ask("What?", photo)
    table = page[CHAT.panel.table]["value"]
    assert page[CHAT.panel.again]["visible"]
    table[0][2], table[1][0] = "wolf", "false"
    table.append([True, None, "a row that the reader added", "", "", ""])
    taken = CHAT.again(page[CHAT.exchanges], table, ENGLISH)
    page = page_of([taken, *CHAT.reply(taken[CHAT.exchanges], taken[CHAT.cancel], ENGLISH, *SETTINGS)])
    given = scripted.requests[-1].evidence
    assert given["detection"].labels == ("wolf",) and given["ocr"].texts == ()
    assert len(page[CHAT.exchanges]) == 1 and scripted.requests[-1].history == ()
    fold = next(m["content"] for m in page[CHAT.chat] if m.get("metadata"))
    assert "you corrected" in fold
    kept = page[CHAT.exchanges][0].findings.receipt
    assert kept["corrected"] is True
    told = [(change["expert"], change["before"], change["after"]) for change in kept["corrections"]]
    assert told == [("detection", "dog", "wolf"), ("ocr", views.render.clean(ATTACK, 160), None)]


def test_corrections_stay_for_the_next_questions_until_retry_a_new_photo_or_another_expert(play, photo, tmp_path):
    found = {"detection": OBJECTS, "ocr": TEXT}
    scripted = play(*(EvidenceFound(*i) for i in found.items()), PromptReady("p", 1, 2, 0), done("Old.", found))

    def reply(taken, experts=("detection", "ocr")):
        answered = CHAT.reply(taken[CHAT.exchanges], taken[CHAT.cancel], ENGLISH, experts, *SETTINGS[1:])
        return page_of([taken, *answered])[CHAT.exchanges]

    def follow(exchanges, file=None, experts=("detection", "ocr")):
        return reply(CHAT.take({"text": "Next?", "files": [file] if file else []}, exchanges, ENGLISH), experts)

    asked = follow((), photo)
    table = views.findings_table(asked[-1].findings, texts.TEXTS["en"])
    kept = [[True, number, text] for number, text, *_ in table]
    kept[0][2], kept[1][0] = "wolf", "false"
    corrected = reply(CHAT.again(asked, kept, ENGLISH))
    for exchanges in (corrected, follow(corrected), follow(follow(corrected, experts=()))):
        exchanges = follow(exchanges)
        assert exchanges[-1].findings.corrected and exchanges[-1].before is None
        assert scripted.requests[-1].evidence["detection"].labels == ("wolf",)
        assert scripted.requests[-1].evidence["ocr"].texts == ()
    assert "you corrected" in messages.messages(exchanges, texts.TEXTS["en"])[-3]["content"]
    edited = reply(CHAT.edit(corrected, SimpleNamespace(index=1, value="Other?"), ENGLISH))
    assert edited[0].findings.corrected
    follow(corrected, experts=("detection",))
    assert list(scripted.requests[-1].evidence) == ["detection"]
    other = tmp_path / "other.png"
    Image.new("RGB", (50, 50)).save(other)
    for fresh in (
        follow(corrected, experts=("caption", "ocr")),  # the caption expert has not looked yet
        follow(corrected, experts=()),
        follow(corrected, str(other)),
        reply(CHAT.retry(corrected, SimpleNamespace(index=1), ENGLISH)),
    ):
        assert not fresh[-1].findings.corrected
    assert [request.evidence for request in scripted.requests[-4:]] == [None] * 4


def test_all_findings_left_out_says_so_and_what_was_answered_before(play, photo):
    found = {"caption": CAPTION}
    scripted = play(EvidenceFound("caption", CAPTION), PromptReady("p", 1, 2, 0), done("Old.", found))
    taken = CHAT.take({"text": "What?", "files": [photo]}, (), ENGLISH)
    page = page_of(CHAT.reply(taken[CHAT.exchanges], taken[CHAT.cancel], ENGLISH, ["caption"], *SETTINGS[1:]))
    scripted.events = (PromptReady("p", 1, 2, 0), done("New."))
    taken = CHAT.again(page[CHAT.exchanges], [[False, "1", "a"]], ENGLISH)
    page = page_of(CHAT.reply(taken[CHAT.exchanges], taken[CHAT.cancel], ENGLISH, ["caption"], *SETTINGS[1:]))
    assert scripted.requests[-1].evidence == {}
    assert texts.TEXTS["en"]["all_left_out"] in value(page[CHAT.panel.status])
    fold = next(m["content"] for m in page[CHAT.chat] if m.get("metadata"))
    assert texts.TEXTS["en"]["all_left_out"] in fold
    assert "<b>Before</b><p><mark>Old</mark>.</p>" in judged(page) and "<p><mark>New</mark>.</p>" in judged(page)


def test_what_was_remembered_is_not_shown_as_if_it_had_taken_its_time(play, photo):
    slow, quick = replace(CAPTION, seconds=9.0), replace(TEXT, seconds=0.0)
    play(ExpertStarted("caption"), ExpertStarted("ocr"), EvidenceFound("caption", slow, True),
         EvidenceFound("ocr", quick),
         PromptReady("p", 1, 2, 0), done())  # fmt: skip
    first = ask("Q", photo)
    lines = re.findall("<span>(.*?)</span>", value(first[CHAT.panel.status]))
    assert lines[0].startswith("“") and lines[2].startswith("0.00 s ·")  # who else sent it is nobody's business
    again = ask("Q", exchanges=first[CHAT.exchanges])
    assert "9.00 s, remembered · “" in value(again[CHAT.panel.status])


def test_auto_chooses_the_experts_and_says_why(play, photo):
    scripted = play(EvidenceFound("ocr", TEXT), PromptReady("p", 1, 2, 0), done())
    taken = CHAT.take({"text": "What does the sign say?", "files": [photo]}, (), ENGLISH)
    page = page_of(CHAT.reply(taken[CHAT.exchanges], taken[CHAT.cancel], ENGLISH, ["auto"], *SETTINGS[1:]))
    assert scripted.requests[0].experts == ("auto",)  # whoever answers chooses, and tells
    assert page[CHAT.exchanges][-1].findings.experts == ("ocr",)
    assert page[CHAT.exchanges][-1].findings.receipt["experts"] == ["ocr"]
    assert "it asks about text (“sign”)" in value(page[CHAT.panel.status])
    assert set(REASONS) == {key[6:] for key in texts.TEXTS["en"] if key.startswith("route_")}
    assert all(texts.TEXTS["en"][f"route_{kind}"] == reason for kind, reason in REASONS.items())


def test_a_photo_is_decoded_once_for_question_answer_and_drawing(play, photo, monkeypatch):
    opened = []
    monkeypatch.setattr(inputs, "open_image", lambda path: opened.append(path) or open_image(path))
    play(EvidenceFound("ocr", TEXT), PromptReady("p", 1, 2, 0), done())
    page = ask("Q", photo)
    CHAT.redraw(page[CHAT.exchanges], ENGLISH)
    api.ask(photo, "Q", *SETTINGS)
    assert opened == [photo]
    Path(photo).unlink()
    with pytest.raises(LAV2Error, match="no file"):
        inputs.read_photo(photo)


def test_the_meter_tells_the_tokens_of_every_part(play, photo):
    parts = {"findings": 15, "question": 3, "turns": 0, "template": 2}
    play(EvidenceFound("detection", OBJECTS), PromptReady("prompt", 20, 2048, 0, frozenset(), parts), done())
    told = "findings 15 · question 3 · earlier turns 0 · template 2"
    assert told in value(ask("How many dogs?", photo)[CHAT.panel.meter])
    assert told in value(compare(photo)[COMPARE.panel.meter])


def test_findings_that_had_no_room_are_marked_and_told_under_the_answer(play, photo):
    found = {"detection": OBJECTS, "ocr": TEXT}
    play(*(EvidenceFound(*i) for i in found.items()), PromptReady("p", 1, 2, 0, frozenset({2})), done(evidence=found))
    page = ask("What?", photo)
    experts = [row[3] for row in page[CHAT.panel.table]["value"]]
    assert experts == ["Objects", "Text (not given to the model)"]
    assert "For want of room, 1 of the findings were not given" in judged(page)
    play(*(EvidenceFound(*i) for i in found.items()), PromptReady("p", 1, 2, 0), done(evidence=found))
    assert "not given" not in judged(ask("What?", photo))


def test_text_that_cannot_be_read_reliably_is_marked_and_told_under_the_answer():
    @dataclass(frozen=True, eq=False)
    class Judged(OcrLines):
        reliable: tuple = (False,)

    judged = Judged(TEXT.quads, TEXT.confidence, ("zq1 x",), 0.3, (100, 100))
    receipt = {"answer": "It says zq1 x.", "question": "What does it say?"}
    findings = state.Findings({"ocr": "done"}, {"ocr": judged}, receipt=receipt)
    for say in texts.TEXTS.values():
        row = views.findings_table(findings, say)[0]
        assert say["unreliable"] in row[2] and "✓" not in row[0]
        assert say["left_unread"].format(n=1) in views.verdict_html(findings, say)


def test_a_denial_of_a_boxed_object_gets_no_tick_but_a_cross_and_a_word(play, photo):
    found = {"detection": OBJECTS}
    play(EvidenceFound("detection", OBJECTS), PromptReady("p", 1, 2, 0), done("No, there is no dog.", found))
    page = ask("Is there a dog?", photo)
    assert page[CHAT.panel.table]["value"][0][1] == "1 ✗"
    assert "there is no “dog”, but the detector found 1 of dog" in judged(page)


def test_what_no_finding_holds_is_said_to_be_not_found(play, photo):
    found = {"detection": OBJECTS}
    play(EvidenceFound("detection", OBJECTS), PromptReady("p", 1, 2, 0), done("Paris.", found))
    shown = judged(ask("Which city is it?", photo))
    assert "Not found in the photo&#x27;s findings: <mark>Paris</mark>" in shown


def test_a_question_that_a_rule_answered_shows_no_experts_at_work(play, photo):
    play(Token("Ask in English."), replace(done("Ask in English."), prompt="", rule="language"))
    page = ask("¿Qué es?", photo)
    assert spoken(page) == "Ask in English."
    assert not any(message.get("metadata") for message in page[CHAT.chat])
    assert texts.TEXTS["en"]["by_rule"] in value(page[CHAT.panel.status])
    assert texts.TEXTS["en"]["by_rule"] in judged(page)


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


def test_both_languages_have_the_same_texts_and_placeholders():
    english, korean = texts.TEXTS["en"], texts.TEXTS["ko"]
    assert english.keys() == korean.keys()
    holes = {key: {part.split("}")[0] for part in text.split("{")[1:]} for key, text in english.items()}
    assert holes == {key: {part.split("}")[0] for part in text.split("{")[1:]} for key, text in korean.items()}


def test_every_text_that_is_used_exists_and_every_one_is_used():
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "lav2/ui").glob("*.py")]
    constants = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    made = {f"column_{name}" for name in ("use", "number", "expert", "finding", "confidence", "place")}
    made |= {f"route_{kind}" for kind in REASONS} | {f"vote_{choice}" for choice in votes.CHOICES}
    made |= {f"part_{name}" for name in ("findings", "question", "turns", "template")}
    rows, columns = (("top ", "", "bottom "), ("left", "", "right"))
    made |= {f"place_{(row + column).strip() or 'center'}" for row in rows for column in columns}
    made |= {f"kind_{kind}" for kind in REASONS} | {f"many_{name}" for name in COMPARE.many.choices}
    made |= {f"many_{name}" for name in ("photo", "asked", "kind", "expected")}
    made |= {f"tally_{head}" for head in ("choice", "kind", "won", "share")}
    made |= {f"term_{name}" for name in TERMS} | {f"also_{way}" for way in ("off", "on")}
    made |= {f"fix_{expert}" for expert in ("detection", "ocr")}
    made |= {f"change_{done}" for done in ("removed", "rewritten", "added")}
    made |= {f"colour_{word}" for word in (*colours.NAMES, "or")} | {"concept", "candidate"}  # Item.kind
    assert set(texts.TEXTS["en"]) - made - set(EXPERT_NAMES) - set(COMPARE.SIDES) - {"auto"} <= constants
    assert made <= set(texts.TEXTS["en"])


def test_what_a_visitor_can_do_wrong_is_told_in_korean(monkeypatch, tmp_path):
    monkeypatch.setattr(lav2.image, "MAX_PIXELS", 100)
    monkeypatch.setattr(lav2.image, "MAX_BYTES", 2000)
    noise = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(noise, "png")
    cut = io.BytesIO()
    Image.new("RGB", (9, 9)).save(cut, "jpeg")
    bad = [b"", b"no picture", noise.getvalue(), noise.getvalue()[:1500], cut.getvalue()[:-30]]

    def errors():
        for data in bad:
            yield lambda data=data: open_image(data)
        yield lambda: receipt.read(tmp_path / "missing.json")

    for fails in errors():
        with pytest.raises(LAV2Error) as error:
            fails()
        told = texts.error_texts(error.value, texts.TEXTS["ko"])
        assert all(re.search("[가-힣]", text) for text in told), told
        assert texts.error_texts(error.value, texts.TEXTS["en"]) == (error.value.cause, error.value.next_step)


def messages_of(name: str, *makers: str) -> set[tuple[str, frozenset[str]]]:
    """(key, names of its values) of every message that a module makes by `makers`. A test: a sentence is one piece of
    text, and not put together from what came from outside."""
    module = importlib.import_module(name.removesuffix(".py").replace("/", "."))
    found = set()
    for call in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
        made = getattr(getattr(call, "func", None), "id", "")
        if made not in makers and not (
            getattr(getattr(call, "func", None), "attr", "") == "__init__" and name == "lav2/assistant/admission.py"
        ):
            continue
        values = frozenset(value.arg for value in call.keywords)
        for key in (one for one in call.args if getattr(one, "id", "") not in ("self", "cause", "next_step")):
            text = key.value if isinstance(key, ast.Constant) else getattr(module, getattr(key, "id", ""), None)
            assert isinstance(text, str), (name, key.lineno, "a sentence must be one text; give names as values")
            found.add((text, values))
    return found


def holes(text: str) -> set[str]:
    return set(re.findall(r"{(\w+)}", text))


def test_every_message_that_visitors_meet_has_its_key_in_both_languages_and_no_other_key_is_kept():
    used = set()
    experts = ("caption", "detection", "ocr", "orchestrator", "registry")
    beside = ("image_text", "image_text_loading")
    assistant = (f"assistant/{name}" for name in ("admission", "context", "receipt", "service", "loading", *beside))
    lav2 = ("image", "events", "inference/sampler", *assistant)
    makers = dict.fromkeys([*(f"lav2/{name}.py" for name in lav2), *(f"experts/{name}.py" for name in experts)],
                           ("LAV2Error", "ExpertError", "Message", "Unavailable"))  # fmt: skip
    makers |= dict.fromkeys(("lav2/errors.py", "lav2/server/serving.py"), ("Unavailable",))
    for name in makers:
        found = messages_of(name, *makers[name])
        assert found, name
        for key, values in found:
            used.add(key)
            assert holes(key) <= values and "{}" not in key, (name, key)
            assert re.search("[가-힣]", texts.PROBLEMS["ko"].get(key, "")), (name, key)
            assert holes(texts.PROBLEMS["ko"][key]) == holes(key), (name, key)
    assert set(texts.PROBLEMS["ko"]) <= used


def test_text_from_outside_is_never_read_as_a_message_and_is_cut():
    """A receipt whose format was 1.8 kB of "The ocr expert failed: " once held up all users for ten seconds."""
    korean = texts.TEXTS["ko"]
    for text in ("{name} is empty (0 bytes).", "The {0} expert failed: {1}", "There is no question.", "{", "{name!r}"):
        assert texts.translated(text, korean) == text
        wrapped = LAV2Error("{name} is no receipt ({why}).", "Download it again from the page.", name=text, why=text)
        assert texts.error_texts(wrapped, korean)[0] == f"{text} 파일은 영수증이 아닙니다 ({text})."
        assert texts.error_texts(LAV2Error(text, "x"), texts.TEXTS["en"])[0] == text
    braces = LAV2Error("{name} is empty (0 bytes).", "x")  # without values, so it is no key
    assert texts.error_texts(braces, korean)[0] == "{name} is empty (0 bytes)."
    long = LAV2Error("{name} is no receipt ({why}).", "x" * 5_000_000, name="n" * 5_000_000, why="w")
    assert len(str(long)) < 3000 and len(texts.error_texts(long, korean)[0]) < 300
    nested = LAV2Error("{why}", "x", why=Message("one of {size} pixels", size="9 x 9"))
    assert str(nested) == "one of 9 x 9 pixels x"
    assert pickle.loads(pickle.dumps(nested)).cause.values == nested.cause.values  # as ZeroGPU hands it back


def test_an_experts_failure_is_told_in_the_readers_language():
    failed = Orchestrator({"ocr": lambda image: 1 / 0}).run(Image.new("RGB", (9, 9)), ["ocr"])
    ((_, failure),) = failed
    found = replace(state.Findings(), states={"ocr": "failed"}, evidence={"ocr": failure})
    assert "글자 전문가가 실패했습니다: ZeroDivisionError" in views.status(found, "ocr", texts.TEXTS["ko"])
    assert "The ocr expert failed: ZeroDivisionError" in views.status(found, "ocr", texts.TEXTS["en"])


def test_messages_follow_the_browsers_language(play):
    play(LAV2Error("Too long.", "Shorten it."))
    assert texts.TEXTS["ko"]["no_question"] in CHAT.take({"text": "", "files": []}, (), KOREAN)[CHAT.notice]["value"]


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


def test_a_failing_side_does_not_hide_the_other(monkeypatch):
    class HalfBroken:
        def answer(self, request, cancel):
            if request.question == "bad":
                raise LAV2Error("Too long.", "Shorten it.")
            yield done()

    monkeypatch.setattr(answering, "ASSISTANT", HalfBroken())
    events = dict(answering.stream({"left": Request("bad"), "right": Request("good")}, threading.Event()))
    assert isinstance(events["left"], LAV2Error) and events["right"] == done()


def test_both_sides_are_answered_at_the_same_time(monkeypatch):
    both = threading.Barrier(2)

    class Together:
        def answer(self, request, cancel):
            yield Token("A ")
            both.wait(60)  # raises where the other side has not begun
            yield done()

    monkeypatch.setattr(answering, "ASSISTANT", Together())
    events = list(answering.stream({"off": Request("asked"), "on": Request("asked")}, threading.Event()))
    assert sorted((side, type(event).__name__) for side, event in events) == [
        ("off", "Done"), ("off", "Token"), ("on", "Done"), ("on", "Token")
    ]  # fmt: skip


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
    told = fallback_notice(KOREAN)["value"]
    assert "llama-7b-bias" in told and "no GPU" in told and "기본 모델" in told


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


def test_a_question_about_a_kind_that_the_detector_does_not_know_says_so():
    say = texts.TEXTS["en"]
    evidence = {"detection": OBJECTS}
    receipt = {"answer": "No.", "question": "Is there a <b>giraffe</b> or a dog?"}
    findings = state.Findings({"detection": "done"}, evidence, receipt=receipt)
    shown = views.verdict_html(findings, say)
    assert f"{say['unknown_kinds']} <mark>giraffe</mark>" in shown
    assert "<mark>dog</mark>" not in shown.partition(say["unknown_kinds"])[2]
    assert "(of 2 kinds of object)" in views.status_html(findings, say)
    assert "test.pt knows 2 kinds of object: dog, cat" in views.status_html(findings, say)


def test_places_of_findings_are_shares_of_the_photo_and_a_caption_has_none():
    quad = np.array([[[10, 20], [50, 20], [50, 40], [10, 40]]], np.float32)
    evidence = {
        "caption": Caption("a dog", 0.1, "test"),
        "detection": Detections(
            np.array([[0, 0, 50, 100]], np.float32), [0.9], ("dog",), 0.1, "test", ("dog",), (100, 200)
        ),
        "ocr": OcrLines(quad, [0.8], ("stop",), 0.1, (100, 200)),
    }
    found = views.finding_outlines(state.Findings({}, evidence))
    assert found[2] == [[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]]
    assert found[3] == [[0.1, 0.1], [0.5, 0.1], [0.5, 0.2], [0.1, 0.2]]
    assert set(found) == {2, 3}
    shown = views.status_html(state.Findings({"detection": "done"}, evidence), texts.TEXTS["en"])
    sent = json.loads(html.unescape(re.search('data-places="([^"]*)"', shown)[1]))
    assert sent == {"2": found[2], "3": found[3]}
