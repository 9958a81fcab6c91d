"""Key/value caches of finished answers, for prompts that begin alike."""

from __future__ import annotations

import threading

import torch

from lav2.inference.cache import Cache, prefill_chunk


class PrefixCache:
    """Caches of finished answers: a prompt about the same photo begins where it parts from one of them.

    A cache belongs to one answer at a time: `take` removes it, `put` brings it back.

    Args:
        shared_prefix: tokens that all prompts begin with (lav2.inference.cache.Cache); they are taken up as well.
        device: where they lie.
    """

    def __init__(self, shared_prefix: int = 0, device: torch.device | str = "cpu"):
        self.shared_prefix, self._device, self._lock = shared_prefix, torch.device(device), threading.Lock()
        self._size = 4 if self._device.type == "cpu" else 1  # only a GPU pays for unused capacity
        self._entries: list[tuple[object, list[int], Cache]] = []  # the oldest first

    def take(self, photo: object, ids: list[int]) -> Cache | None:
        """The cache with the most whole chunks (prefill_chunk) of `ids`, cut to them; the last token is left."""
        with self._lock:
            best = max(self._entries, key=lambda entry: self._shared(entry, photo, ids[:-1]), default=None)
            if best is None or not (length := self._shared(best, photo, ids[:-1])):
                return None
            self._entries = [entry for entry in self._entries if entry is not best]
        best[2].length = length
        return best[2]

    def put(self, photo: object, ids: list[int], cache: Cache) -> None:
        """`ids` is the prompt that the cache begins with, asked about `photo` (compared by identity)."""
        with self._lock:
            self._entries = [*self._entries, (photo, ids[: cache.length], cache)][-self._size :]

    def knows(self, photo: object, ids: list[int]) -> bool:
        """Whether a cache begins with all of `ids`."""
        with self._lock:
            return any(entry[0] is photo and entry[1][: len(ids)] == ids for entry in self._entries)

    def in_whole_chunks(self, length: int) -> int:
        """So many of `length` tokens are whole chunks."""
        chunk = prefill_chunk(self._device)
        return max(length // chunk * chunk, self.shared_prefix if length >= self.shared_prefix else 0)

    def _shared(self, entry: tuple[object, list[int], Cache], photo: object, ids: list[int]) -> int:
        if entry[0] is not photo:
            return 0
        pairs = zip(entry[1], ids, strict=False)
        return self.in_whole_chunks(next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(entry[1]), len(ids))))
