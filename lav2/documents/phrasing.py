"""How people word a question: greetings, missing question marks, small letters."""

from __future__ import annotations

from random import Random

BEFORE = ("please tell me: ", "can you tell me ", "could you tell me ", "hi, ", "hello! ", "tell me ", "I need to know: ", "quick question: ",
          "looking at this, ", "in this picture, ", "according to this, ", "so ", "and ", "do you know ", "from the photo: ", "excuse me, ")  # fmt: skip


def worded(rng: Random, question: str) -> str:
    """The question as somebody may type it; its words stay, so that names keep their capitals where they matter."""
    if rng.random() < 0.12:
        start = rng.choice(BEFORE)
        question = start + question[:1].lower() + question[1:]
        question = question[:1].upper() + question[1:]
    if rng.random() < 0.2:
        question = question.rstrip("?.")
    if rng.random() < 0.22:
        question = question.lower()
    return question
