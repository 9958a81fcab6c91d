"""A conversation outside its session: what a browser keeps and sends back, and the files to keep."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from experts.evidence import Caption, Detections, ExpertFailure
from lav2.assistant import receipt
from lav2.events import Done, Request
from lav2.text import routing
from lav2.ui import conversation
from lav2.ui.conversation import from_storage, to_file, to_markdown, to_storage
from lav2.ui.examples import EXAMPLES
from lav2.ui.state import Exchange, Findings
from lav2.ui.texts import TEXTS

FOUND = {
    "caption": Caption("a *dog*", 0.5, "test"),
    "detection": Detections(
        np.array([[1, 1, 6, 9]]), np.array([0.985]), ("dog",), 0.2, "test.pt", ("dog", "cat"), (10, 10)
    ),
    "ocr": ExpertFailure("ocr", "No weights.", "Install them.", 0.1),
}


@pytest.fixture
def kept(tmp_path):
    """(a folder of uploads, a conversation of two questions about a photo in it)"""
    photo = tmp_path / "uploads/abc/dog.png"
    photo.parent.mkdir(parents=True)
    Image.new("RGB", (10, 10)).save(photo)
    done = Done("A dog.", FOUND, "the prompt", {}, 7, "embedded", {"lav2": "0"}, False, {"base": "0"}, frozenset({2}))
    kept_receipt = receipt.receipt(Request("What?", Image.new("RGB", (10, 10))), done)
    findings = Findings(
        {"caption": "done", "detection": "done", "ocr": "failed"}, FOUND, "the prompt", 9, 2048, waited=1.5,
        route=routing.route("What does it say?"), token_breakdown={"findings": 3}, left_out=frozenset({2}),
        receipt=kept_receipt, experts=("caption", "detection", "ocr"),
    )  # fmt: skip
    first = Exchange("What?", str(photo), None, None, "A dog.", "done", findings)
    return tmp_path / "uploads", (first, replace(first, question="And?", photo=None, state="stopped"))


def through_a_browser(exchanges):
    return json.loads(json.dumps(to_storage(exchanges)))


def test_a_browser_gives_back_the_conversation_that_it_was_given(kept):
    uploads, exchanges = kept
    back = from_storage(through_a_browser(exchanges), uploads)
    assert to_storage(back) == to_storage(exchanges)
    assert [exchange.photo for exchange in back] == [exchange.photo for exchange in exchanges]
    assert back[0].findings.evidence["detection"].confidence == FOUND["detection"].confidence
    assert back[0].findings.evidence["ocr"] == FOUND["ocr"] and back[0].findings.prompt == "the prompt"
    assert back[0].findings.left_out == frozenset({2}) and back[0].findings.route == exchanges[0].findings.route


def test_corrections_stay_in_force_after_a_reload(kept):
    uploads, exchanges = kept
    corrected = replace(exchanges[0], findings=replace(exchanges[0].findings, corrected=True), before="A cat.")
    (back,) = from_storage(through_a_browser((corrected,)), uploads)
    assert back.before == "A cat." and back.correction.of(("detection",))["detection"].labels == ("dog",)


def test_a_photo_that_a_browser_names_counts_only_from_the_uploads_and_the_examples(kept, tmp_path):
    uploads, exchanges = kept
    secret = tmp_path / "secret.png"
    Image.new("RGB", (10, 10)).save(secret)
    example = str(EXAMPLES[0].photo)
    for path, taken in ((secret, False), (uploads / "../secret.png", False), (example, True)):
        value = through_a_browser(exchanges)
        value["exchanges"][0]["photo"] = str(path)
        back = from_storage(value, uploads)[0].photo
        assert (back == str(path)) is taken
        if not taken:  # the page says that it is no longer kept
            assert back == str(uploads / "gone/secret.png")


def test_what_is_no_conversation_is_dropped(kept):
    uploads, exchanges = kept
    bad = [None, 7, [], {}, {"exchanges": [{}]}, {"exchanges": {"a": 1}}]
    for change in (
        {"state": "odd"},
        {"question": "x" * 5000},
        {"findings": {"states": {"No expert": "done"}}},
        {"findings": {"receipt": {"answer": "x"}}},
        {"findings": {"part": ["sheet", 2]}},
        {"findings": {"route": {"experts": ["ocr"], "kinds": ["odd"], "words": []}}},
    ):
        bad.append({"exchanges": [through_a_browser(exchanges)["exchanges"][0] | change]})
    bad.append({"exchanges": through_a_browser(exchanges)["exchanges"] * 51})
    hot = through_a_browser(exchanges)
    hot["exchanges"][0]["findings"]["receipt"]["sampling"]["temperature"] = 1e9
    bad.append(hot)
    for value in bad:
        assert from_storage(value, uploads) == (), value


def test_the_oldest_answers_go_without_evidence_where_the_browser_has_no_room(kept, monkeypatch):
    uploads, exchanges = kept
    one = len(str(to_storage(exchanges[:1])["exchanges"][0]))
    monkeypatch.setattr(conversation, "STORED_CHARACTERS", int(1.5 * one))
    old, new = from_storage(through_a_browser(exchanges), uploads)
    assert new.findings.receipt and not old.findings.receipt and old.answer == "A dog."


def test_files_to_keep_hold_every_answer_and_no_path_of_the_server(kept):
    uploads, exchanges = kept
    value = to_file(exchanges)
    assert [one["question"] for one in value["exchanges"]] == ["What?", "And?"]
    assert value["exchanges"][0]["receipt"]["prompt"] == "the prompt"
    for language, texts in TEXTS.items():
        text = to_markdown(exchanges, texts)
        assert "**What?**" in text and "A dog. … " in text and "a \\*dog\\*" in text, language
        assert texts["nothing"] not in text and "No weights." in text
        assert str(uploads) not in text + json.dumps(value)
