"""Cells stand beside the headings above them in the prompt; what is no table or grid stays as it is."""

import pytest

from experts.evidence import from_json
from experts.headings import labelled, parted
from experts.prompt_block import prompt_block
from lav2.documents.layout import ocr_json

TICKET = [["RAIL TICKET"], ["From", "Depart"], ["Exeter", "10:12"], ["To", "Arrive"], ["Penzance", "12:59"],
          ["Coach", "Seat", "Price"], ["C", "34A", "41.60"]]  # fmt: skip


def test_values_below_labels_have_their_label():
    assert labelled(TICKET)[2::2] == [
        ["From: Exeter", "Depart: 10:12"],
        ["To: Penzance", "Arrive: 12:59"],
        ["Coach: C", "Seat: 34A", "Price: 41.60"],
    ]
    assert labelled(TICKET)[1::2] == TICKET[1::2]


@pytest.mark.parametrize(
    ("rows", "last"),
    [
        ([["Item", "Qty", "Price"], ["Tape", "2", "6.50"], ["Pen 4", "3", "6.30"]], ["Pen 4", "Qty: 3", "Price: 6.30"]),
        ([["hour", "Half day"], ["Bike", "6", "14"], ["E-bike", "9", "28"]], ["E-bike", "hour: 9", "Half day: 28"]),
        ([["Time", "To", "Plat"], ["14:05", "Bristol", "3"]], ["Time: 14:05", "To: Bristol", "Plat: 3"]),
        ([["Mon", "Tue"], ["9:00", "Art", "PE"], ["LUNCH"], ["13:00", "PE", "-"]], ["13:00", "Mon: PE", "-"]),
        ([["Height", "152 cm"], ["Bulb E27", "no"], ["Aisle", "Shelf"], ["14", "22"]], ["Aisle: 14", "Shelf: 22"]),
        ([["Solo", "Duo"], ["Month", "5.12", "9.99"], ["Year", "50", "90"]], ["Year", "Solo: 50", "Duo: 90"]),
    ],
)  # fmt: skip
def test_cells_of_a_table_have_their_headings_and_names_of_rows_none(rows, last):
    assert labelled(rows)[-1] == last


@pytest.mark.parametrize(
    "rows",
    [
        [
            ["Wi-Fi", "Home"],
            ["Bluetooth", "Off"],
            ["Text size", "Large"],
            ["Language", "English"],
            ["Storage", "87 GB"],
        ],  # settings
        [["Tea", "free"], ["Coffee", "2.50"]],
        [["Mon", "closed", "closed"], ["Tue", "9 - 12", "14 - 18"]],
        [["Total", "Cash"], ["Thank you"]],
        [["DEPARTMENT", "Radiology"], ["STAFF NO.", "20-5581"]],
        [["Monday"], ["9:00", "Art"]],
        [],
    ],
)
def test_what_is_no_heading_labels_nothing(rows):
    assert labelled(rows) == rows


def test_a_question_for_the_words_themselves_leaves_the_text_as_it_is():
    assert labelled(TICKET, "What does the ticket say?") == TICKET
    assert labelled(TICKET, "Which seat?") != TICKET


def test_the_prompt_has_the_labels():
    text = {"ocr": from_json("ocr", ocr_json(TICKET))}
    assert "> Coach: C | Seat: 34A | Price: 41.60" in prompt_block(text, len, 10**6, "Which seat?").text
    assert "> C | 34A | 41.60" in prompt_block(text, len, 10**6, "Read the text.").text


def test_a_label_beside_other_words_heads_the_number_below_it():
    ticket = [["ORION CINEMA", "SCREEN"], ["The Harbour", "5"], ["20:15", "Adult"]]
    assert labelled(ticket) == [["ORION CINEMA", "SCREEN"], ["The Harbour", "SCREEN: 5"], ["20:15", "Adult"]]
    for pair in (["Wi-Fi", "On"], ["Drying", "hours"], ["Seat", "12"]):
        assert labelled([pair, ["Auto-lock", "2 minutes"]]) == [pair, ["Auto-lock", "2 minutes"]]


def test_a_label_by_itself_heads_the_value_below_it():
    stub = [["NAME"], ["DELACROIX"], ["SEAT"], ["22F"], ["CONFIRMATION"], ["H7KX2P"]]
    assert labelled(stub)[1::2] == [["NAME: DELACROIX"], ["SEAT: 22F"], ["CONFIRMATION: H7KX2P"]]


@pytest.mark.parametrize(
    "rows",
    [
        [["STOP"], ["EXIT"]],
        [["FULL PRICE"], ["Summer sale"], ["TODAY"]],
        [["Summer"], ["Sale 50%"]],
        [["Items"], ["Add 3 more"], ["Total"]],
        [["To"], ["Anna Berg"], ["12 Kiln Lane"], ["Leeds"]],  # of several lines
        [[]],
    ],
)
def test_signs_and_headings_of_several_rows_label_nothing(rows):
    assert labelled(rows) == rows


def test_numbers_name_columns_behind_the_word_for_a_run_alone():
    runs = [["Bus", "12", "34", "56"], ["Bern", "1:02", "2:03", "3:04"], ["Thun", "1:05", "2:06", "3:07"]]
    assert labelled(runs)[1] == ["Bern", "12: 1:02", "34: 2:03", "56: 3:04"]
    sums = [["Total", *runs[0][1:]], *runs[1:]]
    assert labelled(sums) == sums


def test_a_pass_and_its_stub_have_the_same_headings():
    rows = [["Passenger", "Date", "Passenger"], ["NAKAMURA ELISE", "24 NOV", "NAKAMURA"]]
    assert labelled(rows)[1] == ["Passenger: NAKAMURA ELISE", "Date: 24 NOV", "Passenger: NAKAMURA"]


def test_two_headings_that_were_read_as_one_are_told_apart():
    race = [["Place Name", "Club", "Time"], ["1", "Freya", "TSV Nord", "36.12"], ["2", "Amina", "Runaways", "36.48"]]
    assert parted(race)[0] == ["Place", "Name", "Club", "Time"]
    assert labelled(parted(race))[2] == ["Place: 2", "Name: Amina", "Club: Runaways", "Time: 36.48"]
    film = [["Film", "Screen Shows", "Age"], ["Ember", "2", "14.30", "all"], ["Nine", "1", "22:50", "16+"]]
    assert labelled(parted(film))[1] == ["Ember", "Screen: 2", "Shows: 14.30", "Age: all"]


@pytest.mark.parametrize(
    "rows",
    [
        [["Item", "Unit price"], ["Tea", "2", "1.50"], ["Cake", "1", "3.20"]],  # one heading, and its rows have more
        [["Adult Child", "Time"], ["Mon", "5", "9:00"], ["Tue", "5", "9:00"]],  # what it heads has no heading itself
        [["Place Name", "Club"], ["1", "Freya"], ["2", "Amina"]],
        [["Place Name", "Club"], ["1", "Freya", "TSV Nord"]],
    ],
)
def test_other_headings_stay_together(rows):
    assert parted(rows) == rows
