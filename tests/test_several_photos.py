"""Several photos with one question: asked about each in turn, an answer a photo. No browser, no models."""

from pathlib import Path

import pytest
from PIL import Image
from scripted import CHAT, ENGLISH, OBJECTS, SETTINGS, Scripted, done, page_of

from lav2.errors import LAV2Error
from lav2.events import EvidenceFound, PromptReady, Token
from lav2.ui import answering, inputs
from lav2.ui.conversation import QUESTIONS
from lav2.ui.state import Exchange
from lav2.ui.texts import TEXTS


class ByWidth(Scripted):
    """Answers with the photo's width; one of 13 px it cannot read."""

    def answer(self, request, cancel):
        self.requests.append(request)
        if request.image.width == 13:
            raise LAV2Error("Too dark.", "Take another one.")
        yield EvidenceFound("detection", OBJECTS)
        yield PromptReady("p", 1, 2, 0)
        yield Token(f"{request.image.width} wide.")
        yield done(f"{request.image.width} wide.", stopped=cancel.is_set())


@pytest.fixture
def scripted(monkeypatch):
    monkeypatch.setattr(answering, "ASSISTANT", made := ByWidth())
    return made


@pytest.fixture
def photos(tmp_path):
    def make(*widths):
        for width in widths:
            Image.new("RGB", (width, 20), "white").save(tmp_path / f"{width}.png")
        return [str(tmp_path / f"{width}.png") for width in widths]

    return make


def each(files, exchanges=(), question="How wide?"):
    return CHAT.submit_each({"text": question, "files": files}, exchanges, ENGLISH)


def in_box(page) -> tuple[str, list[str]]:
    box = page[CHAT.box].value
    return box["text"], [Path(file["path"]).name for file in box["files"]]


def replied(taken):
    return CHAT.reply(taken[CHAT.exchanges], taken[CHAT.cancel], ENGLISH, *SETTINGS)


def test_several_photos_are_asked_back_about_and_a_button_asks_about_each(scripted, photos):
    message = {"text": "How wide?", "files": photos(30, 40)}
    updates = CHAT.submit(message, (), ENGLISH)
    assert "2 photos are in the box" in updates[CHAT.notice]["value"] and updates[CHAT.each]["visible"]
    assert CHAT.exchanges not in updates  # nothing is asked, and the box keeps them
    assert CHAT.submit({"text": " ", "files": photos(30)}, (), ENGLISH)[CHAT.each]["visible"] is False
    assert CHAT.submit({**message, "files": photos(30)}, (), ENGLISH)[CHAT.each]["visible"] is False


def test_each_photo_gets_an_answer_of_its_own_in_the_order_of_the_box(scripted, photos):
    files = photos(30, 40, 50)
    taken = each(files)
    assert in_box(taken) == ("", []) and taken[CHAT.each]["visible"] is False
    page = page_of([taken, *replied(taken)])
    exchanges = page[CHAT.exchanges]
    assert [exchange.answer for exchange in exchanges] == ["30 wide.", "40 wide.", "50 wide."]
    assert [exchange.photo for exchange in exchanges] == files and not any(one.following for one in exchanges)
    assert [request.history for request in scripted.requests] == [()] * 3  # each photo is a context of its own
    assert page[CHAT.box].submit_btn is True and page[CHAT.cancel].is_set()
    assert "How wide?" in page[CHAT.evidence.heading] and len(page[CHAT.stored]["exchanges"]) == 3
    assert sum(TEXTS["en"]["new_photo"] in str(one["content"]) for one in page[CHAT.chat]) == 2


def test_the_box_is_busy_until_the_last_answer(scripted, photos):
    seen = [update[CHAT.box].submit_btn for update in replied(each(photos(30, 40))) if CHAT.box in update]
    assert seen == [True]


def test_stop_ends_the_whole_series_and_undo_gives_the_photos_back_that_nobody_was_asked_about(scripted, photos):
    taken = each(photos(30, 40, 50))
    page = dict(taken)
    for update in replied(taken):
        page |= update
        if any("30 wide." in str(one["content"]) for one in update.get(CHAT.chat, ())):
            taken[CHAT.cancel].set()
    exchanges = page[CHAT.exchanges]
    assert [exchange.state for exchange in exchanges] == ["stopped"] and len(scripted.requests) == 1
    assert page[CHAT.box].submit_btn is True
    back = CHAT.undo(exchanges, ENGLISH)
    assert in_box(back) == ("How wide?", ["30.png", "40.png", "50.png"]) and back[CHAT.exchanges] == ()


def test_clear_in_the_middle_of_a_series_ends_it(scripted, photos):
    taken, updates = each(photos(30, 40)), []
    for update in replied(taken):
        updates.append(update)
        taken[CHAT.cancel].discarded = True
    assert len(scripted.requests) == 1 and len(updates) == 1


def test_a_photo_that_fails_gives_itself_and_the_later_ones_back_and_keeps_the_earlier_answers(scripted, photos):
    page = page_of([taken := each(photos(30, 13, 50)), *replied(taken)])
    assert [exchange.answer for exchange in page[CHAT.exchanges]] == ["30 wide."]
    assert in_box(page) == ("How wide?", ["13.png", "50.png"])
    assert "Too dark." in page[CHAT.notice]["value"]


def test_what_cannot_be_asked_about_each_is_said_before_any_is_asked(scripted, photos, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    files = photos(30, 40)
    assert "broken.png is not a picture" in each([*files, str(tmp_path / "broken.png")])[CHAT.notice]["value"]
    assert TEXTS["en"]["no_question"] in each(files, question=" ")[CHAT.notice]["value"]
    full = tuple(Exchange(str(i), answer="a", state="done") for i in range(QUESTIONS - 1))
    assert str(QUESTIONS) in each(files, full)[CHAT.notice]["value"]
    assert "still being answered" in each(files, (Exchange("Q"),))[CHAT.notice]["value"]
    assert not scripted.requests
    one = each([files[0], files[0]])[CHAT.exchanges]  # the same one twice
    assert one[-1].following == () and inputs.EMPTY["value"]["files"] == []
