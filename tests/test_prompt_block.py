"""The findings in the prompt: rows as on paper, within any budget, and what had no room is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experts import prompt_block as block_module
from experts.evidence import Caption, Detections, ExpertFailure, OcrLines, from_json
from experts.prompt_block import RULE, prompt_block
from experts.render import numbered
from lav2.documents.layout import ocr_json
from lav2.text import grounding, weighing

NO_LIMIT = 10**9
NAMES = ("person", "dog", "cup")
BOXES = Detections([[40, 80, 60, 100], [80, 40, 100, 60], [0, 40, 20, 60]], [0.9, 0.8, 0.93],
                   ("dog", "person", "person"), 0.1, "d", NAMES, (100, 100))  # fmt: skip
TABLE = [["CORNER STORE"], ["COFFEE", "7.80"], ["TOTAL", "19.06"]]


def page(rows):
    return {"ocr": from_json("ocr", ocr_json(rows))}


def words(text):
    return len(text.split())


def test_the_block_is_exactly_the_format_the_adapter_is_trained_on():
    evidence = {**page(TABLE), "caption": Caption("a man and a dog", 1.0, "tiny"), "detection": BOXES}
    assert prompt_block(evidence, len, NO_LIMIT, plural=grounding.plural).text.split("\n") == [
        RULE,
        'Caption: "a man and a dog"',
        "Objects: two people (left, right), one dog (bottom)",
        "Text:",
        "> CORNER STORE",
        "> COFFEE | 7.80",
        "> TOTAL | 19.06",
    ]


def test_concepts_stand_below_the_caption_by_how_sure_they_are():
    caption = Caption("a clock tower", 1.0, "tiny", (("clock", 0.93), ("tower", 0.7), ("city", 0.4), ("street", 0.1)))
    block = prompt_block({"caption": caption}, len, NO_LIMIT)
    assert block.text.split("\n")[1:] == [
        'Caption: "a clock tower"',
        "Concepts: clock, tower; probably city; perhaps street",
    ]
    assert block.left_out == frozenset()
    short = prompt_block({"caption": caption}, len, len(RULE) + 40)  # the longest line goes first
    assert "Concepts" not in short.text and short.left_out == {2, 3, 4, 5}


def test_nothing_found_not_run_and_could_not_run_are_three_different_answers():
    nothing = Detections(np.zeros((0, 4)), [], (), 0.1, "d", NAMES, (100, 100))
    assert prompt_block({"detection": nothing, **page([])}, len, NO_LIMIT).text.split("\n")[1:] == [
        "Objects: none found",
        "Text: none found",
    ]
    failed = {
        name: ExpertFailure(name, "No weights.", "Install them.", 0.0) for name in ("caption", "detection", "ocr")
    }
    assert prompt_block(failed, len, NO_LIMIT).text.split("\n")[1:] == [
        "Caption: could not run",
        "Objects: could not run",
        "Text: could not run",
    ]
    assert prompt_block(page(TABLE), len, NO_LIMIT).text.split("\n")[1] == "Text:"
    assert prompt_block({}, len, NO_LIMIT).text == ""


def test_of_a_long_text_the_rows_that_the_question_speaks_of_stay_and_the_others_are_counted():
    evidence = page([["PRICES"], *([f"Item {n}", f"{n}.50"] for n in range(1, 80))])
    block = prompt_block(evidence, words, 90, "How much does item 42 cost?")
    rows = block.text.split("\n")
    assert "> Item 42 | 42.50" in rows and "> PRICES" in rows and words(block.text) <= 90
    lost = 80 - sum(row.startswith("> ") for row in rows)
    assert rows[-1] == f"({lost} more rows left out)"
    given = {item.number for item in numbered(evidence)} - block.left_out
    assert len(block.left_out) >= lost and given  # the table can mark them
    assert not prompt_block(evidence, words, NO_LIMIT).left_out


def test_a_list_of_a_hundred_prices_leaves_no_question_without_a_block():
    evidence = page([[f"Thing {n}", f"${n}.99"] for n in range(100)])
    for question in ("How much is thing 7?", "What is the price?", "When does it open?"):
        block = grounding.block(evidence, question, words)
        assert 0 < words(block.text) <= grounding.EVIDENCE_BUDGET


SHORT = st.text(st.characters(codec="utf-8"), max_size=60)
BOX = st.tuples(st.floats(0, 50), st.floats(0, 50), st.floats(50, 100), st.floats(50, 100))


@st.composite
def findings(draw):
    evidence = {}
    if draw(st.booleans()):
        evidence["caption"] = Caption(draw(st.text(max_size=600)), 0.0, "t")
    if draw(st.booleans()):
        boxes = draw(st.lists(st.tuples(BOX, st.floats(0, 1), st.sampled_from(NAMES)), max_size=40))
        evidence["detection"] = Detections(np.array([b for b, _, _ in boxes]).reshape(-1, 4), [c for _, c, _ in boxes],
                                           tuple(n for _, _, n in boxes), 0.0, "d", NAMES, (100, 100))  # fmt: skip
    if draw(st.booleans()):
        texts = draw(st.lists(st.tuples(SHORT, BOX, st.floats(0, 1)), max_size=60))
        quads = [[(a, b), (c, b), (c, d), (a, d)] for _, (a, b, c, d), _ in texts]
        evidence["ocr"] = OcrLines(
            np.array(quads).reshape(-1, 4, 2), [c for _, _, c in texts], tuple(t for t, _, _ in texts), 0.0, (100, 100)
        )
    for name in evidence:
        if draw(st.integers(0, 9)) == 0:
            evidence[name] = ExpertFailure(name, "cause", "step", 0.0)
    return evidence


@settings(max_examples=150, deadline=None)
@given(findings(), st.one_of(st.integers(-5, 80), st.integers(80, 2000)), st.text(max_size=80), st.booleans())
def test_no_evidence_budget_or_question_makes_a_block_impossible(evidence, budget, question, count_dogs):
    asked = f"{question} How many dogs, cups and women?" if count_dogs else question
    block = grounding.block(evidence, asked, len, budget)
    assert len(block.text) <= max(0, budget)
    assert block.left_out <= {item.number for item in numbered(evidence)}
    if not block.text:
        assert block.left_out == {item.number for item in numbered(evidence)}


@pytest.mark.parametrize("budget", [100, 200, 400])
def test_a_long_caption_and_many_boxes_are_shortened_before_they_are_dropped(budget):
    many = Detections([[i, i, i + 9, i + 9] for i in range(60)], [0.9] * 60, NAMES * 20, 0.0, "d", NAMES, (100, 100))
    text = prompt_block({"caption": Caption("word " * 100, 0.0, "t"), "detection": many}, len, budget).text
    assert text.startswith(RULE) and len(text) <= budget


def test_a_text_is_laid_out_once_for_prompt_computed_line_and_what_it_says_outright(monkeypatch):
    laid_out, order = [], block_module.rows_of
    monkeypatch.setattr(block_module, "rows_of", lambda *given: laid_out.append(1) or order(*given))
    evidence, question = page([["Bread", "2.20"], ["Eggs", "3.95"]]), "Which is the cheapest?"
    assert "Computed" in grounding.block(evidence, question, len).text
    assert list(weighing.likely(evidence, question).answers) == ["Bread"]
    assert list(weighing.likely(evidence, "How much are the eggs?").whole) == ["3.95"]
    assert laid_out == [1]
    assert weighing.likely(page([["Tea", "1.00"], ["Eggs", "3.95"]]), question).answers != {}
    assert laid_out == [1, 1]  # another text
