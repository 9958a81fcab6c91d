"""Who is answered now and who waits. Clients take turns, and one client's questions are answered in the order in which
they came. No torch."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from lav2.errors import LAV2Error

BLINK = 0.05  # seconds after which one who waits sees that he was cancelled


class Busy(LAV2Error):
    """The line is full; `position` is the place that there was none of."""

    def __init__(self, position: int):
        self.position = position
        super().__init__(
            "Busy: {waiting} questions wait already, yours would have position {position}.",
            "Ask again in a minute.",
            waiting=position - 1,
            position=position,
        )


class Crowding(Busy):
    """One client has as many questions in line as one may have; others still find a place."""

    def __init__(self, share: int):
        self.position = share + 1
        LAV2Error.__init__(
            self, "Busy: {share} of your questions wait already.", "Wait for their answers first.", share=share
        )


class _Place:
    """Of one question; `served` once it is being answered."""

    def __init__(self, client: Hashable):
        self.client = self if client is None else client
        self.served = False


class Line:
    """At most `at_once` questions are answered and `waiting` more wait; the next one is refused.

    The next to be answered is the earliest question of the client who has the fewest under way, of several such clients
    the one whose turn is the longest ago: one who asks a lot delays himself and nobody else. One client may have half
    of all places.
    """

    def __init__(self, at_once: int, waiting: int):
        self._at_once, self._most = at_once, at_once + waiting
        self._share = max(1, self._most // 2)
        self._changed = threading.Condition()
        self._line: list[_Place] = []  # in order of arrival
        self._turns: dict[Hashable, int] = {}  # client in line -> number of his last turn
        self._turn = 0

    @contextmanager
    def place(self, client: Hashable | None = None) -> Iterator[_Place]:
        """A place in the line, which whoever leaves the block frees at once.

        Args:
            client: who asks; None: somebody who is none of the others.

        Raises:
            Busy: nobody more may wait; Crowding: this client may not.
        """
        mine = _Place(client)
        with self._changed:
            if len(self._line) >= self._most:
                raise Busy(self._most - self._at_once + 1)
            if sum(place.client == mine.client for place in self._line) >= self._share:
                raise Crowding(self._share)
            self._line.append(mine)
            self._admit()
        try:
            yield mine
        finally:
            with self._changed:
                self._line.remove(mine)
                self._admit()
                self._changed.notify_all()

    def positions(self, place: _Place, cancel: threading.Event) -> Iterator[int]:
        """1 for the next to be answered, 2 for the one after it ..., each time it changes; ends when it is one's turn
        or `cancel` is set."""
        told = 0
        while not cancel.is_set():
            with self._changed:
                if place.served:
                    return
                position = self._order().index(place) + 1
                if position == told:
                    self._changed.wait(BLINK)
                    continue
            told = position
            yield position

    def _admit(self) -> None:
        free = self._at_once - sum(place.served for place in self._line)
        for place in self._order()[: max(0, free)]:
            place.served = True
            self._turn += 1
            self._turns[place.client] = self._turn
        here = {place.client for place in self._line}
        self._turns = {client: turn for client, turn in self._turns.items() if client in here}

    def _order(self) -> list[_Place]:
        """Those who wait, the next to be answered first."""
        under_way = Counter(place.client for place in self._line if place.served)
        turns, turn = dict(self._turns), self._turn
        waiting = [place for place in self._line if not place.served]
        order = []
        while waiting:
            first = min(waiting, key=lambda place: (under_way[place.client], turns.get(place.client, 0)))
            waiting.remove(first)
            turn += 1
            under_way[first.client] += 1
            turns[first.client] = turn
            order.append(first)
        return order
