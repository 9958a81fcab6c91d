"""Whether a text says a word, and when something with a span of time ends, is read from its one row."""

import time

import pytest

from lav2.text import mentions
from lav2.text.lookups import looked_up

PARCEL = [["VELOPAK"], ["FRAGILE do not stack"], ["Do not disturb", "22:30-06:45"], ["Breakfast 7 am to 10 am"]]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("is the parcel marked fragile?", "Yes: FRAGILE do not stack."),
        ("does it say do not stack?", "Yes: FRAGILE do not stack."),
        ("Is it labelled as organic?", ""),  # in other words, perhaps
        ("does it say how heavy it is?", ""),
        ("When does do not disturb end?", "06:45"),
        ("what time does breakfast start", "7 am"),
        ("until when is breakfast", ""),
        ("when does lunch end", ""),
    ],
)
def test_it_is_looked_up_where_the_text_says_it_once(question, answer):
    assert looked_up(PARCEL, question) == answer


def test_two_spans_of_a_thing_are_left_to_the_model():
    assert mentions.told([["Lunch", "12:00-13:00"], ["Late lunch", "14:00-15:00"]], "when does lunch end") == ""
    assert mentions.told([["Lunch", "12:00-13:00", "14:00-15:00"]], "when does lunch end") == ""


def test_long_questions_and_texts_are_read_quickly():
    start = time.perf_counter()
    mentions.told([["1:00 - " * 5000]], "when does " + "the " * 5000 + "end")
    mentions.told([["a"]], "is it marked " + "a " * 10_000)
    assert time.perf_counter() - start < 5
