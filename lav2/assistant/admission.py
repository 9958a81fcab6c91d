"""Who is answered now and who waits. Clients take turns, and one client's questions are answered in the order in which
they came. No torch."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from lav2.errors import LAV2Error

AT_ONCE, WAITING = 8, 16  # questions that are answered at once, as many as a step takes, and that wait for it
POLL_INTERVAL_S = 0.05  # seconds between two looks whether a question that waits was cancelled


class Busy(LAV2Error):
    """The queue is full; `position` is the one that this question would have had."""

    def __init__(self, position: int):
        self.position = position
        super().__init__(
            "Busy: {waiting} questions wait already, yours would have position {position}.",
            "Ask again in a minute.",
            waiting=position - 1,
            position=position,
        )

    def __reduce__(self) -> tuple[type[Busy], tuple[int]]:
        return type(self), (self.position,)  # it crosses to other processes (lav2.cluster)


class Crowding(Busy):
    """One client has as many questions in the queue as one may have; others may still ask."""

    def __init__(self, share: int):
        self.position = share + 1
        LAV2Error.__init__(
            self, "Busy: {share} of your questions wait already.", "Wait for their answers first.", share=share
        )

    def __reduce__(self) -> tuple[type[Busy], tuple[int]]:
        return type(self), (self.position - 1,)


class _Slot:
    """The place of one question in the queue; `served` once it is being answered."""

    def __init__(self, client: Hashable):
        self.client = self if client is None else client
        self.served = False


class AdmissionQueue:
    """At most `at_once` questions are answered and `waiting` more wait; the next one is refused.

    The next to be answered is the earliest question of the client who has the fewest under way, of several such clients
    the one whose turn is the longest ago: one who asks a lot delays himself and nobody else. One client may have half
    of all slots.
    """

    def __init__(self, at_once: int, waiting: int):
        self._at_once, self._most = at_once, at_once + waiting
        self._share = max(1, self._most // 2)
        self._changed = threading.Condition()
        self._slots: list[_Slot] = []  # in order of arrival
        self._turns: dict[Hashable, int] = {}  # client in the queue -> number of his last turn
        self._turn = 0

    @contextmanager
    def slot(self, client: Hashable | None = None) -> Iterator[_Slot]:
        """A slot in the queue, which whoever leaves the block frees at once.

        Args:
            client: who asks; None: somebody who is none of the others.

        Raises:
            Busy: nobody more may wait; Crowding: this client may not.
        """
        mine = _Slot(client)
        with self._changed:
            if len(self._slots) >= self._most:
                raise Busy(self._most - self._at_once + 1)
            if sum(slot.client == mine.client for slot in self._slots) >= self._share:
                raise Crowding(self._share)
            self._slots.append(mine)
            self._admit()
        try:
            yield mine
        finally:
            with self._changed:
                self._slots.remove(mine)
                self._admit()
                self._changed.notify_all()

    def positions(self, slot: _Slot, cancel: threading.Event) -> Iterator[int]:
        """1 for the next to be answered, 2 for the one after it ..., each time it changes; ends when it is one's turn
        or `cancel` is set."""
        announced = 0
        while not cancel.is_set():
            with self._changed:
                if slot.served:
                    return
                position = self._order().index(slot) + 1
                if position == announced:
                    self._changed.wait(POLL_INTERVAL_S)
                    continue
            announced = position
            yield position

    def _admit(self) -> None:
        free = self._at_once - sum(slot.served for slot in self._slots)
        for slot in self._order()[: max(0, free)]:
            slot.served = True
            self._turn += 1
            self._turns[slot.client] = self._turn
        here = {slot.client for slot in self._slots}
        self._turns = {client: turn for client, turn in self._turns.items() if client in here}

    def _order(self) -> list[_Slot]:
        """Those who wait, the next to be answered first."""
        under_way = Counter(slot.client for slot in self._slots if slot.served)
        turns, turn = dict(self._turns), self._turn
        waiting = [slot for slot in self._slots if not slot.served]
        order = []
        while waiting:
            first = min(waiting, key=lambda slot: (under_way[slot.client], turns.get(slot.client, 0)))
            waiting.remove(first)
            turn += 1
            under_way[first.client] += 1
            turns[first.client] = turn
            order.append(first)
        return order
