"""Links to a conversation: who sees what, for how long. No browser, no models."""

import json
import os
import time
from types import SimpleNamespace

import pytest
from PIL import Image
from scripted import CHAT, ENGLISH, OBJECTS, Scripted, ask, done, value

from lav2.events import EvidenceFound, PromptReady
from lav2.ui import answering, inputs, sharing
from lav2.ui.conversation import to_storage
from lav2.ui.texts import TEXTS

EN = TEXTS["en"]


@pytest.fixture
def uploads(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def photo(uploads):
    Image.new("RGB", (100, 100), "white").save(uploads / "photo.png")
    return str(uploads / "photo.png")


@pytest.fixture
def exchanges(monkeypatch, photo):
    events = EvidenceFound("detection", OBJECTS), PromptReady("p", 1, 2, 0), done("A dog.", {"detection": OBJECTS})
    monkeypatch.setattr(answering, "ASSISTANT", Scripted(*events))
    return ask("What?", photo)[CHAT.exchanges]


def opened(name, stored=None, exchanges=()):
    """The page as its address with that link opens it."""
    visitor = SimpleNamespace(**vars(ENGLISH), query_params={} if name is None else {"shared": name})
    return CHAT.reload(json.loads(json.dumps(stored)), exchanges, visitor)


def link(exchanges, host="lav2.example"):
    asking = SimpleNamespace(headers={**ENGLISH.headers, "host": host})
    made = CHAT.saving.make_link(exchanges, asking)
    return made[CHAT.saving.name], value(made[CHAT.saving.link_note])


def test_a_link_shows_answers_evidence_and_photo_to_another_visitor(exchanges, photo):
    name, note = link(exchanges)
    assert "Here is the link" in note and "a day" in note
    page = opened(name)
    (seen,) = page[CHAT.exchanges]
    assert (seen.question, seen.answer, seen.photo) == ("What?", "A dog.", photo)
    assert seen.findings.evidence["detection"].labels == ("dog",)
    assert page[CHAT.panel.table]["value"] and page[CHAT.panel.picture]["value"]
    assert EN["share_seen"] in value(page[CHAT.notice]) and not page[CHAT.unclear]["visible"]
    again = CHAT.submit({"text": "And now?", "files": []}, page[CHAT.exchanges], ENGLISH)
    assert len(again[CHAT.stored]["exchanges"]) == 2  # asked on, it is the visitor's own


def test_the_visitors_own_conversation_stays_in_the_browser_and_can_be_brought_back(exchanges, photo):
    name, _ = link(exchanges)
    own = to_storage(ask("Mine?", photo)[CHAT.exchanges])
    page = opened(name, own)
    assert CHAT.stored not in page and page[CHAT.unclear]["visible"]
    back = CHAT.restore(page[CHAT.cleared], ENGLISH)
    assert [one.question for one in back[CHAT.exchanges]] == ["Mine?"]
    assert opened(None, own)[CHAT.exchanges][0].question == "Mine?"
    assert opened(name, own, exchanges) == inputs.NOTHING  # a page that is in use


@pytest.mark.parametrize("name", ["", "x" * 22, "../../etc/passwd", "..%2f" * 4 + "ab", "é" * 22, None, 7])
def test_a_link_that_leads_nowhere_says_so_and_shows_the_visitors_own(exchanges, uploads, photo, name):
    assert sharing.shared(name, uploads) == ()
    if name is None:
        return
    page = opened(name, to_storage(exchanges))
    assert EN["share_gone"] in value(page[CHAT.notice]) and page[CHAT.exchanges][0].question == "What?"
    assert set(opened(name)) == {CHAT.notice}


def test_links_end_after_a_day_and_the_latest_hundred_are_kept(exchanges, uploads, monkeypatch):
    name, _ = link(exchanges)
    (file,) = uploads.glob("*/*.json")
    assert file.stem == name and file.stat().st_mode & 0o777 == 0o600 and len(name) == 22
    yesterday = time.time() - sharing.SECONDS - 60
    os.utime(file, (yesterday, yesterday))
    assert sharing.shared(name, uploads) == ()
    monkeypatch.setattr(sharing, "LINKS", 2)
    names = []
    for age in (3, 2, 1):
        names.append(link(exchanges)[0])
        when = time.time() - age
        os.utime(next(uploads.glob(f"*/{names[-1]}.json")), (when, when))
    assert not file.exists()
    assert [bool(sharing.shared(one, uploads)) for one in names] == [False, True, True]
    next(uploads.glob(f"*/{names[2]}.json")).write_text('{"exchanges": [7]}')
    assert sharing.shared(names[2], uploads) == ()


def test_a_link_of_this_machine_says_so_and_an_unanswered_question_is_not_shared(exchanges):
    for host in ("127.0.0.1:7860", "localhost", "[::1]:7860"):
        assert "on this machine only" in link(exchanges, host)[1]
    asked = CHAT.submit({"text": "Next?", "files": []}, exchanges, ENGLISH)
    name, note = link(asked[CHAT.exchanges])
    assert name == "" and EN["busy"] in note
