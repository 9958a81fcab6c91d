"""Which findings an answer rests on, which it contradicts, and what stands in none: without models."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from experts.evidence import Caption, Detections, OcrLines
from lav2.text.verdict import unreliable, verdict

KINDS = ("person", "horse", "dog", "train", "sports ball", "cat")


def boxes(*labels, left=0):
    """Boxes of 10 px side by side, the surest first; those before `left` in the left third of 300 px."""
    corners = [[(10 if i < left else 250) + i, 100, (20 if i < left else 260) + i, 110] for i in range(len(labels))]
    confidence = [0.9 - 0.01 * i for i in range(len(labels))]
    return Detections(np.reshape(corners, (-1, 4)), confidence, labels, 0.1, "d.pt", KINDS, (300, 300))


def lines(*rows):
    """Texts, row below row; a row's cells, parted by |, are texts of their own."""
    quads, texts = [], []
    for y, row in enumerate(rows):
        for x, text in enumerate(row.split("|")):
            left, top = 150 * x, 30 * y
            quads.append([[left, top], [left + 60, top], [left + 60, top + 12], [left, top + 12]])
            texts.append(text.strip())
    return OcrLines(np.reshape(quads, (-1, 4, 2)), [0.9] * len(texts), tuple(texts), 0.1, (300, 30 * len(rows) + 1))


EVIDENCE = {
    "caption": Caption("two men ride a horse on a beach", 0.1, "test"),
    "detection": Detections(
        [[0, 0, 9, 9], [10, 10, 50, 90], [60, 10, 90, 90]], [0.4, 0.9, 0.8], ("sports ball", "person", "person"), 0.1,
        "d.pt", ("person", "horse", "sports ball"), (100, 100),
    ),
    "ocr": lines("OPEN 9-18", "Closed on Monday", "YES"),
}  # fmt: skip
MENU = {"ocr": lines("Menu", "Latte | 4.50", "Beer | 6", "2) Bread | 2.40", "Gate B 12", "KE123 | 10:45 | 14")}


@pytest.mark.parametrize(
    "answer, numbers",
    [
        ("There are two people.", {2, 3}),
        ("A woman", {2, 3}),
        ("A football", {4}),
        ("The shop is closed on Mondays.", {6}),
        ("Two men ride horses.", {1, 2, 3}),
        ("It is red.", set()),
        ('It says "YES".', {7}),
        ("Yes, it is.", set()),
        ("There are three people.", set()),  # the detector found two
    ],
)
def test_an_answer_rests_on_the_findings_that_hold_its_decisive_words(answer, numbers):
    assert verdict(answer, "", EVIDENCE).rests_on == numbers


@pytest.mark.parametrize(
    "question, answer, numbers",
    [
        ("How much is the latte?", "The latte costs 4.50.", {3}),
        ("How much is the latte?", "4.50", {3}),
        ("What costs 4.50?", "The latte.", {2}),
        ("Which flight leaves at 10:45?", "KE123", {9}),
        ("Which gate is it?", "Gate B 12.", {8}),
        ("What does the menu say?", 'It says "2) Bread".', {6}),
        ("How much is the beer?", "6", {5}),
        ("Is beer in the text?", "Yes, beer is in the text.", {4}),
        ("Is beer in the text?", "Yes.", {4}),
        ("Is it on the left?", "It is on the left.", set()),
    ],
)
def test_a_text_answer_rests_on_the_rows_that_hold_it_as_written(question, answer, numbers):
    assert verdict(answer, question, MENU).rests_on == numbers


def test_a_currency_sign_that_was_read_as_a_letter_does_not_hide_its_price():
    labels = {"ocr": lines("LAPTOP", "S1,299.00", "TEA POT", "E34.99", "from €12.50")}
    for answer, number in (("The laptop costs 1,299.00.", 2), ("34.99", 4), ("$34.99", 4), ("It costs €12.50.", 5)):
        assert number in verdict(answer, "How much is it?", labels).rests_on, answer


def test_there_is_no_tick_for_a_coincidence_of_digits():
    photo = {**MENU, "detection": boxes("dog", "person", "person")}
    two = verdict("There are two people.", "How many people are there?", photo)
    assert two.rests_on == {2, 3} and two.missing == ()
    assert verdict("Two.", "How many people are there?", photo).rests_on == {2, 3}
    assert verdict("2", "How many people are there?", photo).rests_on == {2, 3}
    assert verdict("There are two birds.", "How many birds are there?", MENU).rests_on == frozenset()
    assert verdict("Platform 4 is on time.", "Which platform?", MENU).missing[0] == "4"  # not the 4 of 4.50, nor of 14
    assert verdict("It costs 40.", "What does it cost?", MENU).rests_on == frozenset()  # not 2.40
    assert verdict("The woman is 6 years old.", "How old is she?", MENU).rests_on == frozenset()


def test_an_answer_that_denies_a_boxed_object_contradicts_its_boxes():
    photo = {"detection": boxes("dog", "dog", "person", left=1)}
    for answer in (
        "No, there is no dog.",
        "No.",
        "There is no dog in the photo.",
        "No, there isn't.",
        "There are no dogs",
    ):
        found = verdict(answer, "Is there a dog?", photo)
        assert (found.rests_on, found.against) == (set(), {1, 2}), answer
        assert [(conflict.label, conflict.found) for conflict in found.denied] == [("dog", 2)]
    left = verdict("No, there is no dog on the left.", "Is there a dog on the left?", photo)
    assert left.against == {1}
    brown = verdict("No, the dog is not brown.", "Is the dog brown?", photo)
    assert brown.against == frozenset()
    cat = verdict("No, there is no cat, but there is a dog.", "Is there a cat?", photo)
    assert (cat.absent, cat.rests_on, cat.against, cat.missing) == (("cat",), {1, 2}, frozenset(), ())
    assert verdict("No, it is a cat.", "Is it a dog?", photo).missing == ("cat",)


def test_a_text_that_is_said_not_to_be_there_rests_on_the_whole_text_or_contradicts_its_row():
    tea = verdict("No, tea is not in the text.", "Is tea in the text?", MENU)
    assert (tea.unwritten, tea.rests_on, tea.found) == (("tea",), frozenset(), True)
    beer = verdict("No, beer is not in the text.", "Is beer in the text?", MENU)
    assert (beer.unwritten, beer.against, beer.found) == ((), {4}, False)
    assert verdict("No.", "Does it mention a latte?", MENU).against == {2}
    assert not verdict("I cannot read the text in the photo.", "What does it say?", MENU).found


def test_a_yes_rests_on_what_the_question_asked_for():
    photo = {"detection": boxes("dog", "person")}
    assert verdict("Yes.", "Is there a dog?", photo).rests_on == {1}
    assert verdict("Yes, there is.", "Is there a dog?", photo).rests_on == {1}
    smiling = verdict("Yes.", "Is the man smiling?", photo)
    assert not smiling.found


def test_a_colour_rests_on_the_box_that_has_it_and_on_no_other():
    found = {"detection": replace(boxes("dog", "cat"), colours=("brown", "black or grey"))}
    assert verdict("Brown.", "What colour is the dog?", found).rests_on == {1}
    assert verdict("The cat is gray.", "What colour is it?", found).rests_on == {2}
    wrong = verdict("The dog is black.", "What colour is the dog?", found)
    assert not wrong.found and wrong.missing == ("black",)
    assert verdict("Red", "What colour is the cat?", found).missing == ("Red",)


def test_a_train_station_is_no_train():
    photo = {"detection": boxes("train", "dog")}
    assert verdict("It is a train station.", "What is it?", photo).rests_on == frozenset()
    assert verdict("A train.", "What is it?", photo).rests_on == {1}


def test_words_that_stand_in_no_finding_are_named():
    answer = "Two people with a red umbrella ride a horse; the umbrellas are open, on the left."
    assert verdict(answer, "What is there?", EVIDENCE).missing == ("red", "umbrella")
    assert verdict("A red dog.", "Is the dog red?", EVIDENCE).missing == ()
    assert verdict("There are three objects, two persons.", "", EVIDENCE).missing == ()
    assert verdict("There are 7 men.", "", EVIDENCE).missing == ("7",)
    assert verdict("No, there is no umbrella.", "", EVIDENCE).missing == ()  # nothing is claimed to be there
    assert not verdict("Paris.", "Which city is it?", MENU).found


@dataclass(frozen=True, eq=False)
class Judged(OcrLines):
    reliable: np.ndarray = None


def test_what_the_model_was_not_given_holds_nothing():
    assert verdict("The latte costs 4.50.", "How much is it?", MENU, left_out=frozenset({3})).rests_on == {2}
    denied = verdict("No, beer is not in the text.", "Is beer in the text?", MENU, left_out=frozenset({4}))
    assert (denied.unwritten, denied.against) == ((), {4})  # the text has it all the same
    text = MENU["ocr"]
    judged = Judged(
        text.quads, text.confidence, text.texts, 0.1, text.size, [True, True, False, *[True] * 8][: len(text.texts)]
    )
    assert unreliable({"ocr": judged}) == {3} and unreliable(MENU) == frozenset()
    assert verdict("The latte costs 4.50.", "How much is it?", {"ocr": judged}).rests_on == {2}


BOARD = {
    "ocr": lines(
        "Bern | Cancelled", "Geneva | Cancelled", "Basel | On time", "No food or drinks", "Saturday 8:00 - 18:00"
    )
}


@pytest.mark.parametrize(
    "question, answer, numbers",
    [
        ("Is the train to Geneva running?", "No: Cancelled.", {4}),
        ("Is the Basel train late?", "No: On time.", {6}),
        ("Can I eat here?", "No: No food or drinks.", {7}),
        ("Is eating forbidden?", "Yes: No food or drinks.", {7}),
        ("Is it open at 7 am on Saturday?", "No, 8:00 - 18:00.", {8}),
    ],
)
def test_what_a_yes_or_no_repeats_from_the_text_holds_it_in_the_row_that_is_asked_about(question, answer, numbers):
    said = verdict(answer, question, BOARD)
    assert (said.rests_on, said.against, said.denied, said.missing) == (numbers, set(), (), ())
