"""What an operator sees: metrics, health, a line an answer; and that nothing of a visitor's is in it."""

import json
import logging
import re
import threading
from types import SimpleNamespace

import httpx
import pytest
from live import PATIENCE, serve
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.testclient import TestClient

from experts.evidence import Caption, ExpertFailure
from experts.messages import Message
from lav2.assistant.admission import AdmissionQueue, Busy
from lav2.errors import LAV2Error
from lav2.events import Done, EvidenceFound, ExpertStarted, PromptReady, Queued, Request, Sampling, Token, Turn
from lav2.server import monitoring

BUSY = "Busy: {waiting} questions wait already, yours would have position {position}."
HANGS = "The {expert} expert still hangs on an earlier photo."
SECRET = "Kim, Seoul, 37.5N"
PHOTO = Image.new("RGB", (8, 8))
PHOTO.info["exif"] = PHOTO.info["comment"] = SECRET
ASKED = Request(f"Who is {SECRET}?", PHOTO, (Turn(SECRET, SECRET),), ("caption",), sampling=Sampling(), client=SECRET)


@pytest.fixture
def monitor():
    return monitoring.Monitor((BUSY, HANGS))


def done(**changes):
    timings = {"queued": 0.25, "tokens_per_second": 30.0}
    facts = {"answer": SECRET, "evidence": {"caption": Caption(SECRET, 0.3, "c")}, "prompt": SECRET, "tokens": 4}
    facts |= {"timings": timings, "seed": 0, "preset": "embedded", "versions": {}, "stopped": False, "weights": {}}
    return Done(**facts | changes)


def whole(request, cancel):
    """The events of one answer, as the assistant gives them."""
    yield Queued(2)
    yield Queued(1)
    yield ExpertStarted("caption")
    yield EvidenceFound("caption", Caption(SECRET, 0.3, "c"))
    yield PromptReady(SECRET, 90, 2048, 0)
    yield Token(SECRET)
    yield Token("!")
    yield done()


def client(monitor, assistant=None, ending=lambda: False):
    def ready():
        if assistant is None:
            raise LAV2Error("The models are not loaded yet.", "Wait a moment.")
        return assistant

    return TestClient(Starlette(routes=monitor.routes(ready, ending)))


def values(monitor) -> dict:
    text = client(monitor).get("/metrics").text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_an_answer_is_counted_with_its_queue_first_token_rate_and_experts(monitor):
    assert list(monitor.observed(whole)(ASKED, threading.Event())) == list(whole(ASKED, None))  # as they are
    found = values(monitor)
    assert found["lav2_answers_total", "answered"] == 1
    assert found["lav2_queue_seconds_sum",] == 0.25
    assert found["lav2_first_token_seconds_count",] == 1
    assert found["lav2_tokens_per_second_sum",] == 30
    assert found["lav2_tokens_total", "prompt"] == 90 and found["lav2_tokens_total", "answer"] == 4
    assert found["lav2_expert_seconds_sum", "caption"] == pytest.approx(0.3)
    assert found["lav2_questions", "waiting"] == found["lav2_questions", "answering"] == 0
    assert found["process_resident_memory_bytes",] > 0


def test_the_queue_length_is_that_of_the_line_while_questions_wait(monitor):
    line, cancel = AdmissionQueue(1, 4), threading.Event()

    def answer(request, cancel):
        with line.slot() as place:
            yield from map(Queued, line.positions(place, cancel))
            yield Token("a")
            yield done()

    running = [monitor.observed(answer)(ASKED, cancel) for _ in range(3)]
    for one in running:
        next(one)
    found = values(monitor)
    assert (found["lav2_questions", "answering"], found["lav2_questions", "waiting"]) == (1, 2)
    running[0].close()  # the first one hangs up
    assert isinstance(next(running[1]), Token)
    found = values(monitor)
    assert (found["lav2_questions", "answering"], found["lav2_questions", "waiting"]) == (1, 1)
    assert found["lav2_answers_total", "abandoned"] == 1
    running[1].close(), running[2].close()
    assert values(monitor)["lav2_questions", "waiting"] == 0


def test_failures_are_counted_by_key_and_those_that_nobody_wrote_beforehand_by_their_kind(monitor):
    def failing(error):
        def answer(request, cancel):
            yield Queued(1)
            raise error

        return answer

    for error in (Busy(17), Busy(18), LAV2Error(f"A path of {SECRET}.", "x"), ValueError(SECRET)):
        with pytest.raises(type(error)):
            list(monitor.observed(failing(error))(ASKED, threading.Event()))
    found = values(monitor)
    assert found["lav2_failures_total", BUSY] == 2
    assert found["lav2_failures_total", "LAV2Error"] == found["lav2_failures_total", "ValueError"] == 1
    assert found["lav2_answers_total", "failed"] == 4


def test_an_expert_that_fails_or_remembers_is_counted_apart_from_one_that_looks(monitor):
    failure = ExpertFailure("ocr", Message(HANGS, expert="ocr"), Message("Wait."), 0.0)

    def answer(request, cancel):
        yield ExpertStarted("ocr")
        yield ExpertStarted("caption")
        yield EvidenceFound("ocr", failure)
        yield EvidenceFound("caption", Caption("A dog.", 0.3, "c"), remembered=True)
        yield done(evidence={"ocr": failure, "caption": Caption("A dog.", 0.3, "c")})

    list(monitor.observed(answer)(ASKED, threading.Event()))
    found = values(monitor)
    assert found["lav2_expert_failures_total", HANGS, "ocr"] == 1
    assert found["lav2_expert_remembered_total", "caption"] == 1
    assert ("lav2_expert_seconds_count", "caption") not in found


def test_whoever_closes_an_answer_closes_the_assistants_at_once(monitor):
    closed = []

    def answer(request, cancel):
        try:
            yield Token("a")
            yield Token("b")
        finally:
            closed.append(True)

    events = monitor.observed(answer)(ASKED, threading.Event())
    next(events)
    events.close()
    assert closed == [True]


def test_neither_metrics_nor_log_hold_anything_of_a_question_its_photo_or_its_answer(monitor, tmp_path):
    monitoring.log_answers(str(tmp_path / "answers.log"))
    try:
        list(monitor.observed(whole)(ASKED, threading.Event()))

        def failing(request, cancel):
            raise LAV2Error("{name} is damaged.", SECRET, name=SECRET)
            yield

        with pytest.raises(LAV2Error):
            list(monitor.observed(failing)(ASKED, threading.Event()))
    finally:
        for handler in list(monitoring.log.handlers):
            monitoring.log.removeHandler(handler)
            handler.close()
    lines = (tmp_path / "answers.log").read_text().splitlines()
    first, second = map(json.loads, lines)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    assert (first["outcome"], first["position"], first["photo"], first["turns"]) == ("answered", 2, True, 1)
    assert first["experts"] == {"caption": {"seconds": 0.3, "remembered": False}}
    assert (second["outcome"], second["error"]) == ("failed", "LAV2Error")
    written = "".join(lines) + client(monitor).get("/metrics").text
    assert not any(word in written for word in ("Kim", "Seoul", "37.5", "Who is"))


def test_a_log_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(LAV2Error, match="Choose another --log"):
        monitoring.log_answers(str(tmp_path / "none" / "answers.log"))
    assert not [h for h in logging.getLogger("lav2.answers").handlers if hasattr(h, "baseFilename")]


def test_health_tells_loaded_parts_and_why_an_expert_cannot_run(monitor):
    failure = ExpertFailure("detection", Message("There is no detector."), Message("Give one."), 0.0)
    assistant = SimpleNamespace(
        preset="embedded",
        versions={"lav2": "0.1"},
        experts=("caption", "detection", "ocr"),
        load_seconds={"language model": 1.234, "ocr": 0.5},
        expert_failures={"detection": failure},
    )
    response = client(monitor, assistant).get("/health")
    assert response.status_code == 200 and response.json() == {
        "status": "ready",
        "preset": "embedded",
        "parts": {"language model": 1.23, "ocr": 0.5},
        "experts": {"caption": "not loaded", "detection": "There is no detector.", "ocr": "loaded"},
        "versions": {"lav2": "0.1"},
    }


def test_health_is_503_while_nothing_is_loaded_and_while_the_server_ends(monitor):
    assistant = SimpleNamespace(preset="p", versions={}, experts=(), load_seconds={}, expert_failures={})
    assert client(monitor).get("/health").status_code == 503
    ending = client(monitor, assistant, ending=lambda: True).get("/health")
    assert ending.status_code == 503 and ending.json()["status"] == "ending"


@pytest.mark.slow
def test_the_running_app_has_metrics_health_and_a_line_an_answer(tmp_path):
    log = tmp_path / "answers.log"
    with serve(tmp_path, "--log", str(log)) as server, httpx.Client(base_url=server.address, timeout=PATIENCE) as http:
        asked = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
        assert http.post("/v1/chat/completions", json=asked).status_code == 200
        health, metrics = http.get("/health"), http.get("/metrics")
    assert health.status_code == 200 and "language model" in health.json()["parts"]
    assert 'lav2_answers_total{outcome="answered"} 1.0' in metrics.text  # the warm-up is nobody's question
    (line,) = log.read_text().splitlines()
    assert json.loads(line)["outcome"] == "answered" and "Hi" not in line
