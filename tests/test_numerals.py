"""Prices, times and codes that the text reader writes with letters are told with their digits and signs."""

import pytest

from experts.numerals import joined, meant


@pytest.mark.parametrize(
    ("read", "told"),
    [
        ("Io:oo - I4:oo", "10:00 - 14:00"),
        ("09:30 I7:00", "09:30 17:00"),
        ("every day Ilam - llpm", "every day 11am - 11pm"),
        ("1 4:00", "14:00"),
        ("18 . 00", "18.00"),
        ("27. 09", "27.09"),
        ("TOTAL E13.81", "TOTAL £13.81"),
        ("f1. 459", "£1.459"),
        ("Error code: Ox80F4-17", "Error code: 0x80F4-17"),
        ("get the 1Oth free", "get the 10th free"),
        ("wwwbeanbloom example", "www.beanbloom.example"),
        ("8h30 19hoo", "8h30 19h00"),
        ("3 0'clock", "3 o'clock"),
        ("Aqua_ bar", "Aqua bar"),
        ("Deposit S50 per bike", "Deposit $50 per bike"),
        ("S100 REWARD", "$100 REWARD"),
        ("L U N C H", "LUNCH"),
    ],
)
def test_numbers_are_told_with_their_digits_and_signs(read, told):
    assert meant([read]) == [told]


@pytest.mark.parametrize(
    "text",
    [
        "I am here",
        "Bulb E27",
        "S6 bus",
        "Size S 40",
        "Row S12 only 2.50",
        "A B C D E F",
        "Grade A B C D F",
        "M T W T F S S",
        "N Q R W",
        "ADULT S14",
        "Room S12 per night",
        "Charge your Galaxy S21 here",
        "Line S3 off peak",
        "Platform 1 4:00",
        "f/2.8",
        "Oxford",
        "Ox 12",
        "version 1.10",
        "10.0.0.1",
        "12:30:15",
        "SOS.OO",
        "Size S",
    ],
)
def test_what_is_no_number_stays(text):
    assert meant([text]) == [text]


def test_an_s_alone_before_a_number_is_a_dollar_on_a_page_of_prices_only():
    assert meant(["Rental prices", "S14"]) == ["Rental prices", "$14"]
    assert meant(["S1", "S3", "Berlin"]) == ["S1", "S3", "Berlin"]  # city trains


def test_an_e_before_a_price_is_the_currency_of_the_page():
    assert meant(["Tea", "E2.50", "€3.10"]) == ["Tea", "€2.50", "€3.10"]


def test_a_time_in_two_boxes_is_told_as_one():
    assert joined(["1", "4:00"]) == "14:00"
    assert joined(["Room", "1", "4:00"]) == "Room 1 4:00"
    assert joined(["2", "9:30"]) == "2 9:30"
    assert joined(["Gate 2", "5:40"]) == "Gate 2 5:40"
    assert joined(["Gate", "12"]) == "Gate 12"


@pytest.mark.parametrize(
    ("read", "told"),
    [
        ("Mon - Fri 9:00 - 17:00", "Mon-Fri 9:00-17:00"),
        ("Sat – Sun closed", "Sat-Sun closed"),
        ("9am - 5pm", "9am-5pm"),
        ("150 - 400", "150-400"),
        ("Sept - Oct", "Sept-Oct"),
        *((text, text) for text in (
            "Zone 2 - 3.50", "Room 12 - 14:00", "Marc - Marco", "Tel 0113 - 555", "Menu 1 - 12 EUR", "June 14 - 8 pm",
            "3 - 4 - 2026", "555 - 123 - 4567", "Soup 4.50 - 12.00", "You may - may not", "Sun - Sun cream",
        )),
    ],
)  # fmt: skip
def test_from_one_to_another_of_a_kind_is_told_without_gaps(read, told):
    assert joined([read]) == told
