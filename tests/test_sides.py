"""The Compare tab: both sides, all eight choices of experts, votes, and a side that fails."""

import json
import re
import threading

from scripted import ATTACK, CAPTION, COMPARE, ENGLISH, OBJECTS, TEXT, Scripted, compare, done, value

from lav2.errors import LAV2Error
from lav2.events import (
    EvidenceFound,
    ExpertStarted,
    PromptReady,
    Queued,
    Request,
    Token,
)
from lav2.ui import answering, inputs

pytest_plugins = ["scripted"]


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
    assert "no photo" in COMPARE.submit({"text": "Q", "files": []}, "pair", (), None, ENGLISH)[COMPARE.notice]["value"]
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
