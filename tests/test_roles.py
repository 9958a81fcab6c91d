"""Who a letter, a bill or a parcel is for and from, and the company of a card, are looked up."""

import pytest

from lav2.text.roles import told

LETTER = [["Brackenridge Eye Clinic"], ["2 March 2026"], ["Dear Mr Osei"], ["Your appointment is on Tuesday"],
          ["Yours sincerely;"], ["Carol Finch"], ["Appointments Office"]]  # fmt: skip
BILL = [["Tidewater Plumbing", "INVOICE"], ["Date", "6 October 2025"], ["Bill to"], ["Greta Holm"], ["Total", "£29.00"]]
PARCEL = [["SENDER", "RECIPIENT"], ["James Evans", "Lars Clark"], ["92 School Lane", "269 Victoria Road"]]
CARD = [["Marta Oyelaran"], ["Structural Engineer"], ["Pillar & Span Ltd"], ["Unit 5, Leeds LS11"]]


@pytest.mark.parametrize(
    ("rows", "question", "answer"),
    [
        (LETTER, "Who is it addressed to?", "Mr Osei"),
        (LETTER, "who's the letter for", "Mr Osei"),
        (LETTER, "who wrote it?", "Carol Finch"),
        (LETTER, "Who signed the letter?", "Carol Finch"),
        (BILL, "Who is the invoice for?", "Greta Holm"),
        (BILL, "who is being billed", "Greta Holm"),
        (BILL, "who signed it?", ""),
        (PARCEL, "who sent it", "James Evans"),
        (PARCEL, "who is the parcel for?", "Lars Clark"),
        ([["Sender: Ann Roe"], ["To", "Bo Lund"]], "Who is it from?", "Ann Roe"),
        ([["Sender: Ann Roe"], ["To", "Bo Lund"]], "who is it to?", "Bo Lund"),
        ([["Love, Mum"]], "who is the note from?", "Mum"),
        ([["Signed copy"], ["Dear tenant,"]], "who wrote it?", ""),
        ([["Signed copy"], ["Dear tenant,"]], "who is it for", ""),
        (CARD, "Which company does Marta work for?", "Pillar & Span Ltd"),
        (CARD, "where does Marta work?", "Pillar & Span Ltd"),
        (CARD, "Who is Marta?", ""),
        ([*CARD, ["Other GmbH"]], "Which company does Marta work for?", ""),
        ([], "who is it for?", ""),
    ],
)
def test_who_a_paper_is_for_and_from_is_looked_up(rows, question, answer):
    assert told(rows, question) == answer
