"""To a question for what is worn only what can be worn is an answer, on the head what is worn there."""

import time

import pytest
import torch
from test_candidates import RED, model  # noqa: F401 - a fixture

from lav2.captioning import worn


@pytest.mark.parametrize(
    ("question", "fitting"),
    [
        ("What is the player wearing?", ["red shirt", "hat", "glasses"]),
        ("what’s he wearing on his head", ["hat"]),
        ("What does the rider have on his head?", ["hat"]),
        ("what is on her head", ["hat"]),
        ("what does the woman on the left have on her nose?", ["glasses"]),
        ("What are the kids dressed in?", ["red shirt", "hat", "glasses"]),
        ("what color is he wearing", []),
        ("what kind of hat is he wearing", []),
        ("what does the dog have in its mouth", []),
        ("what is on the table", []),
        ("what do you have on the menu", []),
        ("what does the pizza have on it", []),
        ("what does he have on his plate", []),
        ("what does she have on?", ["red shirt", "hat", "glasses"]),
        ("what is the woman wearing an army t-shirt hits", []),
        ("what is the child holding on her lap", []),
    ],
)
def test_only_what_is_worn_there_fits(question, fitting):
    answers = ["red shirt", "tennis racket", "hat", "glasses", "yes"]
    fits = worn.fits(answers, worn.asked(question))
    assert [answer for answer, one in zip(answers, fits, strict=True) if one] == fitting


def test_one_of_what_can_be_worn_is_told_however_unlikely_the_model_finds_it(model):  # noqa: F811
    assert not any(worn.fits(model.answers, worn.ANYTHING))
    assert model.told(torch.tensor(RED), "What is he wearing?") == ()  # the model knows nothing that is worn
    model.answers = ("red hat", *model.answers[1:])
    assert model.told(torch.tensor(RED), "What is he wearing?") == (("red hat", pytest.approx(1.0)),)


def test_a_long_question_is_read_quickly():
    start = time.perf_counter()
    for question in (
        "what is " + "a " * 20_000,
        "what is the " + "man " * 3000 + "wearing " * 3000,
        "what's on his " * 3000,
    ):
        worn.asked(question)
    assert time.perf_counter() - start < 5
