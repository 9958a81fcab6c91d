"""Yes and no are written behind the row that proves them, and read before it."""

from dataclasses import replace

import numpy as np
import pytest
from tiny import LATE, adapted

from experts.evidence import Caption, OcrLines
from lav2.inference.engine import Engine
from lav2.text import proofs, weighing


@pytest.mark.parametrize(
    ("read", "written"),
    [
        ("No: Cash only.", "> Cash only\nNo."),
        ("Yes: Open 9 a.m. to 5 p.m.", "> Open 9 a.m. to 5 p.m\nYes."),
        ("Yes: Sat 10:00 - 16:00.", "> Sat 10:00 - 16:00\nYes."),
        ("No: No dogs!", "> No dogs!\nNo."),
    ],
)
def test_a_proof_is_written_before_its_yes_or_no_and_read_behind_it(read, written):
    assert proofs.proof_first(read) == written
    assert proofs.verdict_first(written) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (">Cash only\n No.\n", "No: Cash only."),
        ("> Cash only\nNo. Cards are not taken.", "No: Cash only. Cards are not taken."),
        ("> Cash on", "Cash on"),  # cut off
        ("> Cash only\n", "Cash only"),
        ("> a quotation\nIt goes on", "> a quotation\nIt goes on"),
    ],
)
def test_what_the_model_writes_otherwise_is_read_as_well(written, read):
    assert proofs.verdict_first(written) == read


@pytest.mark.parametrize("answer", ["Yes.", "No, it is closed on Monday.", "12.50", "The text does not say."])
def test_other_answers_stay_as_they_are(answer):
    assert proofs.proof_first(answer) == answer == proofs.verdict_first(answer)


def streamed(*pieces):
    return list(proofs.stream_verdict_first((piece, at + 1) for at, piece in enumerate(pieces)))


@pytest.mark.parametrize(
    "pieces", [(">", " Cash", " only", "\n", "No", "."), (">Cash", " only", "\n", " No", ".", "\n")]
)
def test_a_proof_waits_for_its_verdict_with_empty_pieces(pieces):
    *held, last = streamed(*pieces)
    assert held == [("", at + 1) for at in range(len(pieces))]
    assert last == ("No: Cash only.", len(pieces))


def test_any_other_answer_comes_piece_by_piece():
    assert streamed("12", ".50", "") == [("12", 1), (".50", 2), ("", 3)]
    assert streamed(">", " words", "\n", "It", " is") == [("", 1), ("", 2), ("", 3), ("> words\nIt", 4), (" is", 5)]
    assert streamed(">", " cut off") == [("", 1), ("", 2), ("cut off", 2)]
    assert streamed() == []


def test_closing_the_turned_answer_closes_the_one_that_is_written():
    closed = []

    def written():
        try:
            yield "a", 1
            yield "b", 2
        finally:
            closed.append(True)

    stream = proofs.stream_verdict_first(written())
    next(stream)
    stream.close()
    assert closed


def test_the_adapters_settings_say_whether_it_writes_so():
    for learned in (False, True):
        model = adapted(replace(LATE, proof_first=learned)).eval()
        assert model.proof_first == Engine(model, compiled=False).proof_first == learned


def test_a_likely_yes_of_photos_does_not_keep_a_text_from_proving_a_no():
    asked = "May I park here?"
    quads = np.array([[[0, 0], [60, 0], [60, 10], [0, 10]]], np.float32)
    ocr = OcrLines(quads, np.ones(1, np.float32), ("No parking",), 0.1, (100, 60))
    caption = Caption("a street", 0.0, "toy", (), (("yes", 0.7), ("no", 0.2)), asked)
    weights = weighing.likely({"caption": caption, "ocr": ocr}, asked, proof_first=True).answers
    assert weights[proofs.MARK] == weights["Yes"] > weights["No"]
    assert proofs.MARK not in weighing.likely({"caption": caption}, asked, proof_first=True).answers
    assert proofs.MARK not in weighing.likely({"caption": caption, "ocr": ocr}, asked).answers
