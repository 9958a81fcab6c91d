"""When a run gets to a stop, and whether it stops there, is read from its column."""

import time

import pytest

from lav2.text import timetables
from lav2.text.lookups import looked_up

TRAINS = [
    ["Line 214"],
    ["Train no.", "4102", "4106", "4110", "4118"],
    ["Altmatt dep", "6:12", "7:12", "9:42", "13:12"],
    ["Bern", "6:19", "7:19", "", "13:19"],
    ["Ferrensee arr", "6:44", "7:44", "10:10", "13:44"],
    ["Ferrensee dep", "6:47", "7:50", "10:12", "13:47"],
    ["Guldental arr", "7:16", "8:19", "10:37", "14:16"],
]
BUSES = [
    ["Market", "8:05", "9:05", "16:35"],
    ["Hospital", "8:20", "9:20", "16:50"],
    ["School Lane", "8:31", "-", "17:01"],
]
STOPS = [["Harbour", "Museum", "Zoo"], ["7:00 am", "7:12 am", "7:30 am"], ["2:00 pm", "2:12 pm", "2:30 pm"]]


@pytest.mark.parametrize(
    ("rows", "question", "answer"),
    [
        (TRAINS, "If I take the 7:12 from Altmatt when do I get to Guldental?", "8:19"),
        (TRAINS, "what time does train 4118 leave Ferrensee", "13:47"),
        (TRAINS, "When does train no. 4118 arrive in Ferrensee?", "13:44"),
        (TRAINS, "does the 9:42 train stop at Bern?", "No, it does not stop there."),
        (TRAINS, "Does train 4106 stop in Bern", "Yes, 7:19."),
        (BUSES, "i take the 9:05 at the market, when am i at the hospital", "9:20"),
        (BUSES, "when does the 8:05 bus get to School Lane?", "8:31"),
        (BUSES, "when does the first bus leave the hospital", "8:20"),
        (BUSES, "I need the time of the last bus from Market.", "16:35"),
        (TRAINS, "when is the last train to Ferrensee?", "13:44"),
        ([*BUSES, ["Zoo", "9 41", "17 10"]], "what time does the 8:05 get to the hospital", "8:20"),  # another width
        (STOPS, "when does the 2:00 bus reach the zoo?", "2:30 pm"),
    ],
)
def test_the_column_of_a_run_answers(rows, question, answer):
    assert looked_up(rows, question) == answer


def test_a_name_with_many_spaces_is_read_quickly():
    start = time.perf_counter()
    rows = [["Bern" + " " * 20_000 + "x", "6:19", "7:19", "8:19"], ["Thun", "6:29", "7:29", "8:29"]]
    timetables.told(rows, "when does the 6:19 train get to Bern")
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("rows", "question"),
    [
        (TRAINS, "when does the 8:00 get to Guldental?"),  # there is no such run
        (TRAINS, "when does train 4110 arrive in Bern?"),  # it does not stop there
        (TRAINS, "how long does the last train take to Guldental?"),
        (TRAINS, "How much is a ticket to Guldental?"),
        (BUSES, "when does the 8:05 bus get to the airport?"),
        (TRAINS, "when does the 8:19 train get to Altmatt?"),  # it has been there
        (TRAINS, "when does train 4106 leave Guldental"),  # where it ends
        (TRAINS, "when is the first pm train from Bern"),
        (TRAINS, "When does the last train from Altmatt arrive"),
        (TRAINS, "Can I go from Bern at 9:42?"),
        ([["Anna", "9:00", "17:00"], ["Ben", "8:00", "16:00"]], "when does Anna arrive at the latest"),
        ([["Mon", "9:00", "17:00"], ["Tue", "9:00", "18:00"]], "when does it close on Tue"),
    ],
)
def test_other_questions_are_left_to_the_model(rows, question):
    assert looked_up(rows, question) == ""
