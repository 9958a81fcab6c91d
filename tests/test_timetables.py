"""What is looked up in a timetable: the right cell, or nothing."""

import pytest

from lav2.text.lookups import looked_up

BUS = [
    ["46", "Town Hall - Quarry Hill"],
    ["Monday to Saturday"],
    ["Town Hall", "06:40", "07:10", "12:00", "21:50"],
    ["Market Cross", "06:48", "07:18", "12:08", "21:58"],
    ["Quarry Hill", "07:10", "07:40", "12:30", "22:20"],
    ["Sundays and public holidays"],
    ["Town Hall", "10:15", "12:45", "17:15"],
    ["Market Cross", "10:23", "12:53", "17:23"],
    ["Quarry Hill", "10:45", "13:15", "17:45"],
]
FERRY = [
    ["Skarra Ferry", "daily"],
    ["Portlea to Skarra", "Skarra to Portlea"],
    ["07:30", "08:20"],
    ["14:00", "14:50"],
    ["18:15", "19:05"],
    ["Crossing time 35 minutes"],
    ["Bicycles travel free"],
]
BOARD = [
    ["Time", "Destination", "Platform"],
    ["9:05", "Leeds", "2"],
    ["9:30", "York", "1"],
    ["11:00", "Leeds", "2"],
]


@pytest.mark.parametrize(
    ("rows", "question", "answer"),
    [
        (BUS, "When's the last bus from Town Hall on Sundays?", "17:15"),
        (BUS, "first bus from Market Cross on a Monday?", "06:48"),
        (BUS, "when does the first bus on Sunday get to Quarry Hill", "10:45"),
        (BUS, "What time is the next bus from Market Cross after 07:30 on Tuesday?", "12:08"),
        (BUS, "when does the 07:10 from Town Hall arrive at Market Cross on Friday?", "07:18"),
        (FERRY, "When's the first ferry back from Skarra?", "08:20"),
        (FERRY, "what time is the last boat to Skarra", "18:15"),
        (FERRY, "next ferry from Portlea after 14:00?", "18:15"),
        (BOARD, "when is the last train to Leeds?", "11:00"),
        (BOARD, "when does the first train to York leave", "9:30"),
        (BOARD, "when is the first train?", "9:05"),
        (BOARD, "last train to Leeds?", "11:00"),
    ],
)
def test_the_time_of_the_place_the_direction_and_the_day_is_looked_up(rows, question, answer):
    assert looked_up(rows, question) == answer


@pytest.mark.parametrize(
    ("rows", "question"),
    [
        (BUS, "When's the last bus from Town Hall?"),  # of which day?
        (BUS, "when is the first bus on Sunday?"),  # from where?
        (BUS, "when is the last bus from Town Hall on Sundays with a bike rack?"),
        (BUS, "when is the first bus from the Hospital on Sunday?"),
        (FERRY, "when is the first ferry?"),  # in which direction?
        ([*FERRY[:3], ["1a:00", "14:50"], *FERRY[4:]], "what time is the last boat to Skarra"),  # one is misread
        ([*BUS[:2], ["Town Hall", "06:40", "17:10", "12:00", "21:50"]], "first bus from Town Hall?"),  # so is one here
        (BOARD, "when is the next train to Leeds?"),  # after when?
        (
            [["Mon - Fri", "Sat + Sun"], ["First boat", "6:15", "8:15"], ["Last boat", "18:00", "16:45"]],
            "when is the first boat on Saturday?",
        ),  # the columns are days
        (BOARD, "last train?"),  # its time, or where it goes?
    ],
)
def test_nothing_is_looked_up_where_the_page_or_the_question_leaves_it_open(rows, question):
    assert looked_up(rows, question) == ""
