"""Chosen experts look at a photo side by side; each has a time limit, results are kept, one failure loses no
other."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any

from PIL import Image

from experts.evidence import Evidence, Expert, ExpertError, ExpertFailure
from experts.messages import Message

log = logging.getLogger(__name__)

POLL_INTERVAL_S = 0.05  # seconds after which one who waits for experts sees that he was cancelled


def fingerprint(image: Image.Image) -> bytes:
    """What an RGB image is remembered by: SHA-256 of its size and pixels. It is kept with the image, which nobody who
    looks may change; a copy has its own. Hashed strip by strip, since a copy of a large photo is 150 MB."""
    known: bytes | None = getattr(image, "fingerprint", None)
    if known is not None:
        return known
    digest = hashlib.sha256(b"%d %d " % image.size)
    for top in range(0, image.height, 256):
        digest.update(image.crop((0, top, image.width, min(top + 256, image.height))).tobytes())
    image.fingerprint = found = digest.digest()  # type: ignore[attr-defined]  # an attribute of our own
    return found


class Orchestrator:
    """Runs experts for any number of users at once.

    `experts` by name; `timeout` in seconds per expert, from its start; `cache_size` in photos. One expert
    looks at one photo at a time (a second user waits for the turn, which does not count as the expert's
    time), different experts work side by side, and users who ask the same expert about the same photo share
    one run.
    """

    def __init__(self, experts: Mapping[str, Expert], timeout: float = 60.0, cache_size: int = 64):
        self._experts = dict(experts)
        self._timeout = timeout
        self._cache_size = cache_size
        self._cache: OrderedDict[bytes, dict[str, Evidence]] = OrderedDict()  # photo -> expert -> evidence
        self._running: dict[tuple[bytes, str], Future[Evidence]] = {}
        self._lock = threading.Lock()  # of the two above
        self._turn = {name: threading.Lock() for name in self._experts}
        self._workers: dict[str, _Worker] = {}

    def run(
        self,
        image: Image.Image,
        names: Sequence[str],
        photo: bytes | None = None,
        cancel: threading.Event | None = None,
    ) -> Iterator[tuple[str, Evidence]]:
        """Start the named experts on an upright RGB image; yields (name, evidence) as each finishes.

        An expert that raises or exceeds the time limit yields an ExpertFailure. Evidence is remembered by the
        image's pixels (`photo`: its fingerprint, where it is known already), failures are not. Setting `cancel` ends
        the waiting; experts that look already go on, and what they find serves the next question. Raises ValueError
        at once for an unknown name.
        """
        names = self._check_names(names)
        photo = photo or fingerprint(image)
        finished: SimpleQueue[tuple[str, Evidence]] = SimpleQueue()
        for name in names:

            def done(future: Future[Evidence], name: str = name) -> None:
                finished.put((name, future.result()))

            self._future(photo, name, image).add_done_callback(done)
        return self._awaited(finished, len(names), cancel)

    @staticmethod
    def _awaited(
        finished: SimpleQueue[tuple[str, Evidence]], count: int, cancel: threading.Event | None
    ) -> Iterator[tuple[str, Evidence]]:
        while count and not (cancel is not None and cancel.is_set()):
            try:
                found = finished.get(timeout=None if cancel is None else POLL_INTERVAL_S)
            except Empty:
                continue
            count -= 1
            yield found

    def remembered(self, photo: bytes) -> frozenset[str]:
        """The experts whose evidence about the photo of that fingerprint is kept."""
        with self._lock:
            return frozenset(self._cache.get(photo, ()))

    def load(self, names: Sequence[str] | None = None) -> dict[str, float | ExpertFailure]:
        """Load the weights of the named experts (default: all) side by side: seconds, or why it failed, for
        each."""
        names = self._check_names(list(self._experts) if names is None else names)

        def load(name: str) -> float | ExpertFailure:
            start = time.perf_counter()
            failure = self._within_time(name, self._experts[name].load)
            return failure or time.perf_counter() - start

        try:
            with ThreadPoolExecutor(max_workers=max(1, len(names))) as pool:
                return dict(zip(names, pool.map(load, names), strict=True))
        except RuntimeError:  # no thread can be started
            return {name: _no_thread(name) for name in names}

    def _check_names(self, names: Sequence[str]) -> list[str]:
        unknown = [name for name in names if name not in self._experts]
        if unknown:
            raise ValueError(f"No expert is called {unknown[0]!r}. Known: {', '.join(self._experts)}.")
        return list(dict.fromkeys(names))

    def _future(self, photo: bytes, name: str, image: Image.Image) -> Future[Evidence]:
        """The finished, running or just started look of one expert at one photo."""
        with self._lock:
            if name in self._cache.get(photo, {}):
                self._cache.move_to_end(photo)
                future: Future[Evidence] = Future()
                future.set_result(self._cache[photo][name])
                return future
            if (photo, name) in self._running:
                return self._running[photo, name]
            future = self._running[photo, name] = Future()

        def look() -> Evidence:
            evidence = self._experts[name](image)
            if not isinstance(evidence, Evidence):
                raise TypeError(f"it returned {type(evidence).__name__} in place of evidence")
            if not isinstance(evidence, ExpertFailure):
                self._keep(photo, name, evidence)  # here, so that a result that comes too late serves the next question
            return evidence

        def end(evidence: Evidence) -> None:
            with self._lock:
                del self._running[photo, name]
            future.set_result(evidence)

        def supervise() -> None:
            end(self._within_time(name, look))

        try:
            threading.Thread(target=supervise, name=f"expert {name}: time limit", daemon=True).start()
        except RuntimeError:
            end(_no_thread(name))
        return future

    def _keep(self, photo: bytes, name: str, evidence: Evidence) -> None:
        with self._lock:
            self._cache.setdefault(photo, {})[name] = evidence
            self._cache.move_to_end(photo)
            while len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)

    def _within_time(self, name: str, work: Callable[[], Any]) -> Any | ExpertFailure:
        """What `work` returns, or the failure that it ended in; never later than the time limit after its
        start."""
        outcome: list[Any] = []

        def job() -> None:
            start = time.perf_counter()
            try:
                outcome.append(work())
            except ExpertError as error:
                outcome.append(ExpertFailure(name, error.cause, error.next_step, time.perf_counter() - start))
            except ModuleNotFoundError as error:
                cause = Message(
                    "The {expert} expert needs the Python package {package}, which is not installed.",
                    expert=name,
                    package=error.name,
                )
                step = Message("Run `make setup`, or `pip install -r requirements.txt`, and start again.")
                outcome.append(ExpertFailure(name, cause, step, time.perf_counter() - start))
            except BaseException as error:  # also a library's sys.exit(): it must not look like a time-out
                log.exception("The expert %s failed.", name)
                why = f"{type(error).__name__}: {error}"
                cause = Message("The {expert} expert failed: {why}", expert=name, why=why)
                step = Message("The answer goes on without it; the log has the details.")
                outcome.append(ExpertFailure(name, cause, step, time.perf_counter() - start))

        with self._turn[name]:
            worker = self._workers.get(name)
            if worker is None or not worker.thread.is_alive():  # a forked process (ZeroGPU) has none of the threads
                try:
                    worker = self._workers[name] = _Worker(f"expert {name}")
                except RuntimeError:
                    return _no_thread(name)
                weakref.finalize(self, worker.end)
            if not worker.idle.is_set():
                cause = Message("The {expert} expert still hangs on an earlier photo.", expert=name)
                step = Message("Ask again later, switch this expert off, or restart the app.")
                return ExpertFailure(name, cause, step, 0.0)
            start = time.perf_counter()
            worker.do(job)
            if not worker.idle.wait(self._timeout):
                cause = Message(
                    "The {expert} expert took longer than {seconds} s.", expert=name, seconds=f"{self._timeout:g}"
                )
                step = Message("Ask again: it may have been loading. If it happens again, switch this expert off.")
                return ExpertFailure(name, cause, step, time.perf_counter() - start)
            return outcome[0]


def _no_thread(name: str) -> ExpertFailure:
    cause = Message("The system lets no further thread start for the {expert} expert.", expert=name)
    step = Message("Ask again in a moment, or raise the limit of processes (ulimit -u).")
    return ExpertFailure(name, cause, step, 0.0)


class _Worker:
    """A thread that does one job after the other. One for the life of an expert: cuDNN plans its convolutions anew in
    each thread (ATen's Conv_v8.cpp keeps plans by thread), which took 2 s a photo on an H100. A daemon: an expert that
    never comes back must not keep the program from ending."""

    def __init__(self, name: str):
        self.idle = threading.Event()  # it hangs as long as this is not set
        self.idle.set()
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.thread = threading.Thread(target=_work, args=(self._jobs, self.idle), name=name, daemon=True)
        self.thread.start()

    def do(self, job: Callable[[], None]) -> None:
        self.idle.clear()
        self._jobs.put(job)

    def end(self) -> None:
        self._jobs.put(None)


def _work(jobs: SimpleQueue[Callable[[], None] | None], idle: threading.Event) -> None:
    while (job := jobs.get()) is not None:
        job()
        del job  # it holds a photo
        idle.set()
