"""People's likely answers, weighed by the words that the captioner expects of the photo."""

import math
import pickle

import pytest
import torch
from test_candidates import BLUE, RED, VISION, model  # noqa: F401 - a fixture

from lav2.captioning.answers import LikelyAnswers
from lav2.captioning.scenes import WordChance
from lav2.captioning.seen_words import gains, weighed


def test_an_answer_gains_what_the_photo_makes_its_words_likelier_than_photos_do_at_large():
    words = {"dog": WordChance(0.4, 0.1), "dogs": WordChance(0.1, 0.02), "red": WordChance(0.01, 0.2)}
    dog, dogs, red_dog, cat, number = gains(["dog", "the dogs", "red dog", "cat", "2"], words).tolist()
    assert dog == dogs == pytest.approx(math.log(0.401 / 0.101), abs=1e-5)
    assert red_dog == dog and gains(["red"], words).item() == pytest.approx(math.log(0.011 / 0.201), abs=1e-5)
    assert cat == number == 0


def test_of_equally_likely_answers_the_one_that_the_photo_shows_is_likelier():
    seen = blind = torch.zeros(2)
    first, other = weighed(seen, blind, torch.tensor([0.0, 1.5])).tolist()
    assert other > first


def test_the_photos_words_decide_what_people_answer_but_neither_yes_nor_no_nor_a_number(model):  # noqa: F811
    red = torch.tensor(RED)
    strong = {
        "blue": WordChance(0.9, 1e-9),
        "red": WordChance(1e-9, 0.9),
        "yes": WordChance(1e-9, 1.0),
        "no": WordChance(1.0, 1e-9),
    }
    gain = 9 * gains(model.answers, strong)
    assert model.told(red, "What color is the ball?")[0][0] == "red"
    assert model.told(red, "What color is the ball?", gain)[0][0] == "blue"
    for question in ("Is it red?", "How many legs has a dog?"):
        assert model.told(red, question, gain) == model.told(red, question)


def test_what_people_answer_goes_with_the_photos_words_to_another_process(model):  # noqa: F811
    tokens = torch.tensor([[BLUE[:3], BLUE[3:]]])
    asked = model.on(tokens, {"red": WordChance(1.0, 1e-6), "blue": WordChance(1e-6, 1.0)})
    plain = model.on(tokens)
    question = "What color is the ball?"
    assert pickle.loads(pickle.dumps(asked))(question) == asked(question) != plain(question)


def test_the_shipped_captioners_words_weigh_what_people_answer(model):  # noqa: F811
    class Words:
        def word_chances(self, clip_tokens):
            return {"red": WordChance(1.0, 1e-9), "blue": WordChance(1e-9, 1.0)}

    tokens = torch.tensor([[BLUE[:3], BLUE[3:]]])
    with_words, without = (LikelyAnswers(model, None, words).of(None, tokens) for words in (Words(), None))
    question = "What color is the ball?"
    chances = dict(with_words.people(question)), dict(without.people(question))
    assert chances[0].get("red", 0) > chances[1].get("red", 0) and VISION.width == 3
