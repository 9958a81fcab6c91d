"""Which names and pages the server answers, what it tells browsers, and what may stand in its log."""

import io
import logging
import sys
import traceback

import gradio as gr
import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import app
from lav2.events import QUESTION_CHARACTERS
from lav2.server import gate, logs
from lav2.ui import api, panel, state, texts
from lav2.ui.conversation import QUESTIONS

NAMES = gate.known_names("photos.example.org", share=True)


def client(tmp_path, names=NAMES, on_spaces=False):
    async def good(request):
        return PlainTextResponse("good")

    routes = [Route("/", good), Route("/gradio_api/upload", good, methods=["POST"])]
    return TestClient(Starlette(routes=routes, lifespan=gate.guarding(names, tmp_path, on_spaces)))


@pytest.mark.parametrize(
    "host",
    ["localhost:7860", "127.0.0.1:7860", "0.0.0.0:7860", "192.168.1.7:8000", "[::1]:7860", "[fe80::1]", "lav2:7860",
     "photos.example.org", "PHOTOS.example.org:443", "abc.gradio.live", "demo.localhost"],
)  # fmt: skip
def test_the_server_answers_by_its_addresses_and_by_the_names_it_was_given(tmp_path, host):
    with client(tmp_path) as asking:
        assert asking.get("/", headers={"host": host}).text == "good"


@pytest.mark.parametrize("host", ["evil.org", "127.0.0.1.evil.org", "gradio.live.evil.org", "localhost.evil.org"])
def test_a_name_that_nobody_gave_the_server_is_refused_though_it_leads_here(tmp_path, host):
    with client(tmp_path) as asking:
        refused = asking.get("/", headers={"host": host})
        assert refused.status_code == 421 and "LAV2_HOSTS" in refused.text


def test_names_of_a_server_behind_another_one_are_given_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("LAV2_HOSTS", "demo.example.com, .example.net")
    with client(tmp_path, gate.known_names()) as asking:
        for host, status in (("demo.example.com", 200), ("a.example.net", 200), ("example.com", 421)):
            assert asking.get("/", headers={"host": host}).status_code == status
        other = {"host": "127.0.0.1:7860", "origin": "https://demo.example.com"}  # the other one changed the Host
        assert asking.post("/gradio_api/upload", headers=other).text == "good"


def test_pages_of_other_sites_get_no_answer_and_may_send_nothing(tmp_path):
    with client(tmp_path) as asking:
        for host in ("127.0.0.1:7860", "192.168.1.7:7860"):
            for origin in ("https://evil.org", "null", "http://192.168.1.8:7860", "http://127.0.0.1.evil.org:7860"):
                sent = asking.post("/gradio_api/upload", headers={"host": host, "origin": origin})
                assert sent.status_code == 403, (host, origin)
            own = {"host": host, "origin": f"http://{host}"}
            assert asking.post("/gradio_api/upload", headers=own).text == "good"
        beside = {"host": "localhost:7860", "origin": "http://127.0.0.1:6274"}  # another program of this machine
        assert asking.post("/gradio_api/upload", headers=beside).text == "good"


def test_on_spaces_the_page_may_stand_in_a_frame_of_hugging_face_and_nowhere_else_otherwise(tmp_path):
    with client(tmp_path, on_spaces=True) as asking:
        there = {"host": "someone-lav2.hf.space", "origin": "https://other.example.org"}
        response = asking.post("/gradio_api/upload", headers=there)
        assert response.text == "good" and "x-frame-options" not in response.headers
        assert "frame-ancestors 'self' https://huggingface.co" in response.headers["content-security-policy"]
    with client(tmp_path) as asking:
        response = asking.get("/", headers={"host": "localhost"}).headers
        assert "frame-ancestors 'self'" in response["content-security-policy"] and "hugging" not in str(response)
        assert (response["x-frame-options"], response["x-content-type-options"]) == ("SAMEORIGIN", "nosniff")


def test_all_visitors_together_may_keep_so_many_photos_and_no_more(tmp_path, monkeypatch):
    (tmp_path / "one").mkdir()
    (tmp_path / "one/photo.png").write_bytes(bytes(600))
    monkeypatch.setattr(gate, "UPLOADS_LIMIT", 1000)
    with client(tmp_path) as asking:
        assert asking.post("/gradio_api/upload", headers={"host": "localhost"}).text == "good"
        (tmp_path / "two.png").write_bytes(bytes(600))
        full = asking.post("/gradio_api/upload", headers={"host": "localhost"})
        assert full.status_code == 507 and "few minutes" in full.text
        assert asking.get("/", headers={"host": "localhost"}).text == "good"


def test_gradio_itself_stands_behind_the_gate(tmp_path):
    """It would let any Origin read a server that is reached by another name than localhost, with credentials."""
    lifespan = gate.guarding(gate.known_names(), tmp_path)
    try:
        _, address, _ = app.demo.launch(prevent_thread_lock=True, quiet=True, app_kwargs={"lifespan": lifespan})
        page = httpx.get(address, timeout=60)
        assert page.status_code == 200 and "frame-ancestors" in page.headers["content-security-policy"]
        evil = {"host": "192.168.1.7", "origin": "https://evil.example.org", "access-control-request-method": "POST"}
        for asked in (httpx.get(address, headers=evil, timeout=60), httpx.options(address, headers=evil, timeout=60)):
            assert asked.status_code == 403 and not [h for h in asked.headers if h.startswith("access-control")]
        assert httpx.get(address, headers={"host": "evil.example.org"}, timeout=60).status_code == 421
    finally:
        app.demo.close()


def test_no_photo_reaches_the_log_whatever_breaks(monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", logs.Log(written))
    photo = "data:image/png;base64," + "iVBORw0KGgo" * 1000
    log_of_app = logging.getLogger("lav2.app")
    monkeypatch.setattr(log_of_app, "handlers", [logging.StreamHandler()])
    monkeypatch.setattr(log_of_app, "propagate", False)
    try:
        raise ValueError(f"{{'image': {photo!r}, 'text': 'x'}}\nsecond line {'word ' * 5000}")
    except ValueError:
        traceback.print_exc()
    texts.error_texts(KeyError(photo), texts.TEXTS["en"])
    print("plain words stay", file=sys.stderr)
    log = written.getvalue()
    assert "iVBORw0KGgo" * 9 not in log and len(log) < 12_000
    assert "ValueError" in log and "KeyError" in log and "second line" in log and "plain words stay\n" in log
    assert sys.stderr.isatty() is False


def test_a_session_keeps_no_more_than_its_bounds(monkeypatch):
    asking = type("Asking", (), {"headers": {"accept-language": "en"}, "session_hash": "anna"})
    chat, compare = app.demo.chat, app.demo.compare
    long = {"text": "x" * (QUESTION_CHARACTERS + 1), "files": []}
    edited = type("Edit", (), {"index": 0, "value": long["text"]})
    kept = (state.Exchange("Q", state="done"),)
    for update, notice in (
        (chat.submit(long, (), asking), chat.notice),
        (chat.edit(kept, edited, asking), chat.notice),
        (compare.submit(long, "pair", (), None, asking), compare.notice),
    ):
        assert "the limit is 4,000" in update[notice]["value"]
        assert chat.exchanges not in update and compare.cancel not in update
    with pytest.raises(gr.Error, match="the limit is 4,000"):
        api.ask(None, "how many " * 200_000, ["auto"], 0.0, 0.9, 8, 0)
    full = chat.submit({"text": "Q", "files": []}, kept * QUESTIONS, asking)
    assert "100 questions" in full[chat.notice]["value"] and chat.exchanges not in full
    assert len(chat.panel.kept_findings([[True, "1", "y" * 5_000_000]])[1]) <= panel.FINDING_CHARACTERS


def test_auto_goes_through_no_text_that_is_too_long(monkeypatch):
    from lav2.errors import LAV2Error
    from lav2.text import routing

    monkeypatch.setattr(routing, "route", lambda question: pytest.fail("it was looked through"))
    with pytest.raises(LAV2Error, match="2,000,000 characters"):
        routing.choose(["auto"], "how many " * 222_222 + "??")
