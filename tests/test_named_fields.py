"""Facts behind labels are looked up whatever people call them, and left to the model where they are not clear."""

import pytest

from lav2.text.lookups import looked_up

LABEL = [["Dorvaxin 250 mg"], ["Store below 25 C", "Use before: 11/2026", "Batch: FX3092"], ["NET WT 42 g"]]
BILL = [
    ["Invoice no:", "2025-0638"],
    ["Due date:", "17.06.2025"],
    ["VAT", "555,56 €"],
    ["Total due", "3.479,56 €"],
]
PASS = [["Passport: Lena Berg; born 03.05.1990"], ["DATE", "SEAT"], ["09 SEP", "22F"], ["CONFIRMATION"], ["H7KX2P"]]
PHONE = [["Settings"], ["Wi-Fi", "Birchnest_5G"], ["Bluetooth", "Off"], ["Password:", "otter-48-maple"]]


@pytest.mark.parametrize(
    ("rows", "question", "answer"),
    [
        (LABEL, "when does it expire", "11/2026"),
        (LABEL, "Hi, until when is this good?", "11/2026"),
        (LABEL, "what's the expiry date of the capsules?", "11/2026"),
        (LABEL, "by when should it be used up by", "11/2026"),
        (LABEL, "how heavy is it?", "42 g"),
        (BILL, "When do I have to pay this by?", "17.06.2025"),
        (BILL, "what is the due date", "17.06.2025"),
        (BILL, "total to pay incl. VAT", "3.479,56 €"),
        (BILL, "How much do we have to pay in total?", "3.479,56 €"),
        (PASS, "whats my seat number", "22F"),
        (PASS, "Tell me the confirmation code.", "H7KX2P"),
        (PASS, "when was she born?", "03.05.1990"),
        (PHONE, "what wifi am I on", "Birchnest_5G"),
        (PHONE, "what’s the wifi password", "otter-48-maple"),
    ],
)
def test_a_fact_is_looked_up_behind_its_label(rows, question, answer):
    assert looked_up(rows, question) == answer


@pytest.mark.parametrize(
    ("rows", "question"),
    [
        ([*LABEL, ["Best before: 01/2025"]], "when does it expire"),  # two of them
        (BILL, "when was it paid?"),
        (BILL, "when does it expire"),  # the text does not say
        (PASS, "when was the pilot born?"),  # whose birthday it is, is not clear
        ([["Wi-Fi", "On"]], "which wifi is it on"),
        (PHONE, "is there a password?"),
        (LABEL, "how much does it cost?"),
        (LABEL, "how heavy is the dog"),
        (LABEL, "what's the gross weight"),
        (BILL, "by when should I not pay?"),
        (BILL, "when is the baby due"),
        ([["Total", "120.00"], ["Paid", "50.00"], ["Outstanding", "70.00"]], "how much do I owe"),
        ([["Total (without VAT)", "10.00"]], "what's the total incl. VAT"),
        (PASS, "when was my father born?"),
        ([["Wi-Fi", "Not connected"]], "what's the wifi name"),
        ([["Password", "Forgot?"]], "what is the password"),
        ([["Confirmation", "SIGNED"]], "confirmation"),
        ([["Booking date: 2024-05-03"]], "what is the booking number"),
        ([["Seat 4 persons"]], "what seat do I have"),
        ([["Exp. 3-5 days"]], "when does it expire"),
    ],
)
def test_what_is_not_said_once_is_left_to_the_model(rows, question):
    assert looked_up(rows, question) == ""
