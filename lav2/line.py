"""Who is answered now and who waits: questions in the order in which they came. No torch."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lav2.errors import LAV2Error

BLINK = 0.05  # seconds after which one who waits sees that he was cancelled


class Busy(LAV2Error):
    """The line is full; `position` is the place that there was none of."""

    def __init__(self, position: int):
        self.position = position
        super().__init__(
            f"Busy: {position - 1} questions wait already, yours would have position {position}.",
            "Ask again in a minute.",
        )


class Line:
    """At most `at_once` questions are answered, `waiting` more wait in order of arrival, the next one is refused."""

    def __init__(self, at_once: int, waiting: int):
        self._at_once, self._most = at_once, at_once + waiting
        self._changed = threading.Condition()
        self._line: list[object] = []  # the first `at_once` of them are being answered

    @contextmanager
    def place(self) -> Iterator[object]:
        """A place in the line, which whoever leaves the block frees at once.

        Raises:
            Busy: nobody more may wait.
        """
        mine = object()
        with self._changed:
            if len(self._line) >= self._most:
                raise Busy(self._most - self._at_once + 1)
            self._line.append(mine)
        try:
            yield mine
        finally:
            with self._changed:
                self._line.remove(mine)
                self._changed.notify_all()

    def positions(self, place: object, cancel: threading.Event) -> Iterator[int]:
        """1 for the next to be answered, 2 for the one after it ..., each time it changes; ends when it is one's turn
        or `cancel` is set."""
        told = 0
        while not cancel.is_set():
            with self._changed:
                position = self._line.index(place) - self._at_once + 1
                if position < 1:
                    return
                if position == told:
                    self._changed.wait(BLINK)
                    continue
            told = position
            yield position
