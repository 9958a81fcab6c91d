"""The state of a list's rows is looked up: which are late, whether one is; where the list is not clear, nothing is."""

from random import Random

import pytest

from lav2.documents import states as made_up
from lav2.text.lookups import looked_up
from lav2.text.states import told

TRAINS = [
    ["Departures"],
    ["Time", "To", "Platform", "Status"],
    ["09:12", "Lausanne", "4", "On time"],
    ["09:25", "Geneva", "2", "Cancelled"],
    ["09:40", "Bern", "7", "Delayed 15 min"],
    ["10:05", "Basel", "1", "On time"],
    ["10:18", "Milano", "9", "Boarding"],
]
TASKS = [
    ["This week"],
    ["Buy milk", "done"],
    ["Call the bank", "open"],
    ["Pay the rent", "done"],
    ["Fix the bike", "open"],
]
RENT = [["Elena $40 paid"], ["Mrs. Boyer $35 OVERDUE"], ["Justin $12.50 Paid"]]
STOCK = [["Salmon", "sold out"], ["Tuna", "8 left"], ["Cod", "available"], ["Served with chips"]]


@pytest.mark.parametrize(
    ("rows", "question", "answer"),
    [
        (TRAINS, "Is the train to Geneva running?", "No: Cancelled."),
        (TRAINS, "Does the Bern train run today?", "Yes: Delayed 15 min."),
        (TRAINS, "Which train is late?", "Bern"),
        (TRAINS, "Which trains are on time?", "Lausanne, Basel"),
        (TRAINS, "Is the train to Basel on time?", "Yes: On time."),
        (TRAINS, "so, is the train to Basel delayed?", "No: On time."),
        (TRAINS, "Can I still catch the train to Milano?", "Yes: Boarding."),
        (TRAINS, "How many trains are cancelled?", "1"),
        (TRAINS, "How late is the train to Bern?", "Delayed 15 min"),
        (TRAINS, "What is the status of the Milano train?", "Boarding"),
        (TASKS, "What is still to do?", "Call the bank, Fix the bike"),
        (TASKS, "Is the rent paid?", ""),  # "done" is no word for it: the model is asked
        (TASKS, "What is done?", "Buy milk, Pay the rent"),
        (TASKS, "How many tasks are open?", "2"),
        (RENT, "Has Elena paid?", "Yes: paid."),
        (RENT, "Who has not paid?", "Mrs. Boyer"),
        (RENT, "Does Justin owe money?", "No: Paid."),
        (STOCK, "Is there any salmon left?", "No: sold out."),
        (STOCK, "Can I get tuna?", "Yes: 8 left."),
        (STOCK, "What is sold out?", "Salmon"),
    ],
)
def test_the_state_of_rows_is_told(rows, question, answer):
    assert told(rows, question) == answer
    assert not answer or looked_up(rows, question) == answer


@pytest.mark.parametrize(
    ("rows", "question"),
    [
        (TRAINS, "Who has paid?"),  # trains do not pay
        (TRAINS, "Is the train to Paris late?"),
        (TRAINS, "From which platform does the train to Bern leave?"),
        (TRAINS, "Is the train late?"),  # which one?
        ([*TRAINS, ["10:30", "Zurich", "3", "De1ayd"]], "Which train is late?"),  # one row is misread
        (TRAINS[:3], "Which train is late?"),  # one row is no list
        ([["Monday", "9-17"], ["Saturday", "closed"], ["Sunday", "closed"]], "Is the shop closed?"),
        ([["Total", "12.50"], ["VISA", "paid"]], "Is it paid?"),
        ([], "Which train is late?"),
    ],
)
def test_what_is_not_clear_is_not_told(rows, question):
    assert told(rows, question) == ""


def test_a_list_without_that_state_says_so():
    assert told([*TRAINS[:2], TRAINS[2], TRAINS[5]], "Which train is cancelled?") == "None of them."


def test_of_made_up_lists_nearly_all_that_is_told_is_right():
    right, wrong = 0, []
    for seed in range(150):
        made = made_up.states(Random(seed), rate=0.0)
        for ask in made.asks:
            answer = "" if ask.history else told(made.rows, ask.question)
            if answer and answer != ask.answer:
                wrong.append((made.rows, ask.question, ask.answer, answer))
            right += bool(answer)
    assert right > 800 and len(wrong) < 0.01 * right, wrong
