"""Documents that people wrote: each can be drawn, answers stand in the text as it was read, yes and no are balanced."""

import random

import pytest

from lav2.documents import written
from lav2.text.weighing import ABSENT

TEMPLATES = (*written.templates(), *written.templates(held=True))
TICKET = {
    "kind": "ticket",
    "rows": ["From | Depart", "{from} | {dep}", "Price |  | {one}", "{n} tickets", "Total | {all}"],
    "slots": {"from": "city", "dep": "time 6 9", "one": "price 3 5", "n": "int 2 4", "all": "times one n"},
    "questions": [
        {"ask": ["when?", "what time?"], "answer": "{dep}"},
        {"ask": ["price?"], "answer": "{one}", "history": [["when?", "{dep}"]]},
        {"ask": ["seat?"], "answer": ABSENT},
    ],
}


def test_every_document_can_be_drawn_and_its_answers_stand_in_it():
    assert len(TEMPLATES) > 900
    assert not [(template["kind"], fault) for template in TEMPLATES for fault in written.faults(template)]


def test_some_documents_are_held_out_and_none_is_both():
    held = written.templates(held=True)
    assert 0.05 < len(held) / len(TEMPLATES) < 0.12
    assert not {str(one) for one in held} & {str(one) for one in written.templates()}


def test_yes_and_no_are_as_likely_and_little_is_not_there():
    answers = [asked["answer"] for template in TEMPLATES for asked in template["questions"]]
    yes, no = (sum(answer.startswith(word) for answer in answers) for word in ("Yes: ", "No: "))
    assert 0.8 < yes / no < 1.25
    assert sum(answer == ABSENT for answer in answers) < len(answers) / 7


def test_slots_are_drawn_once_a_document_and_what_is_computed_from_them_agrees():
    for seed in range(30):
        made = written.drawn(random.Random(seed), TICKET, 0.0)
        assert made.rows[1][1] == made.asks[0].answer and made.rows[2] == ["Price", made.asks[1].answer]
        assert made.asks[1].history == (("when?", made.asks[0].answer),)
        digits = [float("".join(c for c in made.rows[at][-1] if c.isdigit())) for at in (2, 4)]
        assert round(digits[1] / digits[0], 3) == int(made.rows[3][0].split()[0])


def test_an_answer_repeats_the_text_as_it_was_read():
    changed = 0
    for seed in range(60):
        made = written.drawn(random.Random(seed), TICKET, 0.1)
        assert made.asks[0].answer == made.rows[1][-1]
        changed += "Depart" not in made.rows[0]
    assert changed  # something was misread


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"rows": ["{nothing}"]}, "cannot be drawn"),
        ({"slots": {**TICKET["slots"], "from": "planet"}}, "cannot be drawn"),
        ({"questions": [{"ask": ["seat?", "where?"], "answer": "window"}]}, "not in the text"),
        ({"questions": [{"ask": ["adult?", "child?"], "answer": "Yes: adult ticket."}]}, "not in the text"),
        ({"questions": [{"ask": "when?", "answer": "{dep}"}]}, "one wording"),
    ],
)
def test_what_is_wrong_with_a_document_is_named(change, fault):
    assert not list(written.faults(TICKET))
    assert any(fault in said for said in written.faults({**TICKET, **change}))
