"""What cannot be read reliably is told from what is merely no word."""

import numpy as np
import pytest

from experts.legible import known_share, oddness, reliable

WORDS = frozenset(["the", "open", "menu", "green", "market", "bread", "exit", "from"])


def lines(*read):
    """Lines of one size, one below the other: (text, confidence)."""
    box = np.array([[0, 0], [200, 0], [200, 30], [0, 30]], float)
    return [(box + np.array([0, 40 * k]), text, sure) for k, (text, sure) in enumerate(read)]


@pytest.mark.parametrize(
    "text",
    ["QX-77120-B", "7KLM284", "AB12 CDE", "#A-20417", "(555) 014-7788", "8h30", "500ml", "x12", "KE123", "€12.50",
     "18 . 00", "BreadTalk", "McDonald's", "TAGHeuer", "iPhone", "LUSh", "WATch", "HSBC", "S A L E", "3rd floor",
     "Nguyễn", "B42", "info@gvdental.example", "Mr. Xu", "100%", "rhythm"],
)  # fmt: skip
def test_codes_names_and_prices_do_not_look_odd(text):
    assert oddness(text) == 0


@pytest.mark.parametrize(
    "text", ["g84124 %H", "6OJ6HHIa", "Mara3mH", "cmaHUua", "{7187175", "0 C T 0 p 0 # H", "4saJ}"]
)
def test_letters_that_are_none_look_odd(text):
    assert oddness(text) >= 0.5


def test_a_text_is_relied_on_by_its_confidence_its_looks_and_its_neighbours():
    assert reliable([], WORDS).shape == (0,)
    for text, sure in (("7KLM284", 0.6), ("Qvist", 0.6), ("2.40", 0.4), ("open from", 0.3), ("BKUWN", 0.5)):
        assert reliable(lines((text, sure)), WORDS).all(), text
    noise = lines(("g84124 %H", 0.41), ("4g447", 0.14), ("#42%", 0.4), ("HI37 IHEA", 0.11))
    assert not reliable(noise, WORDS).any()
    beside = reliable([*noise, *lines(("green market", 0.9), ("02-123-4567", 0.95))], WORDS)
    assert beside.tolist() == [False] * 4 + [True] * 2  # what is sure of itself stays, whatever stands beside it
    well = lines(("green market", 0.95), ("the menu", 0.9), ("bread 2.40", 0.9))
    assert reliable([*well, *lines(("Jklw", 0.4))], WORDS).all()  # and what is less sure among what is read well


def test_known_words_are_weighed_by_their_letters():
    assert known_share("The menu", WORDS) == 1
    assert known_share("menu xxxx 12", WORDS) == 0.5
    assert known_share("12:30", WORDS) == 0
