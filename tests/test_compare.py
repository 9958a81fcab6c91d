"""Comparing for researchers: blind votes and their tally, many photos at once, and words that differ. No models."""

import csv
import io
import json
import re
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scripted import CHAT, COMPARE, ENGLISH, SETTINGS, Scripted, ask, compare, done, page_of, value

from experts.evidence import OcrLines
from lav2.assistant import votes
from lav2.errors import LAV2Error
from lav2.events import EvidenceFound, PromptReady, Token
from lav2.metrics.wilson import wilson_interval
from lav2.ui import answering, inputs
from lav2.ui.many_rows import ROWS, QuestionRow, Result, is_right, read_rows, shares_by_kind, to_csv
from lav2.ui.state import Cancellation
from lav2.ui.texts import TEXTS
from lav2.ui.views import mark_differences
from lav2.ui.voting import share_text

EN = TEXTS["en"]


LINE = OcrLines(np.array([[[5, 5], [30, 5], [30, 20], [5, 20]]]), np.array([0.8]), ("STOP",), 0.3, (60, 40))


class ByExperts(Scripted):
    """Answers with the names of the experts that it was given."""

    def answer(self, request, cancel):
        self.requests.append(request)
        yield PromptReady("p", 1, 2, 0)
        yield Token("some ")
        yield done(" ".join(request.experts) or "nothing")


@pytest.fixture
def photo(tmp_path):
    Image.new("RGB", (60, 40), "white").save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


@pytest.fixture
def by_experts(monkeypatch, tmp_path):
    monkeypatch.setenv("LAV2_VOTES", str(tmp_path / "votes"))
    scripted = ByExperts()
    monkeypatch.setattr(answering, "ASSISTANT", scripted)
    return scripted


def bars_of(chart) -> dict[tuple[str, str], int]:
    """(group, name) -> width in % of each bar."""
    found = {}
    for group, rows in re.findall("<h3>(.*?)</h3><ul>(.*?)</ul>", chart["value"]):
        for name, width in re.findall(r"<span>(.*?)</span>.*?width: (\d+)%", rows):
            assert (group, name) not in found
            found[group, name] = int(width)
    return found


# --- blind votes --------------------------------------------------------------------------------------------
def test_sides_are_random_and_nothing_that_is_read_tells_which_is_which_before_the_vote(by_experts, photo):
    orders = Counter()
    for _ in range(24):
        page = compare(photo)
        answers = page[COMPARE.answers]
        orders[tuple(page[COMPARE.shown].answers)] += 1
        assert "Experts o" not in answers and "receipt" not in answers and "<h2>A</h2>" in answers
        assert re.findall('id="(.*?)"', answers) == ["side-a", "side-b"]
        assert not page[COMPARE.panel.claims].get("visible") and page[COMPARE.voting.two]["visible"]
    assert set(orders) == {("off", "on"), ("on", "off")}
    voted = COMPARE.vote("left", page[COMPARE.shown], ENGLISH)
    first = {"off": "Experts off", "on": "Experts on"}[next(iter(page[COMPARE.shown].answers))]
    assert f"<h2>A: {first} · your vote</h2>" in voted[COMPARE.answers] and "receipt" in voted[COMPARE.answers]
    assert voted[COMPARE.panel.claims]["visible"]


@pytest.mark.parametrize("mode, places", [("pair", 2), ("grid", 8)])
def test_no_answer_is_shown_before_the_last_since_the_first_would_tell_its_side(by_experts, photo, mode, places):
    message = {"text": "Q", "files": [photo]}
    taken = COMPARE.submit(message, mode, (), None, ENGLISH)
    updates = [*COMPARE.reply(message, mode, (), taken[COMPARE.cancel], ENGLISH, ["ocr"], *SETTINGS[1:])]
    assert all(updates)  # Gradio takes an empty update for a wrong number of values
    *before, last = [update[COMPARE.answers] for update in (taken, *updates) if COMPARE.answers in update]
    blank = [re.sub(r"\d+ of", "n of", shown) for shown in before]
    assert len(before) >= places and len(set(blank)) == 1 and blank[0].count("<p>…</p>") == places
    assert f"{places} of {places} answers are ready" in before[-1] and "…" not in last
    vote = [update[COMPARE.voting.unveil] for update in (taken, *updates) if COMPARE.voting.unveil in update]
    assert [one["visible"] for one in vote] == [True, True] and [one["interactive"] for one in vote] == [False, True]


def test_a_finding_that_is_looked_at_before_the_vote_does_not_tell_what_an_answer_rests_on(monkeypatch, photo):
    class Reads(Scripted):
        def answer(self, request, cancel):
            found = {"ocr": LINE} if request.experts else {}
            yield from (EvidenceFound(name, line) for name, line in found.items())
            yield PromptReady("p", 1, 2, 0)
            yield done("STOP", found)

    monkeypatch.setattr(answering, "ASSISTANT", Reads())
    shown = compare(photo)[COMPARE.shown]
    row = SimpleNamespace(row_value=["1", "STOP", "Text", "0.80", "left"])
    blind = COMPARE.choose(shown, row)[COMPARE.panel.picture]
    seen = COMPARE.choose(COMPARE.unveil(shown, ENGLISH)[COMPARE.shown], row)[COMPARE.panel.picture]
    assert np.asarray(blind).sum() > np.asarray(seen).sum()  # a bolder outline, on white


def test_who_looks_without_a_vote_can_vote_no_more(by_experts, photo):
    page = compare(photo)
    seen = COMPARE.unveil(page[COMPARE.shown], ENGLISH)
    assert "Experts off" in seen[COMPARE.answers] and seen[COMPARE.voting.two]["visible"] is False
    assert COMPARE.vote("left", page[COMPARE.shown], ENGLISH) == inputs.NOTHING
    assert COMPARE.unveil(None, ENGLISH) == inputs.NOTHING and not votes.folder().exists()


def test_the_best_of_eight_is_stored_against_all_others_counted_and_exported(by_experts, photo):
    page = compare(photo, "grid")
    place = list(page[COMPARE.shown].answers).index("detection+ocr")
    voted = COMPARE.vote(place, page[COMPARE.shown], ENGLISH)
    assert f"{'ABCDEFGH'[place]}: Objects + Text · your vote" in voted[COMPARE.answers]
    (line,) = (votes.folder() / votes.FILE).read_text().splitlines()
    assert json.loads(line)["best"]["experts"] == ["detection", "ocr"] and len(json.loads(line)["others"]) == 7
    pairs = list(votes.pairs(report=pytest.fail))
    assert len(pairs) == 7 and {pair["chosen"] for pair in pairs} == {"detection ocr"}
    several = votes.tally().several
    assert several.pop("detection+ocr") == [1, 1] and set(map(tuple, several.values())) == {(0, 1)}


def test_the_tally_counts_wins_by_experts_wherever_they_stood(by_experts, photo):
    for wanted in ("on", "on", "off", "tie", "both bad"):
        page = compare(photo)
        sides = list(page[COMPARE.shown].answers)
        COMPARE.vote(wanted if wanted in votes.CHOICES else votes.CHOICES[sides.index(wanted)],
                     page[COMPARE.shown], ENGLISH)  # fmt: skip
    with (votes.folder() / votes.FILE).open("a") as file:
        file.write('{"vote": "left"}\n7\n{"vote": "best"}\n')  # no votes
    counted = votes.tally()
    assert counted.two == {"ocr": [2, 3], "off": [1, 3]} and counted.undecided == {"tie": 1, "both bad": 1}
    shown = COMPARE.tally.count(ENGLISH)
    table = shown[COMPARE.tally.table]
    assert "<td>Text</td><td>of two</td><td>2 / 3</td><td>67 % (21–94 %)</td>" in table and "Tie: 1" in table
    assert bars_of(shown[COMPARE.tally.chart]) == {("of two", "Experts off"): 33, ("of two", "Text"): 67}
    assert all(len(pair) == 3 for pair in votes.pairs(report=lambda line: None))


def test_without_votes_the_tally_says_so(by_experts):
    assert EN["tally_empty"] in COMPARE.tally.count(ENGLISH)[COMPARE.tally.table]


def test_the_interval_is_wilsons():
    """Reference values: Newcombe 1998, table I, method 3: 81/263, 15/148, 0/20, 1/29."""
    for successes, trials, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611),
                                         (1, 29, 0.0061, 0.1718)):  # fmt: skip
        found = wilson_interval(successes, trials)
        assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert wilson_interval(0, 0)[1:] == (0, 1) and share_text(3, 3) == "100 % (44–100 %)"
    with pytest.raises(ValueError):
        wilson_interval(2, 1)


def test_differences_are_marked_word_by_word_whatever_the_capitals_and_the_full_stop():
    assert mark_differences("A white dog.", "a Black dog") == "A <mark>white</mark> dog."
    assert mark_differences("It is 7.80, Anna's!", "It is 7.90, anna's") == "It is <mark>7.80</mark>, Anna&#x27;s!"
    one = mark_differences("two red cars", "a bus")
    assert one == "<mark>two</mark> <mark>red</mark> <mark>cars</mark>"
    assert mark_differences("<b> & x", "<b>") == "&lt;b&gt; &amp; <mark>x</mark>"


# --- from the conversation ----------------------------------------------------------------------------------
def test_photo_and_question_are_carried_over_from_the_conversation(by_experts, photo, tmp_path):
    exchanges = ask("First?", photo)[CHAT.exchanges]
    exchanges = ask("Second?", None, exchanges)[CHAT.exchanges]
    tabs, box, _ = CHAT.evidence.carried(exchanges, None, ENGLISH)
    assert tabs.selected == "compare" and box == {"text": "Second?", "files": [photo]}
    assert CHAT.evidence.carried(exchanges, 0, ENGLISH)[1]["text"] == "First?"
    (tmp_path / "photo.png").unlink()
    assert "no longer kept" in value(CHAT.evidence.carried(exchanges, None, ENGLISH)[2])
    assert "no photo" in value(CHAT.evidence.carried(ask("Hi?")[CHAT.exchanges], None, ENGLISH)[2])


# --- many at once -------------------------------------------------------------------------------------------
@pytest.fixture
def sent(tmp_path):
    """Two photos and a CSV of three questions."""
    for name in ("a (1).png", "b.png"):
        Image.new("RGB", (30, 20), "white").save(tmp_path / name)
    table = "image,question,answer\nfolder/a (1).png,What does it say?,ocr\n"
    table += "b.png,How many dogs are there?,detection|two\nb.png,Describe it.,\n"
    (tmp_path / "questions.csv").write_text(table, encoding="utf-8-sig")
    return [str(tmp_path / name) for name in ("a (1).png", "questions.csv", "b.png")]


def run(files, question="", mode="each", cancel=None):
    many = COMPARE.many
    return page_of(many.run(files, question, mode, (), cancel or Cancellation(), ENGLISH, *SETTINGS))


def test_a_table_a_chart_and_a_file_tell_which_expert_helps_on_which_kind_of_question(by_experts, sent):
    page, many = run(sent), COMPARE.many
    cells = page[many.table]["value"]
    assert page[many.table]["headers"][4:8] == ["Experts off", "Scene", "Objects", "Text"]
    assert page[many.table]["headers"][8:] == ["Scene + Objects + Text"]
    assert cells[0][:4] == ["a (1).png", "What does it say?", "text", "ocr"]
    assert cells[0][4:] == ["✗ nothing", "✗ caption", "✗ detection", "✓ ocr", "✓ caption detection ocr"]
    assert cells[2][4:6] == ["nothing", "caption"]  # nobody knows a right answer
    assert cells[3][1] == "Right" and cells[3][4] == "0 % (0–66 %)" and cells[3][7] == "50 % (9–91 %)"
    bars = bars_of(page[many.chart])
    assert (bars["text", "Text"], bars["objects", "Text"], bars["objects", "Objects"]) == (100, 0, 100)
    with open(page[many.download]["value"], encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 15 and lines[3]["experts"] == "ocr" and lines[3]["right"] == "1"
    assert "All 3 questions" in page[many.notice]["value"]


def test_without_right_answers_the_chart_shows_what_the_experts_changed(by_experts, sent):
    page, many = run([sent[0], sent[2]], "What does it say?", "pair"), COMPARE.many
    assert bars_of(page[many.chart]) == {("text", "Experts on"): 100}
    assert EN["many_chart_changed"] in page[many.chart]["value"]
    assert by_experts.requests[-1].question == "What does it say?" and len(by_experts.requests) == 4


def test_a_broken_photo_is_that_rows_failure_and_stop_keeps_what_is_there(by_experts, sent, tmp_path):
    (tmp_path / "b.png").write_bytes(b"no picture")
    page, many = run(sent), COMPARE.many
    assert "✓ ocr" in page[many.table]["value"][0] and "b.png is not a picture" in page[many.table]["value"][1][4]
    cancel = Cancellation()
    steps = many.run(sent, "", "pair", (), cancel, ENGLISH, *SETTINGS)
    first = [next(steps) for _ in range(2)]
    cancel.set()
    page = page_of([*first, *steps])
    assert "Stopped after 1 of 3" in page[many.notice]["value"] and page[many.download]["visible"]
    assert page[many.start]["interactive"]


def test_what_is_wrong_with_the_files_is_said(sent, tmp_path):
    def refusal(files, question=""):
        with pytest.raises(LAV2Error) as error:
            read_rows(files, question, EN)
        return str(error.value)

    table, photos = sent[1], [sent[0], sent[2]]
    assert (
        "no photos" in refusal([])
        and "no photos" in refusal([table])
        and "no photos" in refusal([table, table, *photos])
    )
    assert "no question" in refusal(photos) and "too many" in refusal(photos * (ROWS // 2 + 1), "What?")
    assert "characters" in refusal(photos, "x" * 5000)
    for text, reason in (
        ("image,question\nb.png,\n", "Line 2"),
        ("image,question\nc.png,What?\n", "“c.png” is not there"),
        ("file,frage\nb.png,What?\n", "lacks the columns"),
        ("", "lacks the columns"),
        ('image,question\nb.png,"What?', "cannot be read"),
    ):
        (tmp_path / "questions.csv").write_text(text)
        assert reason in refusal(sent), text
    (tmp_path / "questions.csv").write_bytes(b"image,question\n\xff,x\n")
    assert "cannot be read" in refusal(sent)
    (tmp_path / "questions.csv").write_text("Photo;Question\n/x/b.png;What?\n")
    assert read_rows(sent, "", EN) == [QuestionRow(sent[2], "What?")]


@pytest.mark.parametrize(
    "answer, truth, right",
    [
        ("It costs 7.80.", "7.80", True),
        ("17.80", "7.80", False),
        ("Two dogs", "2", True),
        ("Yes, there is.", "yes", True),
        ("I say yes.", "yes", False),
        ("The MILL road", "mill road", True),
        ("the mill", "mill road", False),
        ("anything", "?", False),
    ],
)
def test_an_answer_is_right_where_a_truth_stands_in_it_word_for_word(answer, truth, right):
    assert is_right(answer, ["never", truth]) is right


def test_a_cell_of_the_file_is_no_formula():
    row = QuestionRow("/x/=a.png", "=1+1?", ("-2",))
    text = to_csv([Result(row, {"off": " @SUM(A1)"}, {"ocr": "+x"})]).removeprefix("\ufeff")
    cells = [cell for line in list(csv.reader(io.StringIO(text)))[1:] for cell in line]
    assert not [cell for cell in cells if cell.lstrip().startswith(("=", "+", "-", "@"))]
    assert shares_by_kind([], ("off", "on")) == (False, {})


def test_a_second_click_while_questions_are_asked_changes_nothing(by_experts, sent):
    running = Cancellation()
    assert "still being answered" in COMPARE.many.begin(running, ENGLISH)[COMPARE.many.notice]["value"]
    running.begun = True
    assert list(COMPARE.many.run(sent, "", "each", (), running, ENGLISH, *SETTINGS)) == [inputs.NOTHING]
