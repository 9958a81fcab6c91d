"""The part of a conversation that is looked at."""

from __future__ import annotations

from lav2.events import Turn
from lav2.text import prompts

HISTORY_TURNS, HISTORY_CHARACTERS = 200, 100_000  # of the newest that are looked at: far more than any context holds


def newest_turns(history: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """The newest turns, cleaned, within HISTORY_TURNS and HISTORY_CHARACTERS; the rest is not even looked at."""
    newest: list[Turn] = []
    left = HISTORY_CHARACTERS
    for turn in reversed(history[-HISTORY_TURNS:]):
        left -= len(turn.question) + len(turn.answer)
        if left < 0:
            break
        newest.append(Turn(prompts.clean(turn.question), prompts.clean(turn.answer)))
    return tuple(reversed(newest))
