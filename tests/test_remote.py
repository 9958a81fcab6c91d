"""A front end on replicas in this process: calls break where a test says. test_ray.py has a cluster."""

import asyncio
import threading
import time

import pytest
from tiny_cluster import TinyLoader, photo

pytest.importorskip("ray", reason="needs Ray: pip install -r requirements-cluster.txt")

from ray.exceptions import RayActorError

from experts.orchestrator import fingerprint
from lav2.cluster.remote import RemoteAssistant
from lav2.cluster.replicas import ModelReplica
from lav2.errors import LAV2Error, Unavailable
from lav2.events import Done, Request, Sampling, Token

PATIENCE = 60  # seconds, on a busy machine
ASKED = Request("w5 w6", photo(1), experts=("caption",), sampling=Sampling(max_new_tokens=12))


class Replicas:
    """As the handle of a deployment. `lost`: after how many events each call loses its replica; `changed` changes the
    events of each call."""

    def __init__(self, replica):
        self._replica, self._loop = replica, asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.lost, self.changed, self.sessions = [], [], []

    def options(self, session_id=None, stream=False):
        if session_id:
            self.sessions.append(session_id)
        return self

    def __getattr__(self, name):
        return Method(self, getattr(self._replica, name))


class Method:
    def __init__(self, handle, call):
        self._handle, self._call = handle, call

    def remote(self, *given):
        lost = self._handle.lost.pop(0) if self._handle.lost else None
        changed = self._handle.changed.pop(0) if self._handle.changed else lambda event: event
        return Response(self._handle._loop, self._call(*given), lost, changed)


class Response:
    def __init__(self, loop, found, lost, changed):
        self._loop, self._found, self._lost, self._changed = loop, found, lost, changed
        self._running = None

    def __iter__(self):
        return self

    def __next__(self):
        if self._lost is not None:
            self._lost -= 1
            if self._lost < 0:
                raise RayActorError()
        self._running = asyncio.run_coroutine_threadsafe(anext(self._found), self._loop)
        try:
            return self._changed(self._running.result())
        except StopAsyncIteration:
            raise StopIteration from None

    def result(self, timeout_s=None):
        if not asyncio.iscoroutine(self._found):
            return self._found
        if self._running is None:
            self._running = asyncio.run_coroutine_threadsafe(self._found, self._loop)
        return self._running.result(timeout_s)

    def cancel(self):
        if self._running is not None:
            self._running.cancel()


@pytest.fixture(scope="module")
def replica():
    return ModelReplica(TinyLoader())


@pytest.fixture
def handle(replica):
    return Replicas(replica)


@pytest.fixture(scope="module")
def answer(replica):
    return list(replica._assistant.answer(ASKED))[-1].answer


def texts(events) -> str:
    return "".join(event.text for event in events if isinstance(event, Token)).strip()


def test_a_door_gives_the_replicas_events_and_asks_the_replica_of_the_photo(handle, answer):
    events = list(RemoteAssistant(handle).answer(ASKED))
    assert texts(events) == events[-1].answer == answer != ""
    assert handle.sessions == [fingerprint(ASKED.image).hex()]


@pytest.mark.parametrize("lost", [[0], [3], [6], [4, 7, 1]])
def test_an_answer_whose_replica_is_lost_comes_from_another_and_no_word_twice(handle, answer, lost):
    front_end = RemoteAssistant(handle)
    handle.lost = list(lost)
    events = list(front_end.answer(ASKED))
    assert not handle.lost and len(handle.sessions) == len(lost) + 1
    assert texts(events) == events[-1].answer == answer


def test_another_replica_that_goes_on_with_other_words_is_not_mixed_into_the_answer(handle):
    front_end = RemoteAssistant(handle)
    handle.lost = [6]  # after some words
    handle.changed = [lambda event: event, lambda event: Token("w60 ") if isinstance(event, Token) else event]
    with pytest.raises(Unavailable):
        list(front_end.answer(ASKED))


def test_where_every_replica_is_lost_the_question_is_told_to_be_asked_again(handle):
    front_end = RemoteAssistant(handle)
    handle.lost = [2] * 20
    with pytest.raises(Unavailable, match="Ask again"):
        list(front_end.answer(ASKED))
    handle.lost = []


def test_a_failure_of_a_replica_is_the_local_apps(handle, replica):
    reported = []
    for assistant in (RemoteAssistant(handle), replica._assistant):
        with pytest.raises(LAV2Error) as error:
            list(assistant.answer(Request("w" * 5000)))
        reported.append((str(error.value), error.value.cause.key))
    assert reported[0] == reported[1]


def test_who_stops_gets_what_was_said_and_who_hangs_up_frees_the_place(handle, replica):
    front_end, cancel, seen = RemoteAssistant(handle), threading.Event(), []
    long = Request("w5", photo(2), experts=("caption",), sampling=Sampling(max_new_tokens=1500))
    for event in front_end.answer(long, cancel):
        seen.append(event)
        if isinstance(event, Token):
            cancel.set()
    assert isinstance(seen[-1], Done) and seen[-1].stopped and seen[-1].answer and seen[-1].prompt
    running = front_end.answer(long)
    while not isinstance(next(running), Token):
        pass
    running.close()
    end = time.monotonic() + PATIENCE
    while replica._running and time.monotonic() < end:
        time.sleep(0.01)
    assert not replica._running


def test_experts_alone_answer_through_a_door(handle):
    front_end = RemoteAssistant(handle)
    assert list(front_end.examine(photo(3), ("caption", "ocr"))) == ["caption", "ocr"]
    with pytest.raises(LAV2Error, match="nose"):
        front_end.examine(photo(3), ("nose",))
    assert front_end.count_tokens("w5 w6") == 2
