"""Times of a journey and numbers are looked up behind the label that a question means in other words."""

import pytest

from lav2.text.fields import told

TICKET = [["RAIL TICKET", "ADULT"], ["From", "Depart"], ["EXETER ST DAVIDS", "10:12"], ["To", "Arrive"],
          ["PENZANCE", "12:59"], ["Coach", "Seat", "Ref"], ["C", "34A", "QN4 7XZT"]]  # fmt: skip
CARD = [["Sana Qureshi"], ["Member no", "7741 0926"], ["Valid until: 31 Aug 2027"], ["Planned arrival 10:15 AM"]]


@pytest.mark.parametrize(
    ("rows", "question", "answer"),
    [
        (TICKET, "When does the train leave?", "10:12"),
        (TICKET, "what time does it arrive", "12:59"),
        (TICKET, "departure time?", "10:12"),
        (CARD, "Member number?", "7741 0926"),
        (CARD, "what is her member number?", "7741 0926"),
        (CARD, "planned arrival", ""),
        (CARD, "What is the number?", ""),  # of what?
        (CARD, "what's her phone number?", ""),
        (TICKET, "when does the next train leave?", ""),
        (TICKET, "Does the train leave at 10?", ""),
        ([["Depart: 9:00"], ["Departure: 9:30"]], "when does it leave", ""),
        ([["Depart: Exeter"]], "when does it leave", ""),
        ([], "when does it leave", ""),
    ],
)
def test_a_field_is_looked_up_by_its_meaning(rows, question, answer):
    assert told(rows, question) == answer
