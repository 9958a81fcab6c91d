"""How visitors begin a question, before they come to it."""

from __future__ import annotations

# A pattern: "And", "So", "Hi, can you tell me", "Excuse me, please"; nothing at all as well. No group.
OPENING = (
    r"\W*(?:(?:and|so|ok|okay|well|hi|hello|hey|there|please|pls|excuse me|thanks|"
    r"(?:(?:can|could|would) you )?(?:please )?tell me|do you know)\b\W*){0,6}(?:if |whether )?"
)
