"""Yes and no are written behind the row that proves them, and read before it."""

import numpy as np
import pytest

from experts.evidence import Caption, OcrLines
from lav2.text import proofs, weighing


@pytest.mark.parametrize(
    ("read", "written"),
    [
        ("No: Cash only.", "> Cash only\nNo."),
        ("Yes: Open 9 a.m. to 5 p.m.", "> Open 9 a.m. to 5 p.m\nYes."),
        ("Yes: Sat 10:00 - 16:00.", "> Sat 10:00 - 16:00\nYes."),
    ],
)
def test_a_proof_is_written_before_its_yes_or_no_and_read_behind_it(read, written):
    assert proofs.learned(read) == written
    assert proofs.told(written) == read


@pytest.mark.parametrize(
    "answer", ["Yes.", "No, it is closed on Monday.", "12.50", "The text does not say that.", "Yes"]
)
def test_other_answers_stay_as_they_are(answer):
    assert proofs.learned(answer) == answer == proofs.told(answer)


def streamed(*pieces):
    return list(proofs.turned((piece, at + 1) for at, piece in enumerate(pieces)))


def test_a_proof_waits_for_its_yes_or_no():
    assert streamed(">", " Cash", " only", "\n", "No", ".") == [("No: Cash only.", 6)]


def test_any_other_answer_comes_piece_by_piece():
    assert streamed("12", ".50", "") == [("12", 1), (".50", 2), ("", 3)]
    assert streamed(">", " a quotation", "\n", "It", " goes on") == [("> a quotation\nIt", 4), (" goes on", 5)]
    assert streamed(">", " cut off") == [("> cut off", 2)]
    assert streamed() == []


def test_closing_the_turned_answer_closes_the_one_that_is_written():
    closed = []

    def written():
        try:
            yield "a", 1
            yield "b", 2
        finally:
            closed.append(True)

    stream = proofs.turned(written())
    next(stream)
    stream.close()
    assert closed


def test_a_likely_yes_of_photos_does_not_keep_a_text_from_proving_a_no():
    asked = "May I park here?"
    quads = np.array([[[0, 0], [60, 0], [60, 10], [0, 10]]], np.float32)
    ocr = OcrLines(quads, np.ones(1, np.float32), ("No parking",), 0.1, (100, 60))
    caption = Caption("a street", 0.0, "toy", (), (("yes", 0.7), ("no", 0.2)), asked)
    weights = weighing.answer_bias({"caption": caption, "ocr": ocr}, asked)
    assert weights[proofs.MARK] == weights["Yes"] > weights["No"]
    assert proofs.MARK not in weighing.answer_bias({"caption": caption}, asked)
