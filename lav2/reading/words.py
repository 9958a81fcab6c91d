"""Texts as words of a fixed list, for networks that compare a question with the rows of a text. No torch."""

from __future__ import annotations

import re

from lav2.text.claims import NUMBERS

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+(?:[.:,/\-]\d+)*|[£€$%@#+]")
_ENDING = re.compile(r"(?:ing|ed|es|s|ly|er)$")
# "one" is a pronoun as often.
SPELLED = {word: str(number) for number, word in enumerate(NUMBERS) if number > 1}
QUESTION, EARLIER = 20, "#earlier"  # words of a question that are read; what stands before the question before it


def words(text: str) -> list[str]:
    """Words, numbers and signs of a text, small."""
    return _WORD.findall(_small(text))


def places(text: str) -> list[tuple[int, int]]:
    """Where each of the `words` begins and ends in the text."""
    return [match.span() for match in _WORD.finditer(_small(text))]


def _small(text: str) -> str:
    """As many characters as before, which `str.lower` alone does not keep."""
    return "".join(small if len(small := c.lower()) == 1 else c for c in text).replace("’", "'")


def key(word: str) -> str:
    """The word as the list has it: of numbers the shape ("#:##")."""
    return re.sub(r"\d", "#", word) if word[0].isdigit() else word


def stem(word: str) -> str:
    """What two forms of a word have in common, roughly; of a number that is spelled out its digits."""
    if word in SPELLED:
        return SPELLED[word]
    return word if len(word) < 4 or word[0].isdigit() else _ENDING.sub("", word)


def letters(text: str) -> str:
    """Letters and digits alone, small: what is left where a text is written in other ways."""
    return re.sub(r"\W", "", text.lower())


def asked(question: str, earlier: str = "") -> list[str]:
    """The words of a question that are read, and of the question `earlier` in the conversation."""
    return (words(question) + ([EARLIER, *words(earlier)] if earlier else []))[:QUESTION]
