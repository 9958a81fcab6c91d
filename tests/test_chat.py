"""The chat tab: a question becomes an exchange on the page, whatever happens on the way."""

import asyncio
import base64
import json
import re
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image
from scripted import (
    CAPTION,
    CHAT,
    COMPARE,
    ENGLISH,
    FAILURE,
    OBJECTS,
    SETTINGS,
    TEXT,
    ask,
    compare,
    done,
    judged,
    spoken,
    value,
)

import app
import lav2.image
from lav2.assistant.admission import Busy
from lav2.errors import LAV2Error
from lav2.events import (
    EvidenceFound,
    ExpertStarted,
    PromptReady,
    Queued,
    Sampling,
    Token,
    Turn,
)
from lav2.ui import api, inputs, messages, state, texts

pytest_plugins = ["scripted"]


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
    taken = CHAT.submit({"text": "Q", "files": [photo]}, (), ENGLISH)
    updates = list(CHAT.reply(taken[CHAT.exchanges], taken[CHAT.cancel], ENGLISH, ["ocr"], *SETTINGS[1:]))
    states = [value(update[CHAT.panel.status]) for update in updates if CHAT.panel.status in update]
    assert ["waiting" in states[0], "running" in states[1], "failed" in states[2]] == [True, True, True]
    assert "The weights are &lt;missing&gt;. Install them." in states[2]


def test_tokens_stream_before_the_end(play):
    play(PromptReady("p", 1, 2, 0), Token("One "), Token("two"), done("One two"))
    taken = CHAT.submit({"text": "Q", "files": []}, (), ENGLISH)
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
    update = CHAT.submit({"text": "What?", "files": [str(bad)]}, (), ENGLISH)
    assert "&lt;b&gt;bad.png" in update[CHAT.notice]["value"] and "<b>bad" not in update[CHAT.notice]["value"]
    assert str(tmp_path) not in update[CHAT.notice]["value"]
    assert set(update) == {CHAT.notice, CHAT.each}  # neither the box nor the conversation changes


def test_a_photo_of_too_many_pixels_is_refused_at_every_interface(monkeypatch, photo):
    monkeypatch.setattr(lav2.image, "MAX_PIXELS", 9_999)  # it has 10,000
    for tab, settings in ((CHAT, ((), ENGLISH)), (COMPARE, ("pair", (), None, ENGLISH))):
        update = tab.submit({"text": "What?", "files": [photo]}, *settings)
        assert "100 x 100 pixels" in update[tab.notice]["value"] and set(update) <= {tab.notice, CHAT.each}
    for called in (lambda: api.ask(photo, "Q", *SETTINGS), lambda: api.examine(photo, ["ocr"])):
        with pytest.raises(gr.Error, match="100 x 100 pixels"):
            called()


def test_an_empty_question_and_one_asked_too_early_are_refused_with_a_next_step():
    empty = CHAT.submit({"text": "  ", "files": []}, (), ENGLISH)
    early = CHAT.submit({"text": "Q", "files": []}, (state.Exchange("first"),), ENGLISH)
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
        update = tab.submit(message, *settings)
        assert "2 photos" in update[tab.notice]["value"] and "Which one is meant?" in update[tab.notice]["value"]
        assert set(update) <= {tab.notice, CHAT.each}  # they stay in the box


def test_good_news_is_no_alert(play, photo, tmp_path):
    play(EvidenceFound("detection", OBJECTS), PromptReady("p", 1, 2, 0), done("A dog.", {"detection": OBJECTS}))
    file = tmp_path / "receipt.json"
    kept = ask("What?", photo)[CHAT.exchanges][0].findings.receipt
    for answer, good in (("A dog.", True), ("A cat.", False)):
        file.write_text(json.dumps({**kept, "answer": answer}))
        result = CHAT.replaying.replay(str(file), photo, ENGLISH)["value"]
        assert ("good" in result, "alert" in result) == (good, not good)


def test_a_refused_question_changes_nothing_but_the_notice_and_answers_nothing_again(play, photo):
    scripted = play(PromptReady("p", 1, 2, 0), done())
    answered = ask("One?", photo)
    for exchanges in (answered[CHAT.exchanges], (state.Exchange("being answered"),)):
        run = state.Cancellation()
        run.begun = True
        assert set(CHAT.submit({"text": " ", "files": []}, exchanges, ENGLISH)) <= {CHAT.notice, CHAT.each}
        # no update at all would empty the page
        assert list(CHAT.reply(exchanges, run, ENGLISH, *SETTINGS)) == [inputs.NOTHING]
        message = {"text": "Q", "files": [photo]}
        assert set(COMPARE.submit(message, "pair", (), run, ENGLISH)) == {COMPARE.notice}
        assert list(COMPARE.reply(message, "pair", (), run, ENGLISH, *SETTINGS)) == [inputs.NOTHING]
    assert len(scripted.requests) == 1
    COMPARE.restore_question(run)
    assert COMPARE.cancel in COMPARE.submit(message, "pair", (), run, ENGLISH)


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
