"""Findings on the page: drawn, chosen, corrected, marked by what the answer says, and told as plain JSON."""

import base64
import html
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scripted import (
    ATTACK,
    CAPTION,
    CHAT,
    COMPARE,
    ENGLISH,
    OBJECTS,
    SETTINGS,
    TEXT,
    ask,
    compare,
    done,
    judged,
    page_of,
    spoken,
    value,
)

from experts.evidence import Caption, Detections, OcrLines, from_json, to_json
from experts.prompt_block import prompt_block
from lav2.errors import LAV2Error
from lav2.events import (
    REASONS,
    EvidenceFound,
    ExpertStarted,
    PromptReady,
    Token,
)
from lav2.image import open_image
from lav2.text import corrections
from lav2.ui import api, inputs, messages, state, texts, views

pytest_plugins = ["scripted"]


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
    taken = CHAT.ask_again(page[CHAT.exchanges], table, ENGLISH)
    page = page_of([taken, *CHAT.reply(taken[CHAT.exchanges], taken[CHAT.cancel], ENGLISH, *SETTINGS)])
    given = scripted.requests[-1].evidence
    assert given["detection"].labels == ("wolf",) and given["ocr"].texts == ()
    assert len(page[CHAT.exchanges]) == 1 and scripted.requests[-1].history == ()
    fold = next(m["content"] for m in page[CHAT.chat] if m.get("metadata"))
    assert "you corrected" in fold
    kept = page[CHAT.exchanges][0].findings.receipt
    assert kept["corrected"] is True
    changes = [(change["expert"], change["before"], change["after"]) for change in kept["corrections"]]
    assert changes == [("detection", "dog", "wolf"), ("ocr", views.render.clean(ATTACK, 160), None)]


def test_corrections_stay_for_the_next_questions_until_retry_a_new_photo_or_another_expert(play, photo, tmp_path):
    found = {"detection": OBJECTS, "ocr": TEXT}
    scripted = play(*(EvidenceFound(*i) for i in found.items()), PromptReady("p", 1, 2, 0), done("Old.", found))

    def reply(taken, experts=("detection", "ocr")):
        answered = CHAT.reply(taken[CHAT.exchanges], taken[CHAT.cancel], ENGLISH, experts, *SETTINGS[1:])
        return page_of([taken, *answered])[CHAT.exchanges]

    def follow(exchanges, file=None, experts=("detection", "ocr")):
        return reply(CHAT.submit({"text": "Next?", "files": [file] if file else []}, exchanges, ENGLISH), experts)

    asked = follow((), photo)
    table = views.findings_table(asked[-1].findings, texts.TEXTS["en"])
    kept = [[True, number, text] for number, text, *_ in table]
    kept[0][2], kept[1][0] = "wolf", "false"
    corrected = reply(CHAT.ask_again(asked, kept, ENGLISH))
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
    taken = CHAT.submit({"text": "What?", "files": [photo]}, (), ENGLISH)
    page = page_of(CHAT.reply(taken[CHAT.exchanges], taken[CHAT.cancel], ENGLISH, ["caption"], *SETTINGS[1:]))
    scripted.events = (PromptReady("p", 1, 2, 0), done("New."))
    taken = CHAT.ask_again(page[CHAT.exchanges], [[False, "1", "a"]], ENGLISH)
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
    taken = CHAT.submit({"text": "What does the sign say?", "files": [photo]}, (), ENGLISH)
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
    meter = "findings 15 · question 3 · earlier turns 0 · template 2"
    assert meter in value(ask("How many dogs?", photo)[CHAT.panel.meter])
    assert meter in value(compare(photo)[COMPARE.panel.meter])


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


SEAT = np.array([[[10, 20], [50, 20], [50, 40], [10, 40]]], np.float32)


def with_text(width, height):
    """What is found on a photo of that size: a caption of a cat, no object, a text."""
    return {
        "caption": Caption("a cat beside a sign", 0.1, "test"),
        "detection": OBJECTS.only(np.zeros(len(OBJECTS.labels), bool)),
        "ocr": OcrLines(SEAT, [0.9], ("Seat 34A",), 0.1, (width, height)),
    }


def test_what_a_caption_says_is_of_no_matter_to_an_answer_that_was_read():
    say, evidence = texts.TEXTS["en"], with_text(400, 400)
    doubt = say["conflict_missing"].format(word="cat", label="cat")
    for answer, doubted in (("34A", False), ("A cat", True)):
        receipt = {"answer": answer, "question": "What seat do I have?"}
        shown = views.verdict_html(state.Findings({}, evidence, receipt=receipt), say)
        assert (html.escape(doubt) in shown) is doubted


def test_the_scene_of_a_page_of_text_is_told_and_used_nowhere_unless_a_reader_wrote_it():
    say, evidence = texts.TEXTS["en"], with_text(100, 100)
    block = prompt_block(evidence, len, 10**6)
    receipt = {"answer": "A cat", "question": "What?"}
    found = state.Findings({}, evidence, receipt=receipt, left_out=block.left_out)
    assert "cat" not in block.text and block.left_out == {1}
    assert views.status(found, "caption", say).endswith(say["page_of_text"])
    assert say["of_a_page"] in views.findings_table(found, say)[0][2]
    assert not views.not_given_text(found, say) and not views.check_answer(found).rests_on
    foreign = replace(evidence["ocr"], reliable=np.array([False]))
    assert "cat" not in prompt_block(evidence | {"ocr": foreign}, len, 10**6).text
    written = corrections.corrected(evidence, {1: "a seat plan", 2: "Seat 34A"})
    assert 'Caption: "a seat plan"' in prompt_block(written, len, 10**6).text
    assert from_json("caption", to_json(written["caption"])) == written["caption"]


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
