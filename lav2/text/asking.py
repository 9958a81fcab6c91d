"""How visitors begin a question, before they come to it."""

from __future__ import annotations

import re

# A pattern: "And", "So", "Hi, can you tell me", "Excuse me, please"; nothing at all as well. No group.
OPENING = (
    r"\W*(?:(?:and|so|ok|okay|well|hi|hello|hey|there|please|pls|excuse me|thanks|"
    r"(?:(?:can|could|would) you )?(?:please )?tell me|do you know)\b\W*){0,6}(?:if |whether )?"
)

PHOTO = r"(?:photo|picture|pic|image|scene)"  # what visitors call it

_CURLY = str.maketrans("’‘", "''")


def straight(question: str) -> str:
    """The question with straight apostrophes, as all patterns have them; phones type curly ones."""
    return question.translate(_CURLY)


_SEVERAL = re.compile(r"\bare (?:these|those|they|the)\b|\b(?:these|those) (?!things?\b)\w+s\b", re.IGNORECASE)


def asks_of_several(question: str) -> bool:
    """Whether it speaks of more than one thing ("What animals are these?")."""
    return bool(_SEVERAL.search(question))
