"""Colours and numbers of boxes weigh where a question asks for them."""

import numpy as np
import pytest

from experts.evidence import Caption, Detections
from lav2.text import counts, weighing


def test_the_colour_of_a_kinds_surest_box_weighs_where_its_colour_is_asked():
    boxes = np.array([[0, 0, 9, 9], [20, 0, 40, 20], [50, 50, 60, 60]], np.float32)
    found = Detections(boxes, np.array([0.6, 0.9, 0.2], np.float32), ("cat", "cat", "bus"), 0.1, "d",
                       ("cat", "bus", "dog"), (80, 80), 0.5, ("white", "brown or black", "red"))  # fmt: skip
    said = lambda question: list(weighing.likely({"detection": found}, question).answers)  # noqa: E731
    assert said("What colour is the cat?") == ["Brown", "Black"] == said("and what is the color of this cat")
    assert said("What color is the bus?") == ["Red"]
    assert said("What colour is it?") == ["Brown", "Black"]  # only cats are sure
    for other in ("What colour is the cat's collar?", "What color is the big cat?", "What colour is the dog?",
                  "Is the cat brown?", "What colour is the cat on the left?"):  # fmt: skip
        assert said(other) == []
    asked = "What colour is the cat?"
    likely = {"caption": Caption("a cat", 0.0, "toy", (), (("brown", 0.99),), asked), "detection": found}
    weights = weighing.likely(likely, asked).answers
    assert weights["Brown"] > weighing.BIAS * np.log(0.99 / weighing.UNTOLD)  # of both the more


WEARERS = Detections(
    np.array([[0, 0, 20, 80], [40, 0, 70, 80]], np.float32), np.array([0.8, 0.9], np.float32), ("person", "person"),
    0.1, "d", ("person",), (80, 80), 0.5, ("grey", "red or pink"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("question", "colours"),
    [
        ("What colour is his sweater?", ["Red", "Pink"]),  # of the surest
        ("what color shirt is he wearing", ["Red", "Pink"]),
        ("What color is the man's shirt?", ["Red", "Pink"]),
        ("What colour is the jacket of the man on the right?", ["Red", "Pink"]),
        ("what color is the shirt of the boy on the left?", ["Grey"]),
        ("What color shirt is the man on the left wearing?", ["Grey"]),
        ("What colour is the shirt on the table?", []),
        ("what colour are his trousers", []),  # boxes tell what is worn above the waist
        ("What brand is the shirt?", []),
    ],
)
def test_the_colour_of_clothes_is_that_of_the_person_who_is_meant(question, colours):
    assert list(weighing.likely({"detection": WEARERS}, question).answers) == colours


def test_a_box_and_what_people_answer_tell_a_colour_together():
    asked = "What colour is his shirt?"
    said = (("blue", 0.3), ("red", 0.2), ("gray", 0.1))

    def likeliest(found):
        caption = Caption("a man", 0.0, "toy", (), said, asked)
        weights = weighing.likely({"caption": caption} | found, asked).answers
        return max(weights, key=weights.get), set(weights)

    assert likeliest({})[0] == "Blue"
    assert likeliest({"detection": WEARERS}) == ("Red", {"Red", "Blue", "Gray", "Pink"})
    grey = WEARERS.only(np.array([True, False]))
    assert likeliest({"detection": grey}) == ("Gray", {"Blue", "Red", "Gray"})  # one colour, however it is spelled


@pytest.mark.parametrize(
    "question, said",
    [
        ("How many people are there?", ["Six"]),
        ("how many persons can you see in the photo", ["Six"]),
        ("How many dogs?", []),  # a faint one: mostly there are several
        ("How many cats are there?", ["None"]),  # not even a faint one
        ("How many people are on the beach?", ["Six"]),
        ("how many people are walking along the street", ["Six"]),
        ("How many people are wearing a hat?", []),  # boxes do not tell who does
        ("How many people on the bench have bags?", []),
        ("How many women are there?", []),  # nor who is a woman
        ("How many big dogs are there?", []),
        ("Are there people?", []),
    ],
)
def test_the_number_of_boxes_weighs_where_a_kind_is_counted(question, said):
    boxes = np.array([[10 * i, 0, 10 * i + 9, 9] for i in range(7)], np.float32)
    found = Detections(boxes, np.array([0.9] * 6 + [0.2], np.float32), ("person",) * 6 + ("dog",), 0.1, "d",
                       ("person", "dog", "cat"), (80, 80), 0.5)  # fmt: skip
    weights = weighing.likely({"detection": found}, question).answers
    assert list(weights) == said
    assert all(
        w == pytest.approx(weighing.BIAS * np.log(counts.COUNT_RIGHT / weighing.UNTOLD)) for w in weights.values()
    )


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Are there two dogs?", "Yes"),
        ("Are there three dogs in the photo?", "No"),
        ("is there more than one dog", "Yes"),
        ("Is there more than two dogs?", "No"),
        ("are there at least 2 dogs", "Yes"),
        ("do you see exactly one dog?", "No"),
        ("Are there two cats?", "No"),
        ("Are there two women?", ""),  # boxes do not tell who is a woman
        ("Are there two big dogs?", ""),
    ],
)
def test_whether_there_are_so_many_is_told_by_boxes_and_not_by_what_people_mostly_answer(question, answer):
    boxes = np.array([[0, 0, 9, 9], [20, 0, 40, 20]], np.float32)
    found = Detections(
        boxes, np.full(2, 0.9, np.float32), ("dog", "dog"), 0.1, "d", ("dog", "cat", "person"), (80, 80), 0.5
    )
    other = "No" if answer == "Yes" else "Yes"
    caption = Caption("dogs", 0.0, "toy", (), ((other.lower(), 0.9),), question)
    weights = weighing.likely({"caption": caption, "detection": found}, question).answers
    assert max(weights, key=weights.get) == (answer or other)
