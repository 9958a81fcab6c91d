"""Opening hours are looked up by the day and compared with a time of day; what is not clear is left to the model."""

from random import Random

import pytest

from lav2.documents import times
from lav2.text.hours import answered
from lav2.text.lookups import looked_up

POOL = [["City Pool"], ["Monday - Friday 6:30 - 21:00"], ["Saturday 8:00 - 18:00"], ["Sunday closed"], ["Adults 5.50"]]
CAFE = [["OPEN"], ["MON-THU", "9 am - 5 pm"], ["Fri, Sat", "9 am - midnight"], ["Sun", "10-4"]]


@pytest.mark.parametrize(
    ("rows", "question", "answer"),
    [
        (POOL, "When does it close on Saturday?", "18:00"),
        (POOL, "when does the pool open on wednesdays", "6:30"),
        (POOL, "What are the hours on Tuesday?", "6:30 - 21:00"),
        (POOL, "Is it open on Sunday?", "No, it is closed on Sunday."),
        (POOL, "Is it closed on Sunday?", "Yes, it is closed on Sunday."),
        (POOL, "When does it open on Sunday?", "It is closed on Sunday."),
        (POOL, "Is it open at 7 am on Saturday?", "No, 8:00 - 18:00."),
        (POOL, "Can I go there on Saturday at 10:30?", "Yes, 8:00 - 18:00."),
        (POOL, "Are they open at 8 pm on Monday?", "Yes, 6:30 - 21:00."),
        (POOL, "On which day is it closed?", "Sunday"),
        (CAFE, "When does it close on Saturday?", "midnight"),
        (CAFE, "Is the cafe open on Friday at 11 pm?", "Yes, 9 am - midnight."),
        (CAFE, "Is it open at 5 pm on Sunday?", "No, 10-4."),
        (CAFE, "How late is it open on Thursdays?", "5 pm"),
        ([["Mon - Sun", "8 : 30 am to 6 pm"]], "When do they close?", "6 pm"),
        ([["OPENING HOURS"], ["09:00-17:00"]], "When does it close?", "17:00"),
        ([["Cafe Luna"], ["open 8 - 16.30"]], "what time do you open", "8"),
        ([["Saturday"], ["10:00 - 14:00"]], "When is it open on Saturday?", "10:00 - 14:00"),
    ],
)
def test_the_hours_of_a_day_are_told(rows, question, answer):
    assert answered(rows, question) == looked_up(rows, question) == answer


@pytest.mark.parametrize(
    ("rows", "question"),
    [
        (POOL, "How much is it on Sunday?"),  # asks for something else
        (CAFE, "Is it open at 9 on Monday?"),  # in the morning yes, in the evening no
        (POOL, "When does it close?"),  # days differ
        (POOL, "Is it open?"),
        (POOL, "When is the last entry on Sunday?"),
        (POOL[:3], "Is it open on Sunday?"),  # nothing of that day
        (POOL[:3], "On which day is it closed?"),
        ([["Mon 9-12"], ["Mon 14-18"]], "When does it open on Monday?"),  # two rows
        ([["Mon 9-12, 14-18"]], "When does it close on Monday?"),
        ([["Monday", "8h30-l4ho0"]], "When does it close on Monday?"),  # misread
        ([["Tuesday", "12:45", "Morning flow"]], "When does it begin on Tuesday?"),
        ([], "Is it open on Sunday?"),
        ([["Mon - Sat", "9 - 17"], ["Kitchen", "12 - 15"]], "Is it open on Monday?"),  # two spans, of what?
        ([["Monday - Friday", "8:30 - 12:30"], ["13:30 - 17:30"]], "When does it close on Friday?"),  # a lunch break
        ([["Sat in March only", "8 - 12"], ["Mon - Fri", "7 - 17"]], "Is it open on Saturday?"),  # a condition
        ([["Summit car", "daily", "9:15 - 16:00", "CLOSED (wind)"]], "Is it open on Monday?"),
        ([["Open air cinema"], ["19:30 - 22:00"], ["Doors 19:00"]], "When does it close?"),
        ([["Back soon, open again"], ["12:30 - 13:15"]], "When does it open?"),
        (POOL, "When does the sauna close on Monday?"),  # is it the pool's?
        (POOL, "Until when can I send parcels on Monday?"),
    ],
)
def test_what_is_not_clear_is_not_told(rows, question):
    assert answered(rows, question) == ""


def test_of_made_up_hours_nearly_all_that_is_told_is_right():
    right, wrong = 0, []
    for seed in range(150):
        made = times.hours(Random(seed), rate=0.0)
        for ask in made.asks:
            answer = "" if ask.history else answered(made.rows, ask.question)
            if answer and answer.rstrip(".") != ask.answer.rstrip("."):
                wrong.append((ask.question, ask.answer, answer))
            right += bool(answer)
    assert right > 500 and len(wrong) < 0.01 * right, wrong
