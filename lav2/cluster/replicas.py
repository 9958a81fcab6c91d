"""What runs in Ray Serve's processes: a copy of the assistant, or one expert. They are plain classes: Ray is imported
where they are deployed (lav2.cluster.deployment)."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experts.evidence import Evidence
from lav2.cluster.parts import Loader, look_at_all
from lav2.errors import LAV2Error, no_thread
from lav2.events import Done, Event, Request

if TYPE_CHECKING:
    from PIL import Image

    from lav2.assistant.service import Assistant

STALL_SECONDS = 300.0  # without any event while answers are under way: the replica is taken for hung
LOOKS = 3  # at a photo by an expert whose replica was lost meanwhile


@dataclass(frozen=True)
class Failed:
    """The end of an answer that cannot be given. A value and no exception: Ray would log a trace with what is in it."""

    error: LAV2Error


class RemoteExpert:
    """An expert that looks in another process. `handle` of its deployment."""

    def __init__(self, name: str, handle: Any):
        self.name, self._handle = name, handle

    def load(self) -> None:
        """Nothing: its own process loads it before it takes a photo."""

    def __call__(self, image: Image.Image) -> Evidence:
        from ray.exceptions import RayActorError

        for left in reversed(range(LOOKS)):
            try:
                return self._handle.look.remote(image).result()
            except RayActorError:
                if not left:
                    raise
        raise AssertionError("unreachable")


class ExpertReplica:
    """One expert, loaded. Photos that came while it looked at others are looked at in one step, as many as its
    `together` says. (Ray Serve's own batching lets every photo wait for others to come, also where nobody else asks.)
    """

    def __init__(self, loader: Loader, name: str):
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"expert {name}")  # one, as in the orchestrator
        self._expert, self._hashes = loader.expert(name)
        self._worker.submit(self._expert.load).result()
        self._together: int = getattr(self._expert, "together", 1)
        self._waiting: queue.SimpleQueue[tuple[Image.Image, Future]] = queue.SimpleQueue()

    async def look(self, image: Image.Image) -> Evidence:
        found: Future = Future()
        self._waiting.put((image, found))
        self._worker.submit(self._step)
        return await asyncio.wrap_future(found)

    def _step(self) -> None:
        """Look at those that wait. A step is ordered for each photo; where an earlier one took it, nobody waits."""
        taken = []
        with suppress(queue.Empty):
            while len(taken) < self._together:
                image, found = self._waiting.get_nowait()
                if found.set_running_or_notify_cancel():
                    taken.append((image, found))
        results = look_at_all(self._expert, [image for image, _ in taken])
        for (_, found), result in zip(taken, results, strict=True):
            if isinstance(result, Exception):
                found.set_exception(result)
            else:
                found.set_result(result)

    def hashes(self) -> dict[str, str]:
        return self._hashes


class ModelReplica:
    """A copy of the assistant (lav2.assistant.service): the same line, caches and steps as in the local app.

    Args:
        loader: makes the assistant.
        experts: handles of the deployments of those that look elsewhere, by name.
    """

    def __init__(self, loader: Loader, **experts: Any):
        self._running: set[threading.Event] = set()  # what cancels each answer under way
        self._last = time.monotonic()  # when one of them moved
        with ThreadPoolExecutor(1) as apart:  # Serve calls this in its event loop, where no handle may be waited for
            self._assistant = apart.submit(self._loaded, loader, experts).result()

    @staticmethod
    def _loaded(loader: Loader, experts: dict[str, Any]) -> Assistant:
        ready = loader.assistant({name: RemoteExpert(name, handle) for name, handle in experts.items()})
        for handle in experts.values():
            ready.hashes |= handle.hashes.remote().result()
        if ready.hashes.get("caption_encoder") == ready.hashes.get("image_encoder"):
            ready.hashes.pop("caption_encoder", None)  # told where it is another one
        ready.load_experts(lambda line: None)
        ready.warm_up(lambda line: None)
        return ready

    def about(self) -> dict[str, Any]:
        """What a front end has to know of the assistant."""
        ready = self._assistant
        names = ("preset", "versions", "hashes", "experts", "load_seconds", "expert_failures", "tokenizer")
        return {**{name: getattr(ready, name) for name in names}, "pid": os.getpid()}

    async def answer(self, request: Request) -> AsyncIterator[Event | Failed]:
        """The assistant's events, or Failed as the last one. Whoever cancels the call stops the answer."""

        def answered(cancel: threading.Event) -> Iterator[Event]:
            with closing(self._assistant.answer(request, cancel)) as events:
                yield from events

        async with aclosing(self._in_thread(answered)) as events:
            async for event in events:
                yield event

    async def examine(self, image: Image.Image, experts: tuple[str, ...], client: str | None) -> Any:
        """The evidence by expert, or Failed."""

        def examined(cancel: threading.Event) -> Iterator[dict[str, Evidence]]:
            yield self._assistant.examine(image, experts, client, cancel)

        async with aclosing(self._in_thread(examined)) as found:
            async for evidence in found:
                return evidence

    async def _in_thread(self, work: Callable[[threading.Event], Iterator[Any]]) -> AsyncIterator[Any]:
        loop, given, cancel = asyncio.get_running_loop(), asyncio.Queue(), threading.Event()

        def put(value: Any) -> None:
            self._last = time.monotonic()
            with suppress(RuntimeError):  # the replica ends
                loop.call_soon_threadsafe(given.put_nowait, value)

        def run() -> None:
            try:
                for value in work(cancel):
                    put(value)
                put(None)
            except LAV2Error as error:
                put(Failed(error))
                put(None)
            except Exception as error:
                put(error)
            finally:
                self._running.discard(cancel)

        self._last = time.monotonic()
        self._running.add(cancel)
        try:
            threading.Thread(target=run, daemon=True, name="answer").start()
        except RuntimeError:
            self._running.discard(cancel)
            yield Failed(no_thread())
            return
        try:
            while (value := await given.get()) is not None:
                if isinstance(value, Exception):
                    raise value
                yield value
                if isinstance(value, Done):
                    return
        finally:
            cancel.set()

    def check_health(self) -> None:
        """Called by Ray Serve, which replaces a replica that fails it.

        Raises:
            RuntimeError: answers are under way and none has moved for STALL_SECONDS.
        """
        idle = time.monotonic() - self._last
        if self._running and idle > STALL_SECONDS:
            raise RuntimeError(f"{len(self._running)} answers have stood still for {idle:.0f} s.")
