"""What a text says outright is looked up, or nothing is (lav2.text.lookups)."""

import pytest

from lav2.text.lookups import looked_up

TRAINS = [
    ["CENTRAL STATION"],
    ["Time", "Destination", "Platform"],
    ["09:15", "Dallas", "4"],
    ["09:40", "New York", "7"],
    ["10:05", "Boston", "7"],
]
PEOPLE = [["Name", "Height", "Score"], ["Ester", "181 cm", "97%"], ["Samantha Hill", "173 cm", "88%"]]
RECEIPT = [["GREEN MARKET"], ["DATE: 03/05/2018", "TIME: 13:54"], ["Eggs", "3.95"], ["TOTAL", "3.95"]]


@pytest.mark.parametrize(
    ("rows", "question", "answer"),
    [
        (TRAINS, "What platform does Dallas have?", "4"),
        (TRAINS, "Which platform is it for New York?", "7"),
        (PEOPLE, "Which score does Ester have?", "97%"),
        (PEOPLE, "what is samantha's height", "173 cm"),
        (RECEIPT, "What is the date on the receipt?", "03/05/2018"),
        (RECEIPT, "When was this bought?", "03/05/2018"),
        (RECEIPT, "date of purchase?", "03/05/2018"),
        ([["Invoice", "12 March 2026"]], "And when was it issued?", "12 March 2026"),
        (RECEIPT, "How much are the eggs?", "3.95"),
    ],
)
def test_one_cell_date_or_price_is_the_answer(rows, question, answer):
    assert looked_up(rows, question) == answer


@pytest.mark.parametrize(
    ("rows", "question"),
    [
        (TRAINS, "Which platform is free?"),  # of no row
        (TRAINS, "Which destination has platform 7?"),  # two
        (TRAINS, "What is the platform?"),
        ([["Lift", "Open"], ["Summit", "9:15"]], "Is the summit open?"),  # whether, not since when
        (PEOPLE, "What are the height and score of Ester?"),  # two columns
        (PEOPLE, "How old is Ester?"),
        ([*PEOPLE, ["Ester", "160 cm", "71%"]], "Which score does Ester have?"),  # two of that name
        ([["Name", "Score"], ["Ester", "-"]], "Which score does Ester have?"),
        ([["Item", "Amount"], ["Total", "9.50"]], "Total amount?"),  # sums stand in rows of their own
        ([["Issued 03/05/2018"], ["Due 03/06/2018"]], "What is the date?"),
        (RECEIPT, "What is the due date?"),
        (RECEIPT, "When does it open?"),
        ([["Phone 12/34/56789"]], "What date is it?"),
        ([], "What is the date?"),
    ],
)
def test_where_none_or_several_fit_nothing_is_looked_up(rows, question):
    assert looked_up(rows, question) == ""


PASS = [
    ["BOARDING PASS"],
    ["Passenger", "Flight", "Date"],
    ["KIM SORA", "KE 902", "17 SEP"],
    ["From", "To", "Gate"],
    ["Frankfurt FRA", "Seoul ICN", "B42"],
    ["Boarding", "Departs", "Seat"],
    ["18:50", "19:35", "31A"],
]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Which gate?", "B42"),
        ("When does boarding start?", "18:50"),
        ("What is my seat number?", "31A"),
        ("What is the flight number?", "KE 902"),
        ("Where does the flight go?", ""),  # asks for more than the label says
        ("What is the gate and the seat?", ""),
    ],
)
def test_a_label_that_stands_above_its_value_tells_it(question, answer):
    assert looked_up(PASS, question) == answer


def test_labels_beside_their_values_or_above_many_are_no_grid():
    assert looked_up([["Name:", "Grant"], ["Seat:", "32B"]], "What is the name?") == ""
    assert looked_up([["Name", "Seat"], ["Kim", "31A"], ["Lee", "31B"]], "Which seat?") == ""


@pytest.mark.parametrize(
    "question",
    [
        "On what date was this?",
        "On which day was this bought?",
        "What is the date of the receipt?",
        "When was it?",
        "date?",
    ],
)
def test_the_one_date_is_told_however_it_is_asked_for(question):
    assert (
        looked_up([["CORNER STORE"], ["12 Harbour Street"], ["14/03/2026", "10:42"], ["Total", "8.20"]], question)
        == "14/03/2026"
    )
    assert looked_up([["Issued 14/03/2026"], ["Valid until 14/03/2027"]], question) == ""


PHONES = [["LAKESIDE CAMPSITE"], ["Emergency: 0170 555 0199"], ["Office", "0170 555 0142"], ["Opened 12/05/2019"]]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("what number do I call in an emergency?", "0170 555 0199"),
        ("Who do I ring in an emergency?", "0170 555 0199"),
        ("phone number of the office?", "0170 555 0142"),
        ("which number should I call?", ""),  # of two
        ("When is the office on the phone?", ""),
        ("Is the office number right?", ""),
        ("What number has the tent?", ""),
    ],
)
def test_of_several_phone_numbers_that_beside_the_word_of_the_question_is_told(question, answer):
    assert looked_up(PHONES, question) == answer
    assert looked_up(PHONES[:2], question) == ""  # the only one is left to the model


CARD = [
    ["Ingrid Halvorsen", "Architect"],
    ["ingrid.halvorsen@lm.co.uk"],
    ["www.lindqvist-moore.co.uk/team"],
    ["LS1 4QT"],
]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("email address?", "ingrid.halvorsen@lm.co.uk"),
        ("What is her e-mail?", "ingrid.halvorsen@lm.co.uk"),
        ("could you give me the mail address please", "ingrid.halvorsen@lm.co.uk"),
        ("whats the email", "ingrid.halvorsen@lm.co.uk"),
        ("what is a website", ""),
        ("website of the competitor?", ""),
        ("website?", "www.lindqvist-moore.co.uk/team"),
        ("What's their web address", "www.lindqvist-moore.co.uk/team"),
        ("Is the email right?", ""),
        ("who wrote the email?", ""),
        ("When was the mail sent?", ""),
    ],
)
def test_the_one_address_of_mail_or_web_is_told_where_it_is_asked_for(question, answer):
    assert looked_up(CARD, question) == answer
    assert looked_up([*CARD, ["info@example.org", "example.org"]], question) == ""  # of two
    assert looked_up([["Mr. A. Smith"], ["14.30"], ["2.de"]], question) == ""


def test_an_address_of_mail_that_lost_its_dot_is_told_where_it_stands_alone():
    assert looked_up([["info@gvdental example"]], "email?") == "info@gvdental example"
    assert looked_up([["mail anna@home today please"]], "email?") == ""


def test_addresses_are_sought_in_a_long_text_without_delay():
    long = "a." * 20_000 + "@" + "b-" * 20_000
    assert looked_up([[long]], "email?") == ""
    assert looked_up([[long]], "website?") == ""
    assert looked_up(CARD, "the " * 20_000 + "email " * 2_000) == ""


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What's at 9:00 on Tue?", "French"),
        ("what is on Mon 10:10", "English"),
        ("Is it French on Tue at 9:00?", ""),
        ("What's at 12:00 on Tue?", ""),
        ("club on Mon?", ""),  # a yes or no is told with its proof
    ],
)
def test_a_cell_is_found_where_the_names_of_the_rows_have_no_heading(question, answer):
    week = [
        ["Class 7B"],
        ["Mon", "Tue"],
        ["9:00", "Maths", "French"],
        ["10:10", "English", "Art"],
        ["Club", "yes", "no"],
    ]
    assert looked_up(week, question) == answer


def test_the_apostrophes_of_a_phone_are_read_like_straight_ones():
    rows = [["Bill to: Anna Berg"], ["Due date:", "17.06.2025"], ["Total", "8.20"]]
    for question in ("Who’s the bill for?", "What’s the due date?", "what’s the total"):
        assert looked_up(rows, question) == looked_up(rows, question.replace("’", "'")) != ""
