"""The front end's side: the assistant of the page, the API, OpenAI and MCP whose answers come from replicas.

It holds nothing of an answer that another front end could not take over: caches and the queue are the replicas'.
"""

from __future__ import annotations

import queue
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from PIL import Image

from experts.evidence import Evidence, ExpertFailure
from experts.orchestrator import fingerprint
from lav2.assistant.partial import PartialAnswer
from lav2.cluster.replicas import Failed
from lav2.errors import LAV2Error, Unavailable, no_thread
from lav2.events import Done, Event, Request, Token

POLL_INTERVAL_S = 0.05  # seconds after which one who waits sees that he was cancelled
TRIES = 4  # of a question whose replica is lost; each goes to another one
LOAD_SECONDS = 1800.0  # for the replicas to come up


class RemoteAssistant:
    """The assistant of a deployment (lav2.cluster.deployment), with the attributes and methods that front ends use.

    Args:
        handle: of the deployment of ModelReplica.

    Raises:
        LAV2Error: no replica comes up.
    """

    def __init__(self, handle: Any):
        self._handle = handle
        about = handle.about.remote().result(timeout_s=LOAD_SECONDS)
        self.preset: str = about["preset"]
        self.versions: dict[str, str] = about["versions"]
        self.hashes: dict[str, str] = about["hashes"]
        self.experts: tuple[str, ...] = about["experts"]
        self.load_seconds: dict[str, float] = about["load_seconds"]
        self.expert_failures: dict[str, ExpertFailure] = about["expert_failures"]
        self._tokenizer = about["tokenizer"]

    def count_tokens(self, text: str) -> int:
        return len(self._tokenizer(text, add_special_tokens=False).input_ids)

    def load_experts(self, report: Callable[[str], None] = print) -> None:
        """Nothing: replicas come up with their experts loaded."""

    def warm_up(self, report: Callable[[str], None] = print) -> None:
        """Nothing: replicas answer a tiny question before they take others."""

    def answer(self, request: Request, cancel: threading.Event | None = None) -> Iterator[Event]:
        """As Assistant.answer. A replica that is lost is replaced by another one: what was said already is not said
        again.

        Raises:
            LAV2Error: as there; Unavailable: replicas are lost, or the other one goes on with other words.
        """
        from ray.exceptions import RayActorError, RayTaskError
        from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError

        cancel, heard = cancel or threading.Event(), PartialAnswer()
        for left in reversed(range(TRIES)):
            try:
                yield from self._attempt(request, cancel, heard)
                return
            except (RayActorError, ReplicaUnavailableError) as error:
                if not left:
                    raise _lost() from error
            except (BackPressureError, DeploymentUnavailableError) as error:
                raise _lost() from error
            except RayTaskError as error:
                raise error.cause if isinstance(error.cause, Exception) else error from None

    def _attempt(self, request: Request, cancel: threading.Event, heard: PartialAnswer) -> Iterator[Event]:
        """One try: events as they come; of one whose words were said by an earlier try, those behind them."""
        said, again = heard.text, ""
        with _Call(self._on(request.image).options(stream=True).answer.remote(request)) as call:
            while True:
                event = call.next(POLL_INTERVAL_S)
                if cancel.is_set() and not isinstance(event, Done):
                    yield heard.stopped(self, request)
                    return
                if event is None:
                    continue
                if isinstance(event, Failed):
                    raise event.error
                if isinstance(event, Token) and len(again) < len(said):
                    again += event.text
                    if not (again.startswith(said) or said.startswith(again)):
                        raise _lost()
                    event = Token(again[len(said) :])
                    if not event.text:
                        continue
                if isinstance(event, Done) and not event.stopped and len(again) < len(said):
                    raise _lost()
                heard.take(event)
                yield event
                if isinstance(event, Done):
                    return

    def examine(
        self,
        image: Image.Image,
        experts: tuple[str, ...],
        client: str | None = None,
        cancel: threading.Event | None = None,
    ) -> dict[str, Evidence]:
        """As Assistant.examine."""
        from ray.exceptions import RayActorError

        for left in reversed(range(TRIES)):
            response = self._on(image).examine.remote(image, experts, client)
            try:
                while True:
                    try:
                        found = response.result(timeout_s=POLL_INTERVAL_S)
                        break
                    except TimeoutError:
                        if cancel is not None and cancel.is_set():
                            response.cancel()
                            return {}
            except RayActorError as error:
                if not left:
                    raise _lost() from error
                continue
            if isinstance(found, Failed):
                raise found.error
            return found
        raise _lost()

    def _on(self, image: Image.Image | None) -> Any:
        """The handle that leads to the replica whose caches know the photo; without one, to any."""
        return self._handle.options(session_id=fingerprint(image).hex() if image is not None else uuid.uuid4().hex)


def _lost() -> LAV2Error:
    return Unavailable("What answers this question was lost or has no room.", "Ask again in a moment.")


class _Call:
    """A streaming call, read by a thread of its own so that whoever waits can also look whether he was cancelled.
    Leaving the block cancels what is not at its end, which frees the replica."""

    def __init__(self, response: Any):
        self._response, self._given = response, queue.SimpleQueue()
        try:
            threading.Thread(target=self._read, daemon=True, name="replica").start()
        except RuntimeError as error:
            response.cancel()
            raise no_thread() from error

    def _read(self) -> None:
        try:
            for event in self._response:
                self._given.put(event)
            self._given.put(RuntimeError("The answer had no end."))  # after Done, nobody reads it
        except BaseException as error:
            self._given.put(error)

    def next(self, seconds: float) -> Any:
        """The next event, None where none comes in time; raises what broke the call."""
        try:
            event = self._given.get(timeout=seconds)
        except queue.Empty:
            return None
        if isinstance(event, BaseException):
            raise event
        return event

    def __enter__(self) -> _Call:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.cancel()
