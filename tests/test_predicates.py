"""Whether somebody does, wears or holds something, and whether something has a colour, follows what the photo shows."""

import time

import pytest

from lav2.captioning.predicates import whether

# How many times likelier each word is than on all photos.
SURFER = {
    **{"surf": 30.0, "surfing": 25.0, "wave": 20.0, "board": 9.0, "wetsuit": 8.0, "ride": 3.0, "riding": 4.0},
    **{"run": 0.1, "running": 0.1, "hat": 0.05, "hats": 0.02, "guitar": 0.01, "horse": 0.02, "lay": 0.2, "lying": 0.1},
}
COLOURS = {"What color is the dog?": (("black", 0.7), ("brown", 0.2)), "What color are they?": (("white", 0.6),)}
COLOURS["What color are the sheep?"] = (("white", 0.8),)


def said(question):
    share = whether(question, SURFER.get, lambda asked: COLOURS.get(asked, ()))
    return "" if share is None else "yes" if share > 0.5 else "no"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Is the man surfing?", "yes"),
        ("is anybody running here?", "no"),
        ("Are they all wearing hats?", "no"),
        ("is the kid wearing a hat", "no"),
        ("Is he wearing a black wetsuit?", "yes"),
        ("is anybody playing a guitar?", "no"),
        ("is the dog lying down", "no"),
        ("Is she holding a board?", "yes"),
        ("Is somebody riding a wave?", "yes"),
        ("is the man in front riding a horse?", "no"),
        ("Is the dog black?", "yes"),
        ("is the dog red?", "no"),
        ("Are they grey?", "no"),
        ("are the sheep white", "yes"),
    ],
)
def test_it_is_so_where_the_photo_makes_its_words_likely(question, answer):
    assert said(question) == answer


@pytest.mark.parametrize(
    "question",
    [
        "Is the man juggling?",  # a word that is not known
        "Is he riding a unicorn?",
        "Is he wearing no hat?",
        "Is the dog not black?",
        "is the dog black or brown",
        "is the dog black and brown",
        "is the man king",
        "is he running or surfing",
        "What is the man wearing?",
        "Is it raining?",
        "Is anything missing?",
        "Is this a living room?",
        "Is the dog big?",
        "is the shop opening at nine?",
    ],
)
def test_what_the_words_do_not_tell_is_left_to_others(question):
    assert said(question) == ""


def test_a_long_question_is_read_quickly():
    start = time.perf_counter()
    for question in ("is the " + "a " * 5000, "is the man " + "wearing " * 2000, "are they " + "there " * 3000):
        assert said(question) == ""
    assert time.perf_counter() - start < 5
