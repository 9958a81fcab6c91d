"""First impressions: every example on the page is answered right by the shipped default, in both languages."""

import json
import re

import pytest
from PIL import Image

from lav2.events import Request, Turn
from lav2.image import open_image
from lav2.text import korean
from lav2.ui import texts

FOLDER = texts.ASSETS / "examples"
ROWS = [json.loads(line) for line in (FOLDER / "questions.jsonl").read_text(encoding="utf-8").splitlines()]


def holds(answer: str, word: str) -> bool:
    """Whether a word or number stands in an answer, whole and however it is spaced or written."""
    pattern = r"\W*".join(map(re.escape, re.findall(r"\w+", word)))
    return bool(re.search(rf"(?<![\w.]){pattern}(?!\w|[.,:]\d)", answer, re.IGNORECASE))


def test_words_are_found_whole_and_however_they_are_spaced():
    assert holds("The total is 12.40.", "12.40") and holds("555-0142", "555 0142") and holds("No, it isn't.", "no")
    assert not holds("112.40", "12.40") and not holds("It is not there", "no") and not holds("12.405", "12.40")


def test_every_korean_example_is_a_question_that_is_understood():
    for row in ROWS:
        asked = [row["ko"], *([row["then_ko"]] if "then" in row else [])]
        assert all(korean.translated(question) for question in asked), row["id"]


def test_the_examples_show_documents_a_photo_a_follow_up_and_what_is_not_there():
    assert {row["id"] for row in ROWS} >= {
        "receipt",
        "menu",
        "hours",
        "sign",
        "card",
        "photo",
        "follow-up",
        "not there",
    }
    for row in ROWS:
        with Image.open(FOLDER / row["image"]) as picture:
            assert max(picture.size) <= 1000


@pytest.mark.slow
def test_the_reader_finds_the_words_of_every_answer_as_they_are_printed():
    from experts import ocr

    reader = ocr.build(device="cpu")
    for row in ROWS:
        if row["id"] not in ("photo", "not there"):
            texts = reader(open_image(FOLDER / row["image"])).texts
            for word in (*row["expected"], *row.get("then_expected", ())):
                assert any(word in text for text in texts), (row["id"], texts)


@pytest.fixture(scope="module")
def assistant():
    from lav2.assistant.service import Assistant

    return Assistant.load(report=lambda line: None)


def answered(assistant, *given) -> str:
    *_, done = assistant.answer(Request(*given))
    return done.answer


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_every_example_is_answered_right(assistant, row, language):
    question, then = (row["question"], row.get("then")) if language == "en" else (row["ko"], row.get("then_ko"))
    photo = open_image(FOLDER / row["image"])
    answer = answered(assistant, question, photo)
    assert all(holds(answer, word) for word in row["expected"]), answer
    if then:
        answer = answered(assistant, then, photo, (Turn(question, answer),))
        assert all(holds(answer, word) for word in row["then_expected"]), answer
